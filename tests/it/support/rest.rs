//! A REST client for tests: status and JSON, and nothing is an error but a connection that fails.

use std::time::Duration;

use serde_json::Value;

/// Speaks to one worker.
pub(crate) struct Rest {
    base: String,
    agent: ureq::Agent,
    authorization: &'static str,
}

/// What the worker answered. A body that is not JSON is a JSON string here, an empty one is null.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Rest {
    pub(crate) fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            // A killed worker's connection must not be taken up again after its restart.
            .max_idle_connections(0)
            .build();
        Self { base: format!("http://127.0.0.1:{port}"), agent: config.into(), authorization: "" }
    }

    /// The same, with that header on each request.
    pub(crate) fn authorized(self, authorization: &'static str) -> Self {
        Self { authorization, ..self }
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.send("GET", path, None)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Answer, ureq::Error> {
        self.send("PUT", path, Some(body))
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, ureq::Error> {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Content-Type", "application/json")
            .header("Authorization", self.authorization)
            .body(body.map(ToString::to_string).unwrap_or_default())?;
        let mut answer = self.agent.run(request)?;
        let text = answer.body_mut().read_to_string()?;
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.into())),
        };
        Ok(Answer { status: answer.status().as_u16(), body })
    }
}
