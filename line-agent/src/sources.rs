//! The real clock and the real source of randomness, and times as text.

use identity::{Clock, Entropy, Timestamp, sources::EntropyError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock adapter")]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The random number generator of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(out).or(Err(EntropyError))
    }
}

/// RFC 3339 in UTC with milliseconds; the bare number for moments that have no such form.
#[must_use]
pub fn rfc3339(time: Timestamp) -> String {
    let moment = i64::try_from(time.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    moment.map_or_else(|| time.0.to_string(), |moment| format!("{moment:.3}"))
}

/// The day of UTC, as in RFC 3339; the bare number for moments that have no such form.
#[must_use]
pub fn day(time: Timestamp) -> String {
    let text = rfc3339(time);
    text.split_once('T')
        .map_or_else(|| text.clone(), |(day, _)| day.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(
            rfc3339(Timestamp(1_795_392_000_007)),
            "2026-11-23T00:00:00.007Z"
        );
        assert_eq!(rfc3339(Timestamp(u64::MAX)), u64::MAX.to_string());
        assert_eq!(day(Timestamp(1_795_392_000_007)), "2026-11-23");
    }
}
