//! A whole file as one value, read when somebody needs it.
//!
//! `output.mode=whole` hands these over. The file stays where it is until the batch is committed, so it can be opened
//! again and again, also in part; each reading makes sure, at its begin and at its end, that it is still the file that had
//! settled. One that is not is found by the next scan, settles again and is handed over anew. Read next: `reading.rs`.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use pipette_api::{ConnectError, Payload, PayloadReader, Reach, Result, async_trait};

use crate::finish;
use crate::identity::Look;
use crate::settings::LabFilesSettings;
use crate::source::device;

/// How much a reader hands over at once.
const BLOCK: u64 = 1024 * 1024;
const UNKNOWN: &str = "application/octet-stream";

#[derive(Debug, Clone)]
pub(crate) struct FilePayload {
    path: PathBuf,
    look: Look,
    /// Of its folder: when that is another one, it is the share that is gone.
    device: Option<u64>,
    follow: bool,
    reach: Reach,
    content_type: &'static str,
}

impl FilePayload {
    pub(crate) fn new(path: PathBuf, look: Look, settings: &LabFilesSettings) -> Self {
        let content_type = path.file_name().map_or(UNKNOWN, |name| content_type(&name.to_string_lossy()));
        let device = path.parent().and_then(device);
        Self { path, look, device, follow: settings.follow, reach: settings.reach.clone(), content_type }
    }

    fn file(&self, start: u64) -> Result<File> {
        let path = &self.path;
        let cannot = |error| ConnectError::retriable(format!("Cannot read {}", path.display())).because(error);
        let opened = finish::open_regular(path, self.follow, &self.reach);
        let mut file = match opened {
            Err(_) if self.now().is_ok_and(|now| now.is_none()) => {
                return Err(ConnectError::data(format!("{} is gone since it was handed over", path.display())));
            }
            opened => opened.map_err(cannot)?,
        };
        self.hold(Look::of(&file.metadata().map_err(cannot)?))?;
        file.seek(SeekFrom::Start(start)).map_err(cannot)?;
        Ok(file)
    }

    /// How the file looks now; `None` when there is none any more. An error when that cannot be told, because its share may be
    /// away.
    fn now(&self) -> io::Result<Option<Look>> {
        let found = if self.follow { fs::metadata(&self.path) } else { fs::symlink_metadata(&self.path) };
        match found {
            Ok(metadata) => Ok(metadata.is_file().then(|| Look::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let same = self.device.is_some() && self.path.parent().and_then(device) == self.device;
                if same { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    fn hold(&self, now: Look) -> Result<()> {
        if now.same_content(&self.look) {
            return Ok(());
        }
        Err(ConnectError::data(format!("{} has changed since it was handed over", self.path.display())))
    }

    /// The next block; the last one only when nobody has written to the file while it was read.
    fn block(&self, file: &mut File, wanted: u64, is_last: bool) -> Result<Bytes> {
        let cannot = |error| ConnectError::retriable(format!("Cannot read {}", self.path.display())).because(error);
        let mut block = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        file.by_ref().take(wanted).read_to_end(&mut block).map_err(cannot)?;
        if block.is_empty() {
            return Err(ConnectError::data(format!("{} became shorter while it was read", self.path.display())));
        }
        if is_last {
            self.hold(Look::of(&file.metadata().map_err(cannot)?))?;
        }
        Ok(block.into())
    }
}

#[async_trait]
impl Payload for FilePayload {
    fn len(&self) -> Option<u64> {
        Some(self.look.size)
    }

    fn content_type(&self) -> Option<&str> {
        Some(self.content_type)
    }

    /// Another file, or none; not one whose share is away. What is there now, or comes back, has no stored offset, and so is
    /// read.
    async fn is_superseded(&self) -> bool {
        let payload = self.clone();
        let now = blocking(move || payload.now()).await.ok().and_then(io::Result::ok);
        now.is_some_and(|now| now.is_none_or(|now| !now.same_content(&self.look)))
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let left = self.look.size.checked_sub(start);
        let Some(len) = left.map(|left| len.unwrap_or(left)).filter(|len| left.is_some_and(|left| *len <= left)) else {
            return Err(ConnectError::data(format!(
                "{} has {} bytes: cannot read from {start}{}",
                self.path.display(),
                self.look.size,
                len.map(|len| format!(" for {len}")).unwrap_or_default()
            )));
        };
        let payload = self.clone();
        let file = blocking(move || payload.file(start)).await??;
        Ok(Box::new(FileReader { file: Some(file), left: len, payload: self.clone() }))
    }
}

struct FileReader {
    /// Away while a block is being read.
    file: Option<File>,
    left: u64,
    payload: FilePayload,
}

#[async_trait]
impl PayloadReader for FileReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let (left, wanted) = (self.left, self.left.min(BLOCK));
        if wanted == 0 {
            return Ok(None);
        }
        let Some(mut file) = self.file.take() else {
            return Err(ConnectError::fatal(format!("Reading {} was broken off", self.payload.path.display())));
        };
        let payload = self.payload.clone();
        let (file, block) = blocking(move || {
            let block = payload.block(&mut file, wanted, wanted == left)?;
            Ok::<_, ConnectError>((file, block))
        })
        .await??;
        self.left -= block.len() as u64;
        self.file = Some(file);
        Ok(Some(block))
    }
}

/// Payloads are read on shared runtimes, which a slow share must not hold up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| ConnectError::fatal("Reading a file broke down").because(error))
}

/// The media type by the extension of a file name.
pub(crate) fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase().as_str() {
        "csv" => "text/csv",
        "tsv" | "tab" => "text/tab-separated-values",
        "txt" | "log" | "asc" => "text/plain",
        "json" => "application/json",
        "xml" | "mzml" | "mzxml" | "animl" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "tif" | "tiff" => "image/tiff",
        "bmp" => "image/bmp",
        "dcm" => "application/dicom",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "parquet" => "application/vnd.apache.parquet",
        _ => UNKNOWN,
    }
}
