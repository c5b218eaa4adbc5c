//! Small files of each format, made by code: the smallest a program would accept as the beginning of one.
#![allow(clippy::unwrap_used)] // their lengths are known

/// Numbers of a file whose bytes stand with the lowest in front.
fn le16(number: u16) -> [u8; 2] {
    number.to_le_bytes()
}

fn le32(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

fn chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap().to_be_bytes();
    // Nobody checks the sum.
    [&len[..], &name, data, &[0; 4]].concat()
}

pub fn png(width: u32, height: u32) -> Vec<u8> {
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[16, 2, 0, 0, 0]].concat();
    let text = chunk(*b"tEXt", b"Comment\0made by a test");
    [b"\x89PNG\r\n\x1a\n", &chunk(*b"IHDR", &header)[..], &text, &chunk(*b"eXIf", &exif()), &chunk(*b"IDAT", &[0; 9])]
        .concat()
}

/// A directory of EXIF data with four tags.
pub fn exif() -> Vec<u8> {
    tiff_directory(&[
        (271, 2, text("Acme\0")),
        (274, 3, le16(6).to_vec()),
        (306, 2, text("2026:11:26 07:00:00\0")),
        (315, 2, text("Jane Doe\0")),
    ])
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

/// A TIFF of one directory at its end; values that are longer than four bytes stand before it.
pub fn tiff_directory(entries: &[(u16, u16, Vec<u8>)]) -> Vec<u8> {
    let (mut data, mut directory) = (Vec::new(), le16(u16::try_from(entries.len()).unwrap()).to_vec());
    for (tag, kind, value) in entries {
        let part = match kind {
            2 => 1,
            3 => 2,
            4 => 4,
            _ => 8,
        };
        let count = le32(u32::try_from(value.len() / part).unwrap());
        let place = if value.len() <= 4 {
            let mut place = value.clone();
            place.resize(4, 0);
            place
        } else {
            let at = le32(u32::try_from(8 + data.len()).unwrap()).to_vec();
            data.extend_from_slice(value);
            at
        };
        directory.extend([&le16(*tag)[..], &le16(*kind), &count, &place].concat());
    }
    directory.extend([0; 4]);
    let at = le32(u32::try_from(8 + data.len()).unwrap());
    [b"II*\0", &at[..], &data, &directory].concat()
}

/// With so many bytes of another segment in front of the EXIF data.
pub fn jpeg(width: u16, height: u16, other: usize) -> Vec<u8> {
    let segment = |kind: u8, data: &[u8]| {
        let len = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
        [&[0xff, kind], &len[..], data].concat()
    };
    let mut file = vec![0xff, 0xd8];
    let filler = vec![7; other.min(60_000)];
    (0..other.div_ceil(60_000)).for_each(|_| file.extend(segment(0xe2, &filler)));
    file.extend(segment(0xe1, &[b"Exif\0\0", &exif()[..]].concat()));
    file.extend(segment(0xdb, &[0; 65]));
    file.extend(segment(0xc0, &[&[8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[3]].concat()));
    file
}

pub fn ome_xml() -> String {
    r#"<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
 <Instrument ID="Instrument:0"><Microscope Model="M &amp; Co 5"/></Instrument>
 <Image ID="Image:0" Name="patient 4711 liver">
  <AcquisitionDate>2026-11-26T07:00:00</AcquisitionDate>
  <Pixels DimensionOrder="XYZCT" ID="Pixels:0" PhysicalSizeX="0.65" PhysicalSizeXUnit="µm" SizeC="2" SizeT="1"
   SizeX="2048" SizeY="1024" SizeZ="30" Type="uint16">
   <Channel ID="Channel:0:0" Name="DAPI"/><Channel ID="Channel:0:1" Name="GFP"/>
  </Pixels>
 </Image>
 <Image ID="Image:1" Name="label"><Pixels SizeX="10" SizeY="10"/></Image>
</OME>"#
        .to_owned()
}

pub fn ome_tiff() -> Vec<u8> {
    tiff_directory(&[
        (256, 4, le32(2048).to_vec()),
        (257, 3, le16(1024).to_vec()),
        (258, 3, [le16(16), le16(16), le16(16)].concat()),
        (270, 2, [ome_xml().as_bytes(), b"\0"].concat()),
        (277, 3, le16(3).to_vec()),
        (282, 5, [le32(300), le32(1)].concat()),
        (305, 2, text("Scanner 3.1\0")),
    ])
}

/// How the elements of a DICOM file are written.
#[derive(Clone, Copy)]
pub enum Syntax {
    Explicit,
    Implicit,
    Big,
}

fn element(syntax: Syntax, tag: u32, vr: [u8; 2], value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if &vr == b"UI" { 0 } else { b' ' });
    }
    let (group, number) = (u16::try_from(tag >> 16).unwrap(), u16::try_from(tag & 0xffff).unwrap());
    let (short, long) = (u16::try_from(value.len()).unwrap(), u32::try_from(value.len()).unwrap());
    match syntax {
        Syntax::Explicit => [&le16(group)[..], &le16(number), &vr, &le16(short), &value].concat(),
        Syntax::Implicit => [&le16(group)[..], &le16(number), &le32(long), &value].concat(),
        Syntax::Big => [&group.to_be_bytes()[..], &number.to_be_bytes(), &vr, &short.to_be_bytes(), &value].concat(),
    }
}

