//! `--with images`: images on all four ways for large payloads, out of one folder and into one folder for each way.
//!
//! `quickstart.rs` creates the connectors that are listed here and asks again and again how far they are. Three ways bring
//! the content; behind a link nothing does, so the quick start plays the consumer that follows it. `samples.rs` makes the
//! images. Read next: `follow.rs`.

mod follow;
mod samples;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pipette_api::{ConfigMap, ConnectError, Result};

use self::follow::Follower;
use super::progress::visible;
use super::{config, lines_of, text};

/// The largest image that the native way takes. Producer, topic and memory have to allow it as well.
const NATIVE: &str = "8000000";
const NATIVE_REQUEST: &str = "8100000";
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
const WAYS: [&str; 4] = ["native", "pieces", "link", "claim-check"];

/// The folders, and who follows links.
#[derive(Debug)]
pub(super) struct Images {
    inbox: PathBuf,
    out: PathBuf,
    store: PathBuf,
    /// What the topic of links says, line by line.
    links: PathBuf,
    /// Where the broker keeps its topics.
    topics: PathBuf,
    follower: Follower,
    told: bool,
}

impl Images {
    /// Makes the folders in `dir`; `kafka` is the broker's.
    pub(super) fn place(dir: &Path, kafka: &Path) -> Result<Self> {
        let [inbox, out, store] = ["inbox", "out", "store"].map(|name| dir.join(name));
        for folder in WAYS.iter().map(|way| out.join(way)).chain([inbox.clone(), store.clone()]) {
            let failed = |error| ConnectError::config(format!("Cannot create {}", folder.display())).because(error);
            fs::create_dir_all(&folder).map_err(failed)?;
        }
        let links = dir.join("links.jsonl");
        let follower = Follower::new(&links, &out.join("link"));
        Ok(Self { inbox, out, store, links, topics: kafka.join("topics"), follower, told: false })
    }

    /// The connectors by name: for each way one in and one out.
    pub(super) fn connectors(&self) -> Vec<(String, ConfigMap)> {
        WAYS.iter()
            .flat_map(|way| {
                let name = topic(way).replace('.', "-");
                [(format!("{name}-out"), self.sink(way)), (name, self.source(way))]
            })
            .collect()
    }

    /// Files stay where they are: four connectors read the folder.
    fn source(&self, way: &str) -> ConfigMap {
        let mut keys = config(&[
            ("connector.class", "io.pipette.LabFilesSourceConnector"),
            ("tasks.max", "1"),
            ("topic", &topic(way)),
            ("input.path", &text(&self.inbox)),
            ("output.mode", "whole"),
            ("key", "name"),
            ("cleanup.policy", "NONE"),
            ("poll.interval.ms", "250"),
            ("settle.interval.ms", "250"),
            ("value.converter", BYTES),
        ]);
        let more = match way {
            "native" => config(&[
                ("payload.inline.max.bytes", NATIVE),
                ("producer.override.max.request.size", NATIVE_REQUEST),
                ("topic.creation.default.partitions", "1"),
                ("topic.creation.default.replication.factor", "1"),
                ("topic.creation.default.max.message.bytes", NATIVE_REQUEST),
            ]),
            "pieces" => config(&[("transforms", "pieces"), ("transforms.pieces.type", "io.pipette.transforms.Chunk")]),
            "link" => config(&[
                ("output.mode", "metadata"),
                ("value.converter", "org.apache.kafka.connect.json.JsonConverter"),
                ("value.converter.schemas.enable", "false"),
            ]),
            _ => config(&[
                ("transforms", "claim"),
                ("transforms.claim.type", "io.pipette.transforms.ClaimCheck$Value"),
                ("transforms.claim.store.uri", &self.store_uri()),
                ("transforms.claim.value.mode", "header-only"),
            ]),
        };
        keys.extend(more);
        keys
    }

    fn sink(&self, way: &str) -> ConfigMap {
        if way == "link" {
            return lines_of(&topic(way), &self.links);
        }
        let mut keys = config(&[
            ("connector.class", "io.pipette.LabFilesSinkConnector"),
            ("tasks.max", "1"),
            ("topics", &topic(way)),
            ("output.path", &text(&self.out.join(way))),
            ("file.name", "${key}"),
            ("value.converter", BYTES),
            ("consumer.override.auto.offset.reset", "earliest"),
        ]);
        match way {
            "pieces" => keys.extend(config(&[
                ("transforms", "whole"),
                ("transforms.whole.type", "io.pipette.transforms.Reassemble"),
            ])),
            "claim-check" => keys.extend(config(&[
                ("transforms", "restore"),
                ("transforms.restore.type", "io.pipette.transforms.ClaimCheckRestore$Value"),
                ("transforms.restore.store.uri", &self.store_uri()),
            ])),
            _ => {}
        }
        keys
    }

