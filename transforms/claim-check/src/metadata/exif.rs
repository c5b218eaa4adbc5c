//! EXIF tags that are asked for, as text. The parser gets one segment; it never sees the rest of the file.

use std::fmt::{self, Write};

use exif::{Error, In, Reader, Value};

use super::{LONGEST, Meta, Stop};

/// The longest segment there is in a JPEG; data of that name elsewhere is not read when it is longer.
pub(crate) const SEGMENT: usize = 64 * 1024;

/// Puts the tags of those names into the metadata.
pub(crate) fn read(segment: Vec<u8>, names: &[String], meta: &mut Meta) -> Result<(), Stop> {
    let mut reader = Reader::new();
    reader.continue_on_error(true);
    let (found, damaged) = match reader.read_raw(segment) {
        Ok(found) => (found, None),
        Err(Error::PartialResult(partial)) => {
            let (found, errors) = partial.into_inner();
            (found, errors.first().map(ToString::to_string))
        }
        Err(error) => return Err(Stop::Note(format!("damaged EXIF data: {error}"))),
    };
    for field in found.fields().filter(|field| field.ifd_num == In::PRIMARY) {
        let name = field.tag.to_string();
        if names.contains(&name) {
            meta.put(&format!("exif.{name}"), &text(field));
        }
    }
    damaged.map_or(Ok(()), |error| Err(Stop::Note(format!("damaged EXIF data: {error}"))))
}

fn text(field: &exif::Field) -> String {
    if let Value::Ascii(texts) = &field.value {
        let texts: Vec<_> = texts.iter().map(|text| String::from_utf8_lossy(text)).collect();
        return texts.join("; ");
    }
    let mut text = Capped(String::new());
    // A text that is full is no error.
    let _ = write!(text, "{}", field.display_value());
    text.0
}

/// Takes as much text as a value may have.
struct Capped(String);

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}
