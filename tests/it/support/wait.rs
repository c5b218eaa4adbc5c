//! Waiting on a condition with a deadline: the only place in all tests that may pause a thread (`tidy.rs` checks it).

use std::time::{Duration, Instant};

/// Between two looks at a condition of another process, which cannot wake us.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks until `probe` is content, and fails with its last complaint when `limit` has passed.
pub(crate) fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let complaint = match probe() {
            Ok(found) => return found,
            Err(complaint) => complaint,
        };
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for {what}; last seen: {complaint}");
        std::thread::sleep(PAUSE);
    }
}

/// Looks until `probe` is content, and fails when its figure has stayed the same for as long as `rest`.
pub(crate) fn until_rest<T>(what: &str, rest: Duration, mut probe: impl FnMut() -> Result<T, u64>) -> T {
    let mut last = (0, Instant::now());
    loop {
        match probe() {
            Ok(found) => return found,
            Err(figure) if figure != last.0 => last = (figure, Instant::now()),
            Err(figure) => {
                assert!(last.1.elapsed() < rest, "no progress towards {what} for {rest:?}: it stays at {figure}");
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Looks until `probe` is true, or `limit` has passed, whichever comes first.
pub(crate) fn up_to(limit: Duration, mut probe: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !probe() && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
    }
}

/// Lets `length` pass: the random moment at which a process is killed. Never a way to wait for something.
pub(crate) fn moment(length: Duration) {
    std::thread::sleep(length);
}

#[test]
fn until_gives_the_value_or_the_last_complaint() {
    let mut looks = 0;
    let found = until("three looks", Duration::from_secs(5), || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(format!("{looks} looks")) }
    });
    assert_eq!(found, 3);

    let failure = std::panic::catch_unwind(|| {
        until("the impossible", Duration::ZERO, || Err::<(), _>("nothing yet".into()));
    });
    let text = *failure.unwrap_err().downcast::<String>().expect("a text");
    assert!(text.contains("the impossible") && text.contains("nothing yet"), "{text}");
}
