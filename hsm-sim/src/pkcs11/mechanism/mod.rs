//! The mechanisms: which there are, what each takes, and their computation.

pub(crate) mod ecdh;
pub(crate) mod hkdf;
pub(crate) mod kwp;
pub(crate) mod random;
pub(crate) mod signature;

use cryptoki_sys::*;

use self::ecdh::EcdhParameters;
use self::hkdf::HkdfParameters;
use super::rv::{Result, Rv};

/// `CKM_AES_KEY_WRAP_KWP` under a number that clients without that constant can name.
pub(crate) const VENDOR_AES_KEY_WRAP_KWP: CK_MECHANISM_TYPE =
    CKM_VENDOR_DEFINED | CKM_AES_KEY_WRAP_KWP;

/// A mechanism with its parameters, checked for form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// One that takes no parameters
    Plain(CK_MECHANISM_TYPE),
    /// `CKM_ECDH1_DERIVE`
    Ecdh1(EcdhParameters),
    /// `CKM_HKDF_DERIVE`
    Hkdf(HkdfParameters),
}

impl Mechanism {
    /// Its number.
    pub(crate) fn number(&self) -> CK_MECHANISM_TYPE {
        match self {
            Self::Plain(number) => *number,
            Self::Ecdh1(_) => CKM_ECDH1_DERIVE,
            Self::Hkdf(_) => CKM_HKDF_DERIVE,
        }
    }
}

/// One supported mechanism; sizes are in the units that the standard gives for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Support {
    /// Its number
    pub(crate) mechanism: CK_MECHANISM_TYPE,
    /// Smallest and largest key
    pub(crate) sizes: (CK_ULONG, CK_ULONG),
    /// `CKF_…`: what it is for
    pub(crate) flags: CK_FLAGS,
}

const EC: CK_FLAGS = CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS;
const EDWARDS: CK_FLAGS = CKF_EC_NAMEDCURVE | CKF_EC_CURVENAME;

const fn support(
    mechanism: CK_MECHANISM_TYPE,
    sizes: (CK_ULONG, CK_ULONG),
    flags: CK_FLAGS,
) -> Support {
    Support {
        mechanism,
        sizes,
        flags,
    }
}

/// Bits of a P-256 or Ed25519 key.
const CURVE_BITS: (CK_ULONG, CK_ULONG) = (256, 256);
/// Bytes of an AES key.
const AES_BYTES: (CK_ULONG, CK_ULONG) = (16, 32);
/// Bytes of a generic secret.
pub(crate) const SECRET_BYTES: (CK_ULONG, CK_ULONG) = (1, 512);

/// Every mechanism of the module.
#[rustfmt::skip]
pub(crate) const SUPPORTED: &[Support] = &[
    support(CKM_EC_KEY_PAIR_GEN, CURVE_BITS, CKF_GENERATE_KEY_PAIR | EC),
    support(CKM_EC_EDWARDS_KEY_PAIR_GEN, CURVE_BITS, CKF_GENERATE_KEY_PAIR | EDWARDS),
    support(CKM_AES_KEY_GEN, AES_BYTES, CKF_GENERATE),
    support(CKM_GENERIC_SECRET_KEY_GEN, SECRET_BYTES, CKF_GENERATE),
    support(CKM_ECDSA, CURVE_BITS, CKF_SIGN | CKF_VERIFY | EC),
    support(CKM_ECDSA_SHA256, CURVE_BITS, CKF_SIGN | CKF_VERIFY | EC),
    support(CKM_EDDSA, CURVE_BITS, CKF_SIGN | CKF_VERIFY | EDWARDS),
    support(CKM_SHA256_HMAC, SECRET_BYTES, CKF_SIGN | CKF_VERIFY),
    support(CKM_SHA256, (0, 0), CKF_DIGEST),
    support(CKM_ECDH1_DERIVE, CURVE_BITS, CKF_DERIVE | EC),
    support(CKM_HKDF_DERIVE, SECRET_BYTES, CKF_DERIVE),
    support(CKM_AES_KEY_WRAP_KWP, AES_BYTES, CKF_WRAP | CKF_UNWRAP),
    support(CKM_AES_KEY_WRAP_PAD, AES_BYTES, CKF_WRAP | CKF_UNWRAP),
    support(VENDOR_AES_KEY_WRAP_KWP, AES_BYTES, CKF_WRAP | CKF_UNWRAP),
];

/// What is known of a mechanism.
///
/// # Errors
/// `CKR_MECHANISM_INVALID` where there is no such mechanism here.
pub(crate) fn lookup(mechanism: CK_MECHANISM_TYPE) -> Result<&'static Support> {
    SUPPORTED
        .iter()
        .find(|support| support.mechanism == mechanism)
        .ok_or(Rv(CKR_MECHANISM_INVALID))
}
