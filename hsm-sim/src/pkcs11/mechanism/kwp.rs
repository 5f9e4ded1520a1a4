//! AES key wrap with padding (RFC 5649).

use aes_kw::{Error, KwpAes128, KwpAes192, KwpAes256};
use cryptoki_sys::{CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE};
use zeroize::Zeroizing;

use crate::pkcs11::attributes::Secret;
use crate::pkcs11::rv::{BROKEN, Result, Rv};

/// Length of the wrap of so many bytes: one block of eight more than the padded key.
pub(crate) fn wrapped_length(key: usize) -> usize {
    key.next_multiple_of(8).saturating_add(8)
}

/// Wraps `key` under an AES key of 16, 24 or 32 bytes.
pub(crate) fn wrap(wrapping_key: &[u8], key: &[u8]) -> Result<Vec<u8>> {
    let mut wrapped = vec![0; wrapped_length(key.len())];
    let done = match wrapping_key.len() {
        16 => cipher::<KwpAes128>(wrapping_key)?
            .wrap_key(key, &mut wrapped)
            .is_ok(),
        24 => cipher::<KwpAes192>(wrapping_key)?
            .wrap_key(key, &mut wrapped)
            .is_ok(),
        _ => cipher::<KwpAes256>(wrapping_key)?
            .wrap_key(key, &mut wrapped)
            .is_ok(),
    };
    if done { Ok(wrapped) } else { Err(BROKEN) }
}

/// Unwraps what [`wrap`] made.
///
/// # Errors
/// `CKR_WRAPPED_KEY_LEN_RANGE` for a length no wrap has, `CKR_WRAPPED_KEY_INVALID` where it was
/// not wrapped under this key or was altered.
pub(crate) fn unwrap(wrapping_key: &[u8], wrapped: &[u8]) -> Result<Secret> {
    if wrapped.len() < 16 || !wrapped.len().is_multiple_of(8) {
        return Err(Rv(CKR_WRAPPED_KEY_LEN_RANGE));
    }
    let mut buffer = Zeroizing::new(vec![0; wrapped.len()]);
    let opened = match wrapping_key.len() {
        16 => length(cipher::<KwpAes128>(wrapping_key)?.unwrap_key(wrapped, &mut buffer)),
        24 => length(cipher::<KwpAes192>(wrapping_key)?.unwrap_key(wrapped, &mut buffer)),
        _ => length(cipher::<KwpAes256>(wrapping_key)?.unwrap_key(wrapped, &mut buffer)),
    };
    let length = opened.ok_or(Rv(CKR_WRAPPED_KEY_INVALID))?;
    buffer.truncate(length);
    Ok(buffer)
}

fn cipher<C: aes_kw::KeyInit>(key: &[u8]) -> Result<C> {
    C::new_from_slice(key).or(Err(BROKEN))
}

fn length(opened: core::result::Result<&[u8], Error>) -> Option<usize> {
    opened.ok().map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5649 §6, both examples.
    #[test]
    fn rfc_5649_examples() {
        let kek = hex::decode("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8").unwrap();
        for (key, wrapped) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            let key = hex::decode(key).unwrap();
            assert_eq!(hex::encode(wrap(&kek, &key).unwrap()), wrapped);
            let wrapped = hex::decode(wrapped).unwrap();
            assert_eq!(unwrap(&kek, &wrapped).unwrap().as_slice(), key);
        }
    }

    #[test]
    fn every_altered_bit_is_refused() {
        let wrapped = wrap(&[7; 32], &[9; 40]).unwrap();
        for bit in 0..wrapped.len() * 8 {
            let mut altered = wrapped.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                unwrap(&[7; 32], &altered).unwrap_err(),
                Rv(CKR_WRAPPED_KEY_INVALID)
            );
        }
        assert_eq!(
            unwrap(&[7; 32], &wrapped[..47]).unwrap_err(),
            Rv(CKR_WRAPPED_KEY_LEN_RANGE)
        );
    }
}
