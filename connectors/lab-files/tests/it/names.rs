//! Names that files may have: each arrives as it is, and no name costs another file.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use pipette_api::{Record, Value};

use crate::harness::{Lab, errors, files, header, records, show, until};
use crate::outbox::{Outbox, put_as};

/// Names that some program takes for something else.
const ODD: &[&str] = &[
    "100%.csv",
    "%2e%2e%2fup.csv",
    "a%41.csv",
    "two\nlines.csv",
    "\"quoted\" 'twice'.csv",
    " spaces around .csv ",
    "Gro\u{308}ße nfd.csv",
    "Größe nfc.csv",
    "[a]*?{b}.csv",
    "back\\slash.csv",
    "-rf.csv",
    "\u{1b}[31mred.csv",
];

fn field(record: &Record, name: &str) -> String {
    let Value::Struct(about) = &record.value.value else { panic!("a struct: {:?}", record.value) };
    about.get(name).unwrap().as_str().unwrap().to_owned()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn paths(answer: &serde_json::Value) -> Vec<String> {
    answer["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_name_arrives_as_it_is_in_headers_keys_and_the_list_of_files() {
    let lab = Lab::new(&[
        ("input.path.walk.recursively", "true"),
        ("key", "path"),
        ("format", "csv"),
        ("headers.include", "file.name,file.path,file.relative.path,file.parent.dir.name,file.name.without.extension"),
    ]);
    fs::create_dir(lab.path("in/50% \n")).unwrap();
    let longest = format!("{}.csv", "n".repeat(251));
    let names: Vec<&str> = ODD.iter().copied().chain([longest.as_str()]).collect();
    for name in &names {
        lab.put(&format!("50% \n/{name}"), "id\n1\n");
    }
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    assert_eq!(errors(&said), [""; 0]);
    let expected = || sorted(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(sorted(records(&said).iter().map(|record| header(record, "file.name")).collect()), expected());
    for record in records(&said) {
        let name = header(record, "file.name");
        let relative = format!("50% \n/{name}");
        assert_eq!(header(record, "file.relative.path"), relative);
        assert_eq!(record.key.value.as_str(), Some(relative.as_str()));
        assert_eq!(header(record, "file.path"), lab.path("in").join(&relative).to_str().unwrap());
        assert_eq!(header(record, "file.parent.dir.name"), "50% \n");
        assert!(name.starts_with(&header(record, "file.name.without.extension")));
    }
    let relative = || sorted(names.iter().map(|name| format!("50% \n/{name}")).collect());
    assert_eq!(sorted(paths(&files(&task))), relative());
    assert_eq!(lab.list("done"), relative(), "and in the archive");
}

#[test]
fn offsets_keep_the_encoded_name_and_so_know_files_of_earlier_runs() {
    let lab = Lab::new(&[("cleanup.policy", "NONE")]);
    lab.put("100%.csv", "id\n1\n");
    let mut task = lab.start().unwrap();
    until(&mut task, |said| records(said).len() == 1 && lab.stored() == 1);
    let partition = lab.offsets.all().into_keys().next().unwrap();
    assert_eq!(partition.0["path"].as_text(), Some("100%25.csv"));
    task.stop().unwrap();
    let mut again = lab.start().unwrap();
    lab.put("z.csv", "id\n2\n");
    assert_eq!(records(&until(&mut again, |said| !records(said).is_empty())).len(), 1, "only the new one is read");
}

#[test]
fn a_name_that_is_no_utf8_is_shown_encoded_and_stays_apart_from_one_that_looks_like_it() {
    let lab = Lab::new(&[("output.mode", "metadata")]);
    let raw = OsStr::from_bytes(b"50%\xFF.csv");
    fs::write(lab.path("in").join(raw), "bytes").unwrap();
    lab.put("50%25%FF.csv", "text");
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    let names: Vec<String> = records(&said).iter().map(|record| field(record, "name")).collect();
    assert_eq!(names, ["50%25%FF.csv", "50%25%FF.csv"]);
    let ids: Vec<String> = records(&said).iter().map(|record| header(record, "file.id")).collect();
    assert_ne!(ids[0], ids[1]);
    assert_eq!(paths(&files(&task)).len(), 2, "two rows for two files");
    assert!(lab.path("done").join(raw).exists() && lab.path("done/50%25%FF.csv").exists());
}

#[test]
fn patterns_are_about_the_name_that_people_see() {
    let lab = Lab::new(&[
        ("input.path.walk.recursively", "true"),
        ("input.path.include", "100%/*,run*.csv"),
        ("input.path.exclude", "*%.tmp"),
        ("input.file.pattern", "(?:.*\\.csv|.*%.tmp)"),
    ]);
    fs::create_dir(lab.path("in/100%")).unwrap();
    for name in ["100%/a.csv", "100%/b%.tmp", "runµ.csv", "other.csv"] {
        lab.put(name, "id\n1\n");
    }
    let mut task = lab.start().unwrap();
    until(&mut task, |_| lab.list("done").len() >= 2);
    assert_eq!(lab.list("done"), ["100%/a.csv", "runµ.csv"]);
}

#[test]
fn a_name_comes_back_from_the_sink_as_it_was_and_leads_nowhere_else() {
    let lab = Lab::new(&[("format", "lines")]);
    for name in ["100%.csv", "%2e%2e%2fup.csv", "Größe.csv"] {
        lab.put(name, "text");
    }
    let mut source = lab.start().unwrap();
    let said = until(&mut source, |_| lab.list("in").is_empty());
    let outbox = Outbox::new(&[("file.name", "${header:file.name}")]);
    let mut sink = outbox.start().unwrap();
    for (offset, record) in records(&said).into_iter().enumerate() {
        put_as(&mut sink, &header(record, "file.name"), i64::try_from(offset).unwrap(), record.value.clone()).unwrap();
        assert_eq!(show(record), "text");
    }
    assert_eq!(outbox.list(), ["%2e%2e%2fup.csv", "100%.csv", "Größe.csv"]);
}
