//! Help texts as users see them, and the exit codes of wrong command lines.

use super::*;

fn help(command: &str) -> String {
    let arguments = ["pipette", command, "--help"].into_iter().filter(|argument| !argument.is_empty());
    command_error(arguments).render().to_string()
}

fn command_error<'a>(arguments: impl IntoIterator<Item = &'a str>) -> clap::Error {
    command().term_width(100).try_get_matches_from(arguments).unwrap_err()
}

#[test]
fn help_teaches() {
    expect_test::expect_file!["snapshots/help.txt"].assert_eq(&help(""));
    expect_test::expect_file!["snapshots/run.txt"].assert_eq(&help("run"));
    expect_test::expect_file!["snapshots/quickstart.txt"].assert_eq(&help("quickstart"));
    expect_test::expect_file!["snapshots/broker.txt"].assert_eq(&help("broker"));
    expect_test::expect_file!["snapshots/plugins.txt"].assert_eq(&help("plugins"));
    expect_test::expect_file!["snapshots/validate.txt"].assert_eq(&help("validate"));
    expect_test::expect_file!["snapshots/preview.txt"].assert_eq(&help("preview"));
    expect_test::expect_file!["snapshots/health.txt"].assert_eq(&help("health"));
    for command in ["lifecycle", "gc"] {
        let help = command_error(["pipette", "claimcheck", command, "--help"]).render().to_string();
        let page = format!("{}/src/cli/snapshots/claimcheck-{command}.txt", env!("CARGO_MANIFEST_DIR"));
        expect_test::expect_file![page].assert_eq(&help);
    }
    let replay = command_error(["pipette", "dlq", "replay", "--help"]).render().to_string();
    expect_test::expect_file!["snapshots/dlq-replay.txt"].assert_eq(&replay);
}

#[test]
fn javas_command_lines_are_taken() {
    for name in ["run", "standalone", "distributed"] {
        let matches = command().try_get_matches_from(["pipette", name, "w.properties", "a.json", "b.properties"]);
        let matches = matches.unwrap();
        let (found, matches) = matches.subcommand().unwrap();
        assert_eq!(found, "run");
        assert_eq!(matches.get_many::<PathBuf>("CONNECTOR").unwrap().count(), 2);
    }
}

#[test]
fn wrong_command_lines_exit_with_1_and_say_why() {
    let exit = |arguments: &[&str]| {
        let arguments = ["pipette"].iter().chain(arguments).map(OsString::from);
        format!("{:?}", main(arguments))
    };
    let code = |number: u8| format!("{:?}", ExitCode::from(number));
    for arguments in [&["run"][..], &[], &["broker"], &["nonsense"], &["plugins", "--log", "loud!", "x"]] {
        assert_eq!(exit(arguments), code(1), "{arguments:?}");
    }
    assert_eq!(exit(&["--version"]), code(0));
    assert_eq!(exit(&["run", "/no/such/worker.properties"]), code(2));
    assert_eq!(exit(&["validate", "/no/such/connector.json"]), code(1));
    assert!(command_error(["pipette", "rum", "x"]).to_string().contains("similar subcommand exists: 'run'"));
}

#[test]
fn the_broker_listens_where_a_name_says() {
    assert_eq!(address("localhost:9093"), Ok(SocketAddr::from(([127, 0, 0, 1], 9093))));
    for wrong in ["localhost", "localhost:99999", "http://localhost:9093"] {
        assert!(address(wrong).unwrap_err().contains("write HOST:PORT, such as 127.0.0.1:9092"), "{wrong}");
    }
}

#[test]
fn a_worker_file_that_cannot_work_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.properties");
    std::fs::write(&path, "bootstrap.servers=localhost:9092\n").unwrap();
    let error = worker_config(&path).unwrap_err().to_string();
    assert!(error.contains("worker.properties: Missing required configuration \"key.converter\""), "{error}");
    let converters = "key.converter=StringConverter\nvalue.converter=JsonConvertr\n";
    let state = dir.path().join("state");
    let text = format!(
        "bootstrap.servers=localhost:9092\nlisteners=http://127.0.0.1:0\n{converters}state.dir={}",
        state.display()
    );
    std::fs::write(&path, text).unwrap();
    let refused = Worker::start(worker_config(&path).unwrap(), Plugins::built_in()).err().expect("no such converter");
    assert_eq!(refused.code, 2);
    assert!(refused.error.to_string().contains("for configuration value.converter"), "{}", refused.error);
    assert!(refused.error.to_string().contains("Did you mean JsonConverter?"), "{}", refused.error);
    assert!(!state.exists(), "nothing is made for a worker that does not start");
}

#[test]
fn a_bad_value_of_the_workers_converters_is_told_of_the_worker_file_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker.properties");
    let (state, json) = (dir.path().join("state"), "JsonConverter");
    for side in ["key", "value", "header"] {
        let text = format!(
            "bootstrap.servers=localhost:9092\nlisteners=http://127.0.0.1:0\nstate.dir={}\nkey.converter={json}\n\
             value.converter={json}\nheader.converter={json}\n{side}.converter.schemas.enable=maybe\n",
            state.display()
        );
        std::fs::write(&path, text).unwrap();
        let told = format!("Invalid value maybe for configuration {side}.converter.schemas.enable: ");
        let refused = Worker::start(worker_config(&path).unwrap(), Plugins::built_in()).err().expect("a bad value");
        assert!(refused.code == 2 && refused.error.to_string().contains(&told), "{}", refused.error);
        let looked_at = any_or(Some(&path)).unwrap_err().to_string();
        assert!(looked_at.contains(&format!("worker.properties: {told}")), "{looked_at}");
    }
    assert!(!state.exists(), "nothing is made for a worker that does not start");
}

#[test]
fn a_bad_connector_file_is_told_key_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.properties");
    std::fs::write(&path, "name=bad\nconnector.class=FileStreamSource\ntasks.max=none\n").unwrap();
    let arguments = ["pipette", "validate", path.to_str().unwrap()];
    let matches = command().try_get_matches_from(arguments).unwrap();
    let error = validate_file(matches.subcommand().unwrap().1).unwrap_err().to_string();
    assert!(error.contains("bad.properties: 3 errors\n"), "{error}");
    assert!(error.contains("tasks.max") && error.contains("\"topic\""), "{error}");
}

#[test]
fn a_file_that_a_connector_needs_is_looked_at_as_rest_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plant.properties");
    let ca = dir.path().join("ca.pem").display().to_string();
    let keys = "name=plant\nconnector.class=MqttSource\nmqtt.server.uri=mqtts://broker\nmqtt.topics=lab\n";
    std::fs::write(&path, format!("{keys}mqtt.ssl.ca.path={ca}\n")).unwrap();
    let matches = command().try_get_matches_from(["pipette", "validate", path.to_str().unwrap()]).unwrap();
    let error = validate_file(matches.subcommand().unwrap().1).unwrap_err().to_string();
    let told = format!("plant.properties: 1 error\n  mqtt.ssl.ca.path: the file {ca} cannot be read");
    assert!(error.contains(&told), "{error}");
}
