//! What the repository shows as an example works: every file below `config/`.

use std::path::{Path, PathBuf};

use pipette::herder::validate::{Draft, validate};
use pipette::plugins::Plugins;
use pipette::settings::file;
use pipette::settings::worker::WorkerConfig;

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn worker(name: &str) -> WorkerConfig {
    WorkerConfig::read(file::worker(&config(name)).expect("a worker file")).expect("a valid worker file")
}

#[test]
fn worker_files_are_read_without_a_warning() {
    assert_eq!(worker("connect-standalone.properties").warnings, [""; 0]);
    assert_eq!(worker("docker-worker.properties").warnings, [""; 0]);
}

#[test]
fn connector_files_are_valid() {
    let worker = worker("connect-standalone.properties");
    let mut seen = 0;
    for example in std::fs::read_dir(config("connectors")).expect("examples") {
        let path = example.expect("an example").path();
        let connector = file::connector(&path).expect("a connector file");
        let draft: Draft = connector.config.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let validation = validate(&Plugins::built_in(), &worker, &draft).expect("a known class");
        assert_eq!(validation.errors().collect::<Vec<_>>(), [""; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 3, "{seen} examples");
}
