//! PKCS#11 modules: loaded by path, initialised once a process.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;

use crate::error::{PinFault, Result, VaultError};
use crate::pin::Pin;
use crate::session::SessionPool;
use crate::token::Token;

/// Length of a token label: `CK_TOKEN_INFO.label` is 32 bytes, padded with blanks (PKCS#11 v2.40 §3.2).
const LONGEST_LABEL: usize = 32;

/// Every module of this process, by canonical path. Modules are never finalised: another part of the process may be
/// using the same library.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Loaded>>> = Mutex::new(BTreeMap::new());

/// A vendor's PKCS#11 library.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

/// A token as its module describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenInfo {
    /// Label, without padding.
    pub label: String,
    /// Manufacturer.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Serial number of the token.
    pub serial: String,
    /// State of the user PIN.
    pub user_pin: UserPin,
}

/// State of a token's user PIN, without which the token cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserPin {
    /// The security officer has not set it yet.
    NotSet,
    /// Set and usable.
    Set,
    /// Locked after too many wrong tries.
    Locked,
}

/// One initialised library and the tokens of it that are open.
pub(crate) struct Loaded {
    path: PathBuf,
    context: Pkcs11,
    /// Open tokens by label. A login is shared by the whole process (PKCS#11 v2.40 §2.6.4), so a token must be opened
    /// once only; otherwise a second, wrong PIN would pass as "already logged in".
    open: Mutex<BTreeMap<String, Weak<SessionPool>>>,
}

impl Module {
    /// Loads and initialises the library at `path`. Loading it again gives the same module.
    ///
    /// # Errors
    /// [`VaultError::Module`] if it cannot be loaded or `C_Initialize` refuses.
    pub fn load(path: &Path) -> Result<Self> {
        let fail = |reason: String| VaultError::Module {
            path: path.to_owned(),
            reason,
        };
        let canonical = path
            .canonicalize()
            .map_err(|error| fail(error.to_string()))?;
        let mut loaded = lock(&LOADED);
        if let Some(module) = loaded.get(&canonical) {
            return Ok(Self(Arc::clone(module)));
        }
        let context = Pkcs11::new(&canonical).map_err(|error| fail(error.to_string()))?;
        initialize(&context).map_err(|error| fail(error.to_string()))?;
        let module = Arc::new(Loaded {
            path: canonical.clone(),
            context,
            open: Mutex::default(),
        });
        loaded.insert(canonical, Arc::clone(&module));
        Ok(Self(module))
    }

    /// The initialised tokens, in slot order.
    ///
    /// # Errors
    /// [`VaultError::Device`] if the module does not answer.
    pub fn tokens(&self) -> Result<Vec<TokenInfo>> {
        let slots = self.0.slots()?;
        Ok(slots
            .into_iter()
            .filter(|(_, info)| info.token_initialized())
            .map(|(_, info)| token_info(&info))
            .collect())
    }

