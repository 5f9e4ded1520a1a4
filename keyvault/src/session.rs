//! The sessions of one token: a thread uses one at a time, and all are opened anew when the token comes back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::session::{Session, UserType};

use crate::error::{PinFault, Result, VaultError};
use crate::module::{Loaded, lock};
use crate::pin::Pin;

/// Most sessions in the pool at once; further callers wait for one.
const MOST_SESSIONS: usize = 16;
/// Most sessions without objects that are kept for whoever needs one of their own next.
const MOST_SPARE: usize = 16;

/// The logged-in sessions of one token.
///
/// A *generation* is the time between two logins. Object handles are valid within one generation only.
pub(crate) struct SessionPool {
    module: Arc<Loaded>,
    label: String,
    pin: Pin,
    state: Mutex<State>,
    given_back: Condvar,
}

/// A session in the hands of one caller.
pub(crate) struct Lease {
    pub(crate) session: Session,
    pub(crate) generation: u64,
}

/// A session that one caller keeps for as long as its session objects shall live. Closed when dropped, and the objects
/// with it (PKCS#11 v2.40 §2.6.7).
pub(crate) struct OwnSession {
    /// `None` once given back or closed.
    session: Option<Session>,
    generation: u64,
    pool: Arc<SessionPool>,
}

impl OwnSession {
    /// Runs `call` on the session. One that the module has forgotten is not closed: its number may be somebody else's by
    /// now.
    pub(crate) fn run<T>(&mut self, call: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
        let Some(session) = &self.session else {
            return Err(VaultError::logged_out());
        };
        let outcome = call(session);
        if outcome
            .as_ref()
            .is_err_and(VaultError::is_session_forgotten)
        {
            drop(self.session.take());
        }
        outcome
    }

    /// Gives back a session that holds no objects any more, for the next to use.
    pub(crate) fn give_back(mut self) {
        let mut state = lock(&self.pool.state);
        if state.generation == self.generation && state.spare.len() < MOST_SPARE {
            state.spare.extend(self.session.take());
        }
    }
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            close(session);
        }
    }
}

#[derive(Default)]
struct State {
    generation: u64,
    logged_in: bool,
    /// The token refused the PIN: never offer it again, lest its counter of tries runs out.
    pin_refused: Option<PinFault>,
    idle: Vec<Session>,
    /// Sessions of this generation, idle or lent.
    open: usize,
    /// Callers who sleep until a session is given back.
    asleep: usize,
    /// Sessions of this generation that somebody had for their own, empty again.
    spare: Vec<Session>,
    /// The token's mechanisms, once asked for in this generation.
    mechanisms: Option<Arc<[MechanismType]>>,
}

impl SessionPool {
    pub(crate) fn open(module: Arc<Loaded>, label: String, pin: Pin) -> Result<Self> {
        let pool = Self {
            module,
            label,
            pin,
            state: Mutex::default(),
            given_back: Condvar::new(),
        };
        pool.log_in(&mut lock(&pool.state))?;
        Ok(pool)
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn opens_with(&self, pin: &Pin) -> bool {
        self.pin.same(pin)
    }

    /// Runs `call` on a session of the pool. If the token turns out to be gone, it is opened again and the call is
    /// made once more, so `call` must be harmless to repeat.
    pub(crate) fn run<T>(&self, call: impl Fn(&Lease) -> Result<T>) -> Result<T> {
        self.reopening(|| {
            let lease = self.lease()?;
            let outcome = crate::usage::counted(|| call(&lease));
            let still_current = self.give_back(lease, outcome.as_ref().err());
            match outcome {
                // Another thread logged in again meanwhile: what was not found may only have been hidden.
                Err(VaultError::NotFound { .. }) if !still_current => Err(VaultError::logged_out()),
                outcome => outcome,
            }
        })
    }

    /// Runs `call` on a session of its own, which lives as long as the caller wants its session objects to live.
    /// Repeated once as in [`SessionPool::run`].
    pub(crate) fn run_on_own_session<T>(
        self: &Arc<Self>,
        call: impl Fn(OwnSession) -> Result<T>,
    ) -> Result<T> {
        self.reopening(|| call(self.own_session()?))
    }

    /// An empty session, logged in: one that was given back, or a new one.
    fn own_session(self: &Arc<Self>) -> Result<OwnSession> {
        let mut state = lock(&self.state);
        if !state.logged_in {
            self.log_in(&mut state)?;
        }
        let session = match state.spare.pop() {
            Some(session) => session,
            None => {
                let (slot, _) = self.module.find_token(&self.label)?;
                self.module.context().open_rw_session_no_drop(slot)?
            }
        };
        Ok(OwnSession {
            session: Some(session),
            generation: state.generation,
            pool: Arc::clone(self),
        })
    }

    /// Whether the token has a mechanism. It is asked once in a generation.
    pub(crate) fn offers(&self, mechanism: MechanismType) -> Result<bool> {
        let (known, generation) = {
            let state = lock(&self.state);
            (state.mechanisms.clone(), state.generation)
        };
        if let Some(known) = known {
            return Ok(known.contains(&mechanism));
        }
        let (slot, _) = self.module.find_token(&self.label)?;
        let offered: Arc<[_]> = self.module.context().get_mechanism_list(slot)?.into();
        let mut state = lock(&self.state);
        if state.generation == generation {
            state.mechanisms = Some(Arc::clone(&offered));
        }
        Ok(offered.contains(&mechanism))
    }

    fn reopening<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        let generation = lock(&self.state).generation;
        match attempt() {
            Err(VaultError::Device { .. }) => {
                self.reopen(generation)?;
                attempt()
            }
            outcome => outcome,
        }
    }