/// A sequence without a length, holding another name of the patient, which must not be found.
fn sequence(syntax: Syntax) -> Vec<u8> {
    let inner = element(syntax, 0x0010_1001, *b"PN", b"Inner^Name");
    let mark = |number: u16, len: u32| match syntax {
        Syntax::Big => [&0xfffe_u16.to_be_bytes()[..], &number.to_be_bytes(), &len.to_be_bytes()].concat(),
        _ => [&le16(0xfffe)[..], &le16(number), &le32(len)].concat(),
    };
    let begin = match syntax {
        Syntax::Explicit => [&le16(0x0008)[..], &le16(0x1140), b"SQ\0\0", &le32(u32::MAX)].concat(),
        Syntax::Implicit => [&le16(0x0008)[..], &le16(0x1140), &le32(u32::MAX)].concat(),
        Syntax::Big => {
            [&0x0008_u16.to_be_bytes()[..], &0x1140_u16.to_be_bytes(), b"SQ\0\0", &u32::MAX.to_be_bytes()].concat()
        }
    };
    [begin, mark(0xe000, u32::MAX), inner, mark(0xe00d, 0), mark(0xe0dd, 0)].concat()
}

pub fn dicom(syntax: Syntax) -> Vec<u8> {
    let uid = match syntax {
        Syntax::Explicit => "1.2.840.10008.1.2.1",
        Syntax::Implicit => "1.2.840.10008.1.2",
        Syntax::Big => "1.2.840.10008.1.2.2",
    };
    let short = |number: u16| match syntax {
        Syntax::Big => number.to_be_bytes(),
        _ => number.to_le_bytes(),
    };
    let data = |tag, vr: &[u8; 2], value: &[u8]| element(syntax, tag, *vr, value);
    [
        vec![0; 128],
        b"DICM".to_vec(),
        element(Syntax::Explicit, 0x0002_0010, *b"UI", uid.as_bytes()),
        data(0x0008_0005, b"CS", b"ISO_IR 100"),
        data(0x0008_0018, b"UI", b"1.2.3.4.5"),
        data(0x0008_0060, b"CS", b"CT"),
        data(0x0008_0080, b"LO", b"Spital Z\xfcrich"),
        sequence(syntax),
        data(0x0010_0010, b"PN", b"Doe^Jane"),
        data(0x0010_0030, b"DA", b"19700101"),
        data(0x0018_0015, b"CS", b"CHEST"),
        data(0x0018_0050, b"DS", b"2.5"),
        data(0x0020_000d, b"UI", b"1.2.3"),
        data(0x0028_0010, b"US", &short(512)),
        data(0x0028_0011, b"US", &short(256)),
        data(0x0028_0100, b"US", &short(16)),
        data(0x7fe0_0010, b"LT", &[0; 64]),
    ]
    .concat()
}
