//! The transformations of a task, in order, each with its predicate.

use std::sync::Arc;

use pipette_api::{ConnectError, Predicate, Record, Result, Transform, Verdict};

use super::spec::TransformSpec;

/// The chain of one task.
#[derive(Default)]
pub struct Chain {
    steps: Vec<Step>,
}

/// One transformation with its predicate.
pub struct Step {
    alias: Arc<str>,
    class: &'static str,
    transform: Box<dyn Transform>,
    when: Option<When>,
}

struct When {
    predicate: Box<dyn Predicate>,
    negate: bool,
}

impl Chain {
    /// Makes every step; a config error names the step.
    pub fn new(specs: &[TransformSpec]) -> Result<Self> {
        let steps = specs.iter().map(Step::new).collect::<Result<_>>()?;
        Ok(Self { steps })
    }

    /// The class of the transformation at a step, as Java calls it.
    pub fn class(&self, at: usize) -> &'static str {
        self.steps.get(at).map_or("", |step| step.class)
    }

    /// Sends a record through, from step `at` on. On an error the record is as it was before the step that failed,
    /// which is named and left in `at`, so that a retry goes on there.
    pub fn apply(&mut self, record: &mut Record, at: &mut usize) -> Result<Verdict> {
        while let Some(step) = self.steps.get_mut(*at) {
            match step.apply(record)? {
                Some(Verdict::Drop) => return Ok(Verdict::Drop),
                Some(Verdict::Keep) | None => *at += 1,
            }
        }
        Ok(Verdict::Keep)
    }

    /// The steps one by one, for whoever wants to look in between.
    pub fn steps(&mut self) -> &mut [Step] {
        &mut self.steps
    }
}

impl Step {
    /// Its name in `transforms`.
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// The class of its transformation, as Java calls it.
    pub fn class(&self) -> &'static str {
        self.class
    }

    /// Sends a record through; `None` when the predicate leaves it out. The error names the step.
    pub fn apply(&mut self, record: &mut Record) -> Result<Option<Verdict>> {
        if self.when.as_ref().is_some_and(|when| when.predicate.test(record) == when.negate) {
            return Ok(None);
        }
        let verdict = self.transform.apply(record);
        verdict.map(Some).map_err(|error| error.within(format!("transformation \"{}\"", self.alias)))
    }

    fn new(spec: &TransformSpec) -> Result<Self> {
        let named = |error: ConnectError| error.within(format!("transformation \"{}\"", spec.alias));
        let when = match &spec.predicate {
            None => None,
            Some(when) => {
                let predicate = (when.plugin.make)(when.settings.clone()).map_err(named)?;
                Some(When { predicate, negate: when.negate })
            }
        };
        let transform = (spec.plugin.make)(spec.settings.clone()).map_err(named)?;
        Ok(Self { alias: Arc::clone(&spec.alias), class: spec.plugin.info.class, transform, when })
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{Datum, Value};

    use super::*;

    struct Append(&'static str);
    impl Transform for Append {
        fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
            match record.value.value.as_str() {
                Some("drop") => Ok(Verdict::Drop),
                Some(text) => {
                    record.value.value = Value::text(format!("{text}{}", self.0));
                    Ok(Verdict::Keep)
                }
                None => Err(ConnectError::data("not text")),
            }
        }
    }
    struct Marked;
    impl Predicate for Marked {
        fn test(&self, record: &Record) -> bool {
            record.value.value.as_str().is_some_and(|text| text.contains('!'))
        }
    }

    fn run(value: Value) -> Result<Option<String>> {
        let step = |name: &'static str, when| Step {
            alias: name.into(),
            class: "test.Append",
            transform: Box::new(Append(name)),
            when,
        };
        let when = |negate| Some(When { predicate: Box::new(Marked), negate });
        let mut chain = Chain { steps: vec![step("a", None), step("b", when(false)), step("c", when(true))] };
        let mut record = Record::new("t".into(), Datum::schemaless(value));
        Ok(match chain.apply(&mut record, &mut 0)? {
            Verdict::Keep => record.value.value.as_str().map(str::to_owned),
            Verdict::Drop => None,
        })
    }

    #[test]
    fn predicates_choose_the_steps() {
        assert_eq!(run(Value::text("x")).unwrap().as_deref(), Some("xac"));
        assert_eq!(run(Value::text("x!")).unwrap().as_deref(), Some("x!ab"));
        assert_eq!(run(Value::text("drop")).unwrap(), None);
    }

    #[test]
    fn an_error_names_the_step() {
        assert_eq!(run(Value::Null).unwrap_err().to_string(), "transformation \"a\": not text");
    }
}
