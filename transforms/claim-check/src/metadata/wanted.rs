//! What is asked for: levels, and the list of tags that may come out. Pure; read once from settings.

#[cfg(feature = "dicom")]
use super::dicom::Tag;

/// The levels there are.
pub(crate) const LEVELS: &[&str] = &["basic", "exif", "tiff", "dicom"];

/// What to look for in a payload: always its type and its size in pixels; beyond them only what was asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Names of EXIF tags.
    #[cfg(feature = "exif")]
    pub(crate) exif: Option<Vec<String>>,
    #[cfg(feature = "tiff")]
    pub(crate) tiff: Option<super::tiff::Tags>,
    #[cfg(feature = "dicom")]
    pub(crate) dicom: Option<Vec<Tag>>,
}

impl Wanted {
    /// Reads levels (`basic`, `exif`, `tiff`, `dicom`) and tags (`exif.DateTimeOriginal`, `tiff.Software`, `ome.ImageName`,
    /// `dicom.BodyPartExamined`, `dicom.00180015`). The error is the reason.
    pub fn parse(levels: &[String], tags: &[String]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for level in levels {
            wanted.add(level)?;
        }
        for tag in tags {
            wanted.allow(tag).map_err(|reason| format!("{tag}: {reason}"))?;
        }
        Ok(wanted)
    }

    fn add(&mut self, level: &str) -> Result<(), String> {
        match level {
            "basic" => {}
            #[cfg(feature = "exif")]
            "exif" => self.exif = Some(Vec::new()),
            #[cfg(feature = "tiff")]
            "tiff" => self.tiff = Some(super::tiff::Tags::default()),
            #[cfg(feature = "dicom")]
            "dicom" => self.dicom = Some(super::dicom::always()),
            known if LEVELS.contains(&known) => return Err(format!("this worker was built without {known}")),
            _ => return Err(format!("{level} is none of {}", LEVELS.join(", "))),
        }
        Ok(())
    }

    fn allow(&mut self, tag: &str) -> Result<(), String> {
        let (family, name) = tag.split_once('.').filter(|(_, name)| !name.is_empty()).unwrap_or((tag, ""));
        let level = if family == "ome" { "tiff" } else { family };
        if name.is_empty() || !LEVELS[1..].contains(&level) {
            return Err("a tag is written exif.NAME, tiff.NAME, ome.NAME or dicom.NAME".into());
        }
        let allowed = match family {
            #[cfg(feature = "exif")]
            "exif" => self.exif.as_mut().map(|names| {
                names.push(name.to_owned());
                Ok(())
            }),
            #[cfg(feature = "tiff")]
            "tiff" | "ome" => self.tiff.as_mut().map(|tags| tags.allow(family, name)),
            #[cfg(feature = "dicom")]
            "dicom" => self.dicom.as_mut().map(|tags| super::dicom::allow(tags, name)),
            _ => None,
        };
        allowed.unwrap_or_else(|| Err(format!("needs {level} among the levels")))
    }
}

/// Whether a tag names or describes a person, as far as anybody can know: to be told, not to be refused.
pub(crate) fn identifying(tag: &str) -> bool {
    match tag.split_once('.') {
        Some(("exif", name)) => name.starts_with("GPS") || matches!(name, "Artist" | "CameraOwnerName" | "UserComment"),
        Some(("tiff", name)) => matches!(name, "Artist" | "ImageDescription"),
        #[cfg(feature = "dicom")]
        Some(("dicom", name)) => super::dicom::identifying(name),
        _ => false,
    }
}
