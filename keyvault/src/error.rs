//! What can go wrong at the door of an HSM, by who is at fault.

use std::path::PathBuf;

use cryptoki::error::{Error, RvError};

/// Result of this crate.
pub type Result<T, E = VaultError> = std::result::Result<T, E>;

/// A refusal or failure, named by who is at fault. No variant ever holds a PIN or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The module could not be loaded or initialised: the host's installation is at fault.
    #[error("PKCS#11 module {} cannot be used: {reason}", path.display())]
    Module {
        /// The path as configured.
        path: PathBuf,
        /// What the loader or `C_Initialize` said.
        reason: String,
    },
    /// The PIN was not accepted or could not be read: the operator's configuration is at fault.
    #[error("{0}")]
    Pin(PinFault),
    /// No such token or key.
    #[error("no {what} labelled {label:?}")]
    NotFound {
        /// `token`, `free slot`, `private key` or `public key`.
        what: &'static str,
        /// The label looked for.
        label: String,
    },
    /// The label is taken; nothing was changed.
    #[error("a {what} labelled {label:?} already exists")]
    AlreadyExists {
        /// `token` or `key`.
        what: &'static str,
        /// The label asked for.
        label: String,
    },
    /// The key is there, but is not the kind of key its use demands: whoever made it is at fault.
    #[error("key {label:?} refused: {attribute} is {found}, must be {expected}")]
    Attribute {
        /// Label of the key.
        label: String,
        /// PKCS#11 name of the attribute, for example `CKA_EXTRACTABLE`.
        attribute: &'static str,
        /// What the use demands.
        expected: String,
        /// What the token answered; `absent` where it has no such attribute.
        found: String,
    },
    /// The device, the token or the session has gone, and opening it again did not help: retry later.
    #[error("HSM not available: {call} answered {code}")]
    Device {
        /// The PKCS#11 function.
        call: String,
        /// The return code, without its `CKR_`.
        code: String,
    },
    /// The module does not offer a mechanism, curve or function this needs: the choice of HSM is at fault.
    #[error("HSM does not support what {call} asked for: {code}")]
    Mechanism {
        /// The PKCS#11 function.
        call: String,
        /// The return code, without its `CKR_`.
        code: String,
    },
    /// The caller asked for something that can never succeed.
    #[error("invalid request: {reason}")]
    Request {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The module answered something that PKCS#11 does not allow here.
    #[error("unexpected answer of the HSM: {call}: {code}")]
    Internal {
        /// The PKCS#11 function.
        call: String,
        /// The return code or what was wrong with the answer.
        code: String,
    },
}

/// Why a PIN was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinFault {
    /// The token says the PIN is wrong. It is not tried again by itself, so that a counter of tries never runs out.
    #[error("the token refused the PIN")]
    Wrong,
    /// Too many wrong PINs.
    #[error("the token's PIN is locked")]
    Locked,
    /// The token has no user PIN yet, or asks for another one.
    #[error("the token's user PIN is not set or has expired")]
    NotSet,
    /// Too short, too long, too weak or of characters that the token does not take.
    #[error("the PIN does not meet the token's rules")]
    Unsuitable,
    /// The file that holds the PIN cannot be used.
    #[error("PIN file {} cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl VaultError {
    /// What to do next, for an operator.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Module { .. } => {
                "check the module path, its package and its own configuration, such as SOFTHSM2_CONF or HSM_SIM_TOKENS"
            }
            Self::Pin(fault) => fault.hint(),
            Self::NotFound { .. } => {
                "list the tokens and keys of the module; check label and slot configuration"
            }
            Self::AlreadyExists { .. } => {
                "choose another label, or destroy the old object on purpose first"
            }
            Self::Attribute { .. } => "do not use this key; generate one for this use in the HSM",
            Self::Device { .. } => "check the device and its connection, then try again",
            Self::Mechanism { .. } => "use a module or firmware that offers this mechanism",
            Self::Request { .. } => "correct the request",
            Self::Internal { .. } => "keep the log and report it to the vendor of the module",
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Device { .. })
    }

    /// Whether the PKCS#11 call itself failed, so that the session that made it may be left in the middle of something.
    pub(crate) const fn is_fault_of_call(&self) -> bool {
        matches!(
            self,
            Self::Device { .. } | Self::Mechanism { .. } | Self::Internal { .. } | Self::Pin(_)
        )
    }

    /// Whether the module no longer knows the session (PKCS#11 v2.40 §5.1.3): there is nothing left to close.
    pub(crate) fn is_session_forgotten(&self) -> bool {
        let Self::Device { code, .. } = self else {
            return false;
        };
        FORGOTTEN.iter().any(|rv| *code == name(*rv))
    }

    pub(crate) fn logged_out() -> Self {
        Self::Device {
            call: "C_GetSessionInfo".to_owned(),
            code: name(RvError::UserNotLoggedIn),
        }
    }

    pub(crate) fn token_gone() -> Self {
        Self::Device {
            call: "C_GetSlotList".to_owned(),
            code: name(RvError::TokenNotPresent),
        }
    }

    pub(crate) fn answer(call: &str, reason: impl Into<String>) -> Self {
        Self::Internal {
            call: call.to_owned(),
            code: reason.into(),
        }
    }
}

