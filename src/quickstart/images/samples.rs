//! Two images of a microscope, drawn here: one is larger than a record of Kafka may be by default, one is small.
//!
//! TIFF without compression, 16 bits of grey: bright cells on a dark ground.

use std::path::Path;

use pipette_api::Result;

use crate::quickstart::samples::appear;

/// Name and edge in pixels.
pub(super) const SIZES: [(&str, u16); 2] = [("cells-2026-0117.tif", 1200), ("preview-2026-0117.tif", 96)];
const GROUND: u16 = 600;
const CELLS: u32 = 40;

/// Puts those into the inbox that are not there.
pub(super) fn drop_into(inbox: &Path) -> Result<()> {
    for (name, edge) in SIZES {
        let place = inbox.join(name);
        if place.exists() {
            continue;
        }
        appear(&place, &tiff(edge, &cells(edge)))?;
    }
    Ok(())
}

/// The pixels, row by row.
fn cells(edge: u16) -> Vec<u16> {
    let side = usize::from(edge);
    // Grain, so that no two rows are the same.
    let mut pixels: Vec<u16> = (0..side * side).map(|at| GROUND + u16::from(stirred(at).to_le_bytes()[1])).collect();
    for number in 0..CELLS {
        let [x, y, width] = [0, 1, 2].map(|what| stirred((number * 3 + what) as usize) as usize);
        let radius = 1 + side / 40 + width % (1 + side / 30);
        let (x, y) = (x % side, y % side);
        for row in y.saturating_sub(radius)..(y + radius).min(side) {
            for column in x.saturating_sub(radius)..(x + radius).min(side) {
                let away = row.abs_diff(y).pow(2) + column.abs_diff(x).pow(2);
                let bright = radius.pow(2).saturating_sub(away) * 20_000 / radius.pow(2);
                let pixel = &mut pixels[row * side + column];
                *pixel = pixel.saturating_add(u16::try_from(bright).unwrap_or(u16::MAX));
            }
        }
    }
    pixels
}

/// A number that looks like chance and is the same every time.
fn stirred(number: usize) -> u32 {
    let mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    u32::try_from(mixed >> 32).unwrap_or(u32::MAX)
}

/// One strip behind one directory of entries, all little-endian.
fn tiff(edge: u16, pixels: &[u16]) -> Vec<u8> {
    const SHORT: u16 = 3;
    const LONG: u16 = 4;
    let length = u32::try_from(pixels.len() * 2).unwrap_or(u32::MAX);
    let edge = u32::from(edge);
    // Width, height, bits, no compression, black is zero, where and how long the strip is, samples, rows.
    let entries = [
        (256, LONG, edge),
        (257, LONG, edge),
        (258, SHORT, 16),
        (259, SHORT, 1),
        (262, SHORT, 1),
        (273, LONG, 122),
        (277, SHORT, 1),
        (278, LONG, edge),
        (279, LONG, length),
    ];
    let mut file = b"II*\0\x08\0\0\0\x09\0".to_vec();
    for (tag, kind, value) in entries {
        let _: u16 = tag;
        file.extend_from_slice(&tag.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&1_u32.to_le_bytes());
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(&[0; 4]);
    file.extend(pixels.iter().flat_map(|pixel| pixel.to_le_bytes()));
    file
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_image_has_its_strip_where_it_says() {
        let pixels = cells(96);
        let file = tiff(96, &pixels);
        assert_eq!(file.len(), 122 + 2 * 96 * 96);
        assert_eq!(file[122..124], pixels[0].to_le_bytes());
        let (dark, bright) = (pixels.iter().min().unwrap(), pixels.iter().max().unwrap());
        assert!(*dark < GROUND + 256 && *bright > 10_000, "{dark} {bright}");
    }

    #[test]
    fn samples_are_drawn_once() {
        let dir = tempfile::tempdir().unwrap();
        drop_into(dir.path()).unwrap();
        let place = dir.path().join(SIZES[1].0);
        fs::write(&place, "of the user").unwrap();
        drop_into(dir.path()).unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"of the user");
        assert!(fs::metadata(dir.path().join(SIZES[0].0)).unwrap().len() > 1_000_000);
    }
}