    fn store_uri(&self) -> String {
        format!("file://{}", self.store.display())
    }

    /// Puts those samples into the inbox that are not there.
    pub(super) fn drop_samples(&self) -> Result<()> {
        samples::drop_into(&self.inbox)
    }

    /// Follows new links, and says for the line of progress how many images are out.
    pub(super) fn look(&mut self) -> Result<String> {
        self.follower.follow()?;
        let count: usize = WAYS.iter().map(|way| visible(&self.out.join(way))).sum();
        Ok(format!(", {count} images out"))
    }

    /// Once every sample is out on every way: the comparison, byte for byte, and what each way took. `None` before that,
    /// and when it has been told already.
    pub(super) fn compared(&mut self) -> Result<Option<String>> {
        if self.told {
            return Ok(None);
        }
        let mut told = "\n".to_owned();
        for (name, _) in samples::SIZES {
            for way in WAYS {
                let (one, other) = (self.inbox.join(name), self.out.join(way).join(name));
                match same(&one, &other) {
                    Ok(Some(true)) => {}
                    Ok(Some(false)) => {
                        let message = format!("{} is not {} byte for byte", other.display(), one.display());
                        return Err(ConnectError::fatal(message));
                    }
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        return Err(ConnectError::fatal(format!("Cannot read {}", other.display())).because(error));
                    }
                }
            }
            let _ = writeln!(told, "{name} is the same, byte for byte, behind all four ways");
        }
        told.push_str("What its topic takes in Kafka: ");
        let taken = WAYS.map(|way| format!("{way} {} bytes", taken(&self.topics, &topic(way))));
        let _ = writeln!(told, "{}", taken.join(", "));
        self.told = true;
        Ok(Some(told))
    }

    /// Whether every sample was out on every way, and the same.
    pub(super) fn is_compared(&self) -> bool {
        self.told
    }

    /// What the user sees at the start.
    pub(super) fn introduced(&self, url: &str, once: bool) -> String {
        let next = if once {
            String::new()
        } else {
            format!("  curl -s {url}/connectors/images-claim-check/offsets\nor copy an image of your own there.\n\n")
        };
        format!(
            "\
Images dropped into     {inbox}
come out four times in  {out}/
  native       one record that holds the image; Kafka has to allow {NATIVE} bytes
  pieces       records of 800,000 bytes, put together again by the sink
  link         path, size and digest; the image stays where it is, whoever wants it follows the link
  claim-check  the image goes to {store}, a reference to Kafka
{next}",
            inbox = self.inbox.display(),
            out = self.out.display(),
            store = self.store.display(),
        )
    }
}

fn topic(way: &str) -> String {
    format!("images.{way}")
}

/// `None` as long as the other one is not there.
fn same(one: &Path, other: &Path) -> io::Result<Option<bool>> {
    match fs::read(other) {
        Ok(bytes) => Ok(Some(fs::read(one)? == bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes in the files of a topic.
fn taken(topics: &Path, topic: &str) -> u64 {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let own = entries(topics).filter(|entry| {
        let name = entry.file_name();
        // The broker adds an id.
        name.to_string_lossy().strip_prefix(topic).is_some_and(|rest| rest.starts_with('.'))
    });
    own.flat_map(|folder| entries(&folder.path())).filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_of_one_byte_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut images = Images::place(&dir.path().join("images"), &dir.path().join("kafka")).unwrap();
        images.drop_samples().unwrap();
        assert_eq!(images.compared().unwrap(), None, "nothing is out");
        for (name, _) in samples::SIZES {
            for way in WAYS {
                fs::copy(images.inbox.join(name), images.out.join(way).join(name)).unwrap();
            }
        }
        let other = images.out.join("pieces").join(samples::SIZES[0].0);
        let mut bytes = fs::read(&other).unwrap();
        bytes[5000] ^= 1;
        fs::write(&other, &bytes).unwrap();
        let error = images.compared().unwrap_err().to_string();
        assert!(error.contains("pieces"), "{error}");
        bytes[5000] ^= 1;
        fs::write(&other, &bytes).unwrap();
        let topic = dir.path().join("kafka/topics/images.pieces.00ff");
        fs::create_dir_all(&topic).unwrap();
        fs::write(topic.join("0.log"), [0; 1234]).unwrap();
        let told = images.compared().unwrap().unwrap();
        assert!(told.contains("pieces 1234 bytes, link 0 bytes"), "{told}");
        assert_eq!(images.compared().unwrap(), None, "once");
    }
}
