//! Every resource of REST: its path, what it means, the methods it takes, what goes in and what comes out.
//!
//! `route.rs` finds a request's resource here and `openapi.rs` describes the API from it, so what is described is what is
//! served. The first row that fits a path counts. Shapes of bodies are named here and stand in `shapes.json`.

use super::route::Route;

/// What stands under a path.
pub(super) struct Resource {
    /// With places to fill in: `/connectors/{connector}/config`.
    pub(super) path: &'static str,
    /// What the path means with these values at its places.
    pub(super) route: fn(String, String) -> Option<Route>,
    pub(super) operations: &'static [Operation],
    /// Apache's worker does not have it.
    pub(super) is_addition: bool,
}

/// A method of a resource.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) about: &'static str,
    /// Name and description.
    pub(super) query: &'static [(&'static str, &'static str)],
    pub(super) body: Body,
    /// Statuses of success, and the shape of the body if there is one.
    pub(super) answers: &'static [(u16, &'static str)],
    /// Statuses of failure, besides those that every resource has.
    pub(super) refusals: &'static [u16],
}

/// What a request carries.
#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    Needed(&'static str),
    Optional(&'static str),
}

impl Resource {
    /// The methods it takes, in the order in which Java lists them.
    pub(super) fn methods(&self) -> Vec<&'static str> {
        const ORDER: [&str; 7] = ["HEAD", "DELETE", "POST", "GET", "OPTIONS", "PUT", "PATCH"];
        let has = |method: &str| self.operations.iter().any(|operation| operation.method == method);
        ORDER
            .into_iter()
            .filter(|method| *method == "OPTIONS" || has(if *method == "HEAD" { "GET" } else { method }))
            .collect()
    }
}

const fn at(
    path: &'static str,
    route: fn(String, String) -> Option<Route>,
    operations: &'static [Operation],
) -> Resource {
    Resource { path, route, operations, is_addition: false }
}

const fn added(
    path: &'static str,
    route: fn(String, String) -> Option<Route>,
    operations: &'static [Operation],
) -> Resource {
    Resource { path, route, operations, is_addition: true }
}

/// An operation that succeeds so.
const fn on(method: &'static str, about: &'static str, answers: &'static [(u16, &'static str)]) -> Operation {
    Operation { method, about, query: &[], body: Body::None, answers, refusals: &[] }
}

impl Operation {
    const fn query(self, query: &'static [(&'static str, &'static str)]) -> Self {
        Self { query, ..self }
    }

