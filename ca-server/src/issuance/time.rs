//! The time that leaves carry. The log must neither run backward nor be dated so far ahead by one slip of the clock
//! that nothing could follow (`docs/decisions/0007-the-clock.md`).

use super::Refusal;
use identity::Timestamp;
use identity::fault::Fault;

/// What a clock that is being adjusted may go back without a word.
const JITTER_MS: u64 = 10 * 1000;
/// Longest silence of a log whose next leaf needs nobody's word for the time.
const MOST_SILENCE_MS: u64 = 31 * 24 * 60 * 60 * 1000;
/// Longest silence after which the CA is believed, and not the station that says otherwise.
const FRESH_MS: u64 = 24 * 60 * 60 * 1000;

/// How far an operator's watch may be off the server's clock.
const WATCH_MS: u64 = 5 * 60 * 1000;

/// Whether leaves may be dated `now`, after the time `believed` before.
///
/// # Errors
/// [`Refusal`]: issuing stops until an operator confirms the clock.
pub(super) fn judge(now: Timestamp, believed: u64) -> Result<(), Refusal> {
    if now.0.saturating_add(JITTER_MS) < believed {
        let behind = (believed - now.0) / 1000;
        return Err(Refusal::new(
            Fault::ClockBackward,
            format!("{behind} s before the newest leaf"),
        ));
    }
    if believed > 0 && now.0 > believed.saturating_add(MOST_SILENCE_MS) {
        let days = (now.0 - believed) / (24 * 60 * 60 * 1000);
        return Err(Refusal::new(
            Fault::ClockForward,
            format!("{days} days after the newest leaf"),
        ));
    }
    Ok(())
}

/// Judges again when a station's signed time is far off: between two clocks the log decides. If it is fresh, the
/// station is wrong; if not, nobody can tell.
///
/// # Errors
/// [`Refusal`]: issuing stops until an operator confirms the clock.
pub(super) fn judge_doubted(now: Timestamp, believed: u64) -> Result<(), Refusal> {
    judge(now, believed)?;
    if now.0 > believed.saturating_add(FRESH_MS) {
        return Err(Refusal::new(
            Fault::ClockForward,
            "a station's clock says otherwise, and the newest leaf is more than a day old",
        ));
    }
    Ok(())
}

/// Holds the server's clock against an operator's watch.
///
/// # Errors
/// [`Refusal`] says which way the clock is off.
pub(super) fn compare(now: Timestamp, watch: Timestamp) -> Result<(), Refusal> {
    let off = now.0.abs_diff(watch.0);
    let fault = match now < watch {
        true => Fault::ClockBackward,
        false => Fault::ClockForward,
    };
    match off <= WATCH_MS {
        true => Ok(()),
        false => Err(Refusal::new(
            fault,
            format!("{} s off the operator's watch", off / 1000),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_795_000_000_000;
    const HOUR: u64 = 60 * 60 * 1000;

    fn fault(outcome: Result<(), Refusal>) -> Option<Fault> {
        outcome.err().map(|refusal| refusal.fault)
    }

    #[test]
    fn a_slip_needs_a_persons_word() {
        for (now, believed, expected) in [
            (NOON, 0, None),
            (NOON, NOON, None),
            (NOON - JITTER_MS, NOON, None),
            (NOON - JITTER_MS - 1, NOON, Some(Fault::ClockBackward)),
            (0, NOON, Some(Fault::ClockBackward)),
            (NOON + MOST_SILENCE_MS, NOON, None),
            (NOON + MOST_SILENCE_MS + 1, NOON, Some(Fault::ClockForward)),
            (u64::MAX, NOON, Some(Fault::ClockForward)),
        ] {
            assert_eq!(fault(judge(Timestamp(now), believed)), expected, "{now}");
        }
    }

    #[test]
    fn between_two_clocks_a_fresh_log_decides() {
        for (now, expected) in [
            (NOON + 23 * HOUR, None),
            (NOON + 25 * HOUR, Some(Fault::ClockForward)),
            (NOON - HOUR, Some(Fault::ClockBackward)),
        ] {
            assert_eq!(
                fault(judge_doubted(Timestamp(now), NOON)),
                expected,
                "{now}"
            );
        }
    }
}
