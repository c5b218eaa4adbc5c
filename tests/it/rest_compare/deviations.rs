//! The differences that are meant: each is a row of `docs/deviations.md`, below "REST".

use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value as Json;

use super::contender::LINES;
use super::table::Step;

/// A difference that is meant.
pub(crate) struct Deviation {
    /// The `what` of its row.
    pub(crate) row: &'static str,
    pub(crate) kind: Kind,
}

pub(crate) enum Kind {
    /// Whether it explains why a step has this answer of Java's (second) and that of ours.
    Whole(fn(&Step, &Json, &Json) -> bool),
    /// What may stand in texts of either answer and count for nothing, and what stands for it.
    Text(&'static str, &'static str),
}

use Kind::{Text, Whole};

pub(crate) const DEVIATIONS: &[Deviation] = &[
    Deviation {
        row: "errors before a resource is found (404, 405, 406, 415)",
        kind: Whole(|_, java, ours| {
            java["headers"].get("content-type").is_none()
                && [404, 405, 406, 415].contains(&status(java))
                && without(java, &["/headers/content-type"]) == without(ours, &["/headers/content-type"])
        }),
    },
    Deviation {
        row: "`GET /`",
        kind: Whole(|step, java, ours| {
            let mine = without(ours, &["/body/commit"]);
            ["/", "info"].contains(&step.path.split('?').next().unwrap_or_default())
                && without(java, &["/body/commit"]) == mine
        }),
    },
    Deviation {
        row: "bodies that are no JSON or of another shape, values that do not parse, failures inside of validation",
        kind: Whole(|step, java, ours| {
            // As a client says it.
            if ours["body"].as_str().is_some_and(|text| text.starts_with("400 Client Error: Bad Request")) {
                return java["body"].as_str().is_some_and(|text| text.starts_with("500 Server Error"));
            }
            let better = match status(ours) {
                400 => is_error(ours),
                200 => step.path.trim_end_matches('/').ends_with("/validate"),
                _ => false,
            };
            !step.is_read() && status(java) == 500 && is_error(java) && better
        }),
    },
    Deviation {
        row: "names with `/`, `%`, `;`, `{` or a backslash",
        kind: Whole(|step, java, ours| {
            let refused = status(java) == 400 && (java["body"] == "HTML" || java["body"] == "");
            let no_template = java["body"]["message"].as_str().is_some_and(|text| text.contains("template variable"));
            let place = ["/headers/location"];
            let created = status(java) == 201 && without(java, &place) == without(ours, &place);
            refused && ours["body"] != java["body"] || no_template && status(ours) == 201 || !step.is_read() && created
        }),
    },
    Deviation { row: "an unknown class", kind: Text(r" Did you mean [^?]*\?", "") },
    Deviation {
        row: "a configuration without `connector.class`",
        kind: Whole(|_, java, ours| {
            let text = java["body"]["message"].as_str().unwrap_or_default();
            let missing = text.starts_with("Connector config {") && text.ends_with("contains no connector type");
            (missing || text.contains("which name matches , available")) && status(java) == status(ours)
        }),
    },
    Deviation {
        row: "`GET /connector-plugins/CLASS/config` of a class that is no plugin",
        kind: Whole(|_, java, ours| {
            java["body"]["message"].as_str().is_some_and(|text| text.starts_with("Invalid plugin class"))
                && status(ours) == 404
        }),
    },
    Deviation {
        row: "available versions of a class that is two kinds of converter",
        kind: Text(r"\[4\.3\.1, 4\.3\.1\]", "[4.3.1]"),
    },
    Deviation {
        row: "keys in errors of converters, transformations and predicates",
        kind: Text(r"for configuration \S+:", "for configuration KEY:"),
    },
    Deviation { row: "where in a regular expression the error is", kind: Text(r"(?s) near index \d+\n.*?\^", "") },
    Deviation { row: "why a connector cannot deliver exactly once", kind: Text(r" Why: .*", "") },
    Deviation {
        row: "what validation finds besides: rules between keys, null for a required key",
        kind: Whole(|_, java, ours| finds_more(java, ours)),
    },
    Deviation {
        row: "another `name` in a PATCH",
        kind: Whole(|step, java, ours| {
            step.method == "PATCH" && step.body.contains("\"name\"") && (status(java), status(ours)) == (200, 400)
        }),
    },
    Deviation {
        row: "`application/x-www-form-urlencoded` without a body",
        kind: Whole(|step, java, ours| {
            let form = step.headers.iter().any(|(_, value)| value == "application/x-www-form-urlencoded");
            form && step.body.is_empty() && status(java) == 415 && (200..300).contains(&status(ours))
        }),
    },
    Deviation {
        row: "restart of a task that a stopped connector has no more",
        kind: Whole(|step, java, ours| step.path.ends_with("/restart") && (status(java), status(ours)) == (409, 404)),
    },
    Deviation {
        row: "a login that is no base64",
        kind: Whole(|step, java, ours| {
            let tried = step.headers.iter().any(|(name, _)| name == "Authorization");
            tried && (status(java), status(ours)) == (500, 401)
        }),
    },
    Deviation {
        row: "`GET /metrics`, `GET /openapi.json`, `GET /connectors/NAME/files`, `GET /connectors/NAME/sessions`, \
              `POST /transforms/preview`",
        kind: Whole(|step, _, ours| step.path == "/metrics" && status(ours) == 200),
    },
    Deviation {
        row: FILTERED,
        kind: Whole(|step, java, ours| {
            let of = |answer: &Json| answer.pointer("/body/offsets/0/offset/position").and_then(Json::as_u64);
            let there = "/body/offsets";
            step.is_read()
                && step.path.trim_end_matches('/').ends_with("/offsets")
                && without(java, &[there]) == without(ours, &[there])
                && of(java) < of(ours)
                && of(ours) == Some(LINES.len() as u64)
        }),
    },
];

