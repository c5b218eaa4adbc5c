//! What is said of small files of each format, of damaged ones, and of ones that want too much.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)] // shared by two test binaries
mod samples;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pipette_api::{ConnectError, ErrorKind, Payload, PayloadReader, Result, async_trait};
use proptest::prelude::*;
use samples::Syntax;
use transform_claim_check::{Limits, Meta, Wanted, extract};

const LIMITS: Limits = Limits { bytes: 256 * 1024, time: Duration::from_secs(10) };
const LEVELS: &[&str] = &["basic", "exif", "tiff", "dicom"];

/// A file that counts what is read of it.
#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    /// So many zeros behind the bytes.
    zeros: u64,
    content_type: Option<&'static str>,
    hides_length: bool,
    error: Option<fn() -> ConnectError>,
    hangs: bool,
    read: AtomicU64,
}

#[async_trait]
impl Payload for File {
    fn len(&self) -> Option<u64> {
        (!self.hides_length).then(|| self.bytes.len() as u64 + self.zeros)
    }

    fn content_type(&self) -> Option<&str> {
        self.content_type
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        if let Some(error) = self.error {
            return Err(error());
        }
        let end = self.bytes.len() as u64 + self.zeros;
        if start.checked_add(len.unwrap_or(0)).is_none_or(|behind| behind > end) {
            return Err(ConnectError::data("outside of the file"));
        }
        let wanted = usize::try_from(len.unwrap_or(end - start).min(1 << 20)).unwrap();
        let begin = usize::try_from(start).unwrap().min(self.bytes.len());
        let mut part = self.bytes[begin..].to_vec();
        part.resize(wanted, 0);
        self.read.fetch_add(wanted as u64, Ordering::Relaxed);
        // In small pieces, as a network gives them.
        Ok(Box::new(Pieces { left: part.into(), hangs: self.hangs }))
    }
}

struct Pieces {
    left: Bytes,
    hangs: bool,
}

#[async_trait]
impl PayloadReader for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        let len = self.left.len().min(1000);
        Ok(Some(self.left.split_to(len)).filter(|piece| !piece.is_empty()))
    }
}

fn wanted(tags: &[&str]) -> Wanted {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    Wanted::parse(&owned(LEVELS), &owned(tags)).unwrap()
}

fn try_look(file: &File, tags: &[&str], limits: Limits) -> Result<Meta> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(extract(file, &wanted(tags), limits))
}

/// Everything known, as `name=text` lines, without the length.
fn look(bytes: Vec<u8>, tags: &[&str]) -> Vec<String> {
    let meta = try_look(&File { bytes, ..File::default() }, tags, LIMITS).unwrap();
    lines(&meta)
}

fn lines(meta: &Meta) -> Vec<String> {
    let entries = meta.entries().filter(|(name, _)| *name != "content.length");
    entries.map(|(name, text)| format!("{name}={text}")).collect()
}

#[test]
fn images_tell_their_size() {
    let size = |media: &str, format: &str, bits: &[&str]| {
        let mut lines = vec![format!("content.type={media}")];
        lines.extend(bits.iter().map(|bits| format!("image.bits={bits}")));
        lines.extend([format!("image.format={format}"), "image.height=300".into(), "image.width=400".into()]);
        lines
    };
    assert_eq!(look(samples::png(400, 300), &[]), size("image/png", "png", &["16"]));
    assert_eq!(look(samples::jpeg(400, 300, 0), &[]), size("image/jpeg", "jpeg", &["8"]));
    let gif = b"GIF89a\x90\x01\x2c\x01".to_vec();
    assert_eq!(look(gif, &[]), size("image/gif", "gif", &[]));
    // Rows from the top: a negative height.
    let bmp = [b"BM\0\0\0\0\0\0\0\0\0\0\0\0\x28\0\0\0\x90\x01\0\0", &(-300_i32).to_le_bytes()[..]].concat();
    assert_eq!(look(bmp, &[]), size("image/bmp", "bmp", &[]));
    for body in [
        &b"VP8X\x0a\0\0\0\0\0\0\0\x8f\x01\0\x2b\x01\0"[..],
        b"VP8L\x05\0\0\0\x2f\x8f\xc1\x4a\0\0\0\0\0\0",
        b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a\x90\x01\x2c\x01",
    ] {
        let webp = [b"RIFF\0\0\0\0WEBP", body].concat();
        assert_eq!(look(webp, &[]), size("image/webp", "webp", &[]), "{body:?}");
    }
}

