//! One token: its login, its objects in memory, and their safe-keeping in its file.
//!
//! Two locks, always taken in this order: `writer` serialises whatever changes the file (with a
//! file lock against other processes), `state` guards what is in memory and is only ever held for
//! moments, never over a disk write or a signature.

mod codec;
mod file;
mod pin;
mod seal;
mod state;
mod store;

use cryptoki_sys::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::codec::DAMAGED;
use self::file::{Failures, Head, Objects, TokenFile};
use self::pin::PinRecord;
pub(crate) use self::pin::{PIN_LENGTHS, Role, TRIES};
use self::seal::Key;
use self::state::State;
use self::store::{Store, WriteLock};
use super::attributes::Attributes;
use super::mechanism::random;
use super::object::{Object, Uid};
use super::rv::{BROKEN, Result, Rv};

/// What `C_GetTokenInfo` tells of a token.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// Blank-padded label
    pub(crate) label: [u8; 32],
    /// Serial number, hexadecimal
    pub(crate) serial: [u8; 16],
    /// Whether there is a user PIN
    pub(crate) has_user_pin: bool,
    /// Wrong PINs in a row: the security officer's, the user's
    pub(crate) failures: (u8, u8),
}

/// A token of one slot.
#[derive(Debug)]
pub(crate) struct Token {
    store: Store,
    handles: Arc<AtomicU64>,
    writer: Mutex<()>,
    state: RwLock<State>,
}

/// The right to change the file: this process's and the one against all others.
struct Writing<'a> {
    lock: WriteLock,
    _turn: MutexGuard<'a, ()>,
}

impl Token {
    /// The token of this file, which need not exist yet; nothing is read.
    pub(crate) fn new(directory: &Path, name: &str, handles: Arc<AtomicU64>) -> Self {
        Self {
            store: Store::new(directory, name),
            handles,
            writer: Mutex::new(()),
            state: RwLock::new(State::default()),
        }
    }

    /// Whether there is a token, i.e. whether it was ever initialised.
    pub(crate) fn is_initialised(&self) -> Result<bool> {
        self.store.exists()
    }

    /// Takes up what other processes have written since.
    ///
    /// # Errors
    /// `CKR_TOKEN_NOT_RECOGNIZED` or `CKR_DEVICE_ERROR` where the file is not sound.
    pub(crate) fn refresh(&self) -> Result<()> {
        if self.state()?.stamp == Some(self.store.stamp()?) {
            return Ok(());
        }
        let (file, stamp) = self.store.load()?;
        let key = self.state()?.key();
        let objects = match &key {
            Some(key) => file.open(key)?,
            None => file.head.open.clone(),
        };
        self.state_mut()?
            .adopt(&file, stamp, &objects, &self.handles);
        Ok(())
    }

    /// Label, serial number and PIN state.
    pub(crate) fn description(&self) -> Result<Description> {
        let state = self.state()?;
        let (head, failures) = state.known.as_ref().ok_or(DAMAGED)?;
        Ok(Description {
            label: head.label,
            serial: head.serial,
            has_user_pin: head.user_pin.is_some(),
            failures: (failures.so, failures.user),
        })
    }

    /// Makes the token, or makes it anew: all objects and the user PIN are gone (`C_InitToken`).
    ///
    /// # Errors
    /// `CKR_PIN_INCORRECT` where the token exists under another SO PIN, `CKR_PIN_LOCKED`,
    /// `CKR_PIN_LEN_RANGE`; a damaged token is not overwritten.
    pub(crate) fn initialise(&self, pin: &[u8], label: [u8; 32]) -> Result<()> {
        let writing = self.writing()?;
        let serial = if self.store.exists()? {
            let (mut file, _) = self.store.load()?;
            self.unlock(&writing, &mut file, Role::SecurityOfficer, pin)?;
            file.head.serial
        } else {
            new_serial()?
        };
        let mut key = Key::default();
        random::fill(key.as_mut_slice())?;
        let head = Head {
            serial,
            label,
            so_pin: PinRecord::new(Role::SecurityOfficer, pin, &key)?,
            user_pin: None,
            open: Objects::new(),
        };
        let objects = Objects::new();
        let file = TokenFile::seal(Failures::default(), head, &objects, &key)?;
        let stamp = self.store.save(&writing.lock, &file)?;
        let mut state = self.state_mut()?;
        *state = State::default();
        state.adopt(&file, stamp, &objects, &self.handles);
        Ok(())
    }

    /// Who is logged in.
    pub(crate) fn login_role(&self) -> Result<Option<Role>> {
        Ok(self.state()?.login.as_ref().map(|(role, _)| *role))
    }