    fn lease(&self) -> Result<Lease> {
        let mut state = lock(&self.state);
        loop {
            if !state.logged_in {
                self.log_in(&mut state)?;
            }
            if let Some(session) = state.idle.pop() {
                return Ok(Lease {
                    session,
                    generation: state.generation,
                });
            }
            if state.open < MOST_SESSIONS {
                return self.open_another(&mut state);
            }
            state.asleep = state.asleep.saturating_add(1);
            state = self
                .given_back
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.asleep = state.asleep.saturating_sub(1);
        }
    }

    fn open_another(&self, state: &mut State) -> Result<Lease> {
        let (slot, _) = self.module.find_token(&self.label)?;
        let session = self.module.context().open_rw_session_no_drop(slot)?;
        state.open = state.open.saturating_add(1);
        Ok(Lease {
            session,
            generation: state.generation,
        })
    }

    /// Takes a session back and says whether its generation is still the current one. A session that has seen a failed
    /// call may be in the middle of an operation and is not reused.
    fn give_back(&self, lease: Lease, error: Option<&VaultError>) -> bool {
        let fault = error.filter(|error| error.is_fault_of_call());
        let mut state = lock(&self.state);
        let current = lease.generation == state.generation;
        if current && fault.is_none() {
            state.idle.push(lease.session);
        } else {
            // A forgotten session is not closed: its number may be somebody else's by now.
            if !fault.is_some_and(VaultError::is_session_forgotten) {
                close(lease.session);
            }
            state.open = state.open.saturating_sub(usize::from(current));
        }
        let somebody_sleeps = state.asleep > 0;
        drop(state);
        // To wake nobody is a system call, too.
        if somebody_sleeps {
            self.given_back.notify_one();
        }
        current
    }

    /// Gives up all sessions of `generation` and logs in again, unless another thread has done so already.
    fn reopen(&self, generation: u64) -> Result<()> {
        let mut state = lock(&self.state);
        if state.generation != generation {
            return Ok(());
        }
        state.idle.drain(..).for_each(close);
        state.spare.drain(..).for_each(close);
        state.mechanisms = None;
        state.open = 0;
        state.generation = state.generation.saturating_add(1);
        state.logged_in = false;
        let outcome = self.log_in(&mut state);
        drop(state);
        self.given_back.notify_all();
        outcome
    }

    fn log_in(&self, state: &mut MutexGuard<'_, State>) -> Result<()> {
        if let Some(fault) = &state.pin_refused {
            return Err(fault.clone().into());
        }
        let (slot, _) = self.module.find_token(&self.label).map_err(|error| {
            // It was there when the token was first opened.
            let vanished = state.generation > 0 && matches!(error, VaultError::NotFound { .. });
            if vanished {
                VaultError::token_gone()
            } else {
                error
            }
        })?;
        let session = self.module.context().open_rw_session_no_drop(slot)?;
        match session.login(UserType::User, Some(self.pin.secret())) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => {
                close(session);
                let error = VaultError::from(error);
                if let VaultError::Pin(fault) = &error {
                    state.pin_refused = Some(fault.clone());
                }
                return Err(error);
            }
        }
        state.idle.push(session);
        state.open = 1;
        state.logged_in = true;
        Ok(())
    }
}

impl Drop for SessionPool {
    fn drop(&mut self) {
        // Closing the last session logs out (PKCS#11 v2.40 §5.6, `C_CloseSession`).
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.idle.drain(..).for_each(close);
        state.spare.drain(..).for_each(close);
    }
}

fn close(session: Session) {
    if let Err(error) = session.close() {
        tracing::debug!(%error, "session not closed");
    }
}
