//! The hand-chosen requests, `tests/java/rest/requests.txt`: stories of steps, on a stage each.
//!
//! The file explains its own form; `generated.rs` writes stories in the same form.

use super::clients;

/// What of the workers' settings a story needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Distributed, with nothing special.
    Plain,
    /// With CORS and headers of its own.
    Cors,
    /// With what can be switched off switched off.
    Quiet,
    /// With log-ins: `ann` and `s3cret`.
    Locked,
}

/// Requests in order, after which all connectors are deleted.
#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) stage: Stage,
    pub(crate) title: String,
    pub(crate) steps: Vec<Step>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// As it stands in the table.
    pub(crate) line: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// What the answer is to contain before it counts.
    pub(crate) until: Option<String>,
}

const TABLE: &str = include_str!("../../java/rest/requests.txt");

/// Shorthand for configurations.
const MACROS: [(&str, &str); 3] = [
    ("$SOURCE", r#""connector.class":"FileStreamSource","file":"%DIR%/in.txt","topic":"t§""#),
    ("$IDLE", r#""connector.class":"FileStreamSource","file":"%DIR%/none.txt","topic":"t§""#),
    ("$SINK", r#""connector.class":"FileStreamSink","file":"%DIR%/out§.txt","topics":"t§""#),
];

/// The stories of the table.
pub(crate) fn stories() -> Vec<Story> {
    Story::all(TABLE, Stage::Plain, Step::parse)
}

/// A body with the shorthand written out.
pub(crate) fn filled_in(body: &str) -> String {
    MACROS.iter().fold(body.to_owned(), |body, (name, text)| body.replace(name, text))
}

impl Story {
    /// The stories of a table whose steps are read so; they begin on that stage.
    pub(crate) fn all(table: &str, mut stage: Stage, parse: impl Fn(&str) -> Step) -> Vec<Self> {
        let mut stories = Vec::<Self>::new();
        for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match (line.strip_prefix("[stage "), line.strip_prefix("= ")) {
                (Some(name), _) => stage = Stage::named(name.trim_end_matches(']')),
                (_, Some(title)) => stories.push(Self { stage, title: title.to_owned(), steps: Vec::new() }),
                _ => stories.last_mut().expect("a title comes first").steps.push(parse(line)),
            }
        }
        stories
    }
}

impl Stage {
    pub(crate) fn named(name: &str) -> Self {
        match name {
            "plain" => Self::Plain,
            "cors" => Self::Cors,
            "quiet" => Self::Quiet,
            "locked" => Self::Locked,
            _ => panic!("no stage {name}"),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Cors => "cors",
            Self::Quiet => "quiet",
            Self::Locked => "locked",
        }
    }

    /// The keys of both workers.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain => &[],
            Self::Cors => &[
                ("access.control.allow.origin", "http://good.example,http://.*\\\\.fine\\\\.example"),
                ("access.control.allow.methods", "GET,PUT"),
                ("response.http.headers.config", "set X-One: a b, add X-Two:two, \"add X-Two:three, four\""),
            ],
            Self::Quiet => &[("topic.tracking.enable", "false"), ("admin.listeners", "")],
            Self::Locked => &[
                (
                    "rest.extension.classes",
                    "org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension",
                ),
                ("access.control.allow.origin", "http://good.example"),
            ],
        }
    }
}

impl Step {
    /// `METHOD PATH «Header: value» body`.
    pub(crate) fn parse(line: &str) -> Self {
        let (method, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no path: {line}"));
        let (path, mut rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (mut headers, mut until) = (Vec::new(), None);
        while let Some((header, more)) = rest.strip_prefix('«').and_then(|rest| rest.split_once('»')) {
            rest = more.trim_start();
            let (name, value) = header.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
            match name {
                "until" => until = Some(value.trim().to_owned()),
                _ => headers.push((name.to_owned(), value.trim().to_owned())),
            }
        }
        let body = filled_in(rest);
        Self { line: line.to_owned(), method: method.to_owned(), path: path.to_owned(), headers, body, until }
    }

    /// Changes nothing, so it can be asked again.
    pub(crate) fn is_read(&self) -> bool {
        if clients::is_command(self) {
            return clients::is_read(self);
        }
        ["GET", "HEAD", "OPTIONS"].contains(&self.method.as_str())
    }

    pub(crate) fn with(&self, fill: impl Fn(&str) -> String) -> Self {
        Self {
            path: fill(&self.path),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect(),
            body: fill(&self.body),
            ..self.clone()
        }
    }
}

#[test]
fn a_line_is_a_request() {
    let step = Step::parse(r#"PUT /connectors/a§/config «Accept: */*» «until: RUNNING» {$IDLE,"x":"y z"}"#);
    assert_eq!((step.method.as_str(), step.path.as_str()), ("PUT", "/connectors/a§/config"));
    assert_eq!((step.headers.len(), step.until.as_deref()), (1, Some("RUNNING")));
    assert!(step.body.starts_with(r#"{"connector.class":"FileStreamSource""#) && step.body.ends_with(r#""x":"y z"}"#));
    assert_eq!(Step::parse("GET /").path, "/");
}
