//! `/connector-plugins`.

use axum::http::StatusCode;
use axum::response::Response;
use pipette_api::Plugin;

use super::error::ApiError;
use super::model;
use super::request::{Parts, json};
use super::route::Route;
use crate::herder::handle::HerderHandle;

pub(super) async fn answer(herder: &HerderHandle, route: Route, request: &Parts) -> Result<Response, ApiError> {
    match route {
        Route::PluginConfig(plugin) => {
            let definitions = herder.definitions(&plugin, request.values("version").next())?;
            Ok(json(
                StatusCode::OK,
                &definitions.iter().map(|found| model::definition(found, strict(herder))).collect::<Vec<_>>(),
            ))
        }
        Route::Validate(plugin) => validate(herder, &plugin, request).await,
        _ => {
            let connectors_only = request.flag("connectorsOnly").unwrap_or(true);
            let shown = |plugin: &&&Plugin| !connectors_only || matches!(plugin, Plugin::Source(_) | Plugin::Sink(_));
            let plugins: Vec<_> = herder.plugins().iter().filter(shown).map(|plugin| model::plugin(plugin)).collect();
            Ok(json(StatusCode::OK, &plugins))
        }
    }
}

fn strict(herder: &HerderHandle) -> bool {
    herder.parts().worker.strict
}

async fn validate(herder: &HerderHandle, plugin: &str, request: &Parts) -> Result<Response, ApiError> {
    let draft = request.draft()?;
    if let Some(class) = draft.get("connector.class").cloned().flatten() {
        let bare = |name: &str| name.strip_suffix("Connector").unwrap_or(name).to_owned();
        if !bare(&class).ends_with(&bare(plugin)) {
            return Err(ApiError::bad(format!("Included connector type {class} does not match request type {plugin}")));
        }
    }
    Ok(json(StatusCode::OK, &model::validation(&herder.validate(draft).await?, strict(herder))))
}
