//! Challenges and nonces as stateless MACs: they survive a restart, and nothing is kept for them. That each is used
//! once follows from the uniqueness of what is bound with it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use identity::hash::{LeafHash, Sink};
use identity::{ChipUid, Id, Timestamp};
use sha2::Sha256;
use zeroize::Zeroizing;

/// How long a challenge is good.
const LIFETIME_MS: u64 = 10 * 60 * 1000;
/// Expiry as u64 big-endian, then the MAC.
const CHALLENGE_LEN: usize = 8 + 32;

/// The key behind all challenges of one CA.
pub struct ChallengeKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChallengeKey(..)")
    }
}

/// Why a challenge is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// Not made by this CA for this station and chip.
    Foreign,
    /// Made by it, but too long ago.
    Stale,
}

struct MacSink(Hmac<Sha256>);

impl Sink for MacSink {
    fn put(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl ChallengeKey {
    /// Wraps 32 secret bytes that stay the same over restarts.
    #[must_use]
    pub const fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// A challenge for one chip at one station, and when it expires.
    #[must_use]
    pub fn challenge(&self, station: &Id, uid: &ChipUid, now: Timestamp) -> (Vec<u8>, Timestamp) {
        let expires = now.plus_millis(LIFETIME_MS);
        let mac = self
            .challenge_mac(station, uid, expires)
            .0
            .finalize()
            .into_bytes();
        ([expires.0.to_be_bytes().as_slice(), &mac].concat(), expires)
    }

    /// Checks a challenge that came back. Time does not depend on where a wrong one differs.
    ///
    /// # Errors
    /// [`ChallengeError`].
    pub fn check(
        &self,
        challenge: &[u8],
        station: &Id,
        uid: &ChipUid,
        now: Timestamp,
    ) -> Result<(), ChallengeError> {
        let (expires, mac) = challenge
            .split_first_chunk::<8>()
            .ok_or(ChallengeError::Foreign)?;
        let expires = Timestamp(u64::from_be_bytes(*expires));
        if challenge.len() != CHALLENGE_LEN
            || self
                .challenge_mac(station, uid, expires)
                .0
                .verify_slice(mac)
                .is_err()
        {
            return Err(ChallengeError::Foreign);
        }
        if now <= expires {
            Ok(())
        } else {
            Err(ChallengeError::Stale)
        }
    }

    /// The nonce that the chip signs to confirm this binding; the same for ever.
    #[must_use]
    pub fn confirm_nonce(&self, leaf: &LeafHash) -> [u8; 32] {
        let mut sink = self.mac(b"koseki/confirm-nonce/v1\n");
        sink.put(&leaf.0);
        sink.0.finalize().into_bytes().into()
    }

    fn challenge_mac(&self, station: &Id, uid: &ChipUid, expires: Timestamp) -> MacSink {
        let mut sink = self.mac(b"koseki/challenge/v1\n");
        sink.put_prefixed(station.as_bytes());
        sink.put_prefixed(uid.as_bytes());
        sink.put(&expires.0.to_be_bytes());
        sink
    }

    #[expect(
        clippy::expect_used,
        reason = "HMAC takes keys of any length (RFC 2104 §2)"
    )]
    fn mac(&self, label: &[u8]) -> MacSink {
        let mut sink =
            MacSink(Hmac::new_from_slice(self.0.as_slice()).expect("any length is a key"));
        sink.put(label);
        sink
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_for_one_station_one_chip_and_ten_minutes() {
        let key = ChallengeKey::new(Zeroizing::new([7; 32]));
        let (station, other) = (Id::new("l2-01").unwrap(), Id::new("l2-02").unwrap());
        let (uid, clone) = (
            ChipUid::new(&[1; 9]).unwrap(),
            ChipUid::new(&[2; 9]).unwrap(),
        );
        let (challenge, expires) = key.challenge(&station, &uid, Timestamp(1_000));
        assert_eq!(key.check(&challenge, &station, &uid, expires), Ok(()));
        assert_eq!(
            key.check(&challenge, &station, &uid, expires.plus_millis(1)),
            Err(ChallengeError::Stale)
        );
        assert_eq!(
            key.check(&challenge, &other, &uid, expires),
            Err(ChallengeError::Foreign)
        );
        assert_eq!(
            key.check(&challenge, &station, &clone, expires),
            Err(ChallengeError::Foreign)
        );
        for at in 0..challenge.len() {
            let mut altered = challenge.clone();
            altered[at] ^= 1;
            assert_eq!(
                key.check(&altered, &station, &uid, Timestamp(1_000)),
                Err(ChallengeError::Foreign)
            );
        }
    }
}
