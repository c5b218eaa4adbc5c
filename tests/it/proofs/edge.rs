//! Store and forward: a site whose link is down for minutes while its instruments go on.
//!
//! The sources wait: what they read from keeps what they have not read. Nothing is lost, memory does not grow with the
//! length of the outage, and once the link is back the backlog goes out as fast as the same amount does without one. Odd
//! rounds cut the wire, even ones kill the broker. `PIPETTE_EDGE_SECONDS` is the length of the outage.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pipette::bench::process::{forget_peak, peak_mib, resident_mib};
use serde_json::json;

use super::frame::{Proof, Round};
use super::site::{Site, TOPIC};
use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::feed::Feed;
use crate::support::wait;
use crate::support::wire::Fault;

const PROOF: Proof = Proof { name: "edge", rounds: 2 };

/// Of the long form, unless `PIPETTE_EDGE_SECONDS` says another.
const OUTAGE: Duration = Duration::from_mins(10);
const TICK: Duration = Duration::from_millis(20);
/// Rows of a file of the lab server. They come with an eighth of the load.
const FILE_ROWS: usize = 2_000;
/// Between two looks at what has arrived.
const GLANCE: Duration = Duration::from_millis(10);
/// What connectors may have in memory beside the worker itself, in MiB: the default of `memory.budget.bytes`.
const MEMORY: f64 = 128.0;
/// Of the speed without an outage.
const CATCH_UP: f64 = 0.8;
/// Until all has arrived.
const PATIENCE: Duration = Duration::from_mins(5);

/// Rows a second while the link is down, and for how long it is.
struct Extent {
    load: usize,
    outage: Duration,
    /// Of the speed without an outage: what is measured in a second on a machine that does other things says little.
    catch_up: f64,
}

#[test]
#[ignore = "twice ten minutes; the command is in docs/proofs/README.md"]
fn edge() {
    let seconds =
        std::env::var("PIPETTE_EDGE_SECONDS").map(|text| text.parse().expect("PIPETTE_EDGE_SECONDS is a number"));
    let outage = seconds.map_or(OUTAGE, Duration::from_secs);
    // The backlog takes seconds, whatever the outage takes.
    let load = usize::try_from(3_000_000 / outage.as_secs().max(1)).expect("a small number").clamp(5_000, 50_000);
    PROOF.long(|round| play(round, &Extent { load, outage, catch_up: CATCH_UP }));
}

#[test]
fn edge_short() {
    PROOF.short(|round| {
        play(round, &Extent { load: 20_000, outage: Duration::from_secs(10), catch_up: CATCH_UP / 4.0 })
    });
}

