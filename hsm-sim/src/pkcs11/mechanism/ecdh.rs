//! `CKM_ECDH1_DERIVE` (PKCS#11 3.0 §2.3.17): P-256, with no KDF or X9.63 with SHA-256.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::digest::{Context, SHA256};
use cryptoki_sys::*;
use zeroize::Zeroizing;

use crate::pkcs11::attributes::Secret;
use crate::pkcs11::keys::Curve;
use crate::pkcs11::rv::{BROKEN, Result, Rv};

/// What becomes of the shared x-coordinate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kdf {
    /// It is the key material as it is, or its first bytes
    Null,
    /// ANSI X9.63 with SHA-256 and this shared info
    X963Sha256(Vec<u8>),
}

/// `CK_ECDH1_DERIVE_PARAMS`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EcdhParameters {
    /// The key derivation function
    pub(crate) kdf: Kdf,
    /// The other side's point, bare or as a DER OCTET STRING
    pub(crate) public_data: Vec<u8>,
}

/// The longest X9.63 output asked for here; the counter would allow far more.
const MOST_BYTES: usize = 1024;

/// `length` bytes of key material from our private key and their point; without a length, what
/// the x-coordinate or one block of the KDF gives.
///
/// # Errors
/// `CKR_MECHANISM_PARAM_INVALID` for bytes that are no point of the curve,
/// `CKR_TEMPLATE_INCONSISTENT` for more bytes than there are.
pub(crate) fn derive(
    private_key: &[u8],
    parameters: &EcdhParameters,
    length: Option<usize>,
) -> Result<Secret> {
    const BAD_POINT: Rv = Rv(CKR_MECHANISM_PARAM_INVALID);
    let point = Curve::P256
        .point_from_attribute(&parameters.public_data)
        .or(Err(BAD_POINT))?;
    let ours = PrivateKey::from_private_key(&ECDH_P256, private_key).or(Err(BROKEN))?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, point);
    let shared = agree(&ours, theirs, BAD_POINT, |x| {
        Ok::<_, Rv>(Zeroizing::new(x.to_vec()))
    })?;
    match &parameters.kdf {
        Kdf::Null => first_bytes(shared, length),
        Kdf::X963Sha256(info) => x963(&shared, info, length.unwrap_or(32)),
    }
}

fn first_bytes(mut shared: Secret, length: Option<usize>) -> Result<Secret> {
    let length = length.unwrap_or(shared.len());
    if length == 0 || length > shared.len() {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    shared.truncate(length);
    Ok(shared)
}

/// ANSI X9.63 (SEC 1 §3.6.1): SHA-256(Z ‖ counter from 1 ‖ info), block after block.
fn x963(shared: &[u8], info: &[u8], length: usize) -> Result<Secret> {
    if length == 0 || length > MOST_BYTES {
        return Err(Rv(CKR_TEMPLATE_INCONSISTENT));
    }
    let mut material: Secret = Zeroizing::new(Vec::with_capacity(MOST_BYTES + 32));
    for counter in 1_u32.. {
        if material.len() >= length {
            break;
        }
        let mut context = Context::new(&SHA256);
        context.update(shared);
        context.update(&counter.to_be_bytes());
        context.update(info);
        material.extend_from_slice(context.finish().as_ref());
    }
    material.truncate(length);
    Ok(material)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NIST CAVS 12.0, ANSI X9.63-2001 KDF with SHA-256.
    #[test]
    fn x963_known_answers() {
        let z = hex::decode("96c05619d56c328ab95fe84b18264b08725b85e33fd34f08").unwrap();
        let key = x963(&z, &[], 16).unwrap();
        assert_eq!(hex::encode(&key), "443024c3dae66b95e6f5670601558f71");

        let z = hex::decode("22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d").unwrap();
        let info = hex::decode("75eef81aa3041e33b80971203d2c0c52").unwrap();
        let key = x963(&z, &info, 128).unwrap();
        assert_eq!(
            hex::encode(&key),
            "c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e\
             52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd874f6cf92f30d0097111485\
             500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269\
             142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21"
        );
    }

    #[test]
    fn shared_x_is_what_p256_finds() {
        for _ in 0..16 {
            let (ours, _) = Curve::P256.generate().unwrap();
            let (_, point) = Curve::P256.generate().unwrap();
            let secret = p256::SecretKey::from_slice(&ours).unwrap();
            let public = p256::PublicKey::from_sec1_bytes(&point).unwrap();
            let expected =
                p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
            let parameters = EcdhParameters {
                kdf: Kdf::Null,
                public_data: point,
            };
            let found = derive(&ours, &parameters, None).unwrap();
            assert_eq!(found.as_slice(), expected.raw_secret_bytes().as_slice());
        }
    }
}
