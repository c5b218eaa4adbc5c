//! Typed keys.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use crate::reach::Place;

/// A configuration key whose values are of type `T`. Declared as a `static` beside the code that reads it.
pub struct Key<T> {
    /// What does not depend on the type.
    pub info: KeyInfo,
    value: PhantomData<fn() -> T>,
}

/// Looks at the text of a value, trimmed; `None` when there is none or it could not be parsed. The error is the
/// reason alone: the caller puts key and value in front.
pub type Check = fn(Option<&str>) -> Result<(), String>;

/// Everything about a key but its Rust type.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    /// The key, dotted lower case, the unit as suffix (`.ms`, `.bytes`).
    pub name: &'static str,
    /// One or two sentences for a person.
    pub doc: &'static str,
    /// Connect's type.
    pub kind: KeyType,
    /// Required, optional or defaulted.
    pub presence: Presence,
    /// How much a user should care.
    pub importance: Importance,
    /// Heading under which forms and pages show it.
    pub group: Option<&'static str>,
    /// How wide a form field is.
    pub width: Width,
    /// The name in forms; the key itself when `None`.
    pub display: Option<&'static str>,
    /// The keys that make sense only with this one.
    pub dependents: &'static [&'static str],
    /// Values to offer.
    pub recommended: &'static [&'static str],
    /// What the value leads to, when it is a path or an address.
    pub place: Option<Place>,
    /// Says why a text is not a value of the type.
    pub parse: fn(&str) -> Result<(), String>,
    /// Says why a value of the type is not allowed.
    pub check: Check,
}

/// Whether a key must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It must be given (Kafka's "no default").
    Required,
    /// It may be left out and has no default (Kafka's "default null").
    Optional,
    /// It may be left out and then has this value, written as a user would write it.
    Default(&'static str),
}

/// Connect's configuration types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum KeyType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl KeyType {
    /// The name in REST answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// How much a user should care about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Importance {
    High,
    Medium,
    Low,
}

impl Importance {
    /// The name in REST answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
        }
    }
}

/// How wide a form field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Width {
    None,
    Short,
    Medium,
    Long,
}

impl Width {
    /// The name in REST answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Short => "SHORT",
            Self::Medium => "MEDIUM",
            Self::Long => "LONG",
        }
    }
}

impl<T: FromText> Key<T> {
    /// A required key of medium importance.
    pub const fn new(name: &'static str, doc: &'static str) -> Self {
        let info = KeyInfo {
            name,
            doc,
            kind: T::KIND,
            presence: Presence::Required,
            importance: Importance::Medium,
            group: None,
            width: Width::None,
            display: None,
            dependents: &[],
            recommended: &[],
            place: None,
            parse: parses::<T>,
            check: anything,
        };
        Self { info, value: PhantomData }
    }

    /// May be left out and then has this value, written as a user would write it.
    #[must_use]
    pub const fn default(mut self, text: &'static str) -> Self {
        self.info.presence = Presence::Default(text);
        self
    }

    /// May be left out; read it with [`super::Settings::find`].
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.info.presence = Presence::Optional;
        self
    }

    /// Sets the importance.
    #[must_use]
    pub const fn importance(mut self, importance: Importance) -> Self {
        self.info.importance = importance;
        self
    }

    /// Sets the heading it is shown under.
    #[must_use]
    pub const fn group(mut self, group: &'static str) -> Self {
        self.info.group = Some(group);
        self
    }

    /// Sets the width of its form field.
    #[must_use]
    pub const fn width(mut self, width: Width) -> Self {
        self.info.width = width;
        self
    }

    /// Sets its name in forms.
    #[must_use]
    pub const fn display(mut self, display: &'static str) -> Self {
        self.info.display = Some(display);
        self
    }

    /// Names the keys that make sense only with this one.
    #[must_use]
    pub const fn dependents(mut self, keys: &'static [&'static str]) -> Self {
        self.info.dependents = keys;
        self
    }

    /// Offers values.
    #[must_use]
    pub const fn recommended(mut self, values: &'static [&'static str]) -> Self {
        self.info.recommended = values;
        self
    }

    /// Its value is a path, or a list of them: the worker checks whether connectors may go there.
    #[must_use]
    pub const fn path(mut self) -> Self {
        self.info.place = Some(Place::Path);
        self
    }

    /// Its value is a URL or `host:port`, or a list of them: the worker checks whether connectors may go there.
    #[must_use]
    pub const fn address(mut self) -> Self {
        self.info.place = Some(Place::Address);
        self
    }

    /// Sets the check; see [`super::checks`] for ready ones.
    #[must_use]
    pub const fn check(mut self, check: Check) -> Self {
        self.info.check = check;
        self
    }
}