    /// Makes a token with this label in a free slot and sets its user PIN.
    ///
    /// If the power went between the two steps, the token is there without a user PIN; the same call with the same
    /// security officer's PIN then completes it.
    ///
    /// # Errors
    /// [`VaultError::AlreadyExists`] if a complete token has this label, [`VaultError::NotFound`] if no slot is free,
    /// [`VaultError::Pin`] if a PIN does not meet the token's rules, [`VaultError::Request`] for a bad label.
    pub fn init_token(&self, label: &str, so_pin: &Pin, user_pin: &Pin) -> Result<()> {
        if label.is_empty() || label.len() > LONGEST_LABEL || label.trim() != label {
            return Err(VaultError::Request {
                reason: "a token's label is 1 to 32 bytes without blanks around it",
            });
        }
        match self.0.find_token(label) {
            Ok((slot, info)) if !info.user_pin_initialized() => {
                return self.0.set_user_pin(slot, so_pin, user_pin);
            }
            Ok(_) => {
                return Err(VaultError::AlreadyExists {
                    what: "token",
                    label: label.to_owned(),
                });
            }
            Err(VaultError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        self.0
            .context
            .init_token(self.0.free_slot(label)?, so_pin.secret(), label)?;
        // Modules may move a token to another slot when it is initialised.
        let (slot, _) = self.0.find_token(label)?;
        self.0.set_user_pin(slot, so_pin, user_pin)
    }

    /// Opens the token with this label and logs in. Opening it again with the same PIN gives the same token.
    ///
    /// # Errors
    /// [`VaultError::NotFound`] for no such token, [`VaultError::Attribute`] if several have this label,
    /// [`VaultError::Pin`] if the PIN is refused, [`VaultError::Device`] if the module does not answer.
    pub fn open(&self, label: &str, pin: Pin) -> Result<Token> {
        let mut open = lock(&self.0.open);
        if let Some(pool) = open.get(label).and_then(Weak::upgrade) {
            return if pool.opens_with(&pin) {
                Ok(Token::new(pool))
            } else {
                Err(PinFault::Wrong.into())
            };
        }
        let pool = Arc::new(SessionPool::open(
            Arc::clone(&self.0),
            label.to_owned(),
            pin,
        )?);
        open.insert(label.to_owned(), Arc::downgrade(&pool));
        Ok(Token::new(pool))
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Module").field(&self.0.path).finish()
    }
}

impl Loaded {
    pub(crate) const fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Slot of the token with this label, looked up anew each time: slot numbers are not stable.
    pub(crate) fn find_token(&self, label: &str) -> Result<(Slot, cryptoki::slot::TokenInfo)> {
        let slots = self.slots()?;
        let mut found = slots
            .into_iter()
            .filter(|(_, info)| info.token_initialized() && info.label() == label);
        match (found.next(), found.count()) {
            (Some(token), 0) => Ok(token),
            (None, _) => Err(VaultError::NotFound {
                what: "token",
                label: label.to_owned(),
            }),
            (Some(_), more) => Err(VaultError::Attribute {
                label: label.to_owned(),
                attribute: "token label",
                expected: "on one token".to_owned(),
                found: format!("on {} tokens", more.saturating_add(1)),
            }),
        }
    }

    fn free_slot(&self, label: &str) -> Result<Slot> {
        let slots = self.slots()?;
        let free = slots
            .into_iter()
            .find(|(_, info)| !info.token_initialized());
        free.map(|(slot, _)| slot)
            .ok_or_else(|| VaultError::NotFound {
                what: "free slot",
                label: label.to_owned(),
            })
    }

    /// Every slot with a token in it, initialised or not. Modules disagree on whether a token that is not initialised
    /// counts as present, so all slots are asked. A module that somebody else finalised is initialised again.
    fn slots(&self) -> Result<Vec<(Slot, cryptoki::slot::TokenInfo)>> {
        let slots = match self.context.get_all_slots() {
            Err(Error::Pkcs11(RvError::CryptokiNotInitialized, _)) => {
                initialize(&self.context)?;
                self.context.get_all_slots()?
            }
            answer => answer?,
        };
        slots
            .into_iter()
            .filter_map(|slot| self.token_in(slot).transpose())
            .collect()
    }

    fn token_in(&self, slot: Slot) -> Result<Option<(Slot, cryptoki::slot::TokenInfo)>> {
        match self.context.get_token_info(slot) {
            Err(Error::Pkcs11(RvError::TokenNotPresent | RvError::TokenNotRecognized, _)) => {
                Ok(None)
            }
            answer => Ok(Some((slot, answer?))),
        }
    }

    fn set_user_pin(&self, slot: Slot, so_pin: &Pin, user_pin: &Pin) -> Result<()> {
        let session = self.context.open_rw_session(slot)?;
        session.login(UserType::So, Some(so_pin.secret()))?;
        session.init_pin(user_pin.secret())?;
        Ok(session.logout()?)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing guarded here is left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn initialize(context: &Pkcs11) -> Result<(), Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        outcome => outcome,
    }
}

fn token_info(info: &cryptoki::slot::TokenInfo) -> TokenInfo {
    TokenInfo {
        label: info.label().to_owned(),
        manufacturer: info.manufacturer_id().to_owned(),
        model: info.model().to_owned(),
        serial: info.serial_number().to_owned(),
        user_pin: user_pin(info),
    }
}

fn user_pin(info: &cryptoki::slot::TokenInfo) -> UserPin {
    if !info.user_pin_initialized() {
        UserPin::NotSet
    } else if info.user_pin_locked() {
        UserPin::Locked
    } else {
        UserPin::Set
    }
}
