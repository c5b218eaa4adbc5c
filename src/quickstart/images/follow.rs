//! The consumer of links: reads each line of the topic, opens the file that it tells of, and holds it against the digest.
//!
//! What a link leads to may be gone or another by now, which is the price of this way: it is told, and the next is read.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pipette_api::{ConnectError, Result};
use pipette_store::Digest;
use serde_json::Value;

use crate::quickstart::samples::appear;

#[derive(Debug)]
pub(super) struct Follower {
    links: PathBuf,
    out: PathBuf,
    /// Bytes of `links` that are done.
    read: u64,
}

impl Follower {
    /// Reads `links`, a line for each, and writes what they lead to into `out`.
    pub(super) fn new(links: &Path, out: &Path) -> Self {
        Self { links: links.to_owned(), out: out.to_owned(), read: 0 }
    }

    /// Follows those that have come since the last call.
    pub(super) fn follow(&mut self) -> Result<()> {
        let failed = |error| ConnectError::fatal(format!("Cannot read {}", self.links.display())).because(error);
        for line in new_lines(&self.links, self.read).map_err(failed)? {
            self.read += line.len() as u64;
            if let Err(reason) = self.fetch(&line) {
                tracing::warn!("A link is not followed: {reason}");
            }
        }
        Ok(())
    }

    fn fetch(&self, line: &str) -> std::result::Result<(), String> {
        let told: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let (Some(path), Some(digest)) = (told["path"].as_str(), told["digest"].as_str()) else {
            return Err(format!("it has no path or no digest: {line}"));
        };
        let bytes = fs::read(path).map_err(|error| format!("{path}: {error}"))?;
        if digest != format!("sha256:{}", Digest::of(&bytes).hex()) {
            return Err(format!("{path} is another file since its link was written"));
        }
        let name = Path::new(path).file_name().ok_or_else(|| format!("{path} has no name"))?;
        let place = self.out.join(name);
        appear(&place, &bytes).map_err(|error| error.chain())
    }
}

/// Whole lines behind a place; none as long as there is no file.
fn new_lines(path: &Path, from: u64) -> io::Result<Vec<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(from))?;
    let mut file = BufReader::new(file);
    let mut lines = Vec::new();
    let mut line = String::new();
    while file.read_line(&mut line)? > 0 && line.ends_with('\n') {
        lines.push(std::mem::take(&mut line));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_link_is_followed_if_it_leads_to_what_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let (links, image, out) = (dir.path().join("links"), dir.path().join("a.tif"), dir.path().join("out"));
        fs::create_dir(&out).unwrap();
        let mut follower = Follower::new(&links, &out);
        follower.follow().unwrap();
        fs::write(&image, b"").unwrap();
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let good = serde_json::json!({"path": image, "digest": empty}).to_string();
        let mut file = File::create(&links).unwrap();
        writeln!(file, "nonsense\n{}\n{{}}", good.replace("a.tif", "gone.tif")).unwrap();
        write!(file, "{good}").unwrap();
        follower.follow().unwrap();
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "half a line is none");
        writeln!(file).unwrap();
        follower.follow().unwrap();
        assert_eq!(fs::read(out.join("a.tif")).unwrap(), b"");
        fs::write(&image, b"another").unwrap();
        writeln!(file, "{good}").unwrap();
        follower.follow().unwrap();
        assert_eq!(fs::read(out.join("a.tif")).unwrap(), b"", "what has changed is not taken");
    }
}
