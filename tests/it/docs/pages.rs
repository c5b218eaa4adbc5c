//! The generated pages, path by path. Everything in them comes from the values the program runs with: definitions of
//! keys, descriptors of plugins, the table of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use pipette::metrics::derived::{DERIVED, Derived, MISSING};
use pipette::metrics::table::TABLE;
use pipette::plugins::{Family, Plugins};
use pipette::rest::openapi;
use pipette::settings::{clients, connector, dead_letters, file, java_keys, protection, restarts, worker};
use pipette_api::config::page::{table, table_of};
use pipette_api::{Info, MetricInfo, MetricKind, Plugin};
use serde_json::Value as Json;

/// Every generated page: its path relative to the root, its text.
pub(crate) fn all() -> BTreeMap<String, String> {
    let plugins = Plugins::built_in();
    let mut pages = BTreeMap::from([
        ("docs/connectors/README.md".to_owned(), common_keys(&plugins)),
        ("docs/transforms/README.md".to_owned(), list_of_transforms(&plugins)),
        ("docs/converters.md".to_owned(), converters(&plugins)),
        ("docs/worker.md".to_owned(), worker_keys()),
        ("docs/metrics.md".to_owned(), metrics(&plugins)),
        ("docs/openapi.json".to_owned(), format!("{:#}\n", openapi::document(plugins.all()))),
    ]);
    for (name, readme) in readmes() {
        let of_page: Vec<_> = connectors(&plugins).filter(|plugin| plugin.info().readme == readme).collect();
        assert!(!of_page.is_empty(), "connectors/{name}/README.md belongs to no plugin of this binary");
        pages.insert(format!("docs/connectors/{name}.md"), connector_page(&plugins, &readme, &of_page));
    }
    for (name, of_page) in transforms(&plugins) {
        pages.insert(format!("docs/transforms/{name}.md"), transform_page(&name, &of_page));
    }
    pages
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn note(source: &str) -> String {
    format!("<!-- Generated from {source} by tests/it/docs.rs; a change here is overwritten. -->\n\n")
}

fn connectors(plugins: &Plugins) -> impl Iterator<Item = &'static Plugin> {
    plugins.family(Family::Connector)
}

/// The README of each connector crate, by the crate's folder.
fn readmes() -> BTreeMap<String, String> {
    let folders = fs::read_dir(root().join("connectors")).expect("the connectors");
    let read = |folder: fs::DirEntry| {
        let readme = fs::read_to_string(folder.path().join("README.md")).expect("a README per connector crate");
        (folder.file_name().to_string_lossy().into_owned(), readme)
    };
    folders.map(|folder| read(folder.expect("a connector crate"))).collect()
}

fn connector_page(plugins: &Plugins, readme: &str, of_page: &[&'static Plugin]) -> String {
    let mut page = note("the crate's README.md, its keys and config/connectors/");
    page.push_str(readme.trim_end());
    for plugin in of_page {
        let info = plugin.info();
        let _ = write!(page, "\n\n## Keys of the {}\n\n{}\n\n", plugin.kind(), plugin_line(plugin));
        page.push_str("Besides these there are [the keys every connector has](README.md).\n\n");
        page.push_str(keys_of(info).trim_end());
        let (metrics, questions) = match plugin {
            Plugin::Source(source) => (source.metrics, source.questions),
            Plugin::Sink(sink) => (sink.metrics, sink.questions),
            _ => unreachable!("connectors only"),
        };
        for question in questions {
            let _ = write!(page, "\n\n`GET /connectors/NAME/{}`: {}", question.path, question.about);
        }
        if !metrics.is_empty() {
            page.push_str("\n\nIt counts for itself: see [metrics](../metrics.md).");
        }
        for (path, text) in examples(plugins, plugin) {
            let _ = write!(page, "\n\n`{path}`:\n\n```json\n{}\n```", text.trim_end());
        }
    }
    page.push('\n');
    page
}

/// The examples of a plugin: path relative to the root, text.
fn examples(plugins: &Plugins, plugin: &'static Plugin) -> Vec<(String, String)> {
    let folder = fs::read_dir(root().join("config/connectors")).expect("examples");
    let mut files: Vec<PathBuf> = folder.map(|file| file.expect("an example").path()).collect();
    files.sort();
    let is_of = |path: &PathBuf| {
        let config = file::connector(path).expect("a connector file").config;
        let found = plugins.find(Family::Connector, config["connector.class"].trim()).expect("a known class");
        found.info().class == plugin.info().class
    };
    let named = |path: &PathBuf| {
        let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("an example"))
    };
    files.iter().filter(|path| is_of(path)).map(named).collect()
}

