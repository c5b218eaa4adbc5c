//! Records that a sink refuses one after another, and when that says more of the target than of them. Pure.
//!
//! A sink may call a missing table or a lost right an error of its record. Believed each time, the whole topic would
//! drain into the dead letters, so `sink.rs` asks here before it skips what was refused.

use pipette_api::{ConnectError, ErrorKind, RawRecord};

/// A record that the sink refused, or reported.
#[derive(Debug)]
pub struct Refused {
    /// As it was consumed.
    pub origin: RawRecord,
    /// Why.
    pub error: ConnectError,
}

/// Refusals in a row.
#[derive(Debug)]
pub struct Refusals {
    /// So many for one reason are no coincidence; zero for no limit.
    most: usize,
    reason: String,
    row: usize,
    /// Records put since the last flush and not refused so far.
    put: usize,
}

impl Refusals {
    /// None so far.
    pub fn new(most: usize) -> Self {
        Self { most, reason: String::new(), row: 0, put: 0 }
    }

    /// A batch was put: so many of its records were taken, these were not. The error when it is not for their own sake.
    pub fn after_put(&mut self, taken: usize, refused: &[Refused]) -> Option<ConnectError> {
        self.put += taken;
        if taken > 0 {
            self.row = 0;
            return None;
        }
        self.count(refused)
    }

    /// Everything put was flushed, and these were refused thereby. The error when it is not for their own sake.
    pub fn after_flush(&mut self, refused: &[Refused]) -> Option<ConnectError> {
        let taken = std::mem::take(&mut self.put).saturating_sub(refused.len());
        if taken > 0 { None } else { self.count(refused) }
    }

    fn count(&mut self, refused: &[Refused]) -> Option<ConnectError> {
        for Refused { error, .. } in refused.iter().filter(|refused| refused.error.kind() == ErrorKind::Data) {
            let reason = error.chain();
            self.row = if self.row > 0 && reason == self.reason { self.row + 1 } else { 1 };
            self.reason = reason;
        }
        if self.most == 0 || self.row < self.most {
            return None;
        }
        Some(ConnectError::fatal(format!(
            "The sink has refused {} records in a row, all for the same reason, so it is not the records: {}. None of \
             the last batch was skipped. Mend the target, then restart the task. If the records are bad all the same, \
             raise errors.refusals.in.a.row.max, or set it to 0, until they are through",
            self.row, self.reason
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::bare;
    use super::*;
    use pipette_api::TopicPartition;

    fn refused(count: usize, reason: &str) -> Vec<Refused> {
        let one = |_| {
            let origin = bare(TopicPartition::new("t", 0), 0);
            Refused { origin, error: ConnectError::data(reason) }
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn only_a_long_row_for_one_reason_is_the_targets() {
        let mut refusals = Refusals::new(10);
        assert!(refusals.after_put(1, &refused(50, "no table")).is_none(), "one record was taken");
        for _ in 0..9 {
            assert!(refusals.after_put(0, &refused(1, "no table")).is_none());
        }
        let error = refusals.after_put(0, &refused(1, "no table")).unwrap().to_string();
        assert!(error.contains("10 records in a row") && error.contains("no table"), "{error}");
        assert!(refusals.after_put(0, &refused(9, "too long")).is_none(), "another reason begins another row");
        assert!(refusals.after_put(1, &[]).is_none());
        assert!(refusals.after_put(0, &refused(9, "too long")).is_none(), "one was taken between");
        assert!(Refusals::new(0).after_put(0, &refused(5_000, "no table")).is_none(), "no limit");
    }

    #[test]
    fn what_is_refused_by_a_flush_is_held_against_what_was_put_before_it() {
        let mut refusals = Refusals::new(10);
        refusals.after_put(30, &[]);
        assert!(refusals.after_flush(&refused(29, "no table")).is_none());
        refusals.after_put(30, &[]);
        assert!(refusals.after_flush(&refused(30, "no table")).is_some());
    }
}
