//! The whole way of one unit with a station in software: each request made once, and sent as often as needed.

use crate::failure::{Failure, Outcome};
use crate::soft::{Signed, SoftChip, SoftStation, now};
use identity::envelope::{ConfirmRequest, Envelope, StationRequest as _, Version1};
use identity::hash::CertificateHash;
use identity::message::{Confirmation, Message as _};
use identity::{LeafHash, RequestId};
use proto::factory::{self, ProvisionRequest, confirm_response, unit_result};
use std::fmt;

/// What a station was given for a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Index of the `bind` leaf.
    pub index: u64,
    /// Certificate, DER.
    pub certificate: Vec<u8>,
    /// `tlog-proof` of the `bind` leaf.
    pub proof: Vec<u8>,
    nonce: [u8; 32],
    leaf: LeafHash,
}

/// What a station was given for a confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Index of the `confirm` leaf.
    pub index: u64,
    /// Its `tlog-proof`.
    pub proof: Vec<u8>,
}

/// Why a station was given nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The fault's code; none if the call itself failed.
    pub code: Option<String>,
    /// When to send the same again.
    pub retry_after_ms: Option<u64>,
    /// In words.
    pub text: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_deref().unwrap_or("no answer");
        write!(f, "{code}: {}", self.text)
    }
}

impl SoftStation {
    /// Sends a request of one unit to be provisioned.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn certify(&self, signed: &Signed) -> Result<Certified, Refused> {
        let request = ProvisionRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().provision(request).await;
        let results = answer.map_err(refused_call)?.into_inner().results;
        match results.into_iter().next().and_then(|one| one.outcome) {
            Some(unit_result::Outcome::Issued(issued)) => Certified::try_from(issued),
            Some(unit_result::Outcome::Refused(fault)) => Err(refused(fault)),
            None => Err(malformed("an answer without an outcome")),
        }
    }

    /// What the chip says when it holds the certificate, as the station passes it on.
    ///
    /// # Errors
    /// [`Failure`] of an algorithm.
    pub fn sealed_confirmation(
        &self,
        signed: &Signed,
        chip: &SoftChip,
        given: &Certified,
    ) -> Outcome<Signed> {
        let certificate = CertificateHash::of(&given.certificate);
        let message = Confirmation {
            nonce: &given.nonce,
            certificate: &certificate,
            leaf: &given.leaf,
        };
        self.seal(&ConfirmRequest {
            version: Version1,
            station: self.id,
            time: now(),
            request: request_of(signed)?,
            leaf: given.leaf,
            certificate,
            signature: chip.key.sign(&message.digest())?,
        })
    }

    /// Sends a confirmation.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn hand_in(&self, signed: &Signed) -> Result<Receipt, Refused> {
        let request = factory::ConfirmRequest {
            request: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().confirm(request).await;
        match answer.map_err(refused_call)?.into_inner().outcome {
            Some(confirm_response::Outcome::Receipt(receipt)) => Ok(Receipt {
                index: receipt.index,
                proof: receipt.tlog_proof,
            }),
            Some(confirm_response::Outcome::Refused(fault)) => Err(refused(fault)),
            None => Err(malformed("an answer without an outcome")),
        }
    }

    /// What was issued under a request, read and not asked for.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn look_up(&self, signed: &Signed) -> Result<Certified, Refused> {
        use factory::get_receipt_request::Unit;
        let id = request_of(signed).map_err(malformed)?;
        let request = factory::GetReceiptRequest {
            unit: Some(Unit::RequestId(id.0.to_vec())),
        };
        let answer = self.client.clone().get_receipt(request).await;
        let issued = answer.map_err(refused_call)?.into_inner().issued;
        Certified::try_from(issued.ok_or_else(|| malformed("nothing issued"))?)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn checkpoint(&self) -> Result<Vec<u8>, Refused> {
        let request = factory::GetCheckpointRequest {};
        let answer = self.client.clone().get_checkpoint(request).await;
        Ok(answer.map_err(refused_call)?.into_inner().checkpoint)
    }
}

impl TryFrom<factory::Issued> for Certified {
    type Error = Refused;

    fn try_from(issued: factory::Issued) -> Result<Self, Refused> {
        let hash = |bytes: Vec<u8>| {
            bytes
                .try_into()
                .map_err(|_length| malformed("not 32 bytes"))
        };
        Ok(Self {
            index: issued.index,
            certificate: issued.certificate,
            proof: issued.tlog_proof,
            nonce: hash(issued.confirm_nonce)?,
            leaf: LeafHash(hash(issued.leaf_hash)?),
        })
    }
}

/// The request id of the first unit of an envelope.
///
/// # Errors
/// [`Failure`] if it is no envelope.
pub fn request_of(signed: &Signed) -> Outcome<RequestId> {
    let envelope = Envelope::from_bytes(&signed.envelope).map_err(Failure::new)?;
    let unit = envelope.units.first();
    unit.map(|unit| unit.request)
        .ok_or_else(|| Failure::new("an envelope without a unit"))
}

fn refused_call(status: tonic::Status) -> Refused {
    match proto::fault::fault_from_status(&status) {
        Some(fault) => refused(fault),
        None => malformed(status),
    }
}

fn refused(fault: proto::common::Fault) -> Refused {
    Refused {
        code: Some(fault.code),
        retry_after_ms: fault.retry_after_ms,
        text: fault.text_en,
    }
}

fn malformed(what: impl fmt::Display) -> Refused {
    Refused {
        code: None,
        retry_after_ms: None,
        text: what.to_string(),
    }
}