/// The keys of a plugin, with what its store takes beside them.
fn keys_of(info: &Info) -> String {
    let keys = table(info.config);
    let has_store = info.config.key(pipette_store::URI.info.name).is_some();
    if has_store { format!("{keys}\n{}", pipette_store::OPTIONS_DOC) } else { keys }
}

fn plugin_line(plugin: &Plugin) -> String {
    let info = plugin.info();
    let also: Vec<String> = info.aliases.iter().map(|alias| format!("`{alias}`")).collect();
    let also = if also.is_empty() { String::new() } else { format!(", also {}", also.join(", ")) };
    format!("`{}`{also}. {}", info.class, info.about)
}

fn common_keys(plugins: &Plugins) -> String {
    let mut page = note("the plugins of the binary and src/settings/connector.rs");
    page.push_str("# Connectors\n\n");
    for (name, readme) in readmes() {
        for plugin in connectors(plugins).filter(|plugin| plugin.info().readme == readme) {
            let info = plugin.info();
            let _ = writeln!(page, "* [{} {}]({name}.md): {}", simple_name(info.class), plugin.kind(), info.about);
        }
    }
    page.push_str("\n# Keys every connector has\n\n");
    page.push_str(&table(&connector::COMMON));
    page.push_str("\nApache's worker ignores these, and so does this one with `compat.strict`:\n\n");
    page.push_str(&table(&restarts::KEYS));
    let _ = write!(page, "\nOf this worker alone:\n\n{}", table(&connector::ADDED));
    let _ = write!(page, "\n# Further keys of sources\n\n{}", table(&connector::SOURCE));
    let _ = write!(page, "\n# Further keys of sinks\n\n{}", table(&connector::SINK));
    let _ = write!(
        page,
        "\nOf this worker alone, and ignored with `compat.strict`:\n\n{}",
        table(&dead_letters::SINK_ADDED)
    );
    page.push_str(
        "\nSources take the `errors.deadletterqueue.` keys as well; Apache's worker ignores them there, as does this \
         one with `compat.strict`.\n",
    );
    page.push_str(
        "\nWhat of these has no effect yet is said in the [compatibility table](../../README.md#compatibility).\n",
    );
    page
}

fn simple_name(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

/// Transformations and predicates by the name of their page: `$Key` and `$Value` share one.
fn transforms(plugins: &Plugins) -> BTreeMap<String, Vec<&'static Plugin>> {
    let mut pages: BTreeMap<String, Vec<&'static Plugin>> = BTreeMap::new();
    for plugin in plugins.family(Family::Transform).chain(plugins.family(Family::Predicate)) {
        let class = plugin.info().class;
        let name = simple_name(class).split('$').next().unwrap_or_default();
        // There are two of the name.
        let whose = if class.starts_with("io.confluent.") { "Confluent" } else { "" };
        pages.entry(format!("{whose}{name}")).or_default().push(plugin);
    }
    pages
}

fn list_of_transforms(plugins: &Plugins) -> String {
    let mut page = note("the plugins of the binary");
    page.push_str("# Transformations and predicates\n\n| name | kind | what it does |\n|---|---|---|\n");
    for (name, of_page) in transforms(plugins) {
        let plugin = of_page[0];
        let _ = writeln!(page, "| [{name}]({name}.md) | {} | {} |", plugin.kind(), plugin.info().about);
    }
    page.push_str(
        "\nA transformation stands in a connector's configuration under a name of your choice, a predicate decides \
         which records it sees:\n\n",
    );
    page.push_str(CHAIN);
    page
}

