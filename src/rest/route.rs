//! Paths and the methods they take.

use axum::http::StatusCode;

use super::error::ApiError;

/// What a path means; names are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Health,
    Metrics,
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
    /// The route of a path as it stands in the request line. One trailing slash makes no difference.
    pub(super) fn of(path: &str) -> Result<Self, ApiError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        // A last segment of path parameters alone is none.
        let path = path.rsplit_once('/').filter(|(_, last)| last.starts_with(';')).map_or(path, |(path, _)| path);
        let segments: Vec<String> = path.split('/').map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let nowhere = || ApiError::plain(StatusCode::NOT_FOUND);
        let task = |number: &str| number.parse::<i32>().map_err(|_| nowhere());
        Ok(match segments.as_slice() {
            [""] => Self::Root,
            ["health"] => Self::Health,
            ["metrics"] => Self::Metrics,
            ["connectors"] => Self::Connectors,
            [.., ""] | ["connectors", "", ..] => return Err(nowhere()),
            ["connectors", name] => Self::Connector((*name).into()),
            ["connectors", name, "config"] => Self::Config((*name).into()),
            ["connectors", name, "status"] => Self::Status((*name).into()),
            ["connectors", name, "tasks"] => Self::Tasks((*name).into()),
            ["connectors", name, "tasks", number, "status"] => Self::TaskStatus((*name).into(), task(number)?),
            ["connectors", name, "tasks", number, "restart"] => Self::TaskRestart((*name).into(), task(number)?),
            ["connectors", name, "restart"] => Self::Restart((*name).into()),
            ["connectors", name, "pause"] => Self::Pause((*name).into()),
            ["connectors", name, "resume"] => Self::Resume((*name).into()),
            ["connectors", name, "stop"] => Self::Stop((*name).into()),
            ["connectors", name, "topics"] => Self::Topics((*name).into()),
            ["connectors", name, "topics", "reset"] => Self::TopicsReset((*name).into()),
            ["connectors", name, "offsets"] => Self::Offsets((*name).into()),
            ["connectors", name, "fence"] => Self::Fence((*name).into()),
            ["connectors", name, "dlq", "replay"] => Self::Replay((*name).into()),
            ["connectors", name, question @ ..] => Self::Question((*name).into(), question.join("/")),
            ["connector-plugins"] => Self::Plugins,
            ["connector-plugins", plugin, "config"] => Self::PluginConfig((*plugin).into()),
            ["connector-plugins", plugin, "config", "validate"] => Self::Validate((*plugin).into()),
            ["transforms", "preview"] => Self::Preview,
            ["admin", "loggers"] => Self::Loggers,
            ["admin", "loggers", logger] => Self::Logger((*logger).into()),
            _ => return Err(nowhere()),
        })
    }

    /// True for what Apache's worker does not have.
    pub(super) fn is_addition(&self) -> bool {
        matches!(self, Self::Replay(_) | Self::Question(..) | Self::Preview)
    }

    /// The methods it takes, as OPTIONS lists them.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Connectors | Self::Tasks(_) => &["HEAD", "POST", "GET", "OPTIONS"],
            Self::Connector(_) => &["HEAD", "DELETE", "GET", "OPTIONS"],
            Self::Config(_) => &["HEAD", "GET", "OPTIONS", "PUT", "PATCH"],
            Self::Offsets(_) => &["HEAD", "DELETE", "GET", "OPTIONS", "PATCH"],
            Self::Logger(_) => &["HEAD", "GET", "OPTIONS", "PUT"],
            Self::Restart(_) | Self::TaskRestart(..) | Self::Preview => &["POST", "OPTIONS"],
            Self::Replay(_) => &["HEAD", "DELETE", "POST", "GET", "OPTIONS"],
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Stop(_)
            | Self::TopicsReset(_)
            | Self::Validate(_)
            | Self::Fence(_) => &["OPTIONS", "PUT"],
            _ => &["HEAD", "GET", "OPTIONS"],
        }
    }
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

    #[test]
    fn paths_are_matched_as_java_matches_them() {
        assert_eq!(Route::of("/").unwrap(), Route::Root);
        assert_eq!(Route::of("/connectors/").unwrap(), Route::Connectors);
        assert_eq!(Route::of("/connectors/a%20b+c/status/").unwrap(), Route::Status("a b+c".into()));
        assert_eq!(Route::of("/connectors/a%2Fb%25").unwrap(), Route::Connector("a/b%".into()));
        assert_eq!(Route::of("/connectors/a;b=c").unwrap(), Route::Connector("a".into()));
        assert_eq!(Route::of("/connectors/a/files/x").unwrap(), Route::Question("a".into(), "files/x".into()));
        for path in ["/x", "/connectors//status", "/connectors/a//", "/connectors/a/tasks/x/status", "/Connectors"] {
            assert!(Route::of(path).is_err(), "{path}");
        }
        assert!(Route::of("/connectors/%zz").is_err() && Route::of("/connectors/%C3%28").is_err());
    }

    proptest! {
        #[test]
        fn every_name_is_reachable(name in ".+") {
            let path = format!("/connectors/{}", encode(&name));
            prop_assert_eq!(Route::of(&path).unwrap(), Route::Connector(name));
        }
    }
}
