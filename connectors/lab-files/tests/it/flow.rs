//! From a file in the folder to records and a file in the archive, with a crash at every point in between.

use std::fs;
use std::io::Write;

use crate::harness::{Lab, errors, files, header, records, show, until, until_error};
use pipette_api::{ConnectError, ErrorKind, SourceEntry, Value};
use pipette_kit::SourceHarness;

fn utf16(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xFF, 0xFE];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

fn rows(count: usize) -> String {
    let rows = (0..count).map(|number| format!("{number},v{number}\n"));
    std::iter::once("id,value\n".to_owned()).chain(rows).collect()
}

/// The ids of `rows`, as they came.
fn ids(said: &[SourceEntry]) -> Vec<usize> {
    records(said).iter().map(|record| show(record)[3..].split(' ').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn a_utf16_export_becomes_rows_and_moves_to_the_archive() {
    let lab = Lab::new(&[]);
    lab.put("scan.txt", utf16("Wellenlänge nm\tAbsorption\r\n420\t0,1\r\n\r\n430\t\"a\r\nb\"\r\n"));
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    let rows: Vec<String> = records(&said).iter().map(|record| show(record)).collect();
    assert_eq!(rows, ["Wellenlänge nm=420 Absorption=0,1", "Wellenlänge nm=430 Absorption=a\r\nb"]);
    assert_eq!(lab.list("done"), ["scan.txt"]);
    let last = records(&said)[1];
    assert_eq!(&*last.topic, "lab");
    for (name, expected) in [("file.name", "scan.txt"), ("file.relative.path", "scan.txt"), ("file.record", "2")] {
        assert_eq!(header(last, name), expected, "{name}");
    }
    // The second row begins behind the header, the first row and a blank line, in bytes of the stored file.
    let before = utf16("Wellenlänge nm\tAbsorption\r\n420\t0,1\r\n\r\n").len();
    assert_eq!(header(last, "file.offset"), before.to_string());
    assert_eq!(files(&task)["files"][0]["state"], "DONE");
    assert_eq!((lab.metric("lab_files_completed_total"), lab.metric("lab_files_records_total")), (1, 2));
    task.stop().unwrap();
}

#[test]
fn separators_and_charsets_are_found_out() {
    let lab = Lab::new(&[("headers.include", ""), ("key", "name")]);
    lab.put("a.csv", b"Temp \xB0C;Druck\n21,5;1,01\n");
    lab.put("b.csv", "\u{feff}sep=|\na|b,c\n1|2\n");
    lab.put("c.dat", "x\ty\ty\n1\t2\t3\n");
    lab.put("d.log", "one, two\nthree\n\nlast");
    lab.put("e.csv", "");
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty());
    let found: Vec<(String, String)> =
        records(&said).iter().map(|r| (r.key.value.as_str().unwrap().to_owned(), show(r))).collect();
    let expected = [
        ("a.csv", "Temp °C=21,5 Druck=1,01"),
        ("b.csv", "a=1 b,c=2"),
        ("c.dat", "x=1 y=2 y_2=3"),
        ("d.log", "one, two"),
        ("d.log", "three"),
        ("d.log", ""),
        ("d.log", "last"),
    ];
    assert_eq!(found, expected.map(|(key, row)| (key.to_owned(), row.to_owned())), "in the order of the paths");
    assert_eq!(lab.list("done").len(), 5);
}

#[test]
fn a_crash_in_the_middle_goes_on_behind_the_last_stored_record() {
    let lab = Lab::new(&[("batch.size", "1000")]);
    lab.put("plate.csv", rows(10_000));
    let mut first = lab.start().unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3000 {
        seen.extend(ids(&first.poll().unwrap()));
        first.settle();
    }
    // Polled but never stored: it must come again.
    first.records(1).unwrap();
    drop(first);
    let mut second = lab.start().unwrap();
    let said = until(&mut second, |_| lab.list("in").is_empty());
    assert_eq!(header(records(&said)[0], "file.record"), (seen.len() + 1).to_string());
    seen.extend(ids(&said));
    assert!(seen.into_iter().eq(0..10_000), "each row once, in order");
}

#[test]
fn a_crash_between_commit_and_move_moves_without_reading_again() {
    let lab = Lab::new(&[]);
    lab.put("a.csv", rows(10));
    let mut first = lab.start().unwrap();
    first.records(10).unwrap();
    // The task has been told, and has had no turn since.
    first.settle();
    drop(first);
    assert_eq!((lab.list("in").len(), lab.stored()), (1, 1));
    let mut second = lab.start().unwrap();
    let said = until(&mut second, |_| lab.list("done").len() == 1 && lab.stored() == 0);
    assert!(said.is_empty(), "nothing is read again: {said:?}");
    drop(second);
    // And a crash behind the move: only the offset is left, and it goes.
    lab.put("b.csv", rows(1));
    let mut third = lab.start().unwrap();
    until(&mut third, |said| !records(said).is_empty());
    third.stop().unwrap();
    assert_eq!(lab.list("done"), ["a.csv", "b.csv"], "stop clears away what the hooks had queued");
    assert_eq!(lab.stored(), 1);
    let mut fourth = lab.start().unwrap();
    assert!(until(&mut fourth, |_| lab.stored() == 0).is_empty());
}

#[test]
fn a_file_moves_only_once_its_end_is_stored() {
    let lab = Lab::new(&[]);
    lab.put("a.csv", rows(3));
    let mut task = lab.start().unwrap();
    assert_eq!(task.records(3).unwrap().len(), 3);
    for _ in 0..5 {
        assert!(task.poll().unwrap().is_empty());
    }
    assert_eq!(lab.list("in"), ["a.csv"], "delivered is not stored");
    task.settle();
    until(&mut task, |_| lab.list("in").is_empty());
}

#[test]
fn a_file_that_is_being_written_is_not_touched() {
    let lab = Lab::new(&[("settle.interval.ms", "150")]);
    let path = lab.path("in").join("live.csv");
    let mut writer = fs::File::create(&path).unwrap();
    writeln!(writer, "id,value").unwrap();
    let mut task = lab.start().unwrap();
    // Longer than it takes to settle: what keeps it from being read is that it changes.
    for number in 0..20 {
        writeln!(writer, "{number},v").unwrap();
        writer.flush().unwrap();
        assert!(task.poll().unwrap().is_empty(), "read while it was written, at row {number}");
    }
    drop(writer);
    let said = until(&mut task, |said| records(said).len() >= 20);
    assert!(ids(&said).into_iter().eq(0..20));
}

#[test]
fn a_name_with_new_content_is_a_new_file() {
    for cleanup in ["MOVE", "NONE", "DELETE"] {
        let lab = Lab::new(&[("cleanup.policy", cleanup)]);
        let mut task = lab.start().unwrap();
        lab.put("a.csv", "id,value\n1,x\n");
        let first =
            until(&mut task, |said| records(said).len() == 1 && (cleanup == "NONE" || lab.list("in").is_empty()));
        lab.put("a.csv", "id,value\n2,yy\n");
        let second =
            until(&mut task, |said| records(said).len() == 1 && (cleanup == "NONE" || lab.list("in").is_empty()));
        assert_eq!((ids(&first), ids(&second)), (vec![1], vec![2]), "{cleanup}");
        assert_ne!(header(records(&first)[0], "file.id"), header(records(&second)[0], "file.id"));
        assert_eq!(lab.list("done").len(), if cleanup == "MOVE" { 2 } else { 0 }, "both are kept");
        task.stop().unwrap();
        // Known files are not read again after a restart either.
        let mut again = lab.start().unwrap();
        lab.put("b.csv", "id,value\n3,z\n");
        assert_eq!(ids(&until(&mut again, |said| !records(said).is_empty())), [3], "{cleanup}");
    }
}

/// Deleting takes two steps, and a crash may come between them.
#[test]
fn what_a_crash_has_left_of_a_deleted_file_goes_at_the_next_start() {
    for (content, left) in [("id,value\n1,x\n", 0), ("another file that slipped in", 1)] {
        let mut lab = Lab::new(&[("cleanup.policy", "NONE")]);
        lab.put("a.csv", "id,value\n1,x\n");
        let mut task = lab.start().unwrap();
        until(&mut task, |said| records(said).len() == 1);
        task.stop().unwrap();
        let stored = lab.offsets.all().into_values().next().unwrap();
        let head = stored["head"].as_text().unwrap()[..8].to_owned();
        let hidden = lab.path("in").join(format!(".a.csv.{head}.part"));
        fs::rename(lab.path("in").join("a.csv"), &hidden).unwrap();
        if left > 0 {
            fs::write(&hidden, content).unwrap();
        }
        lab.config.extend(pipette_kit::build::config(&[("cleanup.policy", "DELETE")]));
        let _started = lab.start().unwrap();
        assert_eq!(lab.list("in"), ["a.csv"][..left], "{content}");
    }
}

#[test]
fn a_bad_file_goes_aside_with_the_reason_beside_it() {
    let lab = Lab::new(&[("file.charset", "utf-8")]);
    lab.put("bad.csv", b"id,Gr\xF6\xDFe\n1,2\n");
    lab.put("good.csv", rows(1));
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    assert_eq!((records(&said).len(), errors(&said).len()), (1, 0));
    assert_eq!(lab.list("bad"), ["bad.csv", "bad.csv.error.txt"]);
    let reason = fs::read_to_string(lab.path("bad").join("bad.csv.error.txt")).unwrap();
    assert!(reason.contains("no readable header") && reason.contains("bad.csv"), "{reason}");
    assert_eq!(lab.metric("lab_files_failed_total"), 1);
    // Put back as it is, it is told again, and nothing in the quarantine is lost.
    fs::copy(lab.path("bad").join("bad.csv"), lab.path("in").join("bad.csv")).unwrap();
    until(&mut task, |_| lab.list("bad").len() == 4);
}

#[test]
fn without_a_folder_for_bad_files_one_stops_the_task_behind_the_records_before_it() {
    let lab = Lab::new(&[("error.path", "-")]);
    lab.put("a.csv", rows(2));
    lab.put("b.csv", b"PK\x03\x04\0\0\0");
    let mut task = lab.start().unwrap();
    let (said, error) = until_error(&mut task);
    assert_eq!(ids(&said), [0, 1]);
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.to_string().contains("b.csv is not text"), "{error}");
    assert!(lab.list("in").contains(&"b.csv".to_owned()));
}

