//! Signatures that the signer checks when a request comes, and knows again when it judges.
//!
//! Whoever asks for a certificate is admitted by signatures that the signer will judge by, too. A check is a function
//! of key, digest and signature and of nothing else; so it is done once, by the signer, who needs to believe nobody:
//! the server asks it at door 1, and believes the answer, because it believes the signer in any case. What the server
//! asks decides only what is known already, never what is true.

use identity::hash::{Sink as _, sha256_of};
use identity::key::AwsLcVerifier;
use identity::{P256Key, VerifyP256};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Good signatures remembered before the oldest are forgotten: four for each unit that the server's queue holds. As
/// many again may be older.
const MOST: usize = 16_384;

/// Checks signatures for whoever admits requests, and remembers the good ones until the signer judges by them. One that
/// was forgotten is checked again.
#[derive(Debug, Default)]
pub struct Checks {
    good: Mutex<Good>,
}

/// Names of good signatures, in two generations.
#[derive(Debug, Default)]
struct Good {
    new: BTreeSet<Name>,
    old: BTreeSet<Name>,
}

/// Hash of key, digest and signature.
type Name = [u8; 32];

impl VerifyP256 for Checks {
    fn verify(&self, key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> bool {
        let holds = AwsLcVerifier.verify(key, digest, signature);
        if holds {
            self.good().remember(name(key, digest, signature));
        }
        holds
    }
}

impl Checks {
    /// The judge's look at them.
    pub(crate) const fn known(&self) -> Known<'_> {
        Known(self)
    }

    fn good(&self) -> MutexGuard<'_, Good> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Good {
    fn remember(&mut self, name: Name) {
        if self.new.len() >= MOST {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(name);
    }

    fn take(&mut self, name: &Name) -> bool {
        self.new.remove(name) || self.old.remove(name)
    }
}

/// Knows a good signature again, once; checks any other.
pub(crate) struct Known<'a>(&'a Checks);

impl VerifyP256 for Known<'_> {
    fn verify(&self, key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> bool {
        let is_known = self.0.good().take(&name(key, digest, signature));
        is_known || AwsLcVerifier.verify(key, digest, signature)
    }
}

fn name(key: &P256Key, digest: &[u8; 32], signature: &[u8]) -> Name {
    sha256_of(|h| {
        h.put(key.sec1());
        h.put(digest);
        h.put(signature);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;
    use p256::ecdsa::{Signature, SigningKey};

    const DIGEST: [u8; 32] = [7; 32];

    fn signed(seed: u8) -> (P256Key, Vec<u8>) {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let signature: Signature = key.sign_prehash(&DIGEST).unwrap();
        let public = P256Key::from_sec1(&key.verifying_key().to_sec1_bytes()).unwrap();
        (public, signature.to_bytes().to_vec())
    }

    fn count(checks: &Checks) -> usize {
        let good = checks.good();
        good.new.len() + good.old.len()
    }

    #[test]
    fn a_good_signature_is_known_again_once() {
        let (checks, (key, signature)) = (Checks::default(), signed(1));
        assert!(checks.verify(&key, &DIGEST, &signature));
        assert_eq!(count(&checks), 1);
        assert!(checks.known().verify(&key, &DIGEST, &signature));
        assert_eq!(count(&checks), 0);
        // Forgotten, and checked again.
        assert!(checks.known().verify(&key, &DIGEST, &signature));
    }

    #[test]
    fn what_is_known_vouches_for_no_other_key_digest_or_signature() {
        let (checks, (key, signature)) = (Checks::default(), signed(1));
        let (other, foreign) = signed(2);
        for bad in [&foreign[..], &signature[..63], &[]] {
            assert!(!checks.verify(&key, &DIGEST, bad));
        }
        assert_eq!(count(&checks), 0, "a bad signature is remembered");
        assert!(checks.verify(&key, &DIGEST, &signature));
        assert!(!checks.known().verify(&other, &DIGEST, &signature));
        assert!(!checks.known().verify(&key, &[8; 32], &signature));
        for at in 0..signature.len() {
            let mut bad = signature.clone();
            bad[at] ^= 1;
            assert!(!checks.known().verify(&key, &DIGEST, &bad), "byte {at}");
        }
        let longer = [signature.as_slice(), &[0]].concat();
        assert!(!checks.known().verify(&key, &DIGEST, &longer));
    }

    #[test]
    fn the_oldest_are_forgotten_and_memory_stays_bounded() {
        let mut good = Good::default();
        let name = |number: usize| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            name
        };
        for number in 0..5 * MOST {
            good.remember(name(number));
            assert!(good.new.len() <= MOST && good.old.len() <= MOST);
        }
        assert!(!good.take(&name(0)) && good.take(&name(5 * MOST - 1)));
        assert!(good.take(&name(4 * MOST)), "the newest {MOST} are known");
    }
}
