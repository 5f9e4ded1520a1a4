//! What the service manager is told of a running server: how it is, in words, and beats, which are sent only while the
//! corridor's threads go on and the store answers.

use crate::issuance::Corridor;
use crate::pulse::Look;
use tokio::task::JoinHandle;
use vitals::manager::{LOOKS, Teller};

/// Tells how the server is, until it is dropped.
pub(crate) async fn watch(corridor: Corridor) {
    let mut watch = Watch {
        corridor,
        look: Look::default(),
        asked: None,
        teller: Teller::default(),
    };
    let mut interval = tokio::time::interval(watch.teller.every());
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
    teller: Teller,
}

impl Watch {
    async fn turn(&mut self) {
        let stuck = self.corridor.stuck(&mut self.look);
        let state = match (stuck, self.ask().await) {
            (Some(thread), _) => Err(format!("the {thread} does not go on")),
            (None, None) => Err("the store does not answer".to_owned()),
            (None, Some(state)) => Ok(state),
        };
        self.teller.found(state);
    }

    /// How the server is, by its store; nothing if it did not answer since it was asked, a look ago.
    async fn ask(&mut self) -> Option<String> {
        let corridor = self.corridor.clone();
        let asked = self
            .asked
            .take()
            .unwrap_or_else(|| tokio::task::spawn_blocking(move || describe(&corridor)));
        let mut asked = asked;
        match tokio::time::timeout(self.teller.every() / LOOKS, &mut asked).await {
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
