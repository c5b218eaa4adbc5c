//! Paths and what they mean. `table.rs` lists them.

use axum::http::{Method, StatusCode};

use super::error::ApiError;
use super::table::{Resource, TABLE};

/// What a path means; names are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Health,
    Metrics,
    OpenApi,
    Connectors,
    Connector(String),
    Config(String),
    Status(String),
    Tasks(String),
    TaskStatus(String, i32),
    TaskRestart(String, i32),
    Restart(String),
    Pause(String),
    Resume(String),
    Stop(String),
    Topics(String),
    TopicsReset(String),
    Offsets(String),
    /// Dead letters on their way back.
    Replay(String),
    /// A question that a plugin may answer.
    Question(String, String),
    Plugins,
    PluginConfig(String),
    Validate(String),
    Preview,
    /// One worker to another, which there is none of.
    Fence(String),
    Loggers,
    Logger(String),
}

impl Route {
    /// What workers ask each other. It has signatures of its own in the place of log-ins.
    pub(super) fn is_between_workers(&self, method: &Method) -> bool {
        match self {
            Self::Tasks(_) => method == Method::POST,
            Self::Fence(_) => method == Method::PUT,
            _ => false,
        }
    }
}

/// The resource of a path as it stands in the request line, and what it means there. One trailing slash makes no difference.
pub(super) fn find(path: &str) -> Result<(&'static Resource, Route), ApiError> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    // A last segment of path parameters alone is none.
    let path = path.rsplit_once('/').filter(|(_, last)| last.starts_with(';')).map_or(path, |(path, _)| path);
    let segments: Vec<String> = path.split('/').map(decode).collect::<Result<_, _>>()?;
    let nowhere = || ApiError::plain(StatusCode::NOT_FOUND);
    let found = TABLE.iter().find_map(|resource| Some((resource, taken(resource.path, &segments)?)));
    let (resource, [first, second]) = found.ok_or_else(nowhere)?;
    Ok((resource, (resource.route)(first, second).ok_or_else(nowhere)?))
}

/// What stands at the places of a template; `None` when the path is another one. `{*…}` takes all that is left.
fn taken(template: &str, segments: &[String]) -> Option<[String; 2]> {
    let (mut places, mut next) = ([const { String::new() }; 2], 0);
    let mut rest = segments;
    for wanted in template.trim_start_matches('/').split('/') {
        let (first, tail) = rest.split_first()?;
        if !wanted.starts_with('{') {
            if wanted != first {
                return None;
            }
            rest = tail;
            continue;
        }
        let takes_all = wanted.starts_with("{*");
        let (value, left) = if takes_all { (rest.join("/"), [].as_slice()) } else { (first.clone(), tail) };
        if value.is_empty() || value.ends_with('/') && takes_all {
            return None;
        }
        places[next] = value;
        next += 1;
        rest = left;
    }
    rest.is_empty().then_some(places)
}

/// A decoded path segment, without what follows a `;` (Java's path parameters).
fn decode(segment: &str) -> Result<String, ApiError> {
    let segment = segment.split(';').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, tail),
                _ => return Err(ApiError::bad(format!("The path has a % without two hexadecimal digits: {segment}"))),
            },
            (b'%', _) => {
                return Err(ApiError::bad(format!("The path has a % without two hexadecimal digits: {segment}")));
            }
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| ApiError::bad(format!("The path is not UTF-8 when decoded: {segment}")))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// A name as a path segment that comes back to the same name.
pub(crate) fn encode(name: &str) -> String {
    name.bytes().fold(String::new(), |mut path, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
        if plain {
            path.push(char::from(byte));
        } else {
            use std::fmt::Write;
            let _ = write!(path, "%{byte:02X}");
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(path: &str) -> Result<Route, ApiError> {
        find(path).map(|(_, route)| route)
    }

    #[test]
    fn paths_are_matched_as_java_matches_them() {
        assert_eq!(of("/").unwrap(), Route::Root);
        assert_eq!(of("/connectors/").unwrap(), Route::Connectors);
        assert_eq!(of("/connectors/a%20b+c/status/").unwrap(), Route::Status("a b+c".into()));
        assert_eq!(of("/connectors/a%2Fb%25").unwrap(), Route::Connector("a/b%".into()));
        assert_eq!(of("/connectors/a;b=c").unwrap(), Route::Connector("a".into()));
        assert_eq!(of("/connectors/a/files/x").unwrap(), Route::Question("a".into(), "files/x".into()));
        for path in ["/x", "/connectors//status", "/connectors/a//", "/connectors/a/tasks/x/status", "/Connectors"] {
            assert!(of(path).is_err(), "{path}");
        }
        assert!(of("/connectors/%zz").is_err() && of("/connectors/%C3%28").is_err());
    }

    proptest! {
        #[test]
        fn every_name_is_reachable(name in ".+") {
            let path = format!("/connectors/{}", encode(&name));
            prop_assert_eq!(of(&path).unwrap(), Route::Connector(name));
        }
    }
}
