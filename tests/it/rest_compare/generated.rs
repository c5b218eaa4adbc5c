//! Stories by chance: two connectors that are made, changed, paused, stopped, restarted and deleted, and bad requests.

use pipette_kit::Dice;

use super::table::{Stage, Step, Story};

/// The n-th story, always the same.
pub(crate) fn story(number: u64) -> Story {
    let mut dice = Dice(number.wrapping_mul(0xD134_2543_DE82_EF95));
    let mut lines = Vec::new();
    for _ in 0..6 + dice.below(8) {
        let name = pick(&mut dice, &["a§", "b§"]);
        lines.push(change(&mut dice, name));
        // What has changed shows before the next change: Apache's worker takes a while.
        lines.push(format!("GET /connectors/{name}/status"));
        if dice.percent(60) {
            lines.push(look(&mut dice, name));
        }
    }
    lines.push("GET /connectors?expand=info&expand=status".into());
    Story {
        stage: Stage::Plain,
        title: format!("story {number}"),
        steps: lines.iter().map(|line| Step::parse(line)).collect(),
    }
}

fn pick<'a>(dice: &mut Dice, from: &[&'a str]) -> &'a str {
    from[dice.index(from.len())]
}

/// A configuration without its braces, now and then a wrong one.
fn config(dice: &mut Dice) -> String {
    let kind = pick(dice, &["$SOURCE", "$IDLE", "$IDLE", "$SINK", "$SINK"]);
    let more = match dice.below(12) {
        0 => r#","tasks.max":"0""#,
        1 => r#","tasks.max":2"#,
        2 => r#","errors.tolerance":"all""#,
        3 => r#","transforms":"x","transforms.x.type":"Filter""#,
        4 => r#","transforms":"x","transforms.x.type":"Nothing""#,
        5 => {
            r#","value.converter":"org.apache.kafka.connect.json.JsonConverter","value.converter.schemas.enable":"false""#
        }
        6 => r#","errors.retry.timeout":"soon""#,
        7 => r#","tasks.max":null"#,
        8 => r#","key.converter":"Nothing""#,
        _ => "",
    };
    format!("{kind}{more}")
}

fn change(dice: &mut Dice, name: &str) -> String {
    match dice.below(20) {
        0..=2 => {
            let state = pick(dice, &["", "", r#","initial_state":"STOPPED""#, r#","initial_state":"paused""#]);
            format!(r#"POST /connectors {{"name":"{name}","config":{{{}}}{state}}}"#, config(dice))
        }
        3..=6 => format!("PUT /connectors/{name}/config {{{}}}", config(dice)),
        7 | 8 => {
            let patch = pick(
                dice,
                &[
                    "{}",
                    r#"{"tasks.max":"2"}"#,
                    r#"{"errors.tolerance":"all","x":1}"#,
                    r#"{"x":null}"#,
                    r#"{"tasks.max":"x"}"#,
                ],
            );
            format!("PATCH /connectors/{name}/config {patch}")
        }
        9 => format!("PUT /connectors/{name}/pause"),
        10 | 11 => format!("PUT /connectors/{name}/resume"),
        12 | 13 => format!("PUT /connectors/{name}/stop"),
        14 => {
            let flags =
                pick(dice, &["", "?includeTasks=true", "?onlyFailed=true", "?includeTasks=true&onlyFailed=true"]);
            format!("POST /connectors/{name}/restart{flags}")
        }
        15 => format!("POST /connectors/{name}/tasks/{}/restart", pick(dice, &["0", "0", "1", "7", "x"])),
        16 => format!("DELETE /connectors/{name}"),
        17 => format!("DELETE /connectors/{name}/offsets"),
        18 => format!("PATCH /connectors/{name}/offsets {}", offsets(dice)),
        _ => {
            let body =
                pick(dice, &["[]", "{", "\"x\"", "1", r#"{"name":"a§"}"#, r#"{"x":{"y":1}}"#, r#"{"name":["a§"]}"#]);
            match dice.below(3) {
                0 => format!("POST /connectors {body}"),
                1 => format!("PUT /connectors/{name}/config {body}"),
                _ => format!("PATCH /connectors/{name}/offsets {body}"),
            }
        }
    }
}

fn offsets(dice: &mut Dice) -> &'static str {
    pick(
        dice,
        &[
            "{}",
            r#"{"offsets":[]}"#,
            r#"{"offsets":[{"partition":{"filename":"%DIR%/none.txt"},"offset":{"position":3}}]}"#,
            r#"{"offsets":[{"partition":{"filename":"%DIR%/in.txt"},"offset":{"position":4}}]}"#,
            r#"{"offsets":[{"partition":{"filename":"%DIR%/in.txt"},"offset":null}]}"#,
            r#"{"offsets":[{"partition":{"filename":"x"},"offset":{"position":-1}}]}"#,
            r#"{"offsets":[{"partition":{"kafka_topic":"t§","kafka_partition":0},"offset":{"kafka_offset":1}}]}"#,
            r#"{"offsets":[{"partition":{"kafka_topic":"t§","kafka_partition":"x"},"offset":{"kafka_offset":1}}]}"#,
        ],
    )
}

fn look(dice: &mut Dice, name: &str) -> String {
    let what = pick(dice, &["", "/config", "/tasks", "/topics", "/offsets", "/tasks/0/status", "/tasks/1/status"]);
    format!("GET /connectors/{name}{what}")
}
