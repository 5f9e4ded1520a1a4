//! The only place where the CA key is used.

use crate::code::Code;
use crate::error::Fault;
use crate::key::CaKey;
use crate::pinned::Pinned;
use identity::{TbsHash, VerifyP256 as _};

/// Signs one TBS, whose attempt is durable already. The HSM is believed only after its signature verified under the
/// key in the issuing certificate.
pub(crate) fn sign_one(key: &dyn CaKey, pinned: &Pinned, tbs: &TbsHash) -> Result<[u8; 64], Fault> {
    let signature = key
        .sign_digest(tbs.as_bytes())
        .map_err(|error| Fault::new(Code::HsmFailed, error))?;
    match pinned
        .verifier
        .verify(pinned.issuer.key(), tbs.as_bytes(), &signature)
    {
        true => Ok(signature),
        false => Err(Fault::bare(Code::HsmWrongSignature)),
    }
}