fn parses<T: FromText>(text: &str) -> Result<(), String> {
    T::from_text(text).map(drop)
}

// The signature is that of a check.
#[allow(clippy::unnecessary_wraps)]
fn anything(_: Option<&str>) -> Result<(), String> {
    Ok(())
}

/// A type that configuration text can be read as.
pub trait FromText: Sized {
    /// Connect's type.
    const KIND: KeyType;
    /// The value of trimmed text, or the reason why it is none (Java's wording, which tools show).
    fn from_text(text: &str) -> Result<Self, String>;
}

/// A secret: never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl FromText for String {
    const KIND: KeyType = KeyType::String;
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromText for Password {
    const KIND: KeyType = KeyType::Password;
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

impl FromText for bool {
    const KIND: KeyType = KeyType::Boolean;
    fn from_text(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err("Expected value to be either true or false".into())
        }
    }
}

impl FromText for Vec<String> {
    const KIND: KeyType = KeyType::List;
    /// Split at commas, blanks around them removed; empty text is an empty list; empty elements are kept (Java).
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        Ok(text.split(',').map(|element| element.trim().to_owned()).collect())
    }
}

/// Why a text is no number of a type. Java has no types without a sign: what is too small for ours is told as a check would
/// tell it there.
fn misfit<T: FromStr>(text: &str, kind: KeyType) -> String {
    let has_no_sign = "-1".parse::<T>().is_err();
    if has_no_sign && text.parse::<i64>().is_ok_and(|number| number < 0) {
        return "Value must be at least 0".into();
    }
    format!("Not a number of type {}", kind.name())
}

macro_rules! numbers {
    ($($rust:ty => $kind:ident),*) => {$(
        impl FromText for $rust {
            const KIND: KeyType = KeyType::$kind;
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| misfit::<$rust>(text, Self::KIND))
            }
        }
    )*};
}
numbers!(i16 => Short, i32 => Int, u16 => Int, u32 => Int, i64 => Long, u64 => Long, f64 => Double);

impl FromText for Duration {
    const KIND: KeyType = KeyType::Long;
    /// Whole milliseconds, not negative.
    fn from_text(text: &str) -> Result<Self, String> {
        match i64::from_text(text)? {
            millis if millis < 0 => Err("Value must be at least 0".into()),
            millis => Ok(Self::from_millis(millis.unsigned_abs())),
        }
    }
}

/// A class name or alias of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassName(pub String);

impl FromText for ClassName {
    const KIND: KeyType = KeyType::Class;
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_none_is_told_in_javas_words() {
        let (small, large) = ("Value must be at least 0".to_owned(), "Not a number of type LONG".to_owned());
        assert_eq!((u64::from_text("-1"), u64::from_text("64k")), (Err(small.clone()), Err(large.clone())));
        assert_eq!((u16::from_text("-1"), Duration::from_text("-1").map(drop)), (Err(small.clone()), Err(small)));
        assert_eq!(i64::from_text("-99999999999999999999"), Err(large));
        assert_eq!(i16::from_text("-70000"), Err("Not a number of type SHORT".into()));
    }
}