#[test]
fn a_bad_row_is_told_with_file_and_line_and_costs_no_other_row() {
    let lab = Lab::new(&[("max.record.bytes", "5000"), ("csv.quoted.max.lines", "3")]);
    let long = "x".repeat(700_000);
    let text = format!(
        "id,value\n0,a\n1,b,c\n2,\"two\nlines\"\n\n3,{long}\n4,d\n5,\"never closed\n6,e\n7,f\n8,g\n9,\"open at the end"
    );
    lab.put("a.csv", text);
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty());
    assert_eq!(ids(&said), [0, 2, 4, 6, 7, 8]);
    let errors = errors(&said);
    let path = lab.path("in").join("a.csv").display().to_string();
    for (error, (line, reason)) in errors.iter().zip([
        (3, "the row has 3 cells, the header has 2"),
        (7, "the row is longer than max.record.bytes (5000)"),
        (9, "more than csv.quoted.max.lines (3)"),
        (13, "never closed"),
    ]) {
        assert!(error.starts_with(&format!("{path}:{line}: ")) && error.contains(reason), "{error}");
    }
    assert_eq!(errors.len(), 4);
    let told = &files(&task)["files"][0];
    assert_eq!((&told["state"], &told["bad"]), (&"DONE".into(), &4.into()), "{told}");
    assert!(told["bad_row"].as_str().unwrap().contains(":13: "), "{told}");
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_comes_in_no_state_that_never_was() {
    let lab = Lab::new(&[("output.mode", "whole"), ("cleanup.policy", "NONE")]);
    let (before, after) = (vec![1; 3_000_000], vec![2; 3_000_000]);
    for grown in [0, 10] {
        let name = format!("{grown}.bin");
        lab.put(&name, &before);
        let mut task = lab.start().unwrap();
        let whole = task.records(1).unwrap().remove(0);
        let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
        let (path, after) = (lab.path("in").join(&name), [&after[..], &vec![2; grown]].concat());
        let torn = async {
            assert!(!payload.is_superseded().await);
            let mut reader = payload.open(0, None).await?;
            let mut read = reader.next().await?.unwrap().len();
            fs::OpenOptions::new().write(true).open(&path).unwrap().write_all(&after).unwrap();
            while let Some(piece) = reader.next().await? {
                read += piece.len();
            }
            Ok::<_, ConnectError>(read)
        };
        let error = task.bench.run("reading the payload", torn).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(task.bench.run("asking", payload.is_superseded()).unwrap());
        fs::rename(&path, lab.path("away")).unwrap();
        assert!(task.bench.run("asking", payload.is_superseded()).unwrap(), "its folder is there without it");
        fs::rename(lab.path("away"), &path).unwrap();
        // The worker drops the record without its position; the file as it is now comes by itself.
        task.settle();
        let whole = task.records(1).unwrap().remove(0);
        let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
        assert_eq!(payload.len(), Some(after.len() as u64));
        task.settle();
        task.stop().unwrap();
    }
}

