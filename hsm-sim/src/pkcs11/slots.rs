//! The initialised library: its slots, and the sessions opened through them.

use cryptoki_sys::*;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use super::rv::{BROKEN, Result, Rv};
use super::session::Session;
use super::token::{PIN_LENGTHS, Role, Token};

/// Everything between `C_Initialize` and `C_Finalize`.
#[derive(Debug)]
pub(crate) struct Module {
    directory: PathBuf,
    /// Slot n holds the token in `slot-n.token`; the last slot has none yet
    tokens: RwLock<BTreeMap<CK_SLOT_ID, Arc<Token>>>,
    sessions: RwLock<BTreeMap<CK_SESSION_HANDLE, Arc<Session>>>,
    /// The next handle, of sessions and objects alike
    handles: Arc<AtomicU64>,
}

impl Module {
    /// Opens the token directory, making it if it is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn new(directory: &Path) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let module = Self {
            directory: directory.to_path_buf(),
            tokens: RwLock::default(),
            sessions: RwLock::default(),
            handles: Arc::new(AtomicU64::new(1)),
        };
        module.scan()?;
        Ok(module)
    }

    /// The slots, the one without a token last; or only those with a token.
    pub(crate) fn slots(&self, with_token: CK_BBOOL) -> Result<Vec<CK_SLOT_ID>> {
        self.scan()?;
        let mut slots = Vec::new();
        for (slot, token) in self.tokens()?.iter() {
            if with_token == CK_FALSE || token.is_initialised()? {
                slots.push(*slot);
            }
        }
        Ok(slots)
    }

    /// The token of a slot, initialised or not.
    ///
    /// # Errors
    /// `CKR_SLOT_ID_INVALID`.
    pub(crate) fn token(&self, slot: CK_SLOT_ID) -> Result<Arc<Token>> {
        if let Some(token) = self.tokens()?.get(&slot) {
            return Ok(Arc::clone(token));
        }
        // Another process may have initialised it since.
        self.scan()?;
        let tokens = self.tokens()?;
        let token = tokens.get(&slot).ok_or(Rv(CKR_SLOT_ID_INVALID))?;
        Ok(Arc::clone(token))
    }

    /// `C_InitToken`.
    ///
    /// # Errors
    /// `CKR_SESSION_EXISTS`, `CKR_PIN_LEN_RANGE`, and those of [`Token::initialise`].
    pub(crate) fn init_token(&self, slot: CK_SLOT_ID, pin: &[u8], label: [u8; 32]) -> Result<()> {
        let token = self.token(slot)?;
        if self.sessions_of(slot)?.is_empty() {
            if !PIN_LENGTHS.contains(&pin.len()) {
                return Err(Rv(CKR_PIN_LEN_RANGE));
            }
            token.initialise(pin, label)?;
            return self.scan();
        }
        Err(Rv(CKR_SESSION_EXISTS))
    }

    /// `C_OpenSession`.
    ///
    /// # Errors
    /// `CKR_SESSION_PARALLEL_NOT_SUPPORTED`, `CKR_TOKEN_NOT_RECOGNIZED` for a slot whose token is
    /// not initialised, `CKR_SESSION_READ_WRITE_SO_EXISTS`.
    pub(crate) fn open_session(
        &self,
        slot: CK_SLOT_ID,
        flags: CK_FLAGS,
    ) -> Result<CK_SESSION_HANDLE> {
        if flags & CKF_SERIAL_SESSION == 0 {
            return Err(Rv(CKR_SESSION_PARALLEL_NOT_SUPPORTED));
        }
        let token = self.token(slot)?;
        if !token.is_initialised()? {
            return Err(Rv(CKR_TOKEN_NOT_RECOGNIZED));
        }
        token.refresh()?;
        if flags & CKF_RW_SESSION == 0 && token.login_role()? == Some(Role::SecurityOfficer) {
            return Err(Rv(CKR_SESSION_READ_WRITE_SO_EXISTS));
        }
        let handle = self.handles.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(handle, slot, token, flags));
        self.sessions
            .write()
            .or(Err(BROKEN))?
            .insert(handle, session);
        Ok(handle)
    }

    /// The session of a handle.
    ///
    /// # Errors
    /// `CKR_SESSION_HANDLE_INVALID`.
    pub(crate) fn session(&self, handle: CK_SESSION_HANDLE) -> Result<Arc<Session>> {
        let sessions = self.sessions.read().or(Err(BROKEN))?;
        let session = sessions
            .get(&handle)
            .ok_or(Rv(CKR_SESSION_HANDLE_INVALID))?;
        Ok(Arc::clone(session))
    }

    /// `C_CloseSession`; the last session with a token logs out of it.
    ///
    /// # Errors
    /// `CKR_SESSION_HANDLE_INVALID`.
    pub(crate) fn close_session(&self, handle: CK_SESSION_HANDLE) -> Result<()> {
        let removed = self.sessions.write().or(Err(BROKEN))?.remove(&handle);
        let session = removed.ok_or(Rv(CKR_SESSION_HANDLE_INVALID))?;
        session.cancel_all()?;
        session.token.end_session(handle)?;
        let is_last = self.sessions_of(session.slot)?.is_empty();
        if is_last && session.token.login_role()?.is_some() {
            session.token.logout()?;
        }
        Ok(())
    }

    /// `C_CloseAllSessions`.
    ///
    /// # Errors
    /// `CKR_SLOT_ID_INVALID`.
    pub(crate) fn close_all_sessions(&self, slot: CK_SLOT_ID) -> Result<()> {
        self.token(slot)?;
        for session in self.sessions_of(slot)? {
            self.close_session(session.handle)?;
        }
        Ok(())
    }

    /// Closes every session of every token.
    pub(crate) fn close_everything(&self) -> Result<()> {
        let sessions = self.sessions.read().or(Err(BROKEN))?;
        let handles: Vec<_> = sessions.keys().copied().collect();
        drop(sessions);
        for handle in handles {
            self.close_session(handle)?;
        }
        Ok(())
    }

    /// The open sessions with one token.
    pub(crate) fn sessions_of(&self, slot: CK_SLOT_ID) -> Result<Vec<Arc<Session>>> {
        let sessions = self.sessions.read().or(Err(BROKEN))?;
        Ok(sessions
            .values()
            .filter(|session| session.slot == slot)
            .map(Arc::clone)
            .collect())
    }

    /// `C_Login`.
    ///
    /// # Errors
    /// `CKR_SESSION_READ_ONLY_EXISTS` where the security officer would share the token with a
    /// read-only session, and those of [`Token::login`].
    pub(crate) fn login(&self, session: &Session, role: Role, pin: &[u8]) -> Result<()> {
        let sessions = self.sessions_of(session.slot)?;
        if role == Role::SecurityOfficer && sessions.iter().any(|one| !one.is_writable) {
            return Err(Rv(CKR_SESSION_READ_ONLY_EXISTS));
        }
        session.token.login(role, pin)
    }

    /// `C_Logout`: operations under way in any session with the token end, as their keys go.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`.
    pub(crate) fn logout(&self, session: &Session) -> Result<()> {
        session.token.logout()?;
        for other in self.sessions_of(session.slot)? {
            other.cancel_all()?;
        }
        Ok(())
    }

    /// Takes up tokens that appeared in the directory, and keeps one free slot after them all.
    fn scan(&self) -> Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            found.extend(slot_of(&entry?.path()));
        }
        let mut tokens = self.tokens.write().or(Err(BROKEN))?;
        let last = found.iter().max();
        let free = last.map_or(0, |last| last.saturating_add(1));
        tokens.retain(|slot, _| *slot <= free);
        for slot in found.into_iter().chain([free]) {
            tokens.entry(slot).or_insert_with(|| {
                let handles = Arc::clone(&self.handles);
                Arc::new(Token::new(&self.directory, &file_name(slot), handles))
            });
        }
        Ok(())
    }

    fn tokens(&self) -> Result<RwLockReadGuard<'_, BTreeMap<CK_SLOT_ID, Arc<Token>>>> {
        self.tokens.read().or(Err(BROKEN))
    }
}

fn file_name(slot: CK_SLOT_ID) -> String {
    format!("slot-{slot}.token")
}

fn slot_of(path: &Path) -> Option<CK_SLOT_ID> {
    let name = path.file_name()?.to_str()?;
    let slot = name.strip_prefix("slot-")?.strip_suffix(".token")?;
    slot.parse().ok().filter(|slot| file_name(*slot) == name)
}