fn play(round: &Round, extent: &Extent) -> Tally {
    let folder = tempfile::Builder::new().prefix("edge-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder for the round");
    let mut site = Site::build(folder.path(), &[]);
    let mut lab = Lab::lay_out(&folder.path().join("lab"));
    let pid = site.worker.pid().to_string();
    let idle = resident_mib(&pid).expect("the worker's memory");

    // What an outage of this length leaves, without one.
    let rows = extent.load * usize::try_from(extent.outage.as_secs()).expect("minutes");
    let mut streamed: String = (0..rows).map(|n| row(0, n) + "\n").collect();
    fs::write(&site.input, &streamed).expect("the backlog");
    streamed.clear();
    while lab.rows() * 8 < rows {
        lab.drop_in(FILE_ROWS);
    }
    let began = Instant::now();
    site.create_sink();
    site.create_source();
    lab.create_source(&site);
    let full = arrive(&mut site, began, rows + lab.rows());

    forget_peak(&pid).expect("a new peak of memory");
    let usual = resident_mib(&pid).expect("the worker's memory");
    let before = rows + lab.rows();
    let feed = Feed::lines(&site.input, extent.load as u64, TICK, move |n| row(0, rows + n));
    let down = Down { by_wire: round.number.is_multiple_of(2), length: extent.outage };
    let (mut rows, mut lab) = (rows, lab);
    down.last(&mut site, || {
        while lab.rows() * 8 < rows + feed.given() {
            lab.drop_in(FILE_ROWS);
        }
    });
    rows += feed.end();
    let over = Instant::now();
    let caught_up = arrive(&mut site, over, rows + lab.rows());
    let peak = peak_mib(&pid).expect("the worker's memory");

    site.assert_all_run();
    let backlog = rows + lab.rows() - before;
    let handed = Handed { rows: [vec![rows], lab.files].concat() };
    let mut tally = Tally::default();
    tally.add("outages", 1);
    tally.most("s of outage", usize::try_from(extent.outage.as_secs()).expect("minutes"));
    tally.most("rows of backlog", backlog);
    tally.most("ms until the first row", usize::try_from(caught_up.first.as_millis()).expect("minutes"));
    tally.least("rows/s without an outage", whole(full.rate));
    tally.least("rows/s of the backlog", whole(caught_up.rate));
    tally.least("% of the speed without an outage", whole(caught_up.rate / full.rate * 100.0));
    tally.most("MiB of memory without connectors", whole(idle));
    tally.most("MiB before the outage", whole(usual));
    tally.most("MiB during and after it", whole(peak));
    tally.append(&site.judge(&handed, PATIENCE));
    assert!(site.worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    assert!(peak - idle <= MEMORY, "the worker's connectors had {:.0} MiB in memory: {tally}", peak - idle);
    assert!(caught_up.rate >= extent.catch_up * full.rate, "the backlog went out too slowly: {tally}");
    tally
}

/// The link's outage.
struct Down {
    by_wire: bool,
    length: Duration,
}

impl Down {
    /// Lasts as long as it is to, and lets the instruments of the site work.
    fn last(&self, site: &mut Site, mut work: impl FnMut()) {
        let Site { worker, wire, kafka, .. } = site;
        let mut lasts = |length: Duration| {
            wait::up_to(length, || {
                worker.assert_lives();
                work();
                false
            });
        };
        if self.by_wire {
            // First nobody notices, then the router says that there is no way.
            for fault in [Fault::BlackHole, Fault::Reset] {
                wire.set(fault);
                lasts(self.length / 2);
            }
            wire.set(Fault::None);
        } else {
            kafka.crash(|| lasts(self.length));
        }
    }
}

/// How rows came to the sink's file.
struct Arrival {
    /// From the begin of the wait to the first of them.
    first: Duration,
    /// Rows a second, from the first to the last.
    rate: f64,
}

/// Waits until the sink's file holds so many rows.
fn arrive(site: &mut Site, began: Instant, all: usize) -> Arrival {
    let before = site.in_output();
    let mut first = None;
    wait::until("the rows in the sink's file", PATIENCE, || {
        site.worker.assert_lives();
        let rows = site.in_output();
        if rows > before {
            first.get_or_insert((Instant::now(), rows));
        }
        wait::moment(GLANCE);
        if rows >= all { Ok(()) } else { Err(format!("{rows} of {all}")) }
    });
    let (at, rows) = first.unwrap_or((began, before));
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let rate = (all - rows) as f64 / at.elapsed().as_secs_f64();
    Arrival { first: at - began, rate }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and small")]
pub(super) fn whole(figure: f64) -> usize {
    figure.round() as usize
}

/// A lab server that puts files into a folder.
pub(super) struct Lab {
    folder: PathBuf,
    /// Rows of each; their numbers begin with 1, as the growing file has 0.
    pub(super) files: Vec<usize>,
}

impl Lab {
    pub(super) fn lay_out(folder: &std::path::Path) -> Self {
        for name in ["inbox", "finished"] {
            fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        Self { folder: folder.to_owned(), files: Vec::new() }
    }

    pub(super) fn create_source(&self, site: &Site) {
        let config = json!({
            "connector.class": "LabFilesSource",
            "topic": TOPIC,
            "input.path": self.folder.join("inbox"),
            "finished.path": self.folder.join("finished"),
            "cleanup.policy": "MOVE",
            "format": "lines",
            "settle.checks": "2",
            "settle.interval.ms": "50",
            "poll.interval.ms": "100",
        });
        site.create("site-lab", &config);
    }

    fn rows(&self) -> usize {
        self.files.iter().sum()
    }

    /// As a lab server does it that knows how: written under another name, then renamed.
    pub(super) fn drop_in(&mut self, rows: usize) {
        self.files.push(rows);
        let file = self.files.len();
        let text: String = (0..rows).map(|n| row(file, n) + "\n").collect();
        let hidden = self.folder.join(".hidden");
        fs::write(&hidden, text).expect("a file");
        fs::rename(&hidden, self.folder.join(format!("inbox/plate-{file:04}.txt"))).expect("its name");
    }
}