#[test]
fn a_whole_file_is_one_payload_that_can_be_opened_again() {
    let lab = Lab::new(&[("output.mode", "whole")]);
    let content: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    lab.put("image.TIFF", &content);
    let mut task = lab.start().unwrap();
    let whole = task.records(1).unwrap().remove(0);
    let Value::Payload(payload) = &whole.value.value else { panic!("a payload") };
    assert_eq!((payload.len(), payload.content_type()), (Some(3_000_000), Some("image/tiff")));
    let read = |task: &SourceHarness, start, len| {
        let all = async {
            let mut reader = payload.open(start, len).await?;
            let mut read = Vec::new();
            while let Some(piece) = reader.next().await? {
                read.extend_from_slice(&piece);
            }
            Ok::<_, ConnectError>(read)
        };
        task.bench.run("reading the payload", all).unwrap()
    };
    for (start, len) in [(0, None), (1_000_000, Some(1_500_000)), (3_000_000, None)] {
        let begin = usize::try_from(start).unwrap();
        let end = len.map_or(content.len(), |len| begin + usize::try_from(len).unwrap());
        assert!(read(&task, start, len).unwrap() == content[begin..end]);
    }
    assert!(read(&task, 2_000_000, Some(1_000_001)).is_err());
    assert_eq!(lab.list("in"), ["image.TIFF"], "it stays until it is committed");
    task.settle();
    until(&mut task, |_| lab.list("done") == ["image.TIFF"]);
    assert!(read(&task, 0, None).is_err());
}

