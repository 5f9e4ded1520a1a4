//! Door 4: the signer follows every leaf, judges for itself and signs. Only bytes cross over to it.

use super::publish::{Published, PublishedParts};
use super::reserve::{Due, Entered, Waiting};
use crate::store::{Reader, StoreError, StoredDocument};
use der::asn1::OctetString;
use identity::document::Version1;
use identity::fault::Fault;
use identity::rules::Stage;
use signer::Code;
use signer::Signer;
use signer::message::{Answer, Entry, Item, SignReply, SignRequest, Support};

/// A batch with the signer's outcomes. Only [`sign`] makes one.
#[derive(Debug)]
pub struct Signed {
    outcomes: Outcomes,
    note: String,
    waiting: Vec<Waiting>,
}

impl Signed {
    pub(super) fn into_parts(self) -> (Outcomes, String, Vec<Waiting>) {
        (self.outcomes, self.note, self.waiting)
    }
}

/// Why the signer gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The signer stopped.
    #[error("the signer stopped: {code}: {text}")]
    Stopped {
        /// Its code.
        code: String,
        /// For people.
        text: String,
    },
    /// What crossed the interface could not be read.
    #[error("the signer's interface: {0}")]
    Interface(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignError {
    /// The fault that this is to whoever waits.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Store(_) => Fault::StoreUnavailable,
            Self::Interface(_) => Fault::Internal,
            Self::Stopped { code, .. } => match Code::from_code(code) {
                Some(Code::StoreFailed | Code::OutcomeUnknown | Code::StoreDamaged) => {
                    Fault::StoreUnavailable
                }
                Some(Code::Behind | Code::Fork) => Fault::LogAhead,
                _ => Fault::Stopped,
            },
        }
    }
}

/// Has a published batch signed.
///
/// # Errors
/// [`SignError`] with those who wait: their units stay reserved, and restart finishes them.
pub fn sign(
    signer: &mut Signer,
    reader: &Reader,
    batch: Published,
) -> Result<Signed, (SignError, Vec<Waiting>)> {
    let mut parts = batch.into_parts();
    if let Err(error) = ask_again(&mut parts, reader) {
        return Err((error.into(), parts.waiting));
    }
    let outcomes = if signer.size() == parts.size && parts.unsigned.is_empty() {
        Ok(Vec::new())
    } else {
        exchange(signer, reader, &parts)
    };
    match outcomes {
        Ok(outcomes) => Ok(Signed {
            outcomes,
            note: parts.note,
            waiting: parts.waiting,
        }),
        Err(error) => Err((error, parts.waiting)),
    }
}

/// What the signer said, by index of the `bind` leaf.
type Outcomes = Vec<(u64, Given)>;

/// What the signer said to one unit.
#[derive(Debug)]
pub(super) enum Given {
    /// The signature.
    Signature([u8; 64]),
    /// It will never sign this: an alarm, because door 1 had admitted it.
    Never(String),
    /// The HSM did not sign; the same unit asked again may be signed.
    NotNow(String),
}

fn exchange(
    signer: &mut Signer,
    reader: &Reader,
    parts: &PublishedParts,
) -> Result<Outcomes, SignError> {
    let entries = parts
        .entries
        .iter()
        .map(|(leaf, support)| entry(leaf, support.clone()));
    let request = SignRequest {
        version: Version1,
        checkpoint: octets(parts.note.as_bytes())?,
        first: parts.first,
        entries: entries.collect::<Result<_, _>>()?,
        items: parts
            .unsigned
            .iter()
            .map(|bind| item(*bind, reader))
            .collect::<Result<_, _>>()?,
    };
    let request = request
        .to_bytes()
        .map_err(|error| SignError::Interface(error.to_string()))?;
    let reply = SignReply::from_bytes(&signer.exchange(&request));
    match reply.map_err(|error| SignError::Interface(error.to_string()))? {
        SignReply::Stopped(stopped) => Err(SignError::Stopped {
            code: stopped.code,
            text: stopped.text,
        }),
        SignReply::Outcomes(outcomes) => Ok(outcomes
            .into_iter()
            .map(|one| (one.index, answer(one.answer)))
            .collect()),
    }
}

/// A unit that is waited for and was not signed the last time, because the HSM failed, is asked for again.
fn ask_again(parts: &mut PublishedParts, reader: &Reader) -> Result<(), StoreError> {
    for waiting in &parts.waiting {
        let Due::Certificate(bind) = waiting.due else {
            continue;
        };
        if parts.unsigned.contains(&bind) {
            continue;
        }
        let binding = reader
            .binding(bind)?
            .ok_or(StoreError::Damaged("a claim without its binding"))?;
        if binding.signature.is_none() && binding.alarm.is_none() && binding.stage == Stage::Bound {
            parts.unsigned.push(bind);
        }
    }
    Ok(())
}

fn answer(answer: Answer) -> Given {
    match answer {
        Answer::Signed(signature) => Given::Signature(signature.0),
        Answer::Refused(refused) if passes(&refused.code) => {
            Given::NotNow(format!("{}: {}", refused.code, refused.text))
        }
        Answer::Refused(refused) => Given::Never(format!("{}: {}", refused.code, refused.text)),
    }
}

fn passes(code: &str) -> bool {
    [Code::HsmFailed, Code::HsmWrongSignature]
        .iter()
        .any(|passing| passing.as_str() == code)
}

/// Leaves `first..size` with their documents, for a signer that is behind.
pub(super) fn entries_from(
    reader: &Reader,
    documents: &[StoredDocument],
    first: u64,
    size: u64,
) -> Result<Vec<Entered>, StoreError> {
    let leaves = reader.leaves(first, size - first)?;
    let with_support = (first..).zip(leaves).map(|(index, leaf)| {
        let document = documents.iter().find(|document| document.index == index);
        let support = document
            .map(|document| crate::support::parse(&document.support))
            .transpose();
        Ok((
            leaf,
            support.map_err(|_bad| StoreError::Damaged("a stored document"))?,
        ))
    });
    with_support.collect()
}

fn entry(leaf: &[u8], support: Option<Support>) -> Result<Entry, SignError> {
    Ok(Entry {
        leaf: octets(leaf)?,
        support,
    })
}

fn item(bind: u64, reader: &Reader) -> Result<Item, SignError> {
    let binding = reader
        .binding(bind)?
        .ok_or(StoreError::Damaged("a reserved binding is gone"))?;
    Ok(Item {
        index: bind,
        tbs: octets(&binding.tbs)?,
        envelope: octets(&binding.envelope)?,
        signature: octets(&binding.envelope_signature)?,
        unit: binding.unit,
    })
}

fn octets(bytes: &[u8]) -> Result<OctetString, SignError> {
    OctetString::new(bytes).map_err(|error| SignError::Interface(error.to_string()))
}
