//! What is compared of an answer: the status, the headers that clients read, and the body without what differs by nature.
//!
//! By nature differ names and places that a run chooses, times, ids, texts for people (`documentation`), traces, the Java
//! class in front of a message, and plugins that only one of the two has.

use serde_json::{Map, Value as Json, json};

use super::clients;
use super::table::Step;
use super::wire::Reply;

/// Headers that clients read.
const HEADERS: [&str; 4] = ["content-type", "location", "allow", "vary"];
/// More of them, by how they begin.
const PREFIXES: [&str; 2] = ["access-control-", "x-"];
/// Their order means nothing.
const LISTS: [&str; 2] = ["allow", "access-control-allow-methods"];

/// What a run chose for a worker.
pub(crate) struct Chosen {
    /// Stands for § in names.
    pub(crate) token: String,
    /// Stands for %DIR%.
    pub(crate) folder: String,
    /// `host:port` of its REST.
    pub(crate) address: String,
}

impl Chosen {
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace('§', &self.token).replace("%DIR%", &self.folder).replace("%WORKER%", &self.address)
    }

    fn blur(&self, text: &str) -> String {
        text.replace(&self.folder, "%DIR%").replace(&self.address, "%WORKER%").replace(&self.token, "§")
    }
}

/// The answer as it is recorded and compared.
pub(crate) fn normalised(step: &Step, reply: &Reply, chosen: &Chosen) -> Json {
    let mut headers = Map::new();
    let wanted = |name: &str| HEADERS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    for (name, value) in reply.headers.iter().filter(|(name, _)| wanted(name)) {
        let mut value = chosen.blur(value);
        if LISTS.contains(&name.as_str()) {
            value = sorted_words(&value).join(",");
        }
        let before = headers.get(name).and_then(Json::as_str).map(|before| format!("{before} + "));
        headers.insert(name.clone(), json!(before.unwrap_or_default() + &value));
    }
    let body = chosen.blur(&reply.body);
    let body = match serde_json::from_str::<Json>(&body) {
        Ok(mut json) => {
            if step.path.trim_end_matches('/').split('?').next() == Some("/connectors") {
                of_this_story(&mut json);
            }
            // A client makes a list of its own.
            if let (true, Json::Array(items)) = (clients::lists_connectors(step), &mut json) {
                items.retain(|item| item.to_string().contains('§'));
            }
            tidy(&mut json, "");
            json
        }
        // The body of OPTIONS.
        Err(_) if headers.contains_key("allow") => json!(sorted_words(&body).join(", ")),
        Err(_) if body.starts_with("<html>") => json!("HTML"),
        Err(_) => json!(body),
    };
    json!({"status": reply.status, "headers": headers, "body": body})
}

/// Lists of connectors without those that other stories have left.
fn of_this_story(json: &mut Json) {
    match json {
        Json::Array(names) => names.retain(|name| name.as_str().is_some_and(|name| name.contains('§'))),
        Json::Object(members) if !members.contains_key("config") && !members.contains_key("error_code") => {
            members.retain(|name, _| name.contains('§'));
        }
        _ => {}
    }
}

fn sorted_words(list: &str) -> Vec<&str> {
    let mut words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words
}

/// `key` is the member that this is the value of.
fn tidy(json: &mut Json, key: &str) {
    match json {
        Json::Object(members) => {
            members.remove("documentation");
            for (key, value) in members.iter_mut() {
                tidy(value, key);
            }
        }
        Json::Array(items) => {
            items.retain(|item| has_both(item.get("class").unwrap_or(item)));
            for item in &mut *items {
                tidy(item, key);
            }
            match key {
                "configs" => sort_blocks(items),
                // A restart answers them in the order of a hash table.
                "tasks" => items.sort_by_key(|task| task["id"].as_u64()),
                // Converters bring theirs in the order of a hash table.
                "groups" => items.sort_by_key(|group| ["Schemas", "Serialization"].iter().position(|it| group == it)),
                "" | "topics" | "offsets" if items.iter().all(|item| item.is_string() || key == "offsets") => {
                    items.sort_by_key(ToString::to_string);
                }
                _ => {}
            }
        }
        Json::String(text) => match key {
            "trace" => "TRACE".clone_into(text),
            "kafka_cluster_id" => "CLUSTER".clone_into(text),
            "message" => *text = message(text),
            _ => {}
        },
        Json::Number(_) if key == "last_modified" => *json = json!("TIME"),
        _ => {}
    }
}

/// Whether a class is one that both have. What is no class passes.
fn has_both(name: &Json) -> bool {
    let Some(name) = name.as_str() else { return true };
    let is_class = name.matches('.').count() >= 2 && !name.contains([' ', '/', ':']);
    let of_java = name.starts_with("org.apache.kafka.") && !name.starts_with("org.apache.kafka.connect.mirror.");
    !is_class || of_java || !name.rsplit('.').next().unwrap().starts_with(char::is_uppercase)
}

/// The order inside of a block of converter or client keys is that of a hash table.
fn sort_blocks(entries: &mut [Json]) {
    let block = |entry: &Json| {
        let name = entry["value"]["name"].as_str().unwrap_or_default();
        let parts: Vec<&str> = name.splitn(3, '.').collect();
        match parts.as_slice() {
            [side, "converter", key] if !key.starts_with("plugin") => Some((*side).to_owned()),
            [client, "override", _] => Some((*client).to_owned()),
            _ => None,
        }
    };
    for run in entries.chunk_by_mut(|a, b| block(a).is_some() && block(a) == block(b)) {
        run.sort_by_key(|entry| entry["value"]["name"].to_string());
    }
}

fn message(text: &str) -> String {
    let bare = match text.split_once(": ") {
        Some((class, rest)) if is_exception(class) => rest,
        _ => text,
    };
    match bare.split_once("available connectors are: ") {
        Some((before, _)) => format!("{before}available connectors are: …"),
        None => bare.to_owned(),
    }
}

fn is_exception(class: &str) -> bool {
    class.contains('.') && !class.contains(' ') && (class.ends_with("Exception") || class.ends_with("Error"))
}