const CHAIN: &str = r#"```json
{
  "connector.class": "FileStreamSource",
  "file": "/var/log/app.log",
  "topic": "app-log",
  "transforms": "route",
  "transforms.route.type": "org.apache.kafka.connect.transforms.RegexRouter",
  "transforms.route.regex": "(.*)",
  "transforms.route.replacement": "lab.$1",
  "transforms.route.predicate": "empty",
  "transforms.route.negate": "true",
  "predicates": "empty",
  "predicates.empty.type": "org.apache.kafka.connect.transforms.predicates.RecordIsTombstone"
}
```
"#;

fn transform_page(name: &str, of_page: &[&'static Plugin]) -> String {
    let mut page = note("the plugin's descriptor, its keys and its golden cases");
    let _ = write!(page, "# {name}\n\n{}\n\n", of_page[0].info().about);
    for plugin in of_page {
        let _ = writeln!(page, "* `{}`", plugin.info().class);
    }
    page.push('\n');
    let keys = keys_of(of_page[0].info());
    page.push_str(if keys.is_empty() { "It has no keys of its own.\n" } else { &keys });
    page.push_str(&example(of_page));
    page
}

/// The first golden case of the page: its configuration, and the record before and after.
fn example(of_page: &[&'static Plugin]) -> String {
    let cases = golden_cases();
    let plugin_of =
        |case: &Json| of_page.iter().find(|plugin| plugin.info().answers_to(case["plugin"].as_str().unwrap()));
    let found = cases.iter().filter(|case| !case["output"].is_null()).find_map(|case| Some((case, plugin_of(case)?)));
    let (case, plugin) = found.expect("every plugin has a golden case");
    let predicate = matches!(of_page[0], Plugin::Predicate(_));
    let (list, alias) = if predicate { ("predicates", "mine") } else { ("transforms", "mine") };
    let mut config = serde_json::Map::new();
    config.insert(list.into(), alias.into());
    config.insert(format!("{list}.{alias}.type"), plugin.info().class.into());
    for (key, value) in case["config"].as_object().expect("a configuration") {
        config.insert(format!("{list}.{alias}.{key}"), value.clone());
    }
    let block = |json: &Json| format!("```json\n{}\n```", serde_json::to_string_pretty(json).expect("JSON"));
    let after = match &case["output"] {
        Json::String(_) => "The record is dropped.".to_owned(),
        Json::Bool(answer) => format!("The answer is {answer}."),
        output => format!("After, what is different:\n\n{}", block(output)),
    };
    format!(
        "\n## Example: {}\n\n{}\n\nBefore:\n\n{}\n\n{after}\n",
        case["name"].as_str().expect("a name"),
        block(&Json::Object(config)),
        block(&case["input"])
    )
}

fn golden_cases() -> Vec<Json> {
    let crates = fs::read_dir(root().join("transforms")).expect("the transformations");
    let crates = crates.map(|folder| folder.expect("a crate").path());
    // What makes several records of one, or one of several, has cases of another form.
    let folders = crates.flat_map(|folder| [folder.join("cases"), folder.join("pieces")]);
    let files = folders.filter(|folder| folder.exists()).flat_map(|folder| fs::read_dir(folder).expect("golden cases"));
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file of cases").path()).collect();
    files.sort();
    let read = |file: &PathBuf| -> Vec<Json> {
        serde_json::from_str(&fs::read_to_string(file).expect("cases")).expect("a list of cases")
    };
    files.iter().flat_map(read).collect()
}

fn converters(plugins: &Plugins) -> String {
    let mut page = note("the plugins of the binary");
    page.push_str(
        "# Converters\n\nThe keys stand under the key that names the converter, such as \
         `value.converter.schemas.enable`.\n",
    );
    for plugin in plugins.family(Family::Converter).chain(plugins.family(Family::HeaderConverter)) {
        let info = plugin.info();
        let of_header = matches!(plugin, Plugin::HeaderConverter(_));
        if of_header && plugins.converter(info.class).is_some() {
            // The same class, described above: every converter of values also converts headers.
            continue;
        }
        let _ = write!(page, "\n## {}\n\n{}\n\n", simple_name(info.class), plugin_line(plugin));
        page.push_str(&table(info.config));
    }
    page
}

fn worker_keys() -> String {
    let mut page = note("src/settings/worker.rs, java_keys.rs and protection.rs");
    page.push_str(
        "# Keys of the worker file\n\nThe file is a Java `.properties` file, given to `pipette run`. Keys that begin \
         with `producer.`, `consumer.` or `admin.` go to the Kafka clients, those below `key.converter.`, \
         `value.converter.` and `header.converter.` to the converters. A key that is not known here, and one that \
         has no effect, is a warning in the log at start; one that protects and is not known stops the worker.\n\n",
    );
    page.push_str(&table(&worker::CONFIG));
    page.push_str(
        "\n## Keys for the worker's own Kafka clients\n\nWithout a prefix; connectors' clients have their own, behind \
         `producer.` and the like. The defaults are Java's; where nothing is written, librdkafka's are used, but for \
         `reconnect.backoff.max.ms`.\n\n",
    );
    page.push_str(&table_of(java_keys::OWN_CLIENTS.iter()));
    page.push_str(
        "\n## Keys that protect\n\nLogins and TLS of the worker's own clients, and of HTTPS for REST: \
         [security](guides/security.md).\n\n",
    );
    page.push_str(&table_of(protection::LOGIN.iter().chain(protection::TLS)));
    page.push_str(
        "\n## Keys of Apache's worker without effect here\n\nThey are accepted and checked, and the log says at start \
         why they change nothing.\n\n",
    );
    page.push_str(&table_of(java_keys::WITHOUT_EFFECT.iter()));
    page.push_str(&silent_client_keys());
    page
}

/// The settings of Kafka's clients that change nothing, by reason.
fn silent_client_keys() -> String {
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in clients::KINDS.iter().flat_map(|kind| clients::names(kind)) {
        if let Some(why) = clients::without_effect(name) {
            reasons.entry(why).or_default().insert(name);
        }
    }
    let mut page =
        "\n## Settings of Kafka's clients without effect here\n\nBehind `producer.`, `consumer.` and `admin.` in \
                    the worker file, and behind `producer.override.` and the like in a connector. All others of Java's \
                    clients are honoured.\n\n| settings | because |\n|---|---|\n"
            .to_owned();
    for (why, names) in reasons {
        let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(page, "| {} | {why} |", names.join(", "));
    }
    page
}

fn metrics(plugins: &Plugins) -> String {
    let mut page = note("src/metrics/table.rs and the plugins' descriptors");
    page.push_str(
        "# Metrics\n\n`GET /metrics` shows them in Prometheus' text format. Names that begin with `kafka_connect_` \
         are those that the usual exporter rules make of the attributes of Apache's worker. Every metric of a task \
         also has the label `connector`. A metric appears once there is something to count.\n\n## Worker, connectors \
         and tasks\n\n| metric | kind | labels | in Apache's worker | meaning |\n|---|---|---|---|---|\n",
    );
    for row in TABLE {
        let MetricInfo { name, help, labels, .. } = &row.info;
        let (prefix, java) = match row.java {
            "" => ("pipette_", "–".to_owned()),
            java => ("", format!("`{java}`")),
        };
        let (kind, labels) = (kind(&row.info), labels.join(", "));
        let _ = writeln!(page, "| `{prefix}{name}` | {kind} | {labels} | {java} | {help} |");
    }
    for Derived { info, java, .. } in DERIVED {
        let labels = info.labels.iter().filter(|label| **label != "connector").copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{}` | gauge | {labels} | `{java}` | {} |", info.name, info.help);
    }
    page.push_str(
        "\nRates, averages and maxima cover the last minute: `metrics.num.samples` times `metrics.sample.window.ms`.\n",
    );
    page.push_str(DIALECTS);
    page.push_str(
        "\n## What Apache's worker shows and this one does not\n\n| in Apache's worker | because |\n|---|---|\n",
    );
    for (java, why) in MISSING {
        let group = java.strip_suffix(":*").map(|group| format!("the others of `{group}`"));
        let _ = writeln!(page, "| {} | {why} |", group.unwrap_or_else(|| format!("`{java}`")));
    }
    page.push_str("\nThose of tasks' Kafka clients (`kafka.consumer`, `kafka.producer`) are not there either.\n");
    for (of_plugins, names) in plugins_metrics(plugins) {
        let _ = write!(page, "\n## {}\n\n| metric | kind | meaning |\n|---|---|---|\n", names.join(", "));
        for info in of_plugins {
            let _ = writeln!(page, "| `pipette_{}` | {} | {} |", info.name, kind(info), info.help);
        }
    }
    let _ = write!(page, "\n## The process\n\n| metric | kind | meaning |\n|---|---|---|\n{}", process_rows());
    page
}