    const fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    const fn or(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

const NO_BODY: &str = "";
const UNSIGNED: &str = "One worker to another. There is one worker to a group, so it is refused.";

pub(super) static TABLE: &[Resource] = &[
    at("/", |_, _| Some(Route::Root), &[on("GET", "Versions, and the id of the Kafka cluster.", &[(200, "Root")])]),
    at(
        "/health",
        |_, _| Some(Route::Health),
        &[on("GET", "Whether the worker answers.", &[(200, "Health")]).or(&[500, 503])],
    ),
    at("/metrics", |_, _| Some(Route::Metrics), &[on("GET", "Metrics for Prometheus.", &[(200, "Metrics")])]),
    added("/openapi.json", |_, _| Some(Route::OpenApi), &[on("GET", "This description.", &[(200, "Anything")])]),
    at(
        "/connectors",
        |_, _| Some(Route::Connectors),
        &[
            on("GET", "The names of all connectors, or more of each.", &[(200, "Connectors")])
                .query(&[("expand", "`info` or `status`, and both when it is given twice.")])
                .or(&[500]),
            on("POST", "Creates a connector.", &[(201, "ConnectorInfo")])
                .body(Body::Needed("NewConnector"))
                .or(&[409, 500]),
        ],
    ),
    at(
        "/connectors/{connector}",
        |name, _| Some(Route::Connector(name)),
        &[
            on("GET", "A connector.", &[(200, "ConnectorInfo")]).or(&[404, 500]),
            on("DELETE", "Stops a connector and takes it away. Its offsets stay.", &[(204, NO_BODY)]).or(&[404, 500]),
        ],
    ),
    at(
        "/connectors/{connector}/config",
        |name, _| Some(Route::Config(name)),
        &[
            on("GET", "Its configuration as it was written.", &[(200, "Config")]).or(&[404, 500]),
            on(
                "PUT",
                "Creates it or gives it another configuration.",
                &[(200, "ConnectorInfo"), (201, "ConnectorInfo")],
            )
            .body(Body::Needed("ConfigDraft"))
            .or(&[500]),
            on("PATCH", "Changes some keys and takes away those that are null.", &[(200, "ConnectorInfo")])
                .body(Body::Needed("ConfigDraft"))
                .or(&[404, 500]),
        ],
    ),
    at(
        "/connectors/{connector}/status",
        |name, _| Some(Route::Status(name)),
        &[on("GET", "Its state and those of its tasks.", &[(200, "ConnectorStatus")]).or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/tasks",
        |name, _| Some(Route::Tasks(name)),
        &[
            on("GET", "Its tasks and their configurations.", &[(200, "Tasks")]).or(&[404, 500]),
            on("POST", UNSIGNED, &[]).body(Body::Optional("Anything")),
        ],
    ),
    at(
        "/connectors/{connector}/tasks/{task}/status",
        |name, task| Some(Route::TaskStatus(name, task.parse().ok()?)),
        &[on("GET", "The state of a task.", &[(200, "TaskStatus")]).or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/tasks/{task}/restart",
        |name, task| Some(Route::TaskRestart(name, task.parse().ok()?)),
        &[on("POST", "Restarts a task.", &[(204, NO_BODY)]).body(Body::Optional("Anything")).or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/restart",
        |name, _| Some(Route::Restart(name)),
        &[on(
            "POST",
            "Restarts it, its tasks, or what of both has failed.",
            &[(202, "ConnectorStatus"), (204, NO_BODY)],
        )
        .query(&[
            ("includeTasks", "`true` restarts the tasks as well. Anything else is no."),
            ("onlyFailed", "`true` restarts only what has failed. Anything else is no."),
        ])
        .body(Body::Optional("Anything"))
        .or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/pause",
        |name, _| Some(Route::Pause(name)),
        &[on("PUT", "Lets its tasks wait.", &[(202, NO_BODY)]).body(Body::Optional("Anything")).or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/resume",
        |name, _| Some(Route::Resume(name)),
        &[on("PUT", "Lets it go on.", &[(202, NO_BODY)]).body(Body::Optional("Anything")).or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/stop",
        |name, _| Some(Route::Stop(name)),
        &[on("PUT", "Stops it; only then its offsets can be changed.", &[(204, NO_BODY)])
            .body(Body::Optional("Anything"))
            .or(&[404, 500])],
    ),
    at(
        "/connectors/{connector}/topics",
        |name, _| Some(Route::Topics(name)),
        &[on("GET", "The topics it has used.", &[(200, "Topics")]).or(&[403])],
    ),
    at(
        "/connectors/{connector}/topics/reset",
        |name, _| Some(Route::TopicsReset(name)),
        &[on("PUT", "Forgets the topics it has used.", &[(202, NO_BODY)]).body(Body::Optional("Anything")).or(&[403])],
    ),
    at(
        "/connectors/{connector}/offsets",
        |name, _| Some(Route::Offsets(name)),
        &[
            on("GET", "Where it stands.", &[(200, "Offsets")]).or(&[404, 500]),
            on("PATCH", "Changes where a stopped connector stands.", &[(200, "Message")])
                .body(Body::Needed("OffsetsDraft"))
                .or(&[404, 500]),
            on("DELETE", "Lets a stopped connector begin anew.", &[(200, "Message")]).or(&[404, 500]),
        ],
    ),
    at("/connectors/{connector}/fence", |name, _| Some(Route::Fence(name)), &[on("PUT", UNSIGNED, &[])]),
    added(
        "/connectors/{connector}/dlq/replay",
        |name, _| Some(Route::Replay(name)),
        &[
            on("GET", "How the last replay of its dead letters goes.", &[(200, "Replay")]).or(&[404, 500]),
            on("POST", "Puts its dead letters back.", &[(202, "Replay")])
                .body(Body::Optional("NewReplay"))
                .or(&[404, 409, 500]),
            on("DELETE", "Ends the replay.", &[(204, NO_BODY)]).or(&[404, 500]),
        ],
    ),
    added(
        "/connectors/{connector}/{*question}",
        |name, question| Some(Route::Question(name, question)),
        &[on("GET", "", &[(200, "Anything")]).or(&[404, 500])],
    ),
    at(
        "/connector-plugins",
        |_, _| Some(Route::Plugins),
        &[on("GET", "The plugins.", &[(200, "Plugins")])
            .query(&[("connectorsOnly", "`true`, or left out: sources and sinks. Anything else: every plugin.")])],
    ),
    at(
        "/connector-plugins/{plugin}/config",
        |plugin, _| Some(Route::PluginConfig(plugin)),
        &[on("GET", "The keys of a plugin.", &[(200, "Definitions")])
            .query(&[("version", "The plugin's version, or a range of versions.")])
            .or(&[404])],
    ),
    at(
        "/connector-plugins/{plugin}/config/validate",
        |plugin, _| Some(Route::Validate(plugin)),
        &[on("PUT", "Checks a configuration, key by key.", &[(200, "Validation")])
            .body(Body::Needed("ConfigDraft"))
            .or(&[500])],
    ),
    added(
        "/transforms/preview",
        |_, _| Some(Route::Preview),
        &[on("POST", "What a configuration makes of records, step by step.", &[(200, "Preview")])
            .body(Body::Needed("NewPreview"))
            .or(&[500])],
    ),
    at(
        "/admin/loggers",
        |_, _| Some(Route::Loggers),
        &[on("GET", "The levels of the log.", &[(200, "Loggers")]).or(&[404])],
    ),
    at(
        "/admin/loggers/{logger}",
        |logger, _| Some(Route::Logger(logger)),
        &[
            on("GET", "The level of a part of the log.", &[(200, "Logger")]).or(&[404]),
            on("PUT", "Changes it.", &[(200, "LoggerNames"), (204, NO_BODY)])
                .query(&[("scope", "`cluster` answers without a body. There is one worker to change either way.")])
                .body(Body::Needed("NewLevel"))
                .or(&[404]),
        ],
    ),
];
