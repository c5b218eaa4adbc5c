//! `/connectors/{name}/dlq/replay`: POST starts putting dead letters back, GET tells how it goes, DELETE stops it.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use super::request::{Parts, json};
use crate::herder::handle::HerderHandle;
use crate::task::replay::report::{Bound, LETTERS, Line, MOST_LETTERS, Outcome, Report, SharedReport, State, Wanted};
use pipette_java::calendar::{DAY_MILLIS, days};

/// The body of POST.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    from: Value,
    to: Value,
    max: Option<u64>,
    dry_run: bool,
}

pub(super) async fn answer(herder: &HerderHandle, name: &str, request: &Parts) -> Result<Response, ApiError> {
    match request.method {
        Method::POST => {
            // As for a configuration: whether it exists comes first.
            herder.connector(name).await?;
            let report = herder.replay(name, wanted(&request.json_or_nothing()?)?).await?;
            Ok(json(StatusCode::ACCEPTED, &shape(&report)))
        }
        Method::DELETE => {
            herder.stop_replay(name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(json(StatusCode::OK, &shape(&herder.last_replay(name).await?))),
    }
}

fn wanted(asked: &Asked) -> Result<Wanted, ApiError> {
    let max = asked.max.map_or(Some(LETTERS), |max| usize::try_from(max).ok());
    let max = max.filter(|max| (1..=MOST_LETTERS).contains(max));
    let max = max.ok_or_else(|| ApiError::bad(format!("\"max\" must be a number from 1 to {MOST_LETTERS}")))?;
    Ok(Wanted { from: bound("from", &asked.from)?, to: bound("to", &asked.to)?, max, dry_run: asked.dry_run })
}

fn bound(name: &str, value: &Value) -> Result<Option<Bound>, ApiError> {
    let found = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64().filter(|offset| *offset >= 0).map(Bound::Offset),
        Value::String(text) => time(text).map(Bound::Time),
        _ => None,
    };
    found.map(Some).ok_or_else(|| {
        ApiError::bad(format!(
            "\"{name}\" is {value}; it must be an offset in the dead letter topic, such as 17, or a time in quotes, \
             such as \"2026-11-25T08:00:00Z\" or \"2026-11-25T09:00:00+01:00\", which is compared with the time of the \
             record"
        ))
    })
}

/// Milliseconds since 1970 of a time in RFC 3339's form.
fn time(text: &str) -> Option<i64> {
    let (date, clock) = text.split_once(['T', 't', ' '])?;
    let split = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(split);
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let shift = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign, ..] => {
            let [hours, minutes] = numbers(&zone[1..], ':')?;
            if *sign == b'-' { -(hours * 60 + minutes) } else { hours * 60 + minutes }
        }
        [] => return None,
    };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let seconds = (hour * 60 + minute - shift) * 60 + second;
    fits.then(|| days(year, month, day) * DAY_MILLIS + seconds * 1_000 + millis)
}

/// Numbers of digits only, with something between.
fn numbers<const COUNT: usize>(text: &str, between: char) -> Option<[i64; COUNT]> {
    let number = |part: &str| part.parse().ok().filter(|_| part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit()));
    let numbers: Vec<i64> = text.split(between).map(number).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[derive(Serialize)]
struct ReportShape {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    topic: String,
    dry_run: bool,
    ready: usize,
    replayed: usize,
    filtered: usize,
    skipped: usize,
    failed: usize,
    /// By partition of the topic: what `from` of a replay behind this one would be.
    next: BTreeMap<i32, i64>,
    letters: Vec<LineShape>,
}

#[derive(Serialize)]
struct LineShape {
    partition: i32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordShape>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct RecordShape {
    topic: String,
    partition: i32,
    offset: i64,
}

fn shape(report: &SharedReport) -> ReportShape {
    let report = report.lock();
    let Report { topic, dry_run, state, lines, next } = &*report;
    let count = |word: &str| lines.iter().filter(|line| self::word(&line.outcome) == word).count();
    ReportShape {
        state: match state {
            State::Running => "RUNNING",
            State::Done => "DONE",
            State::Stopped => "STOPPED",
            State::Failed(_) => "FAILED",
        },
        error: if let State::Failed(error) = state { Some(error.clone()) } else { None },
        topic: topic.clone(),
        dry_run: *dry_run,
        ready: count("ready"),
        replayed: count("replayed"),
        filtered: count("filtered"),
        skipped: count("skipped"),
        failed: count("failed"),
        next: next.clone(),
        letters: lines.iter().map(line_shape).collect(),
    }
}

fn line_shape(line: &Line) -> LineShape {
    let record = line.record.as_ref().map(|(tp, offset)| RecordShape {
        topic: tp.topic.to_string(),
        partition: tp.partition,
        offset: *offset,
    });
    let (stage, reason) = match &line.outcome {
        Outcome::Skipped(reason) => (None, Some(reason.clone())),
        Outcome::Failed(refusal) => (Some(refusal.stage.java_name()), Some(refusal.error.chain())),
        Outcome::Ready | Outcome::Replayed | Outcome::Filtered => (None, None),
    };
    let (partition, offset) = line.letter;
    LineShape { partition, offset, record, outcome: word(&line.outcome), stage, reason }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ready => "ready",
        Outcome::Replayed => "replayed",
        Outcome::Filtered => "filtered",
        Outcome::Skipped(_) => "skipped",
        Outcome::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_offsets_or_times_and_nothing_else() {
        let at = |text: &str| bound("from", &serde_json::from_str(text).unwrap());
        assert_eq!(at("null").unwrap(), None);
        assert_eq!(at("17").unwrap(), Some(Bound::Offset(17)));
        let times = ["2017-07-14T02:40:00Z", "2017-07-14 04:40:00.000+02:00", "2017-07-14t00:10:00.0-02:30"];
        for time in times {
            assert_eq!(at(&format!("\"{time}\"")).unwrap(), Some(Bound::Time(1_500_000_000_000)), "{time}");
        }
        assert_eq!(time("2017-07-14T02:40:00.1Z"), Some(1_500_000_000_100));
        for wrong in ["-1", "1.5", "true", "\"yesterday\"", "\"2017-07-14\"", "\"2017-13-14T02:40:00Z\"", "\"17\""] {
            let error = format!("{:?}", at(wrong).unwrap_err());
            assert!(error.contains("must be an offset in the dead letter topic"), "{wrong}: {error}");
        }
    }
}