/// What connectors and transformations count for themselves; one that goes by several classes counts the same.
fn plugins_metrics(plugins: &Plugins) -> Vec<(&'static [MetricInfo], Vec<&'static str>)> {
    let mut found: Vec<(&'static [MetricInfo], Vec<&'static str>)> = Vec::new();
    for plugin in connectors(plugins).chain(plugins.family(Family::Transform)) {
        let of_plugin = match plugin {
            Plugin::Source(source) => source.metrics,
            Plugin::Sink(sink) => sink.metrics,
            Plugin::AsyncTransform(transform) => transform.metrics,
            Plugin::Expand(expand) => expand.metrics,
            Plugin::Collect(collect) => collect.metrics,
            _ => &[],
        };
        let name = simple_name(plugin.info().class);
        match found.iter_mut().find(|(metrics, _)| std::ptr::eq(*metrics, of_plugin)) {
            Some((_, names)) if names.contains(&name) => {}
            Some((_, names)) => names.push(name),
            None if of_plugin.is_empty() => {}
            None => found.push((of_plugin, vec![name])),
        }
    }
    found
}

const DIALECTS: &str = "
## Other names for the same

Dashboards and alerts know the numbers of Apache's worker under the names that an exporter's rules give them. Which, says
`metrics.prometheus.dialects` in the worker file, or `?dialect=` in the request; several are separated by commas.

