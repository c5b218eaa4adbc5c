//! Where the proofs of the claim check keep payloads: a folder, or a bucket of S3; and the way there and back again.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use pipette_store::{Digest, Hasher};
use serde_json::{Map, Value, json};

use crate::support::bucket::Bucket;
use crate::support::topic::Record;

/// The topic of the references.
pub(super) const TOPIC: &str = "images";
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

/// A store.
pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Place {
    pub(super) fn folder(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        Self::Folder(folder.to_owned())
    }

    fn keys(&self) -> Vec<(String, String)> {
        match self {
            Self::Folder(folder) => vec![("store.uri".to_owned(), format!("file://{}", folder.display()))],
            Self::Bucket(bucket) => bucket.keys(),
        }
    }

    /// The configuration of a transformation that goes there.
    fn transform(&self, kind: &str, more: &[(&str, &str)]) -> Map<String, Value> {
        let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let keys =
            self.keys().into_iter().chain(more).map(|(key, value)| (format!("transforms.it.{key}"), value.into()));
        let own = [("transforms", "it"), ("transforms.it.type", kind)];
        own.into_iter().map(|(key, value)| (key.to_owned(), value.into())).chain(keys).collect()
    }

    /// Whole files of the folder `inbox` to here; they are deleted once they are.
    pub(super) fn source(&self, home: &Path, more: &[(&str, &str)]) -> Value {
        let mut config = json!({
            "connector.class": "LabFilesSource",
            "topic": TOPIC,
            "input.path": home.join("inbox"),
            "error.path": home.join("failed"),
            "cleanup.policy": "DELETE",
            "output.mode": "whole",
            "key": "name",
            "settle.checks": "2",
            "settle.interval.ms": "20",
            "poll.interval.ms": "100",
            "value.converter": JSON,
        });
        config.as_object_mut().expect("an object").extend(self.transform("ClaimCheck", more));
        config
    }

    /// From here to the folder `outbox`.
    pub(super) fn sink(&self, home: &Path) -> Value {
        let mut config = json!({
            "connector.class": "LabFilesSink",
            "topics": TOPIC,
            "output.path": home.join("outbox"),
            "file.name": "${key}",
            "value.converter": JSON,
        });
        let limit = [("max.payload.bytes", "10000000000")];
        config.as_object_mut().expect("an object").extend(self.transform("ClaimCheckRestore", &limit));
        config
    }

    /// The file in which the object of a reference lies.
    pub(super) fn object(&self, uri: &str) -> PathBuf {
        match self {
            Self::Folder(_) => PathBuf::from(uri.strip_prefix("file://").expect("an address of a file")),
            Self::Bucket(bucket) => {
                bucket.root().join(uri.strip_prefix("s3://lake/").expect("an address in the bucket"))
            }
        }
    }

    /// The files of all objects.
    pub(super) fn objects(&self) -> Vec<PathBuf> {
        match self {
            Self::Folder(folder) => files(folder),
            Self::Bucket(bucket) => files(&bucket.root()),
        }
        .into_iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == ".uploads"))
        .collect()
    }

    /// Uploads that have begun and not ended.
    pub(super) fn open(&self) -> usize {
        match self {
            Self::Folder(folder) => files(&folder.join(".uploads")).len(),
            Self::Bucket(bucket) => bucket.open_uploads(),
        }
    }

    /// A figure that changes as uploads go on.
    pub(super) fn traces(&self) -> u64 {
        match self {
            Self::Folder(_) => self.open() as u64,
            Self::Bucket(bucket) => bucket.traces() as u64,
        }
    }
}

/// All files below a folder, which may come and go meanwhile.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.flat_map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { vec![entry.path()] }).collect()
}

/// What a record says of its payload.
pub(super) struct Told {
    pub(super) uri: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

impl Told {
    pub(super) fn by(record: &Record) -> Self {
        let header = record.header("claim-check");
        let all: Value = serde_json::from_str(header).unwrap_or_else(|error| panic!("{error}: {header}"));
        let text = |name: &str| all[0][name].as_str().unwrap_or_else(|| panic!("no {name}: {header}")).to_owned();
        Self { uri: text("uri"), digest: text("digest"), size: all[0]["size"].as_u64().expect("a size") }
    }
}

pub(super) fn digest(file: &Path) -> Digest {
    let mut file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (mut hasher, mut block) = (Hasher::default(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut block).expect("its bytes") {
            0 => return hasher.digest(),
            read => hasher.update(&block[..read]),
        }
    }
}
