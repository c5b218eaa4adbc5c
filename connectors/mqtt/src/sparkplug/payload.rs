//! The messages of Sparkplug B, by the field numbers of its specification, borrowed from the payload.
//!
//! Pure, and bounded twice: an [`Allowance`] counts everything that takes memory, and nesting ends at [`DEEPEST`].
//! Read next: `value.rs`, which gives the carried values their types.

use super::wire::{Field, Fields};

/// How deep templates and sets of properties may stand in each other.
const DEEPEST: usize = 8;
/// The longest name of a property. Names of inner ones repeat those of the outer, which a stranger could make grow.
const LONGEST_NAME: usize = 1024;

/// How many metrics, cells, members, parameters, properties and elements of arrays a message may still have.
#[derive(Debug)]
pub(super) struct Allowance {
    limit: usize,
    left: usize,
}

impl Allowance {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, left: limit }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<(), String> {
        let left = self.left.checked_sub(count);
        self.left =
            left.ok_or_else(|| format!("it has more than {} values (mqtt.sparkplug.max.values)", self.limit))?;
        Ok(())
    }
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Payload<'a> {
    pub(super) timestamp: Option<u64>,
    pub(super) metrics: Vec<Metric<'a>>,
    pub(super) seq: Option<u64>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Metric<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) alias: Option<u64>,
    pub(super) timestamp: Option<u64>,
    pub(super) datatype: Option<u32>,
    pub(super) historical: bool,
    pub(super) transient: bool,
    pub(super) null: bool,
    pub(super) metadata: Vec<(&'static str, String)>,
    /// Those of inner sets behind a dot, those of lists behind their place.
    pub(super) properties: Vec<(String, Option<String>)>,
    pub(super) value: Option<Carried<'a>>,
}

/// A value as it travels. What it means is decided by the data type.
#[derive(Debug, PartialEq)]
pub(super) enum Carried<'a> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    DataSet(DataSet<'a>),
    Template(Template<'a>),
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct DataSet<'a> {
    pub(super) columns: Vec<&'a str>,
    pub(super) types: Vec<u32>,
    pub(super) rows: Vec<Vec<Option<Carried<'a>>>>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Template<'a> {
    pub(super) version: Option<&'a str>,
    pub(super) metrics: Vec<Metric<'a>>,
    pub(super) parameters: Vec<Parameter<'a>>,
    pub(super) reference: Option<&'a str>,
    pub(super) is_definition: bool,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameter<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) datatype: Option<u32>,
    pub(super) value: Option<Carried<'a>>,
}

impl<'a> Payload<'a> {
    /// The payload of a message; an error says what of it is no Sparkplug B.
    pub(super) fn read(bytes: &'a [u8], allowance: &mut Allowance) -> Result<Self, String> {
        let mut payload = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => payload.timestamp = Some(varint(number, field)?),
                2 => {
                    allowance.take(1)?;
                    let place = payload.metrics.len();
                    let metric = Metric::read(bytes_of(number, field)?, 0, allowance);
                    payload.metrics.push(metric.map_err(|reason| format!("in metric {place} {reason}"))?);
                }
                3 => payload.seq = Some(varint(number, field)?),
                _ => {}
            }
        }
        Ok(payload)
    }
}

impl<'a> Metric<'a> {
    fn read(bytes: &'a [u8], depth: usize, allowance: &mut Allowance) -> Result<Self, String> {
        let mut metric = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => metric.name = Some(text(number, field)?),
                2 => metric.alias = Some(varint(number, field)?),
                3 => metric.timestamp = Some(varint(number, field)?),
                4 => metric.datatype = Some(int(varint(number, field)?)),
                5 => metric.historical = varint(number, field)? != 0,
                6 => metric.transient = varint(number, field)? != 0,
                7 => metric.null = varint(number, field)? != 0,
                8 => metric.metadata = metadata(bytes_of(number, field)?)?,
                9 => properties(bytes_of(number, field)?, "", 0, allowance, &mut metric.properties)?,
                17 => {
                    metric.value = Some(Carried::DataSet(DataSet::read(bytes_of(number, field)?, allowance)?));
                }
                18 => {
                    let template = Template::read(bytes_of(number, field)?, depth + 1, allowance)?;
                    metric.value = Some(Carried::Template(template));
                }
                10..=16 => metric.value = Some(scalar(number - 10, field)?),
                _ => {}
            }
        }
        Ok(metric)
    }
}

