//! `/connectors` and everything below.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::model;
use super::replay;
use super::request::{Parts, json, text};
use super::route::{Route, encode};
use super::status::Statuses;
use crate::herder::handle::HerderHandle;
use crate::herder::initial_state;
use crate::store::TargetState;

type Answer = Result<Response, ApiError>;

pub(super) async fn answer(herder: &HerderHandle, route: Route, request: &Parts) -> Answer {
    match route {
        Route::Connectors if request.method == Method::POST => create(herder, request).await,
        Route::Connectors => list(herder, request).await,
        Route::Connector(name) if request.method == Method::DELETE => {
            herder.delete(&name).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Route::Connector(name) => info(herder, &name, StatusCode::OK).await,
        Route::Config(name) => config(herder, &name, request).await,
        Route::Status(name) => status(herder, &name).await,
        Route::Tasks(name) => Ok(json(StatusCode::OK, &model::tasks(&name, &*herder.connector(&name).await?))),
        Route::TaskStatus(name, task) => task_status(herder, &name, task).await,
        Route::TaskRestart(name, task) => {
            herder.restart_task(&name, task).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Route::Restart(name) => restart(herder, &name, request).await,
        Route::Pause(name) => aim(herder, &name, TargetState::Paused, StatusCode::ACCEPTED).await,
        Route::Resume(name) => aim(herder, &name, TargetState::Started, StatusCode::ACCEPTED).await,
        Route::Stop(name) => aim(herder, &name, TargetState::Stopped, StatusCode::NO_CONTENT).await,
        Route::Offsets(name) => Ok(json(StatusCode::OK, &model::offsets(&herder.offsets(&name).await?))),
        Route::Topics(_) | Route::TopicsReset(_) => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "Topic tracking is disabled."))
        }
        Route::Replay(name) => replay::answer(herder, &name, request).await,
        Route::Question(name, path) => question(herder, &name, &path, request).await,
        Route::Root
        | Route::Health
        | Route::Metrics
        | Route::Plugins
        | Route::PluginConfig(_)
        | Route::Validate(_)
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
        let connector: &std::sync::Arc<crate::herder::state::Connector> = connector;
        let one = model::Expanded {
            status: with_status.then(|| statuses.connector(name, connector)),
            info: with_info.then(|| model::info(name, connector)),
        };
        (&**name, one)
    };
    Ok(json(StatusCode::OK, &state.connectors().iter().map(expanded).collect::<BTreeMap<_, _>>()))
}

async fn create(herder: &HerderHandle, request: &Parts) -> Answer {
    let (new, draft) = request.new_connector()?;
    let name = new.name.unwrap_or_default().trim().to_owned();
    let target = new.initial_state.as_deref().map_or(Ok(TargetState::Started), initial_state);
    herder.create(&name, draft, target.map_err(ApiError::bad)?).await?;
    created(herder, &name, request).await
}

async fn created(herder: &HerderHandle, name: &str, request: &Parts) -> Answer {
    let response = info(herder, name, StatusCode::CREATED).await?;
    let location = format!("http://{}/connectors/{}", request.host, encode(name));
    Ok(([(header::LOCATION, location)], response).into_response())
}

async fn info(herder: &HerderHandle, name: &str, status: StatusCode) -> Answer {
    let connector = herder.connector(name).await?;
    Ok(json(status, &model::info(name, &connector)))
}

async fn config(herder: &HerderHandle, name: &str, request: &Parts) -> Answer {
    if request.method == Method::PUT {
        let is_new = herder.put(name, request.draft()?).await?;
        return if is_new { created(herder, name, request).await } else { info(herder, name, StatusCode::OK).await };
    }
    if request.method == Method::PATCH {
        // Java looks for the connector before it looks at the body.
        herder.connector(name).await?;
        herder.patch(name, request.draft()?).await?;
        return info(herder, name, StatusCode::OK).await;
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

async fn task_status(herder: &HerderHandle, name: &str, task: usize) -> Answer {
    let state = herder.state().await?;
    let statuses = Statuses::of(herder);
    match state.get(name).and_then(|connector| statuses.task(name, connector, task)) {
        Some(status) => Ok(json(StatusCode::OK, &status)),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, format!("No status found for task {name}-{task}"))),
    }
}

async fn restart(herder: &HerderHandle, name: &str, request: &Parts) -> Answer {
    let tasks = request.flag("includeTasks").unwrap_or(false);
    let only_failed = request.flag("onlyFailed").unwrap_or(false);
    let connector = herder.restart(name, tasks, only_failed).await?;
    if !tasks && !only_failed {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(json(StatusCode::ACCEPTED, &Statuses::of(herder).connector(name, &connector)))
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
