//! OME-XML, event by event: how large the first image of a microscope's file is in each of its dimensions. Pure.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::metadata::Meta;
use crate::metadata::ranges::Stop;

/// What can be asked for beyond the dimensions: names are free text, in which people write samples and patients.
pub(super) const NAMES: &[&str] = &["AcquisitionDate", "ImageName", "Instrument", "Channels"];

/// The attributes of the first `Pixels` that come out always.
const PIXELS: &[&str] = &[
    "SizeX",
    "SizeY",
    "SizeZ",
    "SizeC",
    "SizeT",
    "Type",
    "DimensionOrder",
    "PhysicalSizeX",
    "PhysicalSizeXUnit",
    "PhysicalSizeY",
    "PhysicalSizeYUnit",
    "PhysicalSizeZ",
    "PhysicalSizeZUnit",
];

/// What has been seen of the document.
#[derive(Default)]
struct Seen {
    images: u64,
    pixels: u64,
    channels: Vec<String>,
    /// Inside of the date of the first image.
    in_date: bool,
}

/// Puts what the text says into the metadata; one that is not whole says what it said until then.
pub(super) fn read(xml: &[u8], whole: bool, wanted: &[&str], meta: &mut Meta) -> Result<(), Stop> {
    let mut reader = Reader::from_reader(xml);
    let mut seen = Seen::default();
    let outcome = loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => seen.element(&element, wanted, meta),
            Ok(Event::Text(text)) if seen.in_date => {
                seen.in_date = false;
                meta.put("ome.AcquisitionDate", &String::from_utf8_lossy(&text));
            }
            Ok(Event::Eof) => break Ok(()),
            Ok(_) => {}
            Err(_) if !whole => break Err("not read to its end: its OME-XML is longer than probe.bytes".into()),
            Err(error) => break Err(Stop::Note(format!("damaged OME-XML: {error}"))),
        }
    };
    if seen.images > 0 {
        meta.put("ome.images", &seen.images);
    }
    if wanted.contains(&"Channels") && !seen.channels.is_empty() {
        meta.put("ome.Channels", &seen.channels.join("; "));
    }
    outcome
}

impl Seen {
    fn element(&mut self, element: &BytesStart<'_>, wanted: &[&str], meta: &mut Meta) {
        let mut put = |attribute: &str, name: &str| {
            if let Some(text) = attribute_of(element, attribute) {
                meta.put(name, &text);
            }
        };
        match element.local_name().as_ref() {
            b"Image" => {
                self.images += 1;
                if self.images == 1 && wanted.contains(&"ImageName") {
                    put("Name", "ome.ImageName");
                }
            }
            b"Pixels" => {
                self.pixels += 1;
                if self.pixels == 1 {
                    for attribute in PIXELS {
                        put(attribute, &format!("ome.{attribute}"));
                    }
                }
            }
            b"Channel" if self.pixels == 1 && self.channels.len() < 64 => {
                self.channels.extend(attribute_of(element, "Name"));
            }
            b"Microscope" if wanted.contains(&"Instrument") => put("Model", "ome.Instrument"),
            b"AcquisitionDate" => self.in_date = self.images == 1 && wanted.contains(&"AcquisitionDate"),
            _ => {}
        }
    }
}

/// The text of an attribute, with the five entities of XML and no others.
fn attribute_of(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.try_get_attribute(name).ok()??;
    let text = String::from_utf8_lossy(&found.value).into_owned();
    Some(quick_xml::escape::unescape(&text).map(std::borrow::Cow::into_owned).unwrap_or(text))
}