    /// Logs in for all sessions of this process, and opens the sealed objects.
    ///
    /// # Errors
    /// `CKR_USER_ALREADY_LOGGED_IN`, `CKR_USER_ANOTHER_ALREADY_LOGGED_IN`, `CKR_PIN_INCORRECT`,
    /// `CKR_PIN_LOCKED`, `CKR_USER_PIN_NOT_INITIALIZED`, `CKR_DEVICE_ERROR` for a damaged token.
    pub(crate) fn login(&self, role: Role, pin: &[u8]) -> Result<()> {
        let writing = self.writing()?;
        match self.login_role()? {
            Some(same) if same == role => return Err(Rv(CKR_USER_ALREADY_LOGGED_IN)),
            Some(_) => return Err(Rv(CKR_USER_ANOTHER_ALREADY_LOGGED_IN)),
            None => {}
        }
        let (mut file, _) = self.store.load()?;
        let key = self.unlock(&writing, &mut file, role, pin)?;
        let objects = file.open(&key)?;
        let stamp = self.store.stamp()?;
        let mut state = self.state_mut()?;
        state.login = Some((role, key));
        state.adopt(&file, stamp, &objects, &self.handles);
        Ok(())
    }

    /// Logs out, and forgets the token key and every private object.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN`.
    pub(crate) fn logout(&self) -> Result<()> {
        let mut state = self.state_mut()?;
        state.login.take().ok_or(Rv(CKR_USER_NOT_LOGGED_IN))?;
        state.hide_private();
        Ok(())
    }