#[test]
fn exif_tags_come_out_when_they_are_listed() {
    let listed = ["exif.Make", "exif.DateTime", "exif.Orientation"];
    for file in [samples::png(4, 3), samples::jpeg(4, 3, 0)] {
        let found = look(file.clone(), &listed);
        for line in [
            "exif.Make=Acme",
            "exif.DateTime=2026:11:26 07:00:00",
            "exif.Orientation=row 0 at right and column 0 at top",
        ] {
            assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
        }
        assert!(!found.iter().any(|line| line.contains("Doe")), "the artist was not asked for: {found:?}");
        assert!(look(file.clone(), &["exif.Artist"]).contains(&"exif.Artist=Jane Doe".to_owned()));
        assert!(!look(file, &[]).iter().any(|line| line.starts_with("exif.")));
    }
}

#[test]
fn what_stands_behind_much_else_is_found_without_reading_that() {
    let file = File { bytes: samples::jpeg(4, 3, 600_000), ..File::default() };
    let meta = try_look(&file, &["exif.Make"], LIMITS).unwrap();
    assert_eq!((meta.get("image.width"), meta.get("exif.Make"), meta.note()), (Some("4"), Some("Acme"), None));
    let read = file.read.load(Ordering::Relaxed);
    assert!(read <= LIMITS.bytes, "{read} bytes of {}", file.bytes.len());
}

#[test]
fn a_microscopes_file_tells_its_dimensions() {
    let found = look(samples::ome_tiff(), &["tiff.Software", "tiff.XResolution"]);
    assert_eq!(
        found,
        [
            "content.type=image/tiff",
            "image.bits=16",
            "image.format=tiff",
            "image.height=1024",
            "image.samples=3",
            "image.width=2048",
            "ome.DimensionOrder=XYZCT",
            "ome.PhysicalSizeX=0.65",
            "ome.PhysicalSizeXUnit=µm",
            "ome.SizeC=2",
            "ome.SizeT=1",
            "ome.SizeX=2048",
            "ome.SizeY=1024",
            "ome.SizeZ=30",
            "ome.Type=uint16",
            "ome.images=2",
            "tiff.Software=Scanner 3.1",
            "tiff.XResolution=300/1",
        ],
        "neither the image's name nor the date, nobody asked for them"
    );
    let found = look(samples::ome_tiff(), &["ome.ImageName", "ome.AcquisitionDate", "ome.Instrument", "ome.Channels"]);
    for line in [
        "ome.ImageName=patient 4711 liver",
        "ome.AcquisitionDate=2026-11-26T07:00:00",
        "ome.Instrument=M & Co 5",
        "ome.Channels=DAPI; GFP",
    ] {
        assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
    }
}

/// A BigTIFF whose directory lies behind so many bytes that nobody needs.
#[derive(Debug)]
struct Huge(u64, Vec<u8>, AtomicU64);
#[async_trait]
impl Payload for Huge {
    fn len(&self) -> Option<u64> {
        Some(self.0 + self.1.len() as u64)
    }
    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let len = usize::try_from(len.unwrap()).unwrap();
        self.2.fetch_add(len as u64, Ordering::Relaxed);
        let mut part = if start == 0 {
            [b"II+\0\x08\0\0\0", &self.0.to_le_bytes()[..]].concat()
        } else {
            self.1[usize::try_from(start - self.0).unwrap()..].to_vec()
        };
        part.resize(len, 0);
        Ok(Box::new(Pieces { left: part.into(), hangs: false }))
    }
}

