//! The quick start as its user meets it: the real binary, a folder, Ctrl-C.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::{tail, wait};

/// 288 of the bioreactor, 10,000 of the plate reader, 291 of the spectrometer.
const SAMPLE_ROWS: usize = 10_579;

fn quickstart(dir: &Path, extra: &[&str]) -> Child {
    let log = fs::File::options().create(true).append(true).open(dir.join("log")).expect("a log");
    Command::new(env!("CARGO_BIN_EXE_pipette"))
        .args(["quickstart", "--listen", "http://127.0.0.1:0", "--dir"])
        .arg(dir.join("demo"))
        .args(extra)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("pipette starts")
}

fn rows(dir: &Path) -> usize {
    fs::read_to_string(dir.join("demo/out/rows.jsonl")).unwrap_or_default().lines().count()
}

/// Waits for the process to end; returns whether it ended well.
fn ended(child: &mut Child, dir: &Path, within: Duration) -> bool {
    wait::until("the quick start to end", within, || {
        child.try_wait().expect("its state").ok_or_else(|| tail(&dir.join("log"), 20))
    })
    .success()
}

#[test]
fn samples_arrive_and_a_second_start_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    assert!(ended(&mut quickstart(dir, &["--once"]), dir, Duration::from_mins(1)), "{}", tail(&dir.join("log"), 40));
    assert_eq!(rows(dir), SAMPLE_ROWS);

    let mut child = quickstart(dir, &[]);
    let inbox = dir.join("demo/inbox");
    fs::write(inbox.join(".mine"), "sample_id,ph\nX-1,7.1\nX-2,6.9\n").expect("a file of the user");
    fs::rename(inbox.join(".mine"), inbox.join("mine.csv")).expect("dropped");
    wait::until("the user's rows", Duration::from_secs(30), || {
        assert!(child.try_wait().expect("its state").is_none(), "{}", tail(&dir.join("log"), 40));
        let rows = rows(dir);
        if rows >= SAMPLE_ROWS + 2 { Ok(()) } else { Err(format!("{rows} rows")) }
    });
    let asked = Instant::now();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success(), "SIGINT cannot be sent");
    assert!(ended(&mut child, dir, Duration::from_secs(5)), "{}", tail(&dir.join("log"), 40));
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert_eq!(rows(dir), SAMPLE_ROWS + 2, "nothing twice, nothing lost");
    let log = fs::read_to_string(dir.join("log")).expect("the log");
    assert_eq!(log.matches("curl -s").count(), 3, "{log}");
}

#[test]
fn a_simulated_plant_publishes_and_its_readings_arrive() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let readings = || fs::read_to_string(dir.join("demo/out/readings.jsonl")).unwrap_or_default();
    for first in [true, false] {
        let before = readings().lines().count();
        let mut child = quickstart(dir, &["--once", "--with", "mqtt"]);
        assert!(ended(&mut child, dir, Duration::from_mins(1)), "{}", tail(&dir.join("log"), 40));
        assert_eq!(rows(dir), SAMPLE_ROWS);
        let readings = readings();
        let own: Vec<serde_json::Value> =
            readings.lines().skip(before).map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let numbers = own.iter().filter_map(|reading| reading["reading"].as_u64());
        // What the broker still had of the first start comes before the second one's.
        let numbers: Vec<_> = numbers.skip_while(|number| !first && *number != 0).take(100).collect();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>(), "first start: {first}");
        assert!(own.iter().all(|reading| reading["temperature"].is_f64()), "{:?}", own.first());
    }
    let log = fs::read_to_string(dir.join("log")).expect("the log");
    assert!(log.contains("What machines publish to mqtt://127.0.0.1:"), "{log}");
    let pid = fs::read_to_string(dir.join("demo/mqtt/log")).expect("the broker's log");
    assert_eq!(pid.matches("terminating").count(), 2, "it ends with each start: {pid}");
}

#[test]
fn images_come_out_of_all_four_ways_as_they_went_in() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let images = dir.join("demo/images");
    let out = |name: &str| {
        let ways = ["native", "pieces", "link", "claim-check"].map(|way| images.join("out").join(way).join(name));
        ways.map(|place| fs::read(place).unwrap_or_default())
    };
    assert!(ended(&mut quickstart(dir, &["--once", "--with", "images"]), dir, Duration::from_mins(1)));
    for (name, least) in [("cells-2026-0117.tif", 2_000_000), ("preview-2026-0117.tif", 10_000)] {
        let there = fs::read(images.join("inbox").join(name)).expect("a sample");
        assert!(there.len() > least, "{name}: {}", there.len());
        assert!(out(name).iter().all(|bytes| *bytes == there), "{name}");
    }
    let log = fs::read_to_string(dir.join("log")).expect("the log");
    assert!(log.contains("cells-2026-0117.tif is the same, byte for byte, behind all four ways"), "{log}");
    assert!(log.contains("What its topic takes in Kafka: native 28"), "{log}");

    let own: Vec<u8> = (0..3_000_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let mut child = quickstart(dir, &["--with", "images"]);
    fs::write(images.join("inbox/.own.png"), &own).expect("an image of the user");
    fs::rename(images.join("inbox/.own.png"), images.join("inbox/own.png")).expect("dropped");
    wait::until("the user's image", Duration::from_secs(30), || {
        assert!(child.try_wait().expect("its state").is_none(), "{}", tail(&dir.join("log"), 40));
        let lengths = out("own.png").map(|bytes| bytes.len());
        if lengths == [own.len(); 4] { Ok(()) } else { Err(format!("{lengths:?}")) }
    });
    assert!(out("own.png").iter().all(|bytes| *bytes == own));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success() && ended(&mut child, dir, Duration::from_secs(5)), "{}", tail(&dir.join("log"), 40));
}

#[test]
fn a_taken_port_is_told_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = format!("http://{}", taken.local_addr().expect("its address"));
    let output = Command::new(env!("CARGO_BIN_EXE_pipette"))
        .args(["quickstart", "--listen", &listen, "--dir"])
        .arg(dir.path())
        .output()
        .expect("pipette runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("another program does"), "{error}");
}
