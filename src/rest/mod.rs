//! The REST API, the only place that names axum.
//!
//! `worker.rs` opens the `doors.rs`, which call [`serve`]. A request is matched by `route.rs` in the list of `table.rs`, from which `openapi.rs`
//! describes the API; it is read by `request.rs`, answered by `connectors.rs`,
//! `offsets.rs`, `plugins.rs`, `loggers.rs`, `replay.rs` or `preview.rs`, and written in the shapes of `model.rs` and
//! `status.rs` with the headers of `headers.rs`; `error.rs` is the one form of failure, `tls.rs` HTTPS.

mod connections;
mod connectors;
pub mod doors;
mod error;
mod headers;
mod loggers;
mod model;
mod offsets;
pub mod openapi;
mod plugins;
mod replay;
mod preview;
mod request;
pub(crate) mod route;
mod status;
mod table;
pub mod tls;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};

use self::error::ApiError;
use self::request::Parts;
use self::route::Route;
use self::table::Resource;
use crate::herder::handle::{HerderHandle, Stage};
use crate::metrics::WorkerMetrics;
use crate::metrics::dialect::Dialect;
use crate::settings::metrics::DIALECTS;
use crate::settings::rest::Admin;
use crate::telemetry::Levels;

/// The Kafka release whose API this is; clients parse it.
/// The release whose answers these are.
pub const KAFKA_VERSION: &str = "4.3.1";
/// How long the herder may take to prove that it is well, as in Apache's worker.
const HEALTH: Duration = Duration::from_secs(10);

/// What requests are answered from.
#[derive(Clone)]
pub struct Rest {
    /// The herder.
    pub herder: HerderHandle,
    /// What `GET /metrics` shows.
    pub metrics: Arc<WorkerMetrics>,
    /// Kafka's cluster id, once a broker has said it.
    pub cluster_id: Arc<OnceLock<String>>,
    /// The levels of the log.
    pub levels: Levels,
    /// What is served here.
    pub door: Door,
    /// Whether clients come by https; [`serve`] knows.
    pub is_https: bool,
}

/// What a listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Everything, loggers as the worker file says.
    Main,
    /// Loggers only.
    Admin,
}

impl Rest {
    fn serves(&self, resource: &Resource, route: &Route) -> bool {
        let worker = &self.herder.parts().worker;
        match (route, self.door) {
            (Route::Loggers | Route::Logger(_), Door::Main) => worker.rest.admin == Admin::Main,
            (Route::Loggers | Route::Logger(_), Door::Admin) => true,
            (_, Door::Admin) => false,
            (_, Door::Main) => !(worker.strict && resource.is_addition),
        }
    }
}

/// Serves requests on a bound socket until `stop` resolves and the requests under way are answered.
pub async fn serve(
    listener: std::net::TcpListener,
    tls: Option<tls::Tls>,
    rest: Rest,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let rest = Rest { is_https: tls.is_some(), ..rest };
    let router = Router::new().fallback(answer).with_state(rest);
    match tls {
        None => connections::serve(listener, router, stop).await,
        Some(tls) => connections::serve(tls::Handshakes::on(listener, tls), router, stop).await,
    }
    Ok(())
}

async fn answer(State(rest): State<Rest>, request: Request<Body>) -> Response {
    let head = request.method() == Method::HEAD;
    let asked = headers::Asked::of(request.method(), request.headers());
    let json = request::json_as_asked(request.headers());
    let mut response = dispatch(&rest, request).await.unwrap_or_else(IntoResponse::into_response);
    let given = response.headers_mut().get_mut(header::CONTENT_TYPE).filter(|given| *given == "application/json");
    if let (Some(given), Some(asked)) = (given, json) {
        *given = asked;
    }
    if rest.door == Door::Main {
        headers::add(&rest.herder.parts().worker.rest, asked, &mut response);
    }
    if head { without_body(response) } else { response }
}

async fn dispatch(rest: &Rest, request: Request<Body>) -> Result<Response, ApiError> {
    let worker = &rest.herder.parts().worker;
    let (resource, route) = route::find(request.uri().path())?;
    if !rest.serves(resource, &route) {
        return Err(ApiError::plain(StatusCode::NOT_FOUND));
    }
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let allowed = resource.methods();
    if !allowed.contains(&method.as_str()) {
        return Ok(request::not_allowed(&allowed, worker.strict));
    }
    if route != Route::Metrics && method != Method::OPTIONS {
        request::check_accept(request.headers())?;
    }
    let logins = worker.rest.logins.as_ref().filter(|_| !route.is_between_workers(&method));
    if logins.is_some_and(|logins| !logins.admits(request::authorization(request.headers()))) {
        return Ok(request::not_admitted(&method, request.headers()));
    }
    if method == Method::OPTIONS {
        return Ok(request::options(request.headers(), &allowed));
    }
    let parts = Parts::read(request, method, rest.is_https).await?;
    match route {
        Route::Root => {
            let cluster_id = rest.cluster_id.get().map(String::as_str);
            Ok(request::json(StatusCode::OK, &model::root(cluster_id, worker.strict)))
        }
        Route::Loggers => Ok(loggers::list(&rest.levels)),
        Route::Logger(name) => loggers::one(&rest.levels, &name, &parts),
        Route::Health => Ok(health(&rest.herder).await),
        Route::Metrics => metrics(&rest.metrics, &parts),
        Route::OpenApi => Ok(request::json(StatusCode::OK, &openapi::document(rest.herder.plugins()))),
        Route::Plugins | Route::PluginConfig(_) | Route::Validate(_) => {
            plugins::answer(&rest.herder, route, &parts).await
        }
        Route::Preview => preview::answer(&rest.herder, &parts).await,
        _ => connectors::answer(&rest.herder, route, &parts).await,
    }
}

/// Under the names that are asked for with `dialect`, or those of the worker file.
fn metrics(metrics: &WorkerMetrics, parts: &Parts) -> Result<Response, ApiError> {
    let names = parts.values("dialect").flat_map(|value| value.split(',')).map(str::trim);
    let known = names.map(|name| {
        let unknown = || ApiError::bad(format!("dialect={name} is none of {}", DIALECTS.join(", ")));
        Dialect::named(name).ok_or_else(unknown)
    });
    let dialects = known.collect::<Result<Vec<_>, _>>()?;
    let text = if dialects.is_empty() { metrics.render() } else { metrics.render_as(&dialects) };
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

async fn health(herder: &HerderHandle) -> Response {
    let starting = herder.stage() == Stage::Starting;
    let pinged = tokio::time::timeout(HEALTH, herder.ping()).await;
    let (status, word, message) = match pinged {
        Ok(Ok(())) => {
            (StatusCode::OK, "healthy", "Worker has completed startup and is ready to handle requests.".to_owned())
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, "unhealthy", error.to_string()),
        Err(_) if starting => (StatusCode::SERVICE_UNAVAILABLE, "starting", "Worker is still starting up.".to_owned()),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "unhealthy",
            "Worker was unable to handle this request and may be unable to handle other requests.".to_owned(),
        ),
    };
    request::json(status, &model::Health { status: word, message })
}

/// The answer to HEAD: that of GET with its length, without its body.
fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = axum::body::HttpBody::size_hint(&body).exact() {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Response::from_parts(parts, Body::empty())
}
