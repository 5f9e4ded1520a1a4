//! `CKM_HKDF_DERIVE` (PKCS#11 3.0 §2.62.3): RFC 5869 with SHA-256, each half or both.

use aws_lc_rs::{hkdf, hmac};
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::pkcs11::attributes::Secret;
use crate::pkcs11::rv::{Result, Rv};

/// Where the salt of the extraction comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Salt {
    /// A string of zeros as long as the hash
    Null,
    /// These bytes
    Data(Vec<u8>),
    /// The value of this key
    Key(CK_OBJECT_HANDLE),
}

/// What of RFC 5869 is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// §2.2: the base key becomes a pseudorandom key of 32 bytes
    Extract,
    /// §2.3: the base key is a pseudorandom key already
    Expand,
    /// Both, one after the other
    Both,
}

/// `CK_HKDF_PARAMS` with SHA-256
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HkdfParameters {
    /// What is done
    pub(crate) steps: Steps,
    /// Salt of the extraction
    pub(crate) salt: Salt,
    /// Info of the expansion
    pub(crate) info: Vec<u8>,
}

/// Bytes of a pseudorandom key, and of one block of output.
const HASH_LENGTH: usize = 32;
/// RFC 5869 §2.3: L ≤ 255 · `HashLen`
const MOST_BYTES: usize = 255 * HASH_LENGTH;

/// `length` bytes of key material; 32 where no length is asked for.
///
/// # Errors
/// `CKR_TEMPLATE_INCONSISTENT` for a length that these steps do not give.
pub(crate) fn derive(
    base: &[u8],
    parameters: &HkdfParameters,
    salt: &[u8],
    length: Option<usize>,
) -> Result<Secret> {
    let length = length.unwrap_or(HASH_LENGTH);
    match parameters.steps {
        Steps::Extract if length == HASH_LENGTH => Ok(extract(salt, base)),
        Steps::Extract => Err(Rv(CKR_TEMPLATE_INCONSISTENT)),
        Steps::Expand => expand(base, &parameters.info, length),
        Steps::Both => expand(&extract(salt, base), &parameters.info, length),
    }
}

/// An empty salt and one of zeros are the same to HMAC, so the null salt needs no case of its own.
fn extract(salt: &[u8], base: &[u8]) -> Secret {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), base);
    Zeroizing::new(tag.as_ref().to_vec())
}

fn expand(pseudorandom_key: &[u8], info: &[u8], length: usize) -> Result<Secret> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    if length == 0 || length > MOST_BYTES {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    let mut material = Zeroizing::new(vec![0; length]);
    hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, pseudorandom_key)
        .expand(&[info], Length(length))?
        .fill(&mut material)?;
    Ok(material)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(steps: Steps, info: &[u8]) -> HkdfParameters {
        HkdfParameters {
            steps,
            salt: Salt::Null,
            info: info.to_vec(),
        }
    }

    /// RFC 5869 appendices A.1 and A.3, in one step and in two.
    #[test]
    fn rfc_5869_cases() {
        let salt = hex::decode("000102030405060708090a0b0c").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        for (salt, info, prk, okm) in [
            (
                salt.as_slice(),
                info.as_slice(),
                "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                &[],
                &[],
                "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ] {
            let both = derive(&[0x0b; 22], &parameters(Steps::Both, info), salt, Some(42)).unwrap();
            assert_eq!(hex::encode(&both), okm);
            let key = derive(&[0x0b; 22], &parameters(Steps::Extract, &[]), salt, None).unwrap();
            assert_eq!(hex::encode(&key), prk);
            let half = derive(&key, &parameters(Steps::Expand, info), &[], Some(42)).unwrap();
            assert_eq!(half, both);
        }
    }

    #[test]
    fn lengths_that_the_steps_do_not_give() {
        const REFUSED: Rv = Rv(CKR_TEMPLATE_INCONSISTENT);
        for (steps, length) in [
            (Steps::Extract, 31),
            (Steps::Expand, 0),
            (Steps::Both, 8161),
        ] {
            let refused = derive(&[1; 32], &parameters(steps, &[]), &[], Some(length));
            assert_eq!(refused.unwrap_err(), REFUSED);
        }
    }
}
