//! The only door to an HSM: PKCS#11 sessions, objects and mechanisms.
//!
//! A [`Module`] is a vendor's library, loaded and initialised once a process. A [`Token`] is one logged-in token of
//! it, found by label: a pool of sessions that survives a lost session, a foreign logout or a restarted module. A
//! [`Key`] is a private key that never leaves the token, found by label and [`KeyUse`], and refused unless each
//! attribute the use demands is what it must be. [`injection`] makes and wraps a key for a chip that cannot make its
//! own; [`tls`] and [`rcgen_key`] let rustls and rcgen sign with a [`Key`].
//!
//! No type of the PKCS#11 binding appears in the public interface: any module is chosen by its path alone.

mod error;
pub mod injection;
mod inventory;
mod key;
mod key_use;
mod module;
mod object;
mod pin;
mod process;
mod public_key;
pub mod rcgen_key;
mod secret;
mod session;
pub mod tls;
mod token;
mod usage;

pub use error::{PinFault, Result, VaultError};
pub use injection::{Injection, KekDerivation, PendingKey};
pub use inventory::{AttributeValue, KeySummary};
pub use key::Key;
pub use key_use::{Algorithm, KeySpec, KeyUse};
pub use module::{Module, TokenInfo, UserPin};
pub use pin::Pin;
pub use process::{NotHardened, keep_memory_private};
pub use public_key::{PublicKey, ecdsa_der};
pub use token::Token;
pub use usage::{Usage, usage};

/// A program's log filter, without what the PKCS#11 binding calls an error each time a module lists a mechanism that
/// the binding has no name for. A filter that names the binding's target itself has the last word.
#[must_use]
pub fn quiet(filter: &str) -> String {
    let comma = if filter.is_empty() { "" } else { "," };
    format!("cryptoki::mechanism=off{comma}{filter}")
}