#[test]
fn a_directory_at_the_end_of_a_huge_file_is_found() {
    let directory_at = 5_u64 << 30;
    let entry =
        |tag: u16, value: u64| [&tag.to_le_bytes()[..], &[16, 0], &1_u64.to_le_bytes(), &value.to_le_bytes()].concat();
    let directory = [&2_u64.to_le_bytes()[..], &entry(256, 100_000), &entry(257, 50_000), &[0; 8]].concat();
    let file = Huge(directory_at, directory, AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let meta = runtime.block_on(extract(&file, &wanted(&[]), LIMITS)).unwrap();
    assert_eq!((meta.get("image.width"), meta.get("image.height")), (Some("100000"), Some("50000")), "{meta:?}");
    assert!(file.2.load(Ordering::Relaxed) <= 80 * 1024);
}

#[test]
fn a_dicom_file_tells_what_it_is_and_not_of_whom() {
    for syntax in [Syntax::Explicit, Syntax::Implicit, Syntax::Big] {
        let found = look(samples::dicom(syntax), &[]);
        let transfer =
            found.iter().position(|line| line.starts_with("dicom.TransferSyntaxUID=1.2.840.10008.1.2")).unwrap();
        let mut found = found;
        found.remove(transfer);
        assert_eq!(
            found,
            [
                "content.type=application/dicom",
                "dicom.BitsAllocated=16",
                "dicom.Columns=256",
                "dicom.Modality=CT",
                "dicom.Rows=512",
                "dicom.SOPInstanceUID=1.2.3.4.5",
                "dicom.StudyInstanceUID=1.2.3",
                "image.height=512",
                "image.width=256",
            ]
        );
        let listed = [
            "dicom.BodyPartExamined",
            "dicom.00180050",
            "dicom.InstitutionName",
            "dicom.PatientName",
            "dicom.00101001",
        ];
        let found = look(samples::dicom(syntax), &listed);
        for line in [
            "dicom.BodyPartExamined=CHEST",
            "dicom.00180050=2.5",
            "dicom.InstitutionName=Spital Zürich",
            "dicom.PatientName=Doe^Jane",
        ] {
            assert!(found.contains(&line.to_owned()), "{line}: {found:?}");
        }
        assert!(!found.iter().any(|line| line.contains("Inner") || line.contains("1970")), "{found:?}");
    }
}

#[test]
fn the_first_bytes_count_more_than_what_was_declared() {
    let declared = |bytes: &[u8], content_type| {
        let file = File { bytes: bytes.to_vec(), content_type: Some(content_type), ..File::default() };
        lines(&try_look(&file, &[], LIMITS).unwrap())
    };
    assert_eq!(declared(b"%PDF-1.7", "image/png"), ["content.type=application/pdf", "content.type.declared=image/png"]);
    assert_eq!(declared(b"%PDF-1.7", "application/octet-stream"), ["content.type=application/pdf"]);
    assert_eq!(declared(b"a;b\n", "text/csv"), ["content.type=text/csv"], "a text says less than its name");
    assert_eq!(declared(b"\x01\x02\x03", "chemical/x-pdb"), ["content.type=chemical/x-pdb"]);
    assert_eq!(declared(b"", "text/csv"), ["content.type=text/csv"]);
    assert_eq!(look(b"\x01\x02\x03".to_vec(), &[]), [""; 0]);
}

#[test]
fn damage_and_limits_are_noted_beside_what_was_found() {
    let note = |bytes: Vec<u8>, limits| {
        let meta = try_look(&File { bytes, ..File::default() }, &["exif.Make"], limits).unwrap();
        (meta.content_type().unwrap().to_owned(), meta.note().unwrap_or_default().to_owned())
    };
    let part = |mut bytes: Vec<u8>, len| {
        bytes.truncate(len);
        bytes
    };
    let small = Limits { bytes: 4096, ..LIMITS };
    for (bytes, limits, said) in [
        (part(samples::png(4, 3), 20), LIMITS, "damaged: it ends too early"),
        (part(samples::jpeg(4, 3, 0), 30), LIMITS, "damaged: it ends too early"),
        (b"\xff\xd8\xff\xe0\0\x02zzzz".to_vec(), LIMITS, "damaged: a JPEG whose segments"),
        (b"II*\0\x08\0\0\0\0\0".to_vec(), LIMITS, "damaged: a TIFF directory of 0 entries"),
        (part(samples::dicom(Syntax::Explicit), 170), LIMITS, "damaged: it ends too early"),
        (part(samples::dicom(Syntax::Explicit), 196), LIMITS, ""),
        (samples::jpeg(4, 3, 60_000), small, "not read to its end: more than probe.bytes=4096"),
    ] {
        let (media, found) = note(bytes, limits);
        assert!(
            media.contains('/') && found.starts_with(said) && found.is_empty() == said.is_empty(),
            "{said}: {found}"
        );
    }
    let slow = File { bytes: samples::png(4, 3), hangs: true, ..File::default() };
    let meta = try_look(&slow, &[], Limits { time: Duration::from_millis(20), ..LIMITS }).unwrap();
    assert_eq!(meta.note(), Some("not read to its end: it took longer than 20ms"));
}

#[test]
fn only_what_may_pass_is_an_error() {
    let broken = |error| try_look(&File { bytes: vec![0], error: Some(error), ..File::default() }, &[], LIMITS);
    assert_eq!(
        broken(|| ConnectError::data("the digest is another one")).unwrap().note(),
        Some("the digest is another one")
    );
    let error = broken(|| ConnectError::retriable("the store is away")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
}

#[test]
fn a_length_that_nobody_knows_does_no_harm() {
    for (bytes, name, expected) in
        [(samples::ome_tiff(), "ome.SizeZ", "30"), (samples::png(4, 3), "image.width", "4"), (Vec::new(), "x", "")]
    {
        let file = File { bytes, hides_length: true, ..File::default() };
        let meta = try_look(&file, &[], LIMITS).unwrap();
        assert_eq!(meta.get(name).unwrap_or_default(), expected, "{meta:?}");
    }
}

#[test]
fn lists_of_tags_are_checked() {
    let refused = |levels: &[&str], tag: &str| {
        let levels: Vec<_> = levels.iter().map(|level| (*level).to_owned()).collect();
        Wanted::parse(&levels, &[tag.to_owned()]).unwrap_err()
    };
    assert!(refused(LEVELS, "Make").contains("a tag is written exif.NAME"));
    assert!(refused(LEVELS, "tiff.Sotware").contains("known are Compression"));
    assert!(refused(LEVELS, "dicom.PatientNam").contains("eight digits"));
    assert!(refused(LEVELS, "dicom.7fe00010").contains("not before the pixels"));
    assert!(refused(&["basic"], "exif.Make").contains("needs exif among the levels"));
    assert!(refused(&["thumbnail"], "exif.Make").contains("is none of basic"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is written over a file, and wherever it is cut: an answer, within the limit.
    #[test]
    fn damaged_files_are_answered(
        which in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
        zeros in prop_oneof![Just(0_u64), Just(100_000), Just(1 << 40)],
        hides_length in any::<bool>(),
    ) {
        let mut bytes = match which {
            0 => samples::png(4, 3),
            1 => samples::jpeg(4, 3, 100),
            2 => samples::ome_tiff(),
            3 => samples::dicom(Syntax::Explicit),
            4 => samples::dicom(Syntax::Implicit),
            5 => samples::dicom(Syntax::Big),
            _ => [b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0", &samples::ome_tiff()[..]].concat(),
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut.index(4) == 0 {
            bytes.truncate(cut.index(bytes.len()));
        }
        let file = File { bytes, zeros, hides_length, ..File::default() };
        let limits = Limits { bytes: 50_000, ..LIMITS };
        let meta = try_look(&file, &["exif.Make", "exif.UserComment", "ome.ImageName", "dicom.PatientName"], limits).unwrap();
        prop_assert!(meta.entries().all(|(_, text)| text.len() <= 1024 && !text.contains('\n')));
        if !hides_length {
            let read = file.read.load(Ordering::Relaxed);
            prop_assert!(read <= limits.bytes, "{} bytes", read);
        }
    }
}
