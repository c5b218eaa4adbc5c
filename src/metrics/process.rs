//! What the process uses, under the names every Prometheus client library gives them. Read when asked.

use std::fmt::Write as _;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::head;

/// Linux counts processor time in hundredths of a second for all programs, whatever the kernel's own tick is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the numbers; what cannot be read is left out.
pub(super) fn render(text: &mut String, started: SystemTime) {
    head(text, "pipette_build_info", "gauge", "The version that runs.");
    let _ = writeln!(text, "pipette_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    let mut show = |name: &str, kind: &str, help: &str, value: Option<f64>| {
        if let Some(value) = value {
            head(text, name, kind, help);
            let _ = writeln!(text, "{name} {value}");
        }
    };
    let uptime = started.elapsed().unwrap_or_default().as_secs_f64();
    let start = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    show("pipette_uptime_seconds", "gauge", "How long the worker has been running.", Some(uptime));
    show("process_start_time_seconds", "gauge", "When the worker started, in seconds since 1970.", Some(start));
    show("process_resident_memory_bytes", "gauge", "Memory in use.", resident_memory());
    show("process_cpu_seconds_total", "counter", "Processor time used.", cpu_seconds());
    show("process_threads", "gauge", "Threads.", threads());
    let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    let open = open.and_then(|count| u32::try_from(count).ok()).map(f64::from);
    show("process_open_fds", "gauge", "Open files and connections.", open);
}

fn resident_memory() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let (user, system) = (stat_field(14)?, stat_field(15)?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn threads() -> Option<f64> {
    stat_field(20)
}

/// A field of `/proc/self/stat`, numbered as in proc(5). The second one, the program's name, may hold blanks.
fn stat_field(number: usize) -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(number - 3)?.parse().ok()
}
