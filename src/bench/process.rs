//! What a process has used so far, as Linux tells it: CPU time of all its threads, memory now and at its peak.
//!
//! For `pipette bench` and for the proof `beside_java`, which count every contender in the same way.

use std::fs;

use anyhow::{Context, Result};

/// `/proc` counts CPU time in these, on every Linux that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of user and system time, of all threads. `pid` is a number or `self`.
pub fn cpu_seconds(pid: &str) -> Result<f64> {
    ticks(&read(pid, "stat")?).map(|ticks| ticks / TICKS_PER_SECOND).context("an unknown form of /proc/PID/stat")
}

/// Memory in use, in MiB.
pub fn resident_mib(pid: &str) -> Result<f64> {
    mib(pid, "VmRSS:")
}

/// The most memory that was in use since the start or since [`forget_peak`], in MiB.
pub fn peak_mib(pid: &str) -> Result<f64> {
    mib(pid, "VmHWM:")
}

/// From here on the peak is measured anew.
pub fn forget_peak(pid: &str) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the kernel does not start a new peak of memory")
}

/// Fields 14 and 15. The program's name, field 2, may hold blanks and brackets: counting starts behind the last one.
fn ticks(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn mib(pid: &str, name: &str) -> Result<f64> {
    let status = read(pid, "status")?;
    let kib = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    kib.map(|kib: f64| kib / 1024.0).context("the kernel does not tell the process's memory")
}

fn read(pid: &str, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| {
        format!("/proc/{pid}/{file} cannot be read: the process has ended, or this is not Linux, which bench needs")
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_brackets() {
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(200.0));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_used_cpu_time() {
        let before = cpu_seconds("self").unwrap();
        let began = Instant::now();
        while cpu_seconds("self").unwrap() <= before {
            assert!(began.elapsed() < Duration::from_secs(20), "a busy loop uses CPU time");
        }
    }

    #[test]
    fn a_peak_outlasts_the_memory_and_is_forgotten_on_demand() {
        let block = vec![1_u8; 200 << 20];
        let full = resident_mib("self").unwrap();
        drop(std::hint::black_box(block));
        // The kernel keeps the peak in rougher steps than the present use.
        assert!(peak_mib("self").unwrap() > full - 20.0);
        forget_peak("self").unwrap();
        assert!(peak_mib("self").unwrap() < full - 100.0);
    }
}
