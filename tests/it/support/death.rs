//! When a worker is killed: at a blind moment, or right after it has done something that it must not have done too early.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::wait;
use super::worker::Worker;
use pipette_kit::Dice;

/// The longest blind life, and how long one is waited for that shows no progress of the kind hoped for.
pub(crate) struct Lives {
    pub(crate) blind: Duration,
    pub(crate) longest: Duration,
}

impl Lives {
    /// Lets the worker live for a while. Each of `signs` is a figure that changes when the worker has done something.
    pub(crate) fn await_death(&self, worker: &mut Worker, dice: &mut Dice, signs: &[&dyn Fn() -> u64]) {
        let choice = usize::try_from(dice.below(signs.len() as u64 + 1)).expect("a small number");
        let Some(sign) = signs.get(choice) else {
            let most = u64::try_from(self.blind.as_millis()).expect("a short life");
            return wait::moment(Duration::from_millis(50 + dice.below(most)));
        };
        let before = sign();
        wait::up_to(self.longest, || {
            worker.assert_lives();
            sign() != before
        });
        // Mostly at once: a fast worker has done everything a moment later.
        let most = 1 << dice.below(9);
        wait::moment(Duration::from_millis(dice.below(most)));
    }
}

pub(crate) fn count(folder: &Path) -> usize {
    fs::read_dir(folder).expect("a readable folder").count()
}

/// Zero as long as there is no such file.
pub(crate) fn size(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

/// When anything below the folder was last written, in nanoseconds; files come and go while it looks.
pub(crate) fn last_change(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let changes = entries.filter_map(|entry| {
        let data = entry.metadata().ok()?;
        let own = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_nanos();
        let below = if data.is_dir() { last_change(&entry.path()) } else { 0 };
        Some(below.max(u64::try_from(own).ok()?))
    });
    changes.max().unwrap_or_default()
}
