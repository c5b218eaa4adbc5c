//! The one form of failure: `{"error_code", "message"}` with the status as code.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::request::json;
use crate::herder::handle::HerderError;

/// Why a request fails.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error_code: u16,
    message: &'a str,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// In the words of Java's router: `HTTP 404 Not Found`.
    pub(super) fn plain(status: StatusCode) -> Self {
        let message = format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
        Self::new(status, message)
    }
}

impl From<HerderError> for ApiError {
    fn from(error: HerderError) -> Self {
        let status = match error {
            HerderError::Bad(_) => StatusCode::BAD_REQUEST,
            HerderError::NotFound(_) => StatusCode::NOT_FOUND,
            HerderError::Conflict(_) => StatusCode::CONFLICT,
            HerderError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json(self.status, &ErrorBody { error_code: self.status.as_u16(), message: &self.message })
    }
}
