//! A watched folder: the real `LabFilesSource` on real files, in the loop of a source task on the model of Kafka, while
//! files appear, grow, are renamed, replaced, shortened and deleted, and workers die.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pipette_api::{ConfigMap, Settings, Wish};
use pipette_kit::{Dice, Run, Simulation};
use tempfile::TempDir;

use super::in_simulated_time;
use super::kafka::Cluster;
use super::life::{Habits, Lives, Offsets};
use super::offsets::Shelf;
use crate::plugins::{ConnectorPlugin, Plugins};

const FOLDER: Simulation = Simulation { name: "folder", seeds: 500, steps: 60 };
const TOPIC: &str = "t";
/// Names that files have; a name is used again and again.
const NAMES: usize = 4;

/// A file that was put into the folder.
struct Handed {
    rows: u64,
    /// Somebody changed it, took it away, or put another into its place: it may be read in part, or twice.
    touched: bool,
    /// A life ended, or another began, since it was put there: it may be read twice.
    disturbed: bool,
}

struct World {
    folder: TempDir,
    cluster: Cluster,
    shelf: Shelf,
    habits: Habits,
    lives: Lives,
    begun: usize,
    /// By number; a row names its file and itself.
    handed: Vec<Handed>,
    /// Which file has which name now, as far as the world knows.
    inside: BTreeMap<PathBuf, usize>,
    /// Times of files are made up: the machine's clock has no part in this.
    ticks: u64,
    judged: usize,
    seen: BTreeMap<(usize, u64), u32>,
    finished: usize,
}

fn row(file: usize, row: u64) -> String {
    format!("{file:06}:{row:06}")
}

fn rows(file: usize, rows: std::ops::Range<u64>) -> String {
    rows.map(|number| row(file, number) + "\n").collect()
}