impl PinFault {
    const fn hint(&self) -> &'static str {
        match self {
            Self::Wrong => "correct the PIN before trying again: the token counts wrong tries",
            Self::Locked => "the security officer must set a new user PIN",
            Self::NotSet => "the security officer must set the user PIN",
            Self::Unsuitable => "choose a PIN within the token's limits",
            Self::File { .. } => {
                "the file must hold the PIN alone and be readable by its owner only (mode 0400)"
            }
        }
    }
}

impl From<PinFault> for VaultError {
    fn from(fault: PinFault) -> Self {
        Self::Pin(fault)
    }
}

impl From<Error> for VaultError {
    fn from(error: Error) -> Self {
        let Error::Pkcs11(rv, function) = error else {
            return Self::answer("binding", error.to_string());
        };
        let call = format!("C_{function:?}");
        if let Some(fault) = pin_fault(rv) {
            Self::Pin(fault)
        } else if GONE.contains(&rv) || FORGOTTEN.contains(&rv) {
            Self::Device {
                call,
                code: name(rv),
            }
        } else if UNSUPPORTED.contains(&rv) {
            Self::Mechanism {
                call,
                code: name(rv),
            }
        } else {
            Self::Internal {
                call,
                code: name(rv),
            }
        }
    }
}

/// The session or the whole module state is no more; its handle number may already belong to somebody else.
const FORGOTTEN: &[RvError] = &[
    RvError::SessionHandleInvalid,
    RvError::SessionClosed,
    RvError::CryptokiNotInitialized,
];

/// Answers after which opening the token again may help. Handles are among them: a foreign logout invalidates the
/// handles of private objects (PKCS#11 v2.40 §5.6, `C_Logout`).
const GONE: &[RvError] = &[
    RvError::DeviceError,
    RvError::DeviceMemory,
    RvError::DeviceRemoved,
    RvError::TokenNotPresent,
    RvError::TokenNotRecognized,
    RvError::SlotIdInvalid,
    RvError::UserNotLoggedIn,
    RvError::SessionCount,
    RvError::KeyHandleInvalid,
    RvError::ObjectHandleInvalid,
    RvError::OperationActive,
    RvError::OperationNotInitialized,
    RvError::FunctionFailed,
    RvError::FunctionCanceled,
    RvError::GeneralError,
    RvError::HostMemory,
];

const UNSUPPORTED: &[RvError] = &[
    RvError::MechanismInvalid,
    RvError::MechanismParamInvalid,
    RvError::FunctionNotSupported,
    RvError::CurveNotSupported,
    RvError::DomainParamsInvalid,
    RvError::KeySizeRange,
    RvError::TokenWriteProtected,
    RvError::RandomNoRng,
];

fn pin_fault(rv: RvError) -> Option<PinFault> {
    const WRONG: &[RvError] = &[RvError::PinIncorrect];
    const UNSET: &[RvError] = &[RvError::UserPinNotInitialized, RvError::PinExpired];
    const UNSUITABLE: &[RvError] = &[
        RvError::PinInvalid,
        RvError::PinLenRange,
        RvError::PinTooWeak,
    ];
    const LOCKED: &[RvError] = &[RvError::PinLocked];
    [
        (WRONG, PinFault::Wrong),
        (LOCKED, PinFault::Locked),
        (UNSET, PinFault::NotSet),
        (UNSUITABLE, PinFault::Unsuitable),
    ]
    .into_iter()
    .find_map(|(codes, fault)| codes.contains(&rv).then_some(fault))
}

fn name(rv: RvError) -> String {
    format!("{rv:?}")
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    #[test]
    fn answers_are_sorted_by_blame() {
        let error = |rv| VaultError::from(Error::Pkcs11(rv, Function::Sign));
        assert_eq!(
            error(RvError::PinIncorrect),
            VaultError::Pin(PinFault::Wrong)
        );
        assert!(error(RvError::DeviceRemoved).is_retryable());
        assert!(!error(RvError::DeviceRemoved).is_session_forgotten());
        assert!(error(RvError::SessionHandleInvalid).is_session_forgotten());
        assert!(matches!(
            error(RvError::MechanismInvalid),
            VaultError::Mechanism { .. }
        ));
        assert_eq!(
            error(RvError::TemplateInconsistent).to_string(),
            "unexpected answer of the HSM: C_Sign: TemplateInconsistent"
        );
    }
}
