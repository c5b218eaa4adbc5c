//! Many files, links, folders that come and go: nothing grows with them and nothing is lost. And the configuration.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use crate::harness::{Lab, header, records, show, until, until_error};
use connector_lab_files::SOURCE;
use pipette_api::ErrorKind;

#[test]
fn thousands_of_files_pass_through_a_small_window_in_order() {
    let lab = Lab::new(&[
        ("order.window", "200"),
        ("input.path.walk.recursively", "true"),
        ("headers.include", "file.relative.path"),
    ]);
    let mut expected = Vec::new();
    for folder in 0..10 {
        fs::create_dir(lab.path("in").join(format!("d{folder}"))).unwrap();
        for file in 0..300 {
            let name = format!("d{folder}/f{file:03}.csv");
            lab.put(&name, format!("id\n{file}\n"));
            expected.push(name);
        }
    }
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    let mut paths: Vec<String> = records(&said).iter().map(|record| header(record, "file.relative.path")).collect();
    assert_eq!(paths[..200], expected[..200], "in order within the window");
    paths.sort();
    assert_eq!(paths, expected, "each file once");
    assert_eq!(lab.list("done"), expected, "folders are kept");
}

#[test]
fn links_are_left_alone_and_the_archive_inside_the_folder_is_not_read() {
    let lab = Lab::new(&[("input.path.walk.recursively", "true"), ("format", "lines")]);
    let (inner, outside) = (lab.path("in").join("archive"), lab.path("outside"));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(&outside).unwrap();
    let mut lab = lab;
    lab.config.insert("finished.path".into(), inner.display().to_string());
    fs::write(outside.join("secret.txt"), "secret\n").unwrap();
    fs::write(inner.join("old.txt"), "old\n").unwrap();
    symlink(outside.join("secret.txt"), lab.path("in").join("link.txt")).unwrap();
    symlink(&outside, lab.path("in").join("linked")).unwrap();
    symlink(lab.path("in"), lab.path("in").join("loop")).unwrap();
    lab.put("new.txt", "new\n");
    for follow in ["false", "true"] {
        lab.config.insert("input.path.follow.symlinks".into(), follow.into());
        let mut task = lab.start().unwrap();
        lab.put("new.txt", format!("new {follow}\n"));
        let said = until(&mut task, |_| !lab.path("in").join("new.txt").exists());
        assert_eq!(records(&said).iter().map(|r| show(r)).collect::<Vec<_>>(), [format!("new {follow}")]);
        task.stop().unwrap();
    }
}

#[test]
fn a_missing_folder_is_retried_with_a_reason_and_nothing_is_concluded_from_it() {
    let lab = Lab::new(&[]);
    fs::rename(lab.path("in"), lab.path("away")).unwrap();
    let error = lab.start().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(
        error.to_string().contains("input.path: folder") && error.to_string().contains("does not exist"),
        "{error}"
    );
    fs::rename(lab.path("away"), lab.path("in")).unwrap();
    let mut task = lab.start().unwrap();
    lab.put("a.csv", "id\n1\n");
    until(&mut task, |said| records(said).len() == 1);
    fs::rename(lab.path("in"), lab.path("away")).unwrap();
    let (_, error) = until_error(&mut task);
    assert_eq!(error.kind(), ErrorKind::Retriable);
    fs::rename(lab.path("away"), lab.path("in")).unwrap();
    lab.put("b.csv", "id\n2\n");
    let said = until(&mut task, |_| lab.list("in").is_empty());
    assert_eq!(records(&said).iter().map(|r| show(r)).collect::<Vec<_>>(), ["id=2"]);
}

#[test]
fn an_archive_that_is_away_holds_up_the_move_and_nothing_else() {
    let lab = Lab::new(&[]);
    let mut task = lab.start().unwrap();
    fs::rename(lab.path("done"), lab.path("away")).unwrap();
    lab.put("a.csv", "id\n1\n");
    until(&mut task, |said| records(said).len() == 1);
    lab.put("b.csv", "id\n2\n");
    let said = until(&mut task, |said| records(said).len() == 1);
    assert_eq!(show(records(&said)[0]), "id=2", "a is not read again, b is read");
    until(&mut task, |_| lab.metric("lab_files_cleanup_pending") == 2);
    fs::rename(lab.path("away"), lab.path("done")).unwrap();
    assert!(until(&mut task, |_| lab.list("done").len() == 2).is_empty());
}

#[test]
fn a_waiting_poll_answers_a_recall_and_file_events_bring_the_scan_forward() {
    let lab = Lab::new(&[("poll.interval.ms", "3600000"), ("watch.mode", "events"), ("settle.checks", "1")]);
    let mut task = lab.start().unwrap();
    let begun = Instant::now();
    assert!(task.poll().unwrap().is_empty());
    assert!(begun.elapsed() < Duration::from_secs(1));
    lab.put("a.csv", "id\n1\n");
    assert_eq!(
        until(&mut task, |said| !records(said).is_empty()).len(),
        1,
        "an hour before the next scan by the clock"
    );
}

#[test]
fn a_configuration_is_checked_key_by_key_and_folder_by_folder() {
    let lab = Lab::new(&[]);
    let errors = |changes: &[(&str, &str)]| -> Vec<(String, String)> {
        let mut config = lab.config.clone();
        for (key, value) in changes {
            config.insert((*key).into(), (*value).into());
            config.retain(|_, value| value != "-");
        }
        let checked = SOURCE.info.config.check(&config);
        checked.into_iter().flat_map(|key| key.errors.into_iter().map(move |e| (key.row.name.clone(), e))).collect()
    };
    assert_eq!(errors(&[]), []);
    for (key, value, reason) in [
        ("input.path", "-", "Missing required"),
        ("cleanup.policy", "-", "Missing required"),
        ("cleanup.policy", "move", "must be one of: NONE, MOVE, DELETE"),
        ("topic", "a b", "must be a topic name"),
        ("finished.path", "-", "cleanup.policy=MOVE needs"),
        ("input.file.pattern", "(", "unclosed group"),
        ("input.path.exclude", "a[", "unclosed character class"),
        ("csv.separator.char", "ab", "must be one ASCII character"),
        ("csv.quote.char", "10", "a line end cannot"),
        ("file.charset", "shift_jis", "not supported yet"),
        ("settle.interval.ms", "soon", "must be `auto` or milliseconds"),
        ("headers.include", "file.nope", "must be one of"),
        ("key", "field:", "must be none, path, name or field:NAME"),
        ("input.id", "a/b", "letters, digits"),
    ] {
        let found = errors(&[(key, value)]);
        assert_eq!(found.len(), 1, "{key}={value}: {found:?}");
        assert!(found[0].0 == key && found[0].1.contains(reason), "{found:?}");
    }
    assert_eq!(errors(&[("error.path", "-"), ("file.error.action", "quarantine")])[0].0, "error.path");
    assert_eq!(errors(&[("format", "lines"), ("key", "field:x")])[0].0, "key");
}