impl World {
    fn new(run: &mut Run) -> Self {
        let cluster = Cluster::new(Dice(run.dice.bits()));
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for name in ["in", "finished", "error", "aside"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut habits = Habits::new(cluster.clone());
        habits.flush_interval = Duration::from_millis([20, 2_000][run.dice.index(2)]);
        Self {
            folder,
            cluster,
            shelf: Shelf::new(Dice(run.dice.bits())),
            habits,
            lives: Lives::default(),
            begun: 0,
            handed: Vec::new(),
            inside: BTreeMap::new(),
            ticks: 0,
            judged: 0,
            seen: BTreeMap::new(),
            finished: 0,
        }
    }

    fn path(&self, folder: &str) -> PathBuf {
        self.folder.path().join(folder)
    }

    fn begin(&mut self) {
        self.begun += 1;
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let config = ConfigMap::from([
            ("topic".into(), TOPIC.into()),
            ("input.path".into(), text(self.path("in"))),
            ("finished.path".into(), text(self.path("finished"))),
            ("error.path".into(), text(self.path("error"))),
            ("cleanup.policy".into(), "MOVE".into()),
            ("format".into(), "lines".into()),
            ("settle.checks".into(), "2".into()),
            ("settle.interval.ms".into(), "30".into()),
            ("poll.interval.ms".into(), "100".into()),
            ("batch.size".into(), "7".into()),
            ("order.window".into(), "3".into()),
            ("watch.mode".into(), "poll".into()),
        ]);
        let Some(ConnectorPlugin::Source(plugin)) = Plugins::built_in().connector("LabFilesSource").ok() else {
            unreachable!("a source")
        };
        let kept = self.shelf.clone();
        let offsets = Offsets::Store(Box::new(move |signal| kept.of(signal)));
        let make = |_| (plugin.task)(Settings::new(config, plugin.info.config)).unwrap();
        self.lives.0.push(self.habits.begin(self.begun, &offsets, make));
        self.handed.iter_mut().for_each(|file| file.disturbed = true);
    }

    /// A time of its own for each state of a file.
    fn stamp(&mut self, path: &Path) {
        self.ticks += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + self.ticks);
        File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn touch(&mut self, path: &Path) {
        if let Some(file) = self.inside.remove(path).filter(|_| path.exists()) {
            self.handed[file].touched = true;
        }
    }

    fn act(&mut self, dice: &mut Dice, run: &mut Run) {
        let what = dice.below(100);
        let path = self.path("in").join(format!("f{}.txt", dice.index(NAMES)));
        run.note(|| format!("{what} with {}", path.file_name().unwrap().to_string_lossy()));
        match what {
            0..=24 => self.hand_in(&path, dice),
            25..=30 => self.grow(&path, dice),
            31..=33 => {
                // Away, or under another name: whoever does that loses nothing by us.
                let other = self.path("in").join(format!("f{}.txt", dice.index(NAMES)));
                if path.exists() && path != other {
                    self.touch(&path);
                    self.touch(&other);
                    fs::rename(&path, &other).unwrap();
                }
            }
            34..=36 if path.exists() => {
                self.touch(&path);
                fs::remove_file(&path).unwrap();
            }
            37 | 38 if path.exists() => {
                self.touch(&path);
                OpenOptions::new().write(true).open(&path).unwrap().set_len(14).unwrap();
                self.stamp(&path);
            }
            39..=58 => self.cluster.lock().some_arrive(dice),
            59..=74 => self.cluster.lock().some_are_acknowledged(dice),
            75..=86 => self.cluster.lock().catch_up(),
            87..=89 => self.crash(),
            90..=92 => {
                if let Some(life) = self.lives.current() {
                    life.wish([Wish::Pause, Wish::Run, Wish::Stop][dice.index(3)]);
                }
            }
            93 | 94 => {
                if let Some(life) = self.lives.current() {
                    life.wish(Wish::Stop);
                    life.wish = None;
                    self.handed.iter_mut().for_each(|file| file.disturbed = true);
                }
            }
            _ if self.lives.current().is_none() => self.begin(),
            _ => {}
        }
    }

    /// As a lab server does it that knows how: written elsewhere, then renamed.
    fn hand_in(&mut self, path: &Path, dice: &mut Dice) {
        let (file, count) = (self.handed.len(), dice.below(20));
        self.touch(path);
        let hidden = self.path("aside").join("new");
        fs::write(&hidden, rows(file, 0..count)).unwrap();
        self.stamp(&hidden);
        fs::rename(&hidden, path).unwrap();
        self.handed.push(Handed { rows: count, touched: false, disturbed: false });
        self.inside.insert(path.to_owned(), file);
    }

    fn grow(&mut self, path: &Path, dice: &mut Dice) {
        let Some(file) = self.inside.get(path).copied().filter(|_| path.exists()) else { return };
        let (had, more) = (self.handed[file].rows, dice.below(9));
        let mut open = OpenOptions::new().append(true).open(path).unwrap();
        open.write_all(rows(file, had..had + more).as_bytes()).unwrap();
        self.handed[file].rows += more;
        self.handed[file].disturbed = true;
        self.stamp(path);
    }

    fn crash(&mut self) {
        self.lives.0.clear();
        self.shelf.lock().crash();
        self.begin();
    }

    fn judge(&mut self) {
        loop {
            let kafka = self.cluster.lock();
            let Some(index) = kafka.visible.get(self.judged).copied() else { break };
            self.judged += 1;
            let text = String::from_utf8(kafka.entry(index).value.clone().unwrap()).unwrap();
            drop(kafka);
            let Some((file, number)) = text.split_once(':') else {
                // A file that was cut in the middle of a row.
                continue;
            };
            let (Ok(file), Ok(number)) = (file.parse::<usize>(), number.parse::<u64>()) else { continue };
            let count = self.seen.entry((file, number)).or_default();
            *count += 1;
            let handed = &self.handed[file];
            assert!(*count == 1 || handed.touched || handed.disturbed, "row {text} is there twice for no reason");
            if number > 0 && *count == 1 && !handed.touched {
                assert!(self.seen.contains_key(&(file, number - 1)), "row {text} came before its predecessor");
            }
        }
        self.judge_finished();
    }

    /// A file is moved only when all of it is in Kafka.
    fn judge_finished(&mut self) {
        let found: Vec<_> = fs::read_dir(self.path("finished")).unwrap().map(|entry| entry.unwrap().path()).collect();
        if found.len() == self.finished {
            return;
        }
        self.finished = found.len();
        for path in found {
            for line in fs::read_to_string(&path).unwrap().lines().filter(|line| line.len() == row(0, 0).len()) {
                assert!(self.cluster.lock().sees(TOPIC, line.as_bytes()), "{line} was moved before it was in Kafka");
            }
        }
    }

    /// What a start left behind is found by the next one.
    async fn start_again(&mut self) {
        for _ in 0..20 {
            if let Some(life) = self.lives.current() {
                life.wish(Wish::Stop);
            }
            self.lives.breathe(Duration::from_millis(97)).await;
            self.cluster.lock().catch_up();
        }
        self.begin();
        self.lives.breathe(Duration::from_secs(5)).await;
        self.judge();
    }

    /// Offsets of files that are done. One of a file that somebody took away while it was read stays: it may come back.
    fn ended(&self) -> usize {
        let disk = self.shelf.lock();
        disk.kept().values().filter(|offset| offset["state"].as_text() != Some("READING")).count()
    }

    async fn come_to_rest(&mut self, run: &mut Run) {
        run.note(|| "the faults stop".into());
        self.cluster.lock().calm = true;
        self.shelf.lock().calm = true;
        for _ in 0..400 {
            if self.lives.current().is_none() {
                self.begin();
            }
            if let Some(life) = self.lives.current() {
                life.wish(Wish::Run);
            }
            self.lives.breathe(Duration::from_millis(97)).await;
            self.cluster.lock().catch_up();
            self.judge();
            let empty = fs::read_dir(self.path("in")).unwrap().next().is_none();
            if empty && self.lives.current().is_some() {
                break;
            }
        }
        let left: Vec<_> = fs::read_dir(self.path("in")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "files are left in the folder: {left:?}");
        self.start_again().await;
        assert_eq!(self.ended(), 0, "offsets of files are left that are done and gone");
        for (file, handed) in self.handed.iter().enumerate().filter(|(_, handed)| !handed.touched) {
            for number in 0..handed.rows {
                assert!(self.seen.contains_key(&(file, number)), "row {} is lost", row(file, number));
            }
        }
        if let Some(life) = self.lives.current() {
            life.wish(Wish::Stop);
        }
        self.lives.breathe(Duration::from_secs(10)).await;
        assert!(self.lives.0.iter().all(|life| !life.lives()), "a task does not stop");
    }
}

#[test]
fn a_watched_folder_loses_no_row_and_moves_no_file_too_early() {
    FOLDER.run(|run| {
        in_simulated_time(async {
            let mut world = World::new(run);
            world.begin();
            while let Some(mut dice) = run.step() {
                world.act(&mut dice, run);
                let time = [0, 1, 17, 45, 110, 400][dice.index(6)];
                world.lives.breathe(Duration::from_millis(time)).await;
                world.judge();
            }
            world.come_to_rest(run).await;
        });
    });
}
