//! The transformations of a task, in order, each with its predicate.
//!
//! Those that compute run here, neighbours in one pass. A record that comes to one that waits for something outside goes
//! on in `stage/line.rs`. What stands outside of the converters is in `stage/expand.rs` and `stage/collect.rs`.

use std::sync::Arc;
use std::time::Instant;

use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{
    AsyncTransform, ConnectError, Direction, Predicate, Record, Result, Signal, Transform, TransformContext, Verdict,
    Wish,
};

use super::guard::{Guard, Stage};
use super::patience;
use super::spec::{StepPlugin, TransformSpec};

/// The chain of one task.
#[derive(Default)]
pub struct Chain {
    steps: Vec<Step>,
}

/// One transformation with its predicate.
pub struct Step {
    alias: Arc<str>,
    class: &'static str,
    work: Work,
    when: Option<When>,
}

enum Work {
    Now(Box<dyn Transform>),
    Later(Later),
}

/// A step that waits for something outside.
#[derive(Clone)]
pub struct Later {
    /// Its name in `transforms`.
    pub alias: Arc<str>,
    /// The transformation.
    pub transform: Arc<dyn AsyncTransform>,
    /// Which way its records go.
    pub direction: Direction,
    /// Calls at the same time.
    pub most: usize,
    /// Bytes they may hold together.
    pub most_bytes: u64,
}

/// The condition of a step.
pub struct When {
    predicate: Box<dyn Predicate>,
    negate: bool,
}

/// How far a record came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// Behind the last step.
    Through,
    /// It is filtered.
    Dropped,
    /// Before a step that waits for something outside.
    Waits,
}

/// What came of trying again.
pub enum Tried {
    /// It succeeded.
    Went(Went),
    /// Its time is up.
    Failed(ConnectError),
    /// The task is to stop: nobody knows yet what becomes of the record, it is read again next time.
    Recalled,
}

impl Chain {
    /// Makes every step between the converters; a config error names the step.
    pub fn new(specs: &[TransformSpec], context: &TransformContext) -> Result<Self> {
        let made = specs.iter().filter_map(|spec| Step::new(spec, context).transpose());
        Ok(Self { steps: made.collect::<Result<_>>()? })
    }

