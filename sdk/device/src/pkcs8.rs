//! Reads the private key out of PKCS#8 (RFC 5208, RFC 5915) as line modules write it.
//!
//! Modules differ: some add the public key, some leave it and the parameters out, some cut the scalar's leading
//! zeros or add one. What matters is exact here (version, algorithm, curve, scalar), what does not is passed over.

use crate::key;
use crate::refusal::Refusal;
use p256::SecretKey;
use zeroize::Zeroizing;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const BIT_STRING: u8 = 0x03;
const PUBLIC_KEY: u8 = 0xA1;
/// `id-ecPublicKey`, `secp256r1` (RFC 5480 §2.1.1).
const ALGORITHM: [u8; 19] = [
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];

/// A private scalar, big-endian.
type Scalar = Zeroizing<[u8; 32]>;

/// The private key; if the public key came with it, it must be its own.
pub(crate) fn read(der: &[u8]) -> Result<SecretKey, Refusal> {
    let (scalar, public) = parse(der).ok_or(Refusal::NotAKey)?;
    let secret = key::from_scalar(&scalar).ok_or(Refusal::NotAKey)?;
    let own = key::public(&secret)?;
    match public {
        Some(point) if point != own.sec1() => Err(Refusal::KeyMismatch),
        _ => Ok(secret),
    }
}

/// Scalar, and the public point where there is one.
fn parse(der: &[u8]) -> Option<(Scalar, Option<&[u8]>)> {
    let (info, after) = expect(der, SEQUENCE)?;
    let (version, info) = expect(info, INTEGER)?;
    let (algorithm, info) = expect(info, SEQUENCE)?;
    let (private_key, _attributes) = expect(info, OCTET_STRING)?;
    if !is_filling(after) || !matches!(version, [0 | 1]) || algorithm != ALGORITHM {
        return None;
    }
    let (ec_private_key, after) = expect(private_key, SEQUENCE)?;
    let (version, fields) = expect(ec_private_key, INTEGER)?;
    let (octets, optional) = expect(fields, OCTET_STRING)?;
    if !after.is_empty() || version != [1] {
        return None;
    }
    Some((scalar(octets)?, public_key(optional)?))
}

/// `SoftHSM2` fills the structure up with zeros to a multiple of eight before it wraps it; RFC 5649 would do that itself.
fn is_filling(after: &[u8]) -> bool {
    after.len() < 8 && after.iter().all(|byte| *byte == 0)
}

/// Left-padded to 32 bytes, or without the zeros in front of them.
fn scalar(octets: &[u8]) -> Option<Scalar> {
    let (surplus, octets) = octets.split_at(octets.len().saturating_sub(32));
    if surplus.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut padded = Zeroizing::new([0; 32]);
    padded.get_mut(32 - octets.len()..)?.copy_from_slice(octets);
    Some(padded)
}

/// The point in the field `[1]`, uncompressed; the field may be missing, but not be broken.
fn public_key(mut fields: &[u8]) -> Option<Option<&[u8]>> {
    while !fields.is_empty() {
        let (tag, value, rest) = element(fields)?;
        if tag == PUBLIC_KEY {
            let (bits, _) = expect(value, BIT_STRING)?;
            return bits.strip_prefix(&[0]).map(Some);
        }
        fields = rest;
    }
    Some(None)
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, value, rest) = element(bytes)?;
    (tag == wanted).then_some((value, rest))
}

/// Tag, value and what follows; lengths of up to two bytes.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (len, content) = match *bytes {
        [_, len @ 0..=0x7F, ..] => (u16::from(len), bytes.get(2..)?),
        [_, 0x81, len, ..] => (u16::from(len), bytes.get(3..)?),
        [_, 0x82, high, low, ..] => (u16::from_be_bytes([high, low]), bytes.get(4..)?),
        _ => return None,
    };
    let (value, rest) = content.split_at_checked(usize::from(len))?;
    Some((*bytes.first()?, value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// As `SoftHSM2` writes it: no parameters, no public key.
    fn short(scalar: &[u8]) -> Vec<u8> {
        let body = [
            &[0x30, 5 + u8::try_from(scalar.len()).unwrap(), 2, 1, 1, 4],
            &[u8::try_from(scalar.len()).unwrap()][..],
            scalar,
        ]
        .concat();
        let info = [
            &[2, 1, 0, 0x30, 19][..],
            &ALGORITHM,
            &[4, u8::try_from(body.len()).unwrap()],
            &body,
        ]
        .concat();
        [&[0x30, u8::try_from(info.len()).unwrap()][..], &info].concat()
    }

    /// With the public key.
    fn long(scalar: &[u8; 32], point: &[u8; 65]) -> Vec<u8> {
        let body = [
            &[0x30, 0x6B, 2, 1, 1, 4, 32][..],
            scalar,
            &[0xA1, 68, 3, 66, 0],
            point,
        ]
        .concat();
        let info = [
            &[2, 1, 0, 0x30, 19][..],
            &ALGORITHM,
            &[4, u8::try_from(body.len()).unwrap()],
            &body,
        ]
        .concat();
        [&[0x30, 0x81, u8::try_from(info.len()).unwrap()][..], &info].concat()
    }

    #[test]
    fn both_forms_are_read() {
        let scalar = [7; 32];
        let secret = read(&short(&scalar)).unwrap();
        assert_eq!(short(&scalar).len(), 67);
        assert_eq!(*key::to_scalar(&secret), scalar);
        let point = *key::public(&secret).unwrap().sec1();
        let whole = long(&scalar, &point);
        assert_eq!(whole.len(), 138);
        assert_eq!(*key::to_scalar(&read(&whole).unwrap()), scalar);
    }

    #[test]
    fn zeros_may_fill_up_to_a_multiple_of_eight() {
        let key = short(&[7; 32]);
        read(&[&key[..], &[0; 5]].concat()).unwrap();
        for surplus in [&[0; 8][..], &[0, 0, 1]] {
            let longer = [&key[..], surplus].concat();
            assert_eq!(read(&longer).unwrap_err(), Refusal::NotAKey);
        }
    }

    #[test]
    fn leading_zeros_may_be_missing_or_doubled() {
        let mut padded = [9; 32];
        padded[0] = 0;
        assert_eq!(
            *key::to_scalar(&read(&short(&padded[1..])).unwrap()),
            padded
        );
        assert_eq!(
            *key::to_scalar(&read(&short(&[&[0][..], &padded].concat())).unwrap()),
            padded
        );
        assert_eq!(read(&short(&[9; 33])).unwrap_err(), Refusal::NotAKey);
    }

    #[test]
    fn a_foreign_public_key_is_refused() {
        let other = *key::public(&key::from_scalar(&[8; 32]).unwrap())
            .unwrap()
            .sec1();
        assert_eq!(
            read(&long(&[7; 32], &other)).unwrap_err(),
            Refusal::KeyMismatch
        );
    }

    #[test]
    fn scalars_out_of_range_are_refused() {
        assert_eq!(read(&short(&[0; 32])).unwrap_err(), Refusal::NotAKey);
        assert_eq!(read(&short(&[0xFF; 32])).unwrap_err(), Refusal::NotAKey);
    }

    #[test]
    fn no_prefix_and_no_flipped_structure_passes() {
        let scalar = [7; 32];
        let whole = long(
            &scalar,
            key::public(&key::from_scalar(&scalar).unwrap())
                .unwrap()
                .sec1(),
        );
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 0x40;
            let untouched = read(&altered).is_ok_and(|secret| *key::to_scalar(&secret) == scalar);
            assert!(read(&altered).is_err() || untouched, "byte {at}");
        }
    }
}
