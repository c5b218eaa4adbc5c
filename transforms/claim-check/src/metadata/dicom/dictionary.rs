//! The elements of DICOM that can be asked for by their keywords. Others are asked for by number.

/// What the standard says of an element.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) tag: u32,
    pub(super) keyword: &'static str,
    pub(super) vr: [u8; 2],
    /// It comes out without being asked for.
    pub(super) always: bool,
    /// It names or describes a person, or when and where somebody was examined.
    pub(super) identifying: bool,
}

const fn always(tag: u32, keyword: &'static str, vr: [u8; 2]) -> Known {
    Known { tag, keyword, vr, always: true, identifying: false }
}

const fn technical(tag: u32, keyword: &'static str, vr: [u8; 2]) -> Known {
    Known { tag, keyword, vr, always: false, identifying: false }
}

const fn personal(tag: u32, keyword: &'static str, vr: [u8; 2]) -> Known {
    Known { tag, keyword, vr, always: false, identifying: true }
}

pub(super) const DICTIONARY: &[Known] = &[
    technical(0x0002_0002, "MediaStorageSOPClassUID", *b"UI"),
    technical(0x0002_0003, "MediaStorageSOPInstanceUID", *b"UI"),
    always(0x0002_0010, "TransferSyntaxUID", *b"UI"),
    technical(0x0008_0005, "SpecificCharacterSet", *b"CS"),
    always(0x0008_0008, "ImageType", *b"CS"),
    always(0x0008_0016, "SOPClassUID", *b"UI"),
    always(0x0008_0018, "SOPInstanceUID", *b"UI"),
    personal(0x0008_0020, "StudyDate", *b"DA"),
    personal(0x0008_0021, "SeriesDate", *b"DA"),
    personal(0x0008_0022, "AcquisitionDate", *b"DA"),
    personal(0x0008_0023, "ContentDate", *b"DA"),
    personal(0x0008_002a, "AcquisitionDateTime", *b"DT"),
    personal(0x0008_0030, "StudyTime", *b"TM"),
    personal(0x0008_0050, "AccessionNumber", *b"SH"),
    always(0x0008_0060, "Modality", *b"CS"),
    technical(0x0008_0070, "Manufacturer", *b"LO"),
    personal(0x0008_0080, "InstitutionName", *b"LO"),
    personal(0x0008_0081, "InstitutionAddress", *b"ST"),
    personal(0x0008_0090, "ReferringPhysicianName", *b"PN"),
    personal(0x0008_1010, "StationName", *b"SH"),
    personal(0x0008_1030, "StudyDescription", *b"LO"),
    personal(0x0008_103e, "SeriesDescription", *b"LO"),
    personal(0x0008_1050, "PerformingPhysicianName", *b"PN"),
    personal(0x0008_1070, "OperatorsName", *b"PN"),
    technical(0x0008_1090, "ManufacturerModelName", *b"LO"),
    personal(0x0010_0010, "PatientName", *b"PN"),
    personal(0x0010_0020, "PatientID", *b"LO"),
    personal(0x0010_0030, "PatientBirthDate", *b"DA"),
    personal(0x0010_0040, "PatientSex", *b"CS"),
    personal(0x0010_1010, "PatientAge", *b"AS"),
    personal(0x0010_1020, "PatientSize", *b"DS"),
    personal(0x0010_1030, "PatientWeight", *b"DS"),
    personal(0x0010_2160, "EthnicGroup", *b"SH"),
    personal(0x0010_4000, "PatientComments", *b"LT"),
    technical(0x0018_0015, "BodyPartExamined", *b"CS"),
    technical(0x0018_0022, "ScanOptions", *b"CS"),
    technical(0x0018_0050, "SliceThickness", *b"DS"),
    technical(0x0018_0060, "KVP", *b"DS"),
    technical(0x0018_0080, "RepetitionTime", *b"DS"),
    technical(0x0018_0081, "EchoTime", *b"DS"),
    technical(0x0018_0087, "MagneticFieldStrength", *b"DS"),
    technical(0x0018_0088, "SpacingBetweenSlices", *b"DS"),
    technical(0x0018_1000, "DeviceSerialNumber", *b"LO"),
    technical(0x0018_1020, "SoftwareVersions", *b"LO"),
    technical(0x0018_1030, "ProtocolName", *b"LO"),
    technical(0x0018_1151, "XRayTubeCurrent", *b"IS"),
    technical(0x0018_1152, "Exposure", *b"IS"),
    technical(0x0018_5100, "PatientPosition", *b"CS"),
    always(0x0020_000d, "StudyInstanceUID", *b"UI"),
    always(0x0020_000e, "SeriesInstanceUID", *b"UI"),
    personal(0x0020_0010, "StudyID", *b"SH"),
    technical(0x0020_0011, "SeriesNumber", *b"IS"),
    technical(0x0020_0012, "AcquisitionNumber", *b"IS"),
    technical(0x0020_0013, "InstanceNumber", *b"IS"),
    technical(0x0020_0032, "ImagePositionPatient", *b"DS"),
    technical(0x0020_0037, "ImageOrientationPatient", *b"DS"),
    technical(0x0020_0052, "FrameOfReferenceUID", *b"UI"),
    technical(0x0020_0060, "Laterality", *b"CS"),
    technical(0x0020_1041, "SliceLocation", *b"DS"),
    personal(0x0020_4000, "ImageComments", *b"LT"),
    always(0x0028_0002, "SamplesPerPixel", *b"US"),
    always(0x0028_0004, "PhotometricInterpretation", *b"CS"),
    always(0x0028_0008, "NumberOfFrames", *b"IS"),
    always(0x0028_0010, "Rows", *b"US"),
    always(0x0028_0011, "Columns", *b"US"),
    technical(0x0028_0030, "PixelSpacing", *b"DS"),
    always(0x0028_0100, "BitsAllocated", *b"US"),
    always(0x0028_0101, "BitsStored", *b"US"),
    technical(0x0028_0102, "HighBit", *b"US"),
    technical(0x0028_0103, "PixelRepresentation", *b"US"),
    technical(0x0028_1050, "WindowCenter", *b"DS"),
    technical(0x0028_1051, "WindowWidth", *b"DS"),
    technical(0x0028_1052, "RescaleIntercept", *b"DS"),
    technical(0x0028_1053, "RescaleSlope", *b"DS"),
    technical(0x0028_2110, "LossyImageCompression", *b"CS"),
    personal(0x0032_1060, "RequestedProcedureDescription", *b"LO"),
    personal(0x0040_0253, "PerformedProcedureStepID", *b"SH"),
];