    /// The class of the transformation at a step, as Java calls it.
    pub fn class(&self, at: usize) -> &'static str {
        self.steps.get(at).map_or("", |step| step.class)
    }

    /// What an error of a step is judged by.
    pub fn stage(&self, at: usize) -> Stage {
        if self.steps.get(at).is_some_and(Step::waits) { Stage::Outside } else { Stage::Transform }
    }

    /// Sends a record through, from step `at` on. On an error the record is as it was before the step that failed,
    /// which is named and left in `at`, so that a retry goes on there.
    pub fn apply(&mut self, record: &mut Record, at: &mut usize) -> Result<Went> {
        while let Some(step) = self.steps.get_mut(*at) {
            let Work::Now(transform) = &mut step.work else { return Ok(Went::Waits) };
            if When::admits(step.when.as_ref(), record) {
                match transform.apply(record) {
                    Ok(Verdict::Keep) => {}
                    Ok(Verdict::Drop) => return Ok(Went::Dropped),
                    Err(error) => return Err(named(&step.alias, error)),
                }
            }
            *at += 1;
        }
        Ok(Went::Through)
    }

    /// The rest of the chain, from the step `at` on, which failed: until it succeeds or its time is up.
    pub async fn again(
        &mut self,
        record: &mut Record,
        at: &mut usize,
        mut error: ConnectError,
        guard: &Guard,
        signal: &Signal,
    ) -> Tried {
        let (mut attempt, began) = (1, Instant::now());
        loop {
            match guard.retry(&error, attempt, began) {
                None => return Tried::Failed(error),
                Some(_) if signal.wish() == Wish::Stop => return Tried::Recalled,
                Some(wait) => patience::wait(signal, wait).await,
            }
            attempt += 1;
            error = match self.apply(record, at) {
                Ok(went) => return Tried::Went(went),
                Err(error) => error,
            };
        }
    }

    /// The same as [`Chain::apply`] for those who have one record and time: waits at each step that waits.
    pub async fn apply_waiting(&mut self, record: &mut Record, at: &mut usize) -> Result<Verdict> {
        loop {
            match self.apply(record, at)? {
                Went::Through => return Ok(Verdict::Keep),
                Went::Dropped => return Ok(Verdict::Drop),
                Went::Waits => {}
            }
            if self.steps[*at].apply_waiting(record).await? == Some(Verdict::Drop) {
                return Ok(Verdict::Drop);
            }
            *at += 1;
        }
    }

    /// The step that waits and stands there, when it has something to do for the record.
    pub fn waits_for(&self, at: usize, record: &Record) -> bool {
        self.steps.get(at).is_some_and(|step| match &step.work {
            Work::Later(later) => When::admits(step.when.as_ref(), record) && later.transform.needs(record),
            Work::Now(_) => false,
        })
    }

    /// Every step that waits, and where it stands.
    pub fn laters(&self) -> impl Iterator<Item = (usize, &Later)> {
        self.steps.iter().enumerate().filter_map(|(at, step)| match &step.work {
            Work::Later(later) => Some((at, later)),
            Work::Now(_) => None,
        })
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

    /// Whether it waits for something outside.
    pub fn waits(&self) -> bool {
        matches!(self.work, Work::Later(_))
    }

    /// Whether it puts something of this record somewhere outside.
    pub fn writes_outside(&self, record: &Record) -> bool {
        let Work::Later(later) = &self.work else { return false };
        later.direction == Direction::IntoKafka
            && When::admits(self.when.as_ref(), record)
            && later.transform.needs(record)
    }

    /// Sends a record through, however long that takes; `None` when the predicate leaves it out. The error names the step.
    pub async fn apply_waiting(&mut self, record: &mut Record) -> Result<Option<Verdict>> {
        if !When::admits(self.when.as_ref(), record) {
            return Ok(None);
        }
        let verdict = match &mut self.work {
            Work::Now(transform) => transform.apply(record),
            Work::Later(later) if !later.transform.needs(record) => Ok(Verdict::Keep),
            Work::Later(later) => later.transform.apply(record).await,
        };
        verdict.map(Some).map_err(|error| named(&self.alias, error))
    }

    fn new(spec: &TransformSpec, context: &TransformContext) -> Result<Option<Self>> {
        let name = |error| named(&spec.alias, error);
        let settings = spec.settings.clone();
        let work = match spec.plugin {
            StepPlugin::Now(plugin) => Work::Now((plugin.make)(settings).map_err(name)?),
            StepPlugin::Later(plugin) => {
                let transform = (plugin.make)(settings, context_of(spec, context)).map_err(name)?;
                Work::Later(Later::new(spec, transform, plugin.direction).map_err(name)?)
            }
            StepPlugin::Collect(plugin) => {
                let Some(then) = plugin.then else { return Ok(None) };
                match then(&settings, &context_of(spec, context)).map_err(name)? {
                    Some(transform) => Work::Later(Later::new(spec, transform, Direction::OutOfKafka).map_err(name)?),
                    None => return Ok(None),
                }
            }
            StepPlugin::Expand(_) => return Ok(None),
        };
        let (alias, class) = (Arc::clone(&spec.alias), spec.plugin.info().class);
        Ok(Some(Self { alias, class, work, when: When::new(spec)? }))
    }
}

impl Later {
    fn new(spec: &TransformSpec, transform: Box<dyn AsyncTransform>, direction: Direction) -> Result<Self> {
        let most = spec.settings.get(&MAX_IN_FLIGHT)? as usize;
        let most_bytes = spec.settings.get(&MAX_IN_FLIGHT_BYTES)?;
        Ok(Self { alias: Arc::clone(&spec.alias), transform: Arc::from(transform), direction, most, most_bytes })
    }
}

impl When {
    /// The condition of a step, if it has one.
    pub fn new(spec: &TransformSpec) -> Result<Option<Self>> {
        let Some(when) = &spec.predicate else { return Ok(None) };
        let predicate = (when.plugin.make)(when.settings.clone()).map_err(|error| named(&spec.alias, error))?;
        Ok(Some(Self { predicate, negate: when.negate }))
    }

    /// Whether a step with this condition sees the record.
    pub fn admits(when: Option<&Self>, record: &Record) -> bool {
        when.is_none_or(|when| when.predicate.test(record) != when.negate)
    }
}

/// What a step is made with: the task's context, and a folder of its own.
pub fn context_of(spec: &TransformSpec, context: &TransformContext) -> TransformContext {
    let mut own = context.clone();
    own.common.folder = own.common.folder.within(format!("step-{}", spec.alias));
    own
}

/// An error of a step, with its name.
pub fn named(alias: &str, error: ConnectError) -> ConnectError {
    error.within(format!("transformation \"{alias}\""))
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
            work: Work::Now(Box::new(Append(name))),
            when,
        };
        let when = |negate| Some(When { predicate: Box::new(Marked), negate });
        let mut chain = Chain { steps: vec![step("a", None), step("b", when(false)), step("c", when(true))] };
        let mut record = Record::new("t".into(), Datum::schemaless(value));
        Ok(match chain.apply(&mut record, &mut 0)? {
            Went::Through => record.value.value.as_str().map(str::to_owned),
            Went::Dropped => None,
            Went::Waits => unreachable!("no step waits"),
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