| dialect | whose | `connect-worker-metrics:task-count` | `connector-metrics:status` |
|---|---|---|---|
| `strimzi` (default) | Strimzi's examples for the JMX exporter, most Helm charts | `kafka_connect_worker_task_count` | `kafka_connect_connector_status{connector=\"a\",status=\"running\"}` |
| `confluent` | Confluent's jmx-monitoring-stacks | `kafka_connect_connect_worker_metrics_task_count{connector=\"aggregate\"}` | `kafka_connect_connector_metrics{connector=\"a\",status=\"running\"}` |
| `reporter` | Strimzi's Metrics Reporter | `kafka_connect_connect_worker_metrics_task_count` | `kafka_connect_connector_metrics_status_info{connector=\"a\",status=\"running\"}` |
| `jmx-exporter` | the JMX exporter's own `kafka-connect.yml` | `kafka_connect_worker_task_count` | not told: `kafka_connect_connector_status{connector=\"a\",task=\"0\",status=\"running\"}` is that of a task |

What begins with `pipette_` and `process_` has one name. `clientid` is `client_id` in `confluent` and `reporter`, and
`clientId` in `jmx-exporter`. Newer copies of that exporter's example name most numbers as Strimzi's do: for dashboards made
after them ask for `strimzi,jmx-exporter`. What several dialects call by one name is shown once, with the kind that the
first of them gives it.
";

fn kind(info: &MetricInfo) -> &'static str {
    match info.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
    }
}

/// What an empty registry shows, by its own HELP and TYPE lines.
fn process_rows() -> String {
    let shown = pipette::metrics::WorkerMetrics::new().render();
    let mut rows = String::new();
    let mut help = "";
    for line in shown.lines() {
        if let Some((_, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help = text;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let _ = writeln!(rows, "| `{name}` | {kind} | {help} |");
        }
    }
    rows
}
