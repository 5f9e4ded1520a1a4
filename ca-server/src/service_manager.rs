//! What systemd is told (`sd_notify(3)`): READY once the server serves, STATUS in words, STOPPING, and the beats of the
//! watchdog, which are sent only while the corridor's threads go on and the store answers. Where no service manager
//! asks, nothing is sent.

use crate::issuance::Corridor;
use crate::pulse::Look;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often the state is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// Looks within the time that the watchdog waits.
const LOOKS: u32 = 4;

/// Tells that stations are served now.
pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that calls under way may end.
pub(crate) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: calls under way may end"),
    ]);
}

/// Tells how the server is, until it is dropped.
pub(crate) async fn watch(corridor: Corridor) {
    let mut watch = Watch {
        corridor,
        look: Look::default(),
        asked: None,
        told: String::new(),
        beats: sd_notify::watchdog_enabled(),
    };
    let every = watch.beats.map_or(EVERY, |wait| EVERY.min(wait / LOOKS));
    let mut interval = tokio::time::interval(every);
    loop {
        interval.tick().await;
        watch.turn().await;
    }
}

struct Watch {
    corridor: Corridor,
    look: Look,
    /// The store is being asked; it may not answer.
    asked: Option<JoinHandle<String>>,
    told: String,
    beats: Option<Duration>,
}

impl Watch {
    async fn turn(&mut self) {
        let stuck = self.corridor.stuck(&mut self.look);
        let state = match (stuck, self.ask().await) {
            (Some(thread), _) => Err(format!(
                "the {thread} does not go on; no beat for the watchdog"
            )),
            (None, None) => Err("the store does not answer; no beat for the watchdog".to_owned()),
            (None, Some(state)) => Ok(state),
        };
        if state.is_ok() && self.beats.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
        let (Ok(text) | Err(text)) = state;
        if text != self.told {
            tell(&[NotifyState::Status(&text)]);
            self.told = text;
        }
    }

    /// How the server is, by its store; nothing if it did not answer since it was asked, a look ago.
    async fn ask(&mut self) -> Option<String> {
        let corridor = self.corridor.clone();
        let asked = self
            .asked
            .take()
            .unwrap_or_else(|| tokio::task::spawn_blocking(move || describe(&corridor)));
        let mut asked = asked;
        match tokio::time::timeout(EVERY / LOOKS, &mut asked).await {
            Ok(answered) => answered.ok(),
            Err(_elapsed) => {
                self.asked = Some(asked);
                None
            }
        }
    }
}

/// One line for `systemctl status`.
fn describe(corridor: &Corridor) -> String {
    match corridor.status() {
        Err(refusal) => format!("the store cannot be read: {refusal}"),
        Ok(status) => status.stopped.map_or_else(
            || "issuing".to_owned(),
            |stop| {
                let text = stop.refusal.fault.text();
                format!(
                    "NOT ISSUING: {} {}. To do: {}",
                    text.code, text.en, text.hint_en
                )
            },
        ),
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
