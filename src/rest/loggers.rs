//! `/admin/loggers`: the levels of the log, read and changed while the worker runs.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::error::ApiError;
use super::request::{Parts, json};
use crate::telemetry::{Level, Levels, Setting};

/// Nobody needs as many, and each is kept.
const MOST: usize = 1_000;

#[derive(Serialize)]
struct LevelShape {
    level: &'static str,
    last_modified: Option<u64>,
}

pub(super) fn list(levels: &Levels) -> Response {
    let mut shown: BTreeMap<String, LevelShape> =
        levels.all().into_iter().map(|(name, setting)| (name, shape(setting))).collect();
    // Apache's list leaves out those that say nothing.
    shown.retain(|_, logger| logger.level != Level::Off.name());
    json(StatusCode::OK, &shown)
}

pub(super) fn one(levels: &Levels, logger: &str, request: &Parts) -> Result<Response, ApiError> {
    if request.method != Method::PUT {
        let setting = levels.of(logger);
        let missing = || ApiError::new(StatusCode::NOT_FOUND, format!("Logger {logger} not found."));
        return Ok(json(StatusCode::OK, &shape(setting.ok_or_else(missing)?)));
    }
    let body = request.draft()?;
    let Some(name) = body.get("level").cloned().flatten() else {
        return Err(ApiError::bad("Desired 'level' parameter was not specified in request."));
    };
    if name.is_empty() {
        return Err(ApiError::bad("The level is empty: use OFF, FATAL, ERROR, WARN, INFO, DEBUG, TRACE or ALL"));
    }
    let Some(level) = Level::named(&name) else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, format!("invalid log level '{name}'.")));
    };
    if levels.of(logger).is_none() && levels.all().len() >= MOST {
        return Err(ApiError::bad(format!("{MOST} loggers have a level already; set that of one above them")));
    }
    let changed = levels.set(logger, level);
    let of_cluster = request.values("scope").next().is_some_and(|scope| scope.eq_ignore_ascii_case("cluster"));
    Ok(if of_cluster { StatusCode::NO_CONTENT.into_response() } else { json(StatusCode::OK, &changed) })
}

fn shape(Setting { level, modified }: Setting) -> LevelShape {
    let millis = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    LevelShape {
        level: level.name(),
        last_modified: modified.map(|time| u64::try_from(millis(time)).unwrap_or(u64::MAX)),
    }
}
