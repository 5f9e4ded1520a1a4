//! What systemd is told (`sd_notify(3)`): READY, STATUS in words, STOPPING, and the beats of the watchdog. Where no
//! service manager asks, nothing is sent.

use sd_notify::NotifyState;
use std::time::Duration;

/// How often a program that nobody waits for looks at itself.
const EVERY: Duration = Duration::from_secs(2);
/// Looks within the time that the watchdog waits.
pub const LOOKS: u32 = 4;

/// Tells how the program is, look by look; what it told last it does not tell again.
#[derive(Debug)]
pub struct Teller {
    told: String,
    beats: Option<Duration>,
}

impl Default for Teller {
    fn default() -> Self {
        Self {
            told: String::new(),
            beats: sd_notify::watchdog_enabled(),
        }
    }
}

impl Teller {
    /// How long to wait from one look to the next.
    #[must_use]
    pub fn every(&self) -> Duration {
        self.beats.map_or(EVERY, |wait| EVERY.min(wait / LOOKS))
    }

    /// What a look found: how a program is that goes on, or what in it does not go on. Only the first is a beat for the
    /// watchdog.
    pub fn found(&mut self, state: Result<String, String>) {
        if state.is_ok() && self.beats.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let text = state.unwrap_or_else(|what| format!("{what}; no beat for the watchdog"));
        if text != self.told {
            tell(&[NotifyState::Status(&text)]);
            self.told = text;
        }
    }
}

/// Whether a service manager asks.
#[must_use]
pub fn asks() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells that the program does its work now.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the program ends, and what it still does.
pub fn stopping(text: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(text)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