impl<'a> DataSet<'a> {
    fn read(bytes: &'a [u8], allowance: &mut Allowance) -> Result<Self, String> {
        let mut set = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match (number, field) {
                (2, field) => {
                    allowance.take(1)?;
                    set.columns.push(text(number, field)?);
                }
                // Writers of proto3 pack the numbers together, those of proto2 do not.
                (3, Field::Bytes(packed)) => {
                    let mut packed = Fields::of(packed);
                    while !packed.is_empty() {
                        allowance.take(1)?;
                        set.types.push(int(packed.varint()?));
                    }
                }
                (3, field) => {
                    allowance.take(1)?;
                    set.types.push(int(varint(number, field)?));
                }
                (4, field) => {
                    allowance.take(1)?;
                    set.rows.push(row(bytes_of(number, field)?, allowance)?);
                }
                _ => {}
            }
        }
        Ok(set)
    }
}

impl<'a> Template<'a> {
    fn read(bytes: &'a [u8], depth: usize, allowance: &mut Allowance) -> Result<Self, String> {
        if depth > DEEPEST {
            return Err(format!("templates stand in each other more than {DEEPEST} deep"));
        }
        let mut template = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => template.version = Some(text(number, field)?),
                2 => {
                    allowance.take(1)?;
                    template.metrics.push(Metric::read(bytes_of(number, field)?, depth, allowance)?);
                }
                3 => {
                    allowance.take(1)?;
                    template.parameters.push(Parameter::read(bytes_of(number, field)?)?);
                }
                4 => template.reference = Some(text(number, field)?),
                5 => template.is_definition = varint(number, field)? != 0,
                _ => {}
            }
        }
        Ok(template)
    }
}

impl<'a> Parameter<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut parameter = Self::default();
        let mut fields = Fields::of(bytes);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => parameter.name = Some(text(number, field)?),
                2 => parameter.datatype = Some(int(varint(number, field)?)),
                3..=8 => parameter.value = Some(scalar(number - 3, field)?),
                _ => {}
            }
        }
        Ok(parameter)
    }
}

fn row<'a>(bytes: &'a [u8], allowance: &mut Allowance) -> Result<Vec<Option<Carried<'a>>>, String> {
    let mut cells = Vec::new();
    let mut fields = Fields::of(bytes);
    while let Some((number, field)) = fields.next()? {
        if number != 1 {
            continue;
        }
        allowance.take(1)?;
        let mut cell = None;
        let mut inner = Fields::of(bytes_of(number, field)?);
        while let Some((number, field)) = inner.next()? {
            if let 1..=6 = number {
                cell = Some(scalar(number - 1, field)?);
            }
        }
        cells.push(cell);
    }
    Ok(cells)
}

fn metadata(bytes: &[u8]) -> Result<Vec<(&'static str, String)>, String> {
    let mut known = Vec::new();
    let mut fields = Fields::of(bytes);
    while let Some((number, field)) = fields.next()? {
        let (name, value) = match number {
            1 => ("is_multi_part", (varint(number, field)? != 0).to_string()),
            2 => ("content_type", text(number, field)?.to_owned()),
            3 => ("size", varint(number, field)?.to_string()),
            4 => ("seq", varint(number, field)?.to_string()),
            5 => ("file_name", text(number, field)?.to_owned()),
            6 => ("file_type", text(number, field)?.to_owned()),
            7 => ("md5", text(number, field)?.to_owned()),
            8 => ("description", text(number, field)?.to_owned()),
            _ => continue,
        };
        known.retain(|(earlier, _)| *earlier != name);
        known.push((name, value));
    }
    Ok(known)
}

