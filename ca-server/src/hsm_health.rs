//! Whether the HSM answers, asked when somebody wants to know: a cheap call on each token, on a thread of its own,
//! because a module that hangs gives its thread back to nobody.

use keyvault::{Token, VaultError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// How long all tokens together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the HSM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HsmHealth {
    /// Every token answered, logged in.
    Ready,
    /// A token refused or did not answer in time.
    Failing,
    /// A token is not there.
    Absent,
}

/// Asks the tokens.
#[derive(Clone)]
pub struct HsmProbe {
    check: Arc<dyn Fn() -> Result<(), VaultError> + Send + Sync>,
    patience: Duration,
    /// One probe at a time: a module that hangs costs one thread, however often it is asked.
    free: Arc<Semaphore>,
}

impl HsmProbe {
    /// Over these tokens.
    #[must_use]
    pub fn new(tokens: Vec<Token>) -> Self {
        let check = move || tokens.iter().try_for_each(Token::health);
        Self::of(check, PATIENCE)
    }

    fn of(
        check: impl Fn() -> Result<(), VaultError> + Send + Sync + 'static,
        patience: Duration,
    ) -> Self {
        Self {
            check: Arc::new(check),
            patience,
            free: Arc::new(Semaphore::new(1)),
        }
    }

    /// Asks now. While an earlier call hangs, the HSM is failing.
    pub async fn health(&self) -> HsmHealth {
        match timeout(self.patience, self.ask()).await {
            Ok(Some(Ok(()))) => HsmHealth::Ready,
            Ok(Some(Err(error))) => {
                tracing::warn!(%error, "a token is not well");
                if matches!(error, VaultError::NotFound { .. }) {
                    HsmHealth::Absent
                } else {
                    HsmHealth::Failing
                }
            }
            Ok(None) | Err(_) => {
                tracing::warn!("the HSM does not answer");
                HsmHealth::Failing
            }
        }
    }

    /// None if the probe could not be made.
    async fn ask(&self) -> Option<Result<(), VaultError>> {
        let permit = Arc::clone(&self.free).acquire_owned().await.ok()?;
        let (reply, answer) = oneshot::channel();
        let check = Arc::clone(&self.check);
        let probe = move || {
            let outcome = check();
            drop(permit);
            if reply.send(outcome).is_err() {
                tracing::info!("the HSM answered too late");
            }
        };
        let thread = std::thread::Builder::new().name("hsm-probe".to_owned());
        thread.spawn(probe).ok()?;
        answer.await.ok()
    }
}

impl std::fmt::Debug for HsmProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HsmProbe").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_module_that_hangs_is_failing_and_costs_one_thread() {
        let (release, hang) = mpsc::channel::<()>();
        let (hang, asked) = (Mutex::new(hang), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        let check = move || {
            count.fetch_add(1, Ordering::SeqCst);
            // Until the test lets go: then nobody is left to send.
            hang.lock().unwrap().recv().unwrap_err();
            Ok(())
        };
        let probe = HsmProbe::of(check, Duration::from_millis(50));
        for _ in 0..3 {
            assert_eq!(probe.health().await, HsmHealth::Failing);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        drop(release);
        let patient = HsmProbe {
            patience: Duration::from_secs(30),
            ..probe
        };
        assert_eq!(patient.health().await, HsmHealth::Ready);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_token_that_is_gone_is_absent() {
        let gone = || {
            Err(VaultError::NotFound {
                what: "token",
                label: "koseki-log".to_owned(),
            })
        };
        let probe = HsmProbe::of(gone, PATIENCE);
        assert_eq!(probe.health().await, HsmHealth::Absent);
    }
}
