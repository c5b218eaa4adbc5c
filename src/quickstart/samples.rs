//! The sample files of the quick start, inside the binary: a spectrometer's UTF-16 table, a bioreactor's
//! semicolons with decimal commas, and ten thousand rows of a plate reader.

use std::fs;
use std::path::Path;

use pipette_api::{ConnectError, Result};

/// Name and contents; each has a header line.
const SAMPLES: &[(&str, &[u8])] = &[
    ("bioreactor-04.csv", include_bytes!("../../config/quickstart/samples/bioreactor-04.csv")),
    ("plate-reads.csv", include_bytes!("../../config/quickstart/samples/plate-reads.csv")),
    ("spectrum-2026-0117.txt", include_bytes!("../../config/quickstart/samples/spectrum-2026-0117.txt")),
];

/// Puts those into the inbox that are neither there nor finished; returns how many rows all of them have.
pub(super) fn drop_into(inbox: &Path, finished: &Path) -> Result<usize> {
    for (name, bytes) in SAMPLES {
        let place = inbox.join(name);
        if place.exists() || finished.join(name).exists() {
            continue;
        }
        appear(&place, bytes)?;
    }
    Ok(SAMPLES.iter().map(|(_, bytes)| rows(bytes)).sum())
}

/// Writes a file that is hidden until it is whole, as a careful instrument would do it.
pub(super) fn appear(place: &Path, bytes: &[u8]) -> Result<()> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let hidden = place.with_file_name(format!(".{name}"));
    let failed = |error| ConnectError::fatal(format!("Cannot write {}", place.display())).because(error);
    fs::write(&hidden, bytes).and_then(|()| fs::rename(&hidden, place)).map_err(failed)
}

/// Lines without the header; the zero bytes of UTF-16 are no text.
fn rows(bytes: &[u8]) -> usize {
    let has_text = |line: &&[u8]| line.iter().any(|byte| *byte > b' ');
    bytes.split(|byte| *byte == b'\n').filter(has_text).count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_dropped_once() {
        let dir = tempfile::tempdir().unwrap();
        let [inbox, finished] = ["inbox", "finished"].map(|name| dir.path().join(name));
        fs::create_dir(&inbox).unwrap();
        fs::create_dir(&finished).unwrap();
        let expected = drop_into(&inbox, &finished).unwrap();
        assert!(expected > SAMPLES.len());
        let (first, _) = SAMPLES[0];
        fs::rename(inbox.join(first), finished.join(first)).unwrap();
        assert_eq!(drop_into(&inbox, &finished).unwrap(), expected);
        assert!(!inbox.join(first).exists());
        assert_eq!(fs::read_dir(&inbox).unwrap().count(), SAMPLES.len() - 1);
        assert_eq!(rows(b"a,b\n1,2\r\n\n3,4"), 2);
    }
}