#[test]
fn the_samples_of_the_quick_start_are_read_without_a_word_of_configuration() {
    let lab = Lab::new(&[]);
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/quickstart/samples");
    for entry in fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, lab.path("in").join(path.file_name().unwrap())).unwrap();
    }
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty());
    assert!(errors(&said).is_empty(), "{:?}", errors(&said));
    let of = |name: &str| -> Vec<String> {
        records(&said).iter().filter(|r| header(r, "file.name") == name).map(|r| show(r)).collect()
    };
    let spectrum = of("spectrum-2026-0117.txt");
    assert_eq!(spectrum.len(), 291);
    assert!(spectrum[0].starts_with("Wavelength (nm)=220 Absorbance=0.0") && spectrum[0].contains("Reference µW="));
    let reactor = of("bioreactor-04.csv");
    assert_eq!(reactor.len(), 288);
    assert!(
        reactor[0].starts_with("Zeit=00:00 Temperatur °C=3")
            && reactor[0].contains(',')
            && reactor[60].ends_with("Bemerkung=Probe 1; 5 ml"),
        "{}",
        reactor[60]
    );
    let plates = of("plate-reads.csv");
    assert_eq!(plates.len(), 10_000);
    assert!(plates[9_999].starts_with("read=10000 plate=P"));
}
