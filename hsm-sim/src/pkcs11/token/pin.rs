//! PINs: a PIN opens a copy of the token key, and is itself kept nowhere.

use aws_lc_rs::pbkdf2;
use core::num::NonZeroU32;
use cryptoki_sys::{CKR_PIN_INCORRECT, CKR_PIN_LEN_RANGE};
use zeroize::Zeroizing;

use super::codec::{DAMAGED, Reader, Writer};
use super::seal::{Key, Sealed};
use crate::pkcs11::mechanism::random;
use crate::pkcs11::rv::{Result, Rv};

/// Shortest and longest PIN in bytes.
pub(crate) const PIN_LENGTHS: core::ops::RangeInclusive<usize> = 4..=255;

/// How many wrong PINs in a row lock it.
pub(crate) const TRIES: u8 = 10;

/// PBKDF2-HMAC-SHA256 rounds for new PINs: a login costs some tens of milliseconds.
const ROUNDS: u32 = 120_000;

/// The most rounds a token file may ask for, so that a forged one cannot stall a login.
const MOST_ROUNDS: u32 = 10_000_000;

/// Whose PIN it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `CKU_SO`
    SecurityOfficer,
    /// `CKU_USER`
    User,
}

/// The token key under a PIN.
#[derive(Clone)]
pub(super) struct PinRecord {
    salt: [u8; 16],
    rounds: NonZeroU32,
    wrapped: Sealed,
}

impl PinRecord {
    /// Wraps the token key under a new PIN.
    ///
    /// # Errors
    /// `CKR_PIN_LEN_RANGE` for a PIN outside [`PIN_LENGTHS`].
    pub(super) fn new(role: Role, pin: &[u8], key: &Key) -> Result<Self> {
        if !PIN_LENGTHS.contains(&pin.len()) {
            return Err(Rv(CKR_PIN_LEN_RANGE));
        }
        let mut salt = [0; 16];
        random::fill(&mut salt)?;
        let rounds = NonZeroU32::new(ROUNDS).ok_or(DAMAGED)?;
        let wrapped = Sealed::new(&stretch(pin, &salt, rounds), context(role), key.as_slice())?;
        Ok(Self {
            salt,
            rounds,
            wrapped,
        })
    }

    /// The token key.
    ///
    /// # Errors
    /// `CKR_PIN_INCORRECT` for another PIN; a damaged record looks the same.
    pub(super) fn open(&self, role: Role, pin: &[u8]) -> Result<Key> {
        let opened = self
            .wrapped
            .open(&stretch(pin, &self.salt, self.rounds), context(role))?
            .ok_or(Rv(CKR_PIN_INCORRECT))?;
        let mut key = Key::default();
        if opened.len() != key.len() {
            return Err(DAMAGED);
        }
        key.copy_from_slice(&opened);
        Ok(key)
    }

    pub(super) fn write(&self, writer: &mut Writer) -> Result<()> {
        writer.fixed(&self.salt);
        writer.u32(self.rounds.get());
        self.wrapped.write(writer)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let salt = reader.array()?;
        let rounds = NonZeroU32::new(reader.u32()?)
            .filter(|rounds| rounds.get() <= MOST_ROUNDS)
            .ok_or(DAMAGED)?;
        Ok(Self {
            salt,
            rounds,
            wrapped: Sealed::read(reader)?,
        })
    }
}

/// Ties a record to its role, so that the two cannot be exchanged in the file.
fn context(role: Role) -> &'static [u8] {
    match role {
        Role::SecurityOfficer => b"hsm-sim/pin/so",
        Role::User => b"hsm-sim/pin/user",
    }
}

fn stretch(pin: &[u8], salt: &[u8], rounds: NonZeroU32) -> Key {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        rounds,
        salt,
        pin,
        key.as_mut_slice(),
    );
    key
}
