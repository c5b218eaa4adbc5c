//! `/connectors` and everything below.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::model;
use super::offsets;
use super::replay;
use super::request::{Parts, json, text};
use super::route::{Route, encode};
use super::status::Statuses;
use crate::herder::handle::HerderHandle;
use crate::herder::initial_state;
use crate::herder::state::Connector;
use crate::store::TargetState;

type Answer = Result<Response, ApiError>;

/// Requests of one worker to another are signed; there are no others here.
const UNSIGNED: &str = "Internal request missing required signature";

pub(super) async fn answer(herder: &HerderHandle, route: Route, request: &Parts) -> Answer {
    match route {
        Route::Connectors if request.method == Method::POST => create(herder, request).await,
        Route::Connectors => list(herder, request).await,
        Route::Connector(name) if request.method == Method::DELETE => {
            herder.delete(&name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Route::Connector(name) => Ok(json(StatusCode::OK, &model::info(&name, &*herder.connector(&name).await?))),
        Route::Config(name) => config(herder, &name, request).await,
        Route::Status(name) => status(herder, &name).await,
        Route::Tasks(_) if request.method == Method::POST => Err(ApiError::bad(UNSIGNED)),
        Route::Fence(_) => Err(ApiError::bad(UNSIGNED)),
        Route::Tasks(name) => Ok(json(StatusCode::OK, &model::tasks(&name, &*herder.connector(&name).await?))),
        Route::TaskStatus(name, task) => task_status(herder, &name, task).await,
        Route::TaskRestart(name, task) => {
            match usize::try_from(task) {
                Ok(task) => herder.restart_task(&name, task).await?,
                Err(_) => return Err(ApiError::new(StatusCode::NOT_FOUND, format!("Unknown task: {name}-{task}"))),
            }
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Route::Restart(name) => restart(herder, &name, request).await,
        Route::Pause(name) => aim(herder, &name, TargetState::Paused, StatusCode::ACCEPTED).await,
        Route::Resume(name) => aim(herder, &name, TargetState::Started, StatusCode::ACCEPTED).await,
        Route::Stop(name) => aim(herder, &name, TargetState::Stopped, StatusCode::NO_CONTENT).await,
        Route::Offsets(name) => offsets::answer(herder, &name, request).await,
        Route::Topics(name) => topics(herder, &name),
        Route::TopicsReset(name) => reset_topics(herder, &name),
        Route::Replay(name) => replay::answer(herder, &name, request).await,
        Route::Question(name, path) => question(herder, &name, &path, request).await,
        Route::Root
        | Route::Health
        | Route::Metrics
        | Route::OpenApi
        | Route::Plugins
        | Route::PluginConfig(_)
        | Route::Validate(_)
        | Route::Loggers
        | Route::Logger(_)
        | Route::Preview => unreachable!("answered elsewhere"),
    }
}

async fn list(herder: &HerderHandle, request: &Parts) -> Answer {
    let state = herder.state().await?;
    if request.values("expand").next().is_none() {
        return Ok(json(StatusCode::OK, &state.connectors().keys().map(|name| &**name).collect::<Vec<_>>()));
    }
    let wants = |part: &str| request.values("expand").any(|value| value == part);
    let (with_status, with_info) = (wants("status"), wants("info"));
    let statuses = Statuses::of(herder);
    let expanded = |(name, connector)| {
        let name: &std::sync::Arc<str> = name;
        let connector: &std::sync::Arc<Connector> = connector;
        let one = model::Expanded {
            status: with_status.then(|| statuses.connector(name, connector)),
            info: with_info.then(|| model::info(name, connector)),
        };
        (&**name, one)
    };
    Ok(json(StatusCode::OK, &state.connectors().iter().map(expanded).collect::<BTreeMap<_, _>>()))
}

async fn create(herder: &HerderHandle, request: &Parts) -> Answer {
    let new = request.new_connector()?;
    let name = new.name.unwrap_or_default().trim().to_owned();
    let target = new.initial_state.as_deref().map_or(Ok(TargetState::Started), initial_state);
    let connector = herder.create(&name, new.config, target.map_err(ApiError::bad)?).await?;
    Ok(created(&name, &connector, request))
}

fn created(name: &str, connector: &Connector, request: &Parts) -> Response {
    let response = json(StatusCode::CREATED, &model::info(name, connector));
    let location = format!("{}://{}/connectors/{}", request.scheme, request.host, encode(name));
    ([(header::LOCATION, location)], response).into_response()
}

async fn config(herder: &HerderHandle, name: &str, request: &Parts) -> Answer {
    if request.method == Method::PUT {
        let (is_new, connector) = herder.put(name, request.draft()?).await?;
        let answer = || json(StatusCode::OK, &model::info(name, &connector));
        return Ok(if is_new { created(name, &connector, request) } else { answer() });
    }
    if request.method == Method::PATCH {
        // Java looks for the connector before it misses a body.
        if request.has_no_body() {
            herder.connector(name).await?;
        }
        let connector = herder.patch(name, request.draft()?).await?;
        return Ok(json(StatusCode::OK, &model::info(name, &connector)));
    }
    Ok(json(StatusCode::OK, &*herder.connector(name).await?.config))
}

async fn status(herder: &HerderHandle, name: &str) -> Answer {
    let state = herder.state().await?;
    let Some(connector) = state.get(name) else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, format!("No status found for connector {name}")));
    };
    Ok(json(StatusCode::OK, &Statuses::of(herder).connector(name, connector)))
}

async fn task_status(herder: &HerderHandle, name: &str, task: i32) -> Answer {
    let state = herder.state().await?;
    let statuses = Statuses::of(herder);
    let number = usize::try_from(task).ok();
    match state.get(name).zip(number).and_then(|(connector, number)| statuses.task(name, connector, number)) {
        Some(status) => Ok(json(StatusCode::OK, &status)),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, format!("No status found for task {name}-{task}"))),
    }
}

fn topics(herder: &HerderHandle, name: &str) -> Answer {
    if !herder.parts().worker.rest.tracks_topics {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Topic tracking is disabled."));
    }
    Ok(json(StatusCode::OK, &model::topics(name, &herder.parts().used.of(name))))
}

fn reset_topics(herder: &HerderHandle, name: &str) -> Answer {
    let rest = &herder.parts().worker.rest;
    let refusal = match (rest.tracks_topics, rest.resets_topics) {
        (false, _) => "Topic tracking is disabled.",
        (true, false) => "Topic tracking reset is disabled.",
        (true, true) => {
            herder.parts().used.forget(name);
            return Ok(StatusCode::ACCEPTED.into_response());
        }
    };
    Err(ApiError::new(StatusCode::FORBIDDEN, refusal))
}

async fn restart(herder: &HerderHandle, name: &str, request: &Parts) -> Answer {
    let tasks = request.flag("includeTasks").unwrap_or(false);
    let only_failed = request.flag("onlyFailed").unwrap_or(false);
    let connector = herder.restart(name, tasks, only_failed).await?;
    if !tasks && !only_failed {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(json(StatusCode::ACCEPTED, &Statuses::of(herder).plan(name, &connector, !only_failed)))
}

async fn aim(herder: &HerderHandle, name: &str, target: TargetState, status: StatusCode) -> Answer {
    herder.target(name, target).await?;
    Ok(status.into_response())
}

async fn question(herder: &HerderHandle, name: &str, path: &str, request: &Parts) -> Answer {
    match herder.question(name, path, request.query()).await? {
        Some(answer) => Ok(text(StatusCode::OK, answer.into_bytes())),
        None => Err(ApiError::plain(StatusCode::NOT_FOUND)),
    }
}
