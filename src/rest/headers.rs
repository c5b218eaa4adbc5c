//! Headers that answers carry whatever they say: those of CORS, and those of `response.http.headers.config`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use pipette_java::calendar::utc;

use crate::settings::rest::{HeaderText, RestConfig};

/// What of a request decides about them.
pub(super) struct Asked {
    origin: Option<HeaderValue>,
    is_preflight: bool,
}

impl Asked {
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        let is_preflight = method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        Self { origin: headers.get(header::ORIGIN).cloned(), is_preflight }
    }
}

/// Puts them on an answer.
pub(super) fn add(config: &RestConfig, asked: Asked, response: &mut Response) {
    let headers = response.headers_mut();
    if !config.origins.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        let allowed = asked.origin.filter(|origin| origin.to_str().is_ok_and(|origin| config.allows(origin)));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if asked.is_preflight {
                preflight(config, headers);
            }
        }
    }
    for rule in &config.headers {
        let value = match &rule.value {
            HeaderText::Text(text) => text.clone(),
            HeaderText::Date(millis) => http_date(*millis),
        };
        let (Ok(name), Ok(value)) = (HeaderName::try_from(&rule.name), HeaderValue::try_from(value)) else {
            continue;
        };
        if rule.replaces {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
}

fn preflight(config: &RestConfig, headers: &mut HeaderMap) {
    let methods = if config.methods.is_empty() { "GET,HEAD,POST" } else { &config.methods };
    if let Ok(methods) = HeaderValue::from_str(&methods.replace(char::is_whitespace, "")) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("60"));
}

/// The time so many milliseconds from now: `Thu, 26 Nov 2026 02:00:00 GMT`.
fn http_date(millis: i64) -> String {
    let distance = Duration::from_millis(millis.unsigned_abs());
    let now = SystemTime::now();
    let time = if millis < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
    date_text(time.unwrap_or(now))
}

fn date_text(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    // 2026-11-26T02:00:00…
    let text = utc(time);
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"Jan");
    let day = usize::try_from(days % 7).map_or("Thu", |day| DAYS[day]);
    format!("{day}, {} {month} {} {} GMT", part(8, 10), part(0, 4), part(11, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let at = |seconds| date_text(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
