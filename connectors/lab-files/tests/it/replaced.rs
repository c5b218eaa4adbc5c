//! A file that another one takes the place of by a rename, of the same size and time stamp: only its inode tells.

use std::fs::{self, FileTimes};

use pipette_api::{ConnectError, ErrorKind, Value};
use pipette_kit::SourceHarness;

use crate::harness::{Lab, records, show, until};

/// Puts other content of the same length in place of a file, as `rsync --times` and `mv` would.
fn replace(lab: &Lab, name: &str, content: &str) {
    let (path, new) = (lab.path("in").join(name), lab.path("new"));
    let before = fs::metadata(&path).unwrap();
    assert_eq!(before.len(), content.len() as u64);
    fs::write(&new, content).unwrap();
    let times = FileTimes::new().set_modified(before.modified().unwrap());
    fs::File::options().write(true).open(&new).unwrap().set_times(times).unwrap();
    fs::rename(new, path).unwrap();
}

fn shown(task: &mut SourceHarness, count: usize) -> Vec<String> {
    let said = until(task, |said| records(said).len() >= count);
    records(&said).into_iter().map(show).collect()
}

#[test]
fn a_whole_file_that_is_replaced_before_it_is_read_comes_as_it_is_now() {
    for cleanup in ["NONE", "MOVE"] {
        let lab = Lab::new(&[("output.mode", "whole"), ("cleanup.policy", cleanup)]);
        lab.put("a.bin", "old");
        let mut task = lab.start().unwrap();
        let whole = task.records(1).unwrap().remove(0);
        let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
        replace(&lab, "a.bin", "new");
        let opened = task.bench.run("opening", payload.open(0, None)).unwrap();
        assert_eq!(opened.map(drop).unwrap_err().kind(), ErrorKind::Data);
        assert!(task.bench.run("asking", payload.is_superseded()).unwrap(), "{cleanup}: another file is there");
        // The worker drops the record without its position.
        task.settle();
        lab.offsets.all().keys().for_each(|partition| lab.offsets.forget(partition));
        let whole = task.records(1).unwrap().remove(0);
        let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
        let read = async { payload.open(0, None).await?.next().await };
        let read: Result<_, ConnectError> = task.bench.run("reading", read).unwrap();
        assert_eq!(read.unwrap().unwrap(), "new");
    }
}

/// A payload that is gone is dropped; one whose share is away is waited for; one that comes back is read.
#[test]
fn a_whole_file_that_is_gone_before_it_is_read_holds_nobody_up_and_may_come_back() {
    for cleanup in ["NONE", "MOVE", "DELETE"] {
        let lab = Lab::new(&[("output.mode", "whole"), ("cleanup.policy", cleanup)]);
        lab.put("a.bin", "text");
        let mut task = lab.start().unwrap();
        let whole = task.records(1).unwrap().remove(0);
        let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
        let ask = || {
            let opened = task.bench.run("opening", payload.open(0, None)).unwrap();
            let superseded = task.bench.run("asking", payload.is_superseded()).unwrap();
            (opened.err().map(|error| error.kind()), superseded)
        };
        fs::rename(lab.path("in"), lab.path("away")).unwrap();
        assert_eq!(ask(), (Some(ErrorKind::Retriable), false), "its share is away");
        fs::rename(lab.path("away"), lab.path("in")).unwrap();
        assert_eq!(ask(), (None, false));
        fs::rename(lab.path("in/a.bin"), lab.path("a.bin")).unwrap();
        assert_eq!(ask(), (Some(ErrorKind::Data), true), "it is gone");
        fs::create_dir(lab.path("in/a.bin")).unwrap();
        assert_eq!(ask(), (Some(ErrorKind::Data), true), "a folder is there");
        fs::remove_dir(lab.path("in/a.bin")).unwrap();
        fs::rename(lab.path("a.bin"), lab.path("in/a.bin")).unwrap();
        // The worker has dropped the record without its position meanwhile.
        task.settle();
        lab.offsets.all().keys().for_each(|partition| lab.offsets.forget(partition));
        let again = until(&mut task, |said| !records(said).is_empty());
        assert_eq!(records(&again).len(), 1, "{cleanup}: nobody has read it yet");
        if cleanup != "NONE" {
            until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
        }
    }
}

#[test]
fn rows_of_a_file_that_is_replaced_while_it_is_read_are_those_of_both() {
    for cleanup in ["NONE", "MOVE", "DELETE"] {
        let lab = Lab::new(&[("cleanup.policy", cleanup), ("batch.size", "1")]);
        lab.put("a.csv", "id\n1\n2\n3\n");
        let mut task = lab.start().unwrap();
        assert_eq!(shown(&mut task, 1), ["id=1"]);
        replace(&lab, "a.csv", "id\n7\n8\n9\n");
        let rest = shown(&mut task, 5);
        assert_eq!(rest, ["id=2", "id=3", "id=7", "id=8", "id=9"], "{cleanup}");
        if cleanup != "NONE" {
            until(&mut task, |_| lab.list("in").is_empty());
        }
        assert_eq!(lab.list("done").len(), usize::from(cleanup == "MOVE"), "the old one was gone already");
        task.stop().unwrap();
    }
}

#[test]
fn a_file_that_is_replaced_after_it_is_done_is_read_once_more_only_when_its_content_is_new() {
    let lab = Lab::new(&[("cleanup.policy", "NONE")]);
    lab.put("a.csv", "id\n1\n");
    let mut task = lab.start().unwrap();
    assert_eq!(shown(&mut task, 1), ["id=1"]);
    until(&mut task, |_| lab.stored() == 1);
    replace(&lab, "a.csv", "id\n1\n");
    lab.put("b.csv", "id\n2\n");
    assert_eq!(shown(&mut task, 1), ["id=2"], "the same content is known");
    replace(&lab, "a.csv", "id\n3\n");
    assert_eq!(shown(&mut task, 1), ["id=3"]);
}
