//! Nanoseconds per record to parse and to write an object of 16 members; an argument picks one
//! of the measurements: `cargo run --profile perf --example speed_of_json -- parse`.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use pipette_api::Blob;
use pipette_json::{Document, Parser, write};

const RECORD: &str = concat!(
    r#"{"sample_id":"LAB-2024-000417-A","instrument":"hplc-agilent-1290-02","method":"caffeine_assay_v7","#,
    r#""operator":"j.doe","started_at":"2024-03-18T09:41:27.318Z","finished_at":"2024-03-18T10:02:51.004Z","#,
    r#""injection_volume_ul":5.25,"column_temperature_c":40.0,"retention_time_min":3.4471,"peak_area":1284471,"#,
    r#""peak_height":90114,"passed":true,"comment":"second injection after the needle wash; the baseline drifted slightly before the peak, "#,
    r#"integration limits were set by hand and reviewed by the shift lead on the same day","#,
    r#""raw_file":"/srv/lab/hplc/agilent-1290-02/2024/03/18/LAB-2024-000417-A_injection_02.D/AcqData/CHROMATOGRAM.bin","#,
    r#""approved_by":null,"checksum":"sha256:9f86d081884c7d659a2feaa0c55ad015"}"#,
);

fn main() {
    let bytes = Blob::whole(RECORD).expect("small");
    let mut parser = Parser::default();
    let mut parse = || {
        let document = Document::new(&bytes).expect("text");
        parser.value(&mut document.reader()).expect("valid")
    };
    let value = parse();
    let mut out = Vec::with_capacity(1024);
    println!("{} bytes", RECORD.len());
    time("parse", || drop(black_box(parse())));
    time("write", || {
        out.clear();
        write(black_box(&value), &mut out).expect("written");
        black_box(&out);
    });
    let floats: Vec<f64> = (0..100).map(|number| f64::from(number) * 1.37 + 0.01).collect();
    time("100 doubles written", || {
        out.clear();
        for number in &floats {
            pipette_json::write_f64(*number, &mut out);
        }
        black_box(&out);
    });
}

const RUNS: u32 = 1_000;

/// The best of several runs: this machine does other things too.
fn time(what: &str, mut run: impl FnMut()) {
    if std::env::args().nth(1).is_some_and(|only| only != what) {
        return;
    }
    let best = (0..300)
        .map(|_| {
            let start = Instant::now();
            (0..RUNS).for_each(|_| run());
            start.elapsed() / RUNS
        })
        .min();
    println!("{what}: {} ns", best.unwrap_or_default().as_nanos());
}