/// What a filter does to a source's offset.
const FILTERED: &str = "offsets of a source whose records are filtered";

/// Rows that a record cannot be held to: before the source has read its file both answers are the same.
pub(crate) const ONLY_LIVE: &[&str] = &[FILTERED];

/// Rows on what a request cannot show, or what `compat.strict` takes away.
pub(crate) const NOT_COMPARED: &[&str] = &[
    "a key's place in its group",
    "topics of a connector",
    "bodies of more than 10 MiB",
    "a request line with headers of more than 8 KiB",
    "JSON nested deeper than 127 levels",
    "more than 5,000 transformations or predicates of a connector",
    "methods that are possible, in a 405",
    "logins on `admin.listeners`",
    "names of loggers",
    "`/connectors/NAME/dlq/replay`",
    "validation while a plugin hangs",
    "a task that failed, a connector that could not start",
    "statuses",
    "first line of a `trace`",
];

/// The rows that together explain the difference; `None` when they do not.
pub(crate) fn explain(step: &Step, java: &Json, ours: &Json) -> Option<Vec<&'static str>> {
    let (mut java, mut ours, mut rows) = (java.clone(), ours.clone(), Vec::new());
    for (row, pattern, instead) in texts() {
        let before = (java.clone(), ours.clone());
        smooth(&mut java, pattern, instead);
        smooth(&mut ours, pattern, instead);
        if before != (java.clone(), ours.clone()) {
            rows.push(*row);
        }
    }
    if java == ours {
        return Some(rows);
    }
    let whole = DEVIATIONS.iter().find(|known| match known.kind {
        Whole(applies) => applies(step, &java, &ours),
        Text(..) => false,
    });
    whole.map(|known| vec![known.row])
}

fn texts() -> &'static [(&'static str, Regex, &'static str)] {
    static TEXTS: OnceLock<Vec<(&str, Regex, &str)>> = OnceLock::new();
    TEXTS.get_or_init(|| {
        let text = |known: &Deviation| match known.kind {
            Text(pattern, instead) => Some((known.row, Regex::new(pattern).expect("a pattern"), instead)),
            Whole(_) => None,
        };
        DEVIATIONS.iter().filter_map(text).collect()
    })
}

fn smooth(json: &mut Json, pattern: &Regex, instead: &str) {
    match json {
        Json::String(text) => *text = pattern.replace_all(text, instead).into_owned(),
        Json::Array(items) => items.iter_mut().for_each(|item| smooth(item, pattern, instead)),
        Json::Object(members) => members.values_mut().for_each(|value| smooth(value, pattern, instead)),
        _ => {}
    }
}

/// Both are validations, the same but for errors where Java has none.
fn finds_more(java: &Json, ours: &Json) -> bool {
    let (Some(of_java), Some(of_ours)) = (java["body"]["configs"].as_array(), ours["body"]["configs"].as_array())
    else {
        return false;
    };
    let mut more = 0;
    let mut mended = ours.clone();
    for (at, (java, ours)) in of_java.iter().zip(of_ours).enumerate() {
        let count = ours["value"]["errors"].as_array().map_or(0, Vec::len);
        if count > 0 && java["value"]["errors"].as_array().is_some_and(Vec::is_empty) {
            more += count as u64;
            mended["body"]["configs"][at]["value"]["errors"] = Json::Array(Vec::new());
        }
    }
    let count = ours["body"]["error_count"].as_u64().unwrap_or_default();
    mended["body"]["error_count"] = (count - more.min(count)).into();
    more > 0 && mended == *java
}

fn status(answer: &Json) -> u64 {
    answer["status"].as_u64().unwrap_or_default()
}

fn is_error(answer: &Json) -> bool {
    answer["body"]["error_code"] == answer["status"]
}

/// The answer without what stands at these places.
fn without(answer: &Json, places: &[&str]) -> Json {
    let mut answer = answer.clone();
    for place in places {
        let (parent, name) = place.rsplit_once('/').expect("a place");
        if let Some(members) = answer.pointer_mut(parent).and_then(Json::as_object_mut) {
            members.remove(name);
        }
    }
    answer
}