/// A set of properties: names in one list, values in another.
fn properties(
    bytes: &[u8],
    prefix: &str,
    depth: usize,
    allowance: &mut Allowance,
    out: &mut Vec<(String, Option<String>)>,
) -> Result<(), String> {
    if depth > DEEPEST {
        return Err(format!("sets of properties stand in each other more than {DEEPEST} deep"));
    }
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let mut fields = Fields::of(bytes);
    while let Some((number, field)) = fields.next()? {
        allowance.take(1)?;
        match number {
            1 => names.push(text(number, field)?),
            2 => values.push(bytes_of(number, field)?),
            _ => {}
        }
    }
    if names.len() != values.len() {
        return Err(format!("a set of properties has {} names and {} values", names.len(), values.len()));
    }
    for (name, value) in names.into_iter().zip(values) {
        property(value, &format!("{prefix}{name}"), depth, allowance, out)?;
    }
    Ok(())
}

fn property(
    bytes: &[u8],
    name: &str,
    depth: usize,
    allowance: &mut Allowance,
    out: &mut Vec<(String, Option<String>)>,
) -> Result<(), String> {
    if name.len() > LONGEST_NAME {
        return Err(format!("the name of a property has more than {LONGEST_NAME} bytes"));
    }
    let (mut datatype, mut shown) = (0, None);
    let mut fields = Fields::of(bytes);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => datatype = int(varint(number, field)?),
            3..=8 => shown = Some(scalar(number - 3, field)?),
            9 => return properties(bytes_of(number, field)?, &format!("{name}."), depth + 1, allowance, out),
            10 => {
                let mut sets = Fields::of(bytes_of(number, field)?);
                let mut place = 0;
                while let Some((number, field)) = sets.next()? {
                    let prefix = format!("{name}[{place}].");
                    properties(bytes_of(number, field)?, &prefix, depth + 1, allowance, out)?;
                    place += 1;
                }
                return Ok(());
            }
            _ => {}
        }
    }
    out.push((name.to_owned(), shown.map(|value| shown_as(&value, datatype))));
    Ok(())
}

/// A property as text. Signed numbers travel in unsigned fields.
fn shown_as(value: &Carried<'_>, datatype: u32) -> String {
    match value {
        Carried::Int(number) if (1..=3).contains(&datatype) => number.cast_signed().to_string(),
        Carried::Int(number) => number.to_string(),
        Carried::Long(number) if datatype == 4 => number.cast_signed().to_string(),
        Carried::Long(number) => number.to_string(),
        Carried::Float(number) => number.to_string(),
        Carried::Double(number) => number.to_string(),
        Carried::Boolean(truth) => truth.to_string(),
        Carried::Text(text) => (*text).to_owned(),
        Carried::Bytes(_) | Carried::DataSet(_) | Carried::Template(_) => unreachable!("no property carries these"),
    }
}

/// The value of the place in a union: they all have the same order.
fn scalar(place: u32, field: Field<'_>) -> Result<Carried<'_>, String> {
    Ok(match (place, field) {
        (0, Field::Varint(number)) => Carried::Int(int(number)),
        (1, Field::Varint(number)) => Carried::Long(number),
        (2, Field::Fixed32(bytes)) => Carried::Float(f32::from_le_bytes(bytes)),
        (3, Field::Fixed64(bytes)) => Carried::Double(f64::from_le_bytes(bytes)),
        (4, Field::Varint(number)) => Carried::Boolean(number != 0),
        (5, Field::Bytes(bytes)) => Carried::Text(utf8(bytes)?),
        (6, Field::Bytes(bytes)) => Carried::Bytes(bytes),
        _ => return Err("a value is not encoded as its field wants it".into()),
    })
}

/// As every reader of protocol buffers does: what is too long for 32 bits loses its upper half.
fn int(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}

fn varint(number: u32, field: Field<'_>) -> Result<u64, String> {
    match field {
        Field::Varint(value) => Ok(value),
        _ => Err(format!("the field {number} is no number")),
    }
}

fn bytes_of(number: u32, field: Field<'_>) -> Result<&[u8], String> {
    match field {
        Field::Bytes(bytes) => Ok(bytes),
        _ => Err(format!("the field {number} has no length")),
    }
}

fn text(number: u32, field: Field<'_>) -> Result<&str, String> {
    utf8(bytes_of(number, field)?)
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("a text is no UTF-8: {error}"))
}
