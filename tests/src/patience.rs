//! Real processes take real time: the one place that reads the clock and waits.

use crate::failure::{Failure, Outcome};
use std::time::{Duration, Instant};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// A moment.
#[must_use]
pub fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "durations of real processes are measured"
    )]
    Instant::now()
}

/// Lets a moment pass.
pub fn pause(duration: Duration) {
    #[expect(
        clippy::disallowed_methods,
        reason = "another process is waited for, which no scheduler of ours knows"
    )]
    std::thread::sleep(duration);
}

/// Asks again and again until there is an answer.
///
/// # Errors
/// [`Failure`] of the question, or that there was no answer in a minute.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let begin = now();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if begin.elapsed() > PATIENCE {
            return Err(Failure::new(format_args!("waited too long for {what}")));
        }
        pause(PAUSE);
    }
}