    /// Sets the user's PIN and unlocks it (`C_InitPIN`).
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN` unless the security officer is.
    pub(crate) fn set_user_pin(&self, pin: &[u8]) -> Result<()> {
        if self.login_role()? != Some(Role::SecurityOfficer) {
            return Err(Rv(CKR_USER_NOT_LOGGED_IN));
        }
        self.change(|key, file, _| {
            file.head.user_pin = Some(PinRecord::new(Role::User, pin, key)?);
            file.failures.user = 0;
            Ok(())
        })
    }

    /// Changes a PIN by the old one (`C_SetPIN`).
    ///
    /// # Errors
    /// As [`Token::login`], and `CKR_PIN_LEN_RANGE`.
    pub(crate) fn change_pin(&self, role: Role, old: &[u8], new: &[u8]) -> Result<()> {
        if !PIN_LENGTHS.contains(&new.len()) {
            return Err(Rv(CKR_PIN_LEN_RANGE));
        }
        let writing = self.writing()?;
        let (mut file, _) = self.store.load()?;
        let key = self.unlock(&writing, &mut file, role, old)?;
        let objects = file.open(&key)?;
        let record = PinRecord::new(role, new, &key)?;
        match role {
            Role::SecurityOfficer => file.head.so_pin = record,
            Role::User => file.head.user_pin = Some(record),
        }
        let file = TokenFile::seal(file.failures, file.head, &objects, &key)?;
        self.store.save(&writing.lock, &file)?;
        drop(writing);
        self.refresh()
    }

    /// Adds objects, all or none, and answers with their handles in the same order.
    ///
    /// # Errors
    /// `CKR_USER_NOT_LOGGED_IN` for a token object while nobody is; the errors of the disk.
    pub(crate) fn add(
        &self,
        session: CK_SESSION_HANDLE,
        objects: Vec<Attributes>,
    ) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut named = Vec::with_capacity(objects.len());
        for attributes in objects {
            named.push((new_uid()?, attributes));
        }
        let uids: Vec<_> = named.iter().map(|(uid, _)| *uid).collect();
        let (kept, passing): (Vec<_>, Vec<_>) = named
            .into_iter()
            .partition(|(_, attributes)| attributes.flag(CKA_TOKEN));
        if !kept.is_empty() {
            self.change(|_, _, objects| {
                objects.extend(kept);
                Ok(())
            })?;
        }
        let mut state = self.state_mut()?;
        for (uid, attributes) in passing {
            let handle = self.handles.fetch_add(1, Ordering::Relaxed);
            state.insert(Object::new(uid, handle, Some(session), attributes));
        }
        uids.iter()
            .map(|uid| state.handle_of(uid).ok_or(BROKEN))
            .collect()
    }

    /// Edits an object as it is now, which may be newer than what the caller has seen.
    ///
    /// # Errors
    /// As [`Token::add`]; `CKR_OBJECT_HANDLE_INVALID` where another process destroyed it; those of
    /// the edit, after which nothing has changed.
    pub(crate) fn edit(
        &self,
        object: &Object,
        edit: impl Fn(&Attributes) -> Result<Attributes>,
    ) -> Result<()> {
        if object.session.is_some() {
            let mut state = self.state_mut()?;
            let current = state.objects.get(&object.handle);
            let current = current.ok_or(Rv(CKR_OBJECT_HANDLE_INVALID))?;
            let edited = current.with(edit(&current.attributes)?);
            state.insert(edited);
            return Ok(());
        }
        self.change(|_, _, objects| {
            let kept = objects
                .get_mut(&object.uid)
                .ok_or(Rv(CKR_OBJECT_HANDLE_INVALID))?;
            *kept = edit(kept)?;
            Ok(())
        })
    }

    /// Destroys an object.
    ///
    /// # Errors
    /// As [`Token::edit`].
    pub(crate) fn remove(&self, object: &Object) -> Result<()> {
        if object.session.is_some() {
            self.state_mut()?.objects.remove(&object.handle);
            return Ok(());
        }
        self.change(|_, _, objects| {
            objects
                .remove(&object.uid)
                .map(drop)
                .ok_or(Rv(CKR_OBJECT_HANDLE_INVALID))
        })
    }

    /// Destroys the session objects of a session that ends.
    pub(crate) fn end_session(&self, session: CK_SESSION_HANDLE) -> Result<()> {
        let mut state = self.state_mut()?;
        state
            .objects
            .retain(|_, object| object.session != Some(session));
        Ok(())
    }

    /// An object that whoever is logged in may see.
    pub(crate) fn object(&self, handle: CK_OBJECT_HANDLE) -> Result<Option<Arc<Object>>> {
        let state = self.state()?;
        let object = state.objects.get(&handle);
        Ok(object.filter(|object| state.shows(object)).map(Arc::clone))
    }

    /// Every object that whoever is logged in may see, oldest handle first.
    pub(crate) fn objects(&self) -> Result<Vec<Arc<Object>>> {
        let state = self.state()?;
        Ok(state
            .objects
            .values()
            .filter(|object| state.shows(object))
            .map(Arc::clone)
            .collect())
    }

    /// Changes the token's objects or head as they are on the disk now, and writes them.
    fn change(
        &self,
        edit: impl FnOnce(&Key, &mut TokenFile, &mut Objects) -> Result<()>,
    ) -> Result<()> {
        let writing = self.writing()?;
        let key = self.state()?.key().ok_or(Rv(CKR_USER_NOT_LOGGED_IN))?;
        let (mut file, _) = self.store.load()?;
        let mut objects = file.open(&key)?;
        edit(&key, &mut file, &mut objects)?;
        let file = TokenFile::seal(file.failures, file.head, &objects, &key)?;
        let stamp = self.store.save(&writing.lock, &file)?;
        self.state_mut()?
            .adopt(&file, stamp, &objects, &self.handles);
        Ok(())
    }

    /// The token key by a PIN. A wrong one is counted on the disk before it is answered.
    fn unlock(
        &self,
        writing: &Writing<'_>,
        file: &mut TokenFile,
        role: Role,
        pin: &[u8],
    ) -> Result<Key> {
        let record = match role {
            Role::SecurityOfficer => Some(&file.head.so_pin),
            Role::User => file.head.user_pin.as_ref(),
        };
        let record = record.ok_or(Rv(CKR_USER_PIN_NOT_INITIALIZED))?;
        let before = *file.failures.of(role);
        if Failures::locked(before) {
            return Err(Rv(CKR_PIN_LOCKED));
        }
        let opened = record.open(role, pin);
        let count = file.failures.of(role);
        *count = if opened.is_ok() {
            0
        } else {
            before.saturating_add(1)
        };
        if *count != before {
            self.store.save(&writing.lock, file)?;
        }
        opened
    }

    fn writing(&self) -> Result<Writing<'_>> {
        let turn = self.writer.lock().or(Err(BROKEN))?;
        Ok(Writing {
            lock: self.store.lock()?,
            _turn: turn,
        })
    }

    fn state(&self) -> Result<RwLockReadGuard<'_, State>> {
        self.state.read().or(Err(BROKEN))
    }

    fn state_mut(&self) -> Result<RwLockWriteGuard<'_, State>> {
        self.state.write().or(Err(BROKEN))
    }
}

fn new_uid() -> Result<Uid> {
    let mut uid = [0; 16];
    random::fill(&mut uid)?;
    Ok(Uid(uid))
}

fn new_serial() -> Result<[u8; 16]> {
    let mut number = [0; 8];
    random::fill(&mut number)?;
    let text = format!("{:016x}", u64::from_be_bytes(number));
    text.as_bytes().try_into().or(Err(BROKEN))
}
