//! Door 4: the signer follows every leaf, judges for itself and signs. Only bytes cross over to it.

use super::publish::{Published, PublishedParts};
use super::reserve::{Due, Entered, Waiting};
use crate::ledger::Ledger;
use crate::store::{Reader, StoreError, StoredDocument};
use der::asn1::OctetString;
use identity::document::Version1;
use identity::fault::Fault;
use identity::rules::Stage;
use identity::support::Support;
use signer::Code;
use signer::Signer;
use signer::message::{Answer, Entry, Item, SignReply, SignRequest, SignedEnvelope};
use std::collections::BTreeMap;
use translog::tree::Hash;

/// Most certificates in one request to the signer.
const MOST_ITEMS: usize = 1024;
/// A request with this many bytes of certificates and envelopes takes no more: a quarter of what the signer reads.
const ENOUGH_BYTES: usize = signer::message::MAX_REQUEST / 4;
/// Leaves that are shown at once to a signer that is behind.
const MOST_LEAVES: u64 = 32_768;

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

/// As many requests as the certificates need; the first brings the new leaves.
fn exchange(
    signer: &mut Signer,
    reader: &Reader,
    parts: &PublishedParts,
) -> Result<Outcomes, SignError> {
    let (mut first, mut entries) = (parts.first, parts.entries.as_slice());
    let (mut unsigned, mut outcomes) = (parts.unsigned.as_slice(), Outcomes::new());
    loop {
        let (load, rest) = Load::take(unsigned, reader)?;
        let new = Leaves {
            note: &parts.note,
            first,
            entries,
        };
        outcomes.extend(ask(signer, &new, load)?);
        if rest.is_empty() {
            return Ok(outcomes);
        }
        (first, entries, unsigned) = (parts.size, &[], rest);
    }
}

/// Certificates of one request.
#[derive(Default)]
struct Load {
    places: BTreeMap<i64, u32>,
    envelopes: Vec<SignedEnvelope>,
    items: Vec<Item>,
    bytes: usize,
}

impl Load {
    /// Takes what fits into one request, and gives what is left.
    fn take<'a>(binds: &'a [u64], reader: &Reader) -> Result<(Self, &'a [u64]), SignError> {
        let _together = reader.snapshot()?;
        let mut load = Self::default();
        for (at, bind) in binds.iter().enumerate() {
            if load.items.len() >= MOST_ITEMS || load.bytes >= ENOUGH_BYTES {
                return Ok((load, binds.get(at..).unwrap_or_default()));
            }
            load.add(*bind, reader)?;
        }
        Ok((load, &[]))
    }

    fn add(&mut self, bind: u64, reader: &Reader) -> Result<(), SignError> {
        let binding = reader
            .binding(bind)?
            .ok_or(StoreError::Damaged("a reserved binding is gone"))?;
        let envelope = self.envelope(binding.envelope, reader)?;
        self.bytes += binding.tbs.len() + binding.openings.len();
        self.items.push(Item {
            index: bind,
            tbs: octets(&binding.tbs)?,
            openings: octets(&binding.openings)?,
            envelope,
            unit: binding.unit,
        });
        Ok(())
    }

    fn envelope(&mut self, row: i64, reader: &Reader) -> Result<u32, SignError> {
        if let Some(place) = self.places.get(&row) {
            return Ok(*place);
        }
        let (der, signature) = reader.envelope(row)?;
        let place = u32::try_from(self.envelopes.len()).unwrap_or(u32::MAX);
        self.bytes += der.len();
        self.envelopes.push(SignedEnvelope {
            der: octets(&der)?,
            signature: octets(&signature)?,
        });
        self.places.insert(row, place);
        Ok(place)
    }
}

/// Leaves for the signer, up to a checkpoint.
struct Leaves<'a> {
    note: &'a str,
    first: u64,
    entries: &'a [Entered],
}

fn ask(signer: &mut Signer, new: &Leaves<'_>, load: Load) -> Result<Outcomes, SignError> {
    let entries = new
        .entries
        .iter()
        .map(|(leaf, support)| entry(leaf, support.clone()));
    let request = SignRequest {
        version: Version1,
        checkpoint: octets(new.note.as_bytes())?,
        first: new.first,
        entries: entries.collect::<Result<_, _>>()?,
        envelopes: load.envelopes,
        items: load.items,
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

/// Shows a signer that is behind all that it lacks before the leaves of this batch, in steps, each under a head that was
/// committed.
///
/// # Errors
/// [`SignError`]; the signer keeps what it has followed.
pub(super) fn catch_up(
    signer: &mut Signer,
    reader: &Reader,
    ledger: &Ledger,
    batch: &Published,
) -> Result<(), SignError> {
    let size = batch.first();
    if signer.size() >= size {
        return Ok(());
    }
    let documents = reader.documents()?;
    while signer.size() < size {
        let first = signer.size();
        let most = first.saturating_add(MOST_LEAVES).min(size);
        let (step, root) = reader.committed_head(first, most)?;
        tracing::info!(
            from = first,
            to = step,
            of = size,
            "the signer is catching up"
        );
        let note = ledger
            .sign(step, Hash::new(root))
            .map_err(|error| SignError::Interface(error.to_string()))?;
        let leaves = Leaves {
            note: &note.to_string(),
            first,
            entries: &entries_from(reader, &documents, first, step)?,
        };
        ask(signer, &leaves, Load::default())?;
    }
    Ok(())
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

/// Leaves `first..size` with their documents.
pub(super) fn entries_from(
    reader: &Reader,
    documents: &[StoredDocument],
    first: u64,
    size: u64,
) -> Result<Vec<Entered>, StoreError> {
    let leaves = reader.leaves(first, size - first)?;
    let with_support = (first..).zip(leaves).map(|(index, leaf)| {
        let document = documents.binary_search_by_key(&index, |document| document.index);
        let document = document.ok().and_then(|at| documents.get(at));
        let support = document
            .map(|document| Support::from_bytes(&document.support))
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

fn octets(bytes: &[u8]) -> Result<OctetString, SignError> {
    OctetString::new(bytes).map_err(|error| SignError::Interface(error.to_string()))
}
