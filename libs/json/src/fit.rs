//! Records that fit their schema to the letter: every field there, in its order, and of its type. Nothing has to be coerced
//! or made up in them, so that they can be left as text. Everything else is left to whoever reads values.

use pipette_api::data::{Span, logical};
use pipette_api::{Kind, Schema};

use crate::Reader;
use crate::write::write_string;

/// What records of a schema look like then.
#[derive(Debug)]
pub struct Fit(Box<[Member]>);

#[derive(Debug)]
struct Member {
    /// What stands before the value, in compact form.
    seam: Box<[u8]>,
    is: Is,
}

/// What a value must be.
#[derive(Debug)]
struct Is {
    sort: Sort,
    /// Or null, which stays null.
    nullable: bool,
}

#[derive(Debug)]
enum Sort {
    Text,
    /// Of so many digits at most, so that it keeps its value in its type.
    Integer(usize),
    /// With a point, so that it prints as it stands.
    Double,
    Boolean,
    Array(Box<Is>),
    Record(Box<[Member]>),
    /// Only a whole reader knows.
    Opaque,
}

impl Fit {
    /// For structs of the schema; `replace_null` says that defaults take the place of nulls.
    pub fn new(schema: &Schema, replace_null: bool) -> Self {
        Self(members(schema, replace_null))
    }

    /// Takes a record that fits, leaving in `spans` where each field's value is. A field of a kind that needs a whole
    /// reader, or that does not fit by itself, is left to `odd`, which takes it or says that the record is to be left
    /// alone. False when it is; the reader is anywhere then.
    pub fn outline(
        &self,
        reader: &mut Reader<'_>,
        spans: &mut Vec<Span>,
        mut odd: impl FnMut(usize, &mut Reader<'_>) -> bool,
    ) -> bool {
        spans.clear();
        if reader.open_object().is_err() {
            return false;
        }
        for (index, member) in self.0.iter().enumerate() {
            if !reader.take_here(&member.seam) {
                return false;
            }
            let start = reader.mark();
            let Some(span) = member.is.span(reader).or_else(|| {
                reader.back_to(start);
                let at = Span::other(reader.here());
                at.filter(|_| odd(index, reader))
            }) else {
                return false;
            };
            spans.push(span);
        }
        reader.take_end(b'}')
    }
}

fn members(schema: &Schema, replace_null: bool) -> Box<[Member]> {
    let member = |(index, field): (usize, &pipette_api::data::Field)| {
        let mut seam = if index == 0 { Vec::new() } else { b",".to_vec() };
        write_string(field.name.as_bytes(), &mut seam);
        seam.push(b':');
        Member { seam: seam.into(), is: Is::of(&field.schema, replace_null) }
    };
    schema.fields().iter().enumerate().map(member).collect()
}

impl Is {
    fn of(schema: &Schema, replace_null: bool) -> Self {
        let nullable = schema.is_optional() && (schema.default().is_none() || !replace_null);
        let logical = [logical::DECIMAL, logical::DATE, logical::TIME, logical::TIMESTAMP];
        let sort = match schema.kind() {
            _ if schema.name().is_some_and(|name| logical.contains(&name)) => Sort::Opaque,
            Kind::String => Sort::Text,
            Kind::Int8 => Sort::Integer(2),
            Kind::Int16 => Sort::Integer(4),
            Kind::Int32 => Sort::Integer(9),
            Kind::Int64 => Sort::Integer(usize::MAX),
            Kind::Float64 => Sort::Double,
            Kind::Boolean => Sort::Boolean,
            Kind::Struct => Sort::Record(members(schema, replace_null)),
            Kind::Array => match schema.value_schema() {
                Some(element) => Sort::Array(Box::new(Self::of(element, replace_null))),
                None => Sort::Opaque,
            },
            _ => Sort::Opaque,
        };
        Self { sort, nullable }
    }

    /// Takes a value that fits and says where it is.
    #[inline]
    fn span(&self, reader: &mut Reader<'_>) -> Option<Span> {
        let start = reader.here();
        match (&self.sort, reader.next_byte()?) {
            (Sort::Text, b'"') => reader.span(),
            (Sort::Integer(digits), b'0'..=b'9' | b'-') => {
                let number = reader.take_short_number()?;
                number.span(start).filter(|_| number.integer && number.len <= *digits)
            }
            (Sort::Double, b'0'..=b'9' | b'-') => {
                reader.take_short_number().filter(|number| !number.integer)?.span(start)
            }
            (Sort::Boolean, b't') if reader.take_here(b"true") => Span::word(start, 4),
            (Sort::Boolean, b'f') if reader.take_here(b"false") => Span::word(start, 5),
            (_, b'n') if self.nullable && reader.take_here(b"null") => Span::word(start, 4),
            (Sort::Array(element), b'[') => {
                array(element, reader)?;
                Span::other(start)
            }
            (Sort::Record(members), b'{') => {
                record(members, reader)?;
                Span::other(start)
            }
            _ => None,
        }
    }
}

fn array(element: &Is, reader: &mut Reader<'_>) -> Option<()> {
    reader.open_array().ok()?;
    let mut first = true;
    loop {
        if reader.take_end(b']') {
            return Some(());
        }
        if !first && !reader.take_here(b",") {
            return None;
        }
        first = false;
        element.span(reader)?;
    }
}

fn record(members: &[Member], reader: &mut Reader<'_>) -> Option<()> {
    reader.open_object().ok()?;
    for member in members {
        if !reader.take_here(&member.seam) {
            return None;
        }
        member.is.span(reader)?;
    }
    reader.take_end(b'}').then_some(())
}
