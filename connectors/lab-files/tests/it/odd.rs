//! What else may lie in a folder, or happen to a file while nobody looks: no row is lost, and no task fails for it.

use std::fs::{self, FileTimes};
use std::os::unix::net::UnixListener;
use std::time::{Duration, UNIX_EPOCH};

use crate::harness::{Lab, errors, header, records, show, until};

fn rows(count: usize) -> String {
    let rows = (0..count).map(|number| format!("{number:07}\n"));
    std::iter::once("id\n".to_owned()).chain(rows).collect()
}

#[test]
fn names_as_long_as_can_be_are_cleared_away_in_every_way() {
    // In bytes; the cut for what is added must not part a letter.
    let long = format!("{}.csv", "µ".repeat(125));
    for (cleanup, kept) in [("MOVE", 2), ("DELETE", 0)] {
        let lab = Lab::new(&[("cleanup.policy", cleanup), ("file.charset", "utf-8")]);
        let mut task = lab.start().unwrap();
        for row in ["1", "2"] {
            lab.put(&long, format!("id\n{row}\n"));
            let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
            assert_eq!(show(records(&said)[0]), format!("id={row}"));
        }
        assert_eq!(lab.list("done").len(), kept, "{cleanup}: {:?}", lab.list("done"));
        lab.put(&long, b"bad\xFFheader\n");
        until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
        let bad = lab.list("bad");
        assert!(bad.len() == 2 && bad.contains(&long), "the reason is beside it: {bad:?}");
        assert!(bad.iter().any(|name| name.ends_with(".error.txt")), "{bad:?}");
    }
}

#[test]
fn what_is_no_file_is_passed_by() {
    let lab = Lab::new(&[("input.path.walk.recursively", "true")]);
    let pipe = lab.path("in/a-pipe.csv");
    let (mode, kind) = (rustix::fs::Mode::RWXU, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    let _socket = UnixListener::bind(lab.path("in/b-socket.csv")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", lab.path("in/c-device.csv")).unwrap();
    std::os::unix::fs::symlink("d-loop.csv", lab.path("in/d-loop.csv")).unwrap();
    fs::create_dir(lab.path("in/e-folder.csv")).unwrap();
    lab.put("f-empty.csv", "");
    lab.put("g.csv", "id\n1\n");
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("done") == ["f-empty.csv", "g.csv"]);
    assert_eq!((records(&said).len(), errors(&said)), (1, vec![]));
    assert_eq!(lab.metric("lab_files_discovered_total"), 2);
}

#[test]
fn time_stamps_before_1970_and_in_the_future_are_as_good_as_others() {
    let lab = Lab::new(&[]);
    let times = [
        ("old.csv", UNIX_EPOCH - Duration::from_micros(1_500_500)),
        ("new.csv", UNIX_EPOCH + Duration::from_hours(2_016_144)),
    ];
    for (name, time) in times {
        lab.put(name, "id\n1\n");
        let file = fs::File::options().write(true).open(lab.path("in").join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
    let stamps: Vec<_> = records(&said).iter().map(|record| header(record, "file.last.modified")).collect();
    assert_eq!(stamps, ["7258118400000", "-1501"], "in the order of the paths");
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_read_as_far_as_it_is_there() {
    // Rows are 8 bytes; a block is read ahead, so what is cut off must lie behind it.
    for left in [60_000, 10] {
        let lab = Lab::new(&[("batch.size", "1000"), ("batch.max.bytes", "8192")]);
        lab.put("a.csv", rows(100_000));
        let mut task = lab.start().unwrap();
        let before = records(&until(&mut task, |said| records(said).len() >= 1000)).len();
        let file = fs::File::options().write(true).open(lab.path("in/a.csv")).unwrap();
        file.set_len(3 + 8 * left as u64).unwrap();
        let said = until(&mut task, |_| lab.list("done") == ["a.csv"]);
        assert_eq!(errors(&said), [""; 0]);
        let ids: Vec<usize> = records(&said).iter().map(|record| show(record)[3..].parse().unwrap()).collect();
        assert_eq!(ids.last(), Some(&(left - 1)));
        // What is cut off before the place that was reached makes it another file, from the beginning.
        let begun_anew = ids.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        assert_eq!((ids[0], begun_anew), (before, usize::from(left < before)), "else each row once");
    }
}

#[test]
fn a_folder_or_nothing_in_place_of_a_file_costs_no_other_file() {
    let lab = Lab::new(&[("input.path.walk.recursively", "true"), ("settle.interval.ms", "200")]);
    lab.put("a.csv", "id\n1\n");
    lab.put("b.csv", "id\n2\n");
    let mut task = lab.start().unwrap();
    until(&mut task, |_| lab.metric("lab_files_discovered_total") == 2);
    // They settle.
    fs::remove_file(lab.path("in/a.csv")).unwrap();
    fs::create_dir(lab.path("in/a.csv")).unwrap();
    lab.put("a.csv/inside.csv", "id\n3\n");
    fs::remove_file(lab.path("in/b.csv")).unwrap();
    lab.put("c.csv", "id\n4\n");
    let said = until(&mut task, |_| lab.list("done") == ["a.csv/inside.csv", "c.csv"]);
    assert_eq!(records(&said).iter().map(|record| show(record)).collect::<Vec<_>>(), ["id=3", "id=4"]);
    let known = crate::harness::files(&task)["files"].as_array().unwrap().len();
    assert_eq!(known, 2, "what is gone is not waited for");
    assert_eq!(errors(&said), [""; 0]);
}

#[test]
fn a_table_with_other_columns_under_the_same_name_has_rows_of_its_own() {
    let lab = Lab::new(&[]);
    let mut task = lab.start().unwrap();
    let mut seen = Vec::new();
    for text in ["id,value\n1,x\n", "value;unit;id\ny;°C;2\n", "id\n3\n"] {
        lab.put("a.csv", text);
        let said = until(&mut task, |_| lab.list("in").is_empty() && lab.stored() == 0);
        seen.extend(records(&said).into_iter().map(show));
    }
    assert_eq!(seen, ["id=1 value=x", "value=y unit=°C id=2", "id=3"]);
}

#[test]
fn a_file_where_the_archive_needs_a_folder_is_named_and_read_no_more() {
    let lab = Lab::new(&[("input.path.walk.recursively", "true")]);
    fs::create_dir(lab.path("in/day")).unwrap();
    fs::write(lab.path("done/day"), "in the way").unwrap();
    lab.put("day/a.csv", "id\n1\n");
    lab.put("z.csv", "id\n2\n");
    let mut task = lab.start().unwrap();
    let reason = |task: &_| {
        let files = crate::harness::files(task);
        files["files"][0]["reason"].as_str().unwrap_or_default().to_owned()
    };
    let said = until(&mut task, |_| lab.list("done").contains(&"z.csv".to_owned()));
    assert_eq!(records(&said).len(), 2);
    let told = reason(&task);
    assert!(told.contains(lab.path("done/day").to_str().unwrap()) && told.contains("Is a file in its place"), "{told}");
    fs::remove_file(lab.path("done/day")).unwrap();
    assert!(until(&mut task, |_| lab.list("done").contains(&"day/a.csv".to_owned())).is_empty(), "not read again");
}
