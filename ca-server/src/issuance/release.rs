//! Door 6: what is *stored* goes out, with its proof.

use super::record::Recorded;
use super::reserve::{Due, Waiting};
use super::{Answer, Issued, Outcome, Receipt, Refusal};
use crate::challenge::ChallengeKey;
use crate::ledger::{LedgerError, LogTiles};
use crate::store::{Reader, StoredBinding};
use der::asn1::OctetString;
use identity::document::Version1;
use identity::envelope::{Envelope, StationRequest as _, Unit};
use identity::fault::Fault;
use identity::leaf::{Body, EntryRef, Leaf};
use identity::receipt::ReceiptExtra;
use identity::rules::Stage;
use std::cell::RefCell;
use std::fmt::Display;
use translog::checkpoint::Checkpoint;
use translog::note::SignedNote;
use translog::proof::{ProveError, TileHashes, TileReadError, prove_inclusion};
use translog::receipt::TlogProof;

/// Makes answers from what is stored, under one published checkpoint.
pub struct Releaser<'a> {
    reader: &'a Reader,
    hashes: TileHashes<'a, LogTiles>,
    challenge: &'a ChallengeKey,
    note: SignedNote,
    size: u64,
    /// The envelope that was read last, DER: units of one envelope mostly follow one another.
    envelope: RefCell<Option<(i64, Vec<u8>)>>,
}

impl std::fmt::Debug for Releaser<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Releaser")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// Answers everybody who waits for a recorded batch.
pub fn release(reader: &Reader, tiles: &LogTiles, challenge: &ChallengeKey, batch: Recorded) {
    let (note, waiting) = batch.into_parts();
    let together = reader.snapshot().map_err(Refusal::unread);
    let releaser = together.and_then(|together| {
        let releaser = Releaser::new(reader, tiles, challenge, &note)?;
        Ok((releaser, together))
    });
    let answered: Vec<_> = waiting
        .into_iter()
        .map(|Waiting { due, reply }| match &releaser {
            Ok((releaser, _)) => (reply, releaser.answer(due)),
            Err(refusal) => (reply, Err(refusal.clone())),
        })
        .collect();
    // All at once: a connection that several of them go over writes them in one go.
    for (reply, answer) in answered {
        if reply.send(answer).is_err() {
            tracing::debug!("whoever asked is gone; the same request again gets the same answer");
        }
    }
}

impl<'a> Releaser<'a> {
    /// Under the checkpoint `note`.
    ///
    /// # Errors
    /// [`Refusal`] if the note cannot be read.
    pub fn new(
        reader: &'a Reader,
        tiles: &'a LogTiles,
        challenge: &'a ChallengeKey,
        note: &str,
    ) -> Result<Self, Refusal> {
        let note = SignedNote::parse(note.as_bytes()).map_err(internal)?;
        let checkpoint: Checkpoint = note.text().parse().map_err(internal)?;
        Ok(Self {
            reader,
            hashes: TileHashes::new(tiles, checkpoint.size()),
            challenge,
            note,
            size: checkpoint.size(),
            envelope: RefCell::default(),
        })
    }

    /// Whether an entry is below the checkpoint.
    #[must_use]
    pub const fn covers(&self, index: u64) -> bool {
        index < self.size
    }

    fn answer(&self, due: Due) -> Answer {
        match due {
            Due::Certificate(bind) => self
                .issued(bind)
                .map(|issued| Outcome::Issued(Box::new(issued))),
            Due::Leaf(entry, bind) => self.receipt(entry, bind).map(Outcome::Receipt),
            Due::Refusal(refusal) => Err(refusal),
        }
    }

    /// The certificate of a binding. One that was voided meanwhile is not released.
    ///
    /// # Errors
    /// [`Refusal`]: voided, set aside by the signer, or not signed yet.
    pub fn issued(&self, bind: u64) -> Result<Issued, Refusal> {
        let binding = self
            .reader
            .binding(bind)
            .map_err(Refusal::unread)?
            .ok_or(Fault::NotBound)?;
        if let Some(alarm) = &binding.alarm {
            return Err(Refusal::new(Fault::Alarmed, alarm));
        }
        if matches!(binding.stage, Stage::Voided | Stage::Scrapped) {
            return Err(Fault::Voided.into());
        }
        let unsigned = || Refusal::passing(Fault::HsmUnavailable, "reserved, not signed yet", 1000);
        let signature = binding.signature.ok_or_else(unsigned)?;
        // Signed since this checkpoint was taken: a newer one proves it.
        if !self.covers(bind) {
            return Err(unsigned());
        }
        let (leaf, bytes) = self
            .reader
            .leaf(bind)
            .map_err(Refusal::unread)?
            .ok_or(Fault::NotBound)?;
        let Body::Bind(body) = Leaf::from_bytes(&bytes).map_err(internal)?.body else {
            return Err(Refusal::new(Fault::Internal, "a binding without its leaf"));
        };
        let extra = self.extra(&binding, vec![bytes])?;
        Ok(Issued {
            index: bind,
            certificate: identity::idevid::assemble(&binding.tbs, &signature).map_err(internal)?,
            proof: self.proof(bind, Some(extra))?,
            nonce: self.challenge.confirm_nonce(&leaf),
            leaf,
            grant: body.grant.grant,
            ordinal: body.grant.ordinal,
        })
    }

    /// Proof of a leaf; of a binding's leaf with the device's history, of any other with the leaf beside it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn receipt(&self, entry: EntryRef, bind: Option<u64>) -> Result<Receipt, Refusal> {
        let (extra, bytes) = match bind {
            Some(bind) => {
                let binding = self
                    .reader
                    .binding(bind)
                    .map_err(Refusal::unread)?
                    .ok_or(Fault::NotBound)?;
                let history = self.history(bind, entry.index)?;
                (Some(self.extra(&binding, history)?), None)
            }
            None => {
                let leaf = self.reader.leaf(entry.index).map_err(Refusal::unread)?;
                (None, leaf.map(|(_, bytes)| bytes))
            }
        };
        Ok(Receipt {
            index: entry.index,
            leaf: entry.hash,
            proof: self.proof(entry.index, extra)?,
            bytes,
        })
    }

    /// Inclusion proof of one entry.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn proof(&self, index: u64, extra: Option<Vec<u8>>) -> Result<String, Refusal> {
        let hashes = prove_inclusion(&self.hashes, index, self.size).map_err(unproved)?;
        let proof = TlogProof::new(index, hashes, self.note.clone()).map_err(internal)?;
        let proof = match extra {
            Some(extra) => proof.with_extra(extra).map_err(internal)?,
            None => proof,
        };
        Ok(proof.to_string())
    }

    /// What comes with a proof: the subject's entries so far, openings and evidence.
    fn extra(&self, binding: &StoredBinding, history: Vec<Vec<u8>>) -> Result<Vec<u8>, Refusal> {
        let evidence = self.evidence(binding)?;
        let extra = ReceiptExtra {
            version: Version1,
            history: history
                .into_iter()
                .map(OctetString::new)
                .collect::<Result<_, _>>()
                .map_err(internal)?,
            openings: OctetString::new(binding.openings.as_slice()).map_err(internal)?,
            evidence: Some(OctetString::new(evidence).map_err(internal)?),
        };
        Ok(extra.to_bytes())
    }

    /// The evidence that a binding's unit came with, DER.
    fn evidence(&self, binding: &StoredBinding) -> Result<Vec<u8>, Refusal> {
        let mut last = self.envelope.borrow_mut();
        if last
            .as_ref()
            .is_none_or(|(row, _)| *row != binding.envelope)
        {
            let (envelope, _) = self
                .reader
                .envelope(binding.envelope)
                .map_err(Refusal::unread)?;
            *last = Some((binding.envelope, envelope));
        }
        let envelope = last.as_ref().map(|(_, envelope)| envelope.as_slice());
        let unit = usize::try_from(binding.unit).map_err(internal)?;
        let evidence = Envelope::evidence_in(envelope.unwrap_or_default(), unit);
        let evidence = evidence.ok_or_else(|| internal("an envelope without the unit"))?;
        Ok(evidence.to_vec())
    }

    /// The subject's entries from its `bind` to `last`, found by walking back.
    fn history(&self, bind: u64, last: u64) -> Result<Vec<Vec<u8>>, Refusal> {
        let (mut history, mut at) = (Vec::new(), last);
        loop {
            let (_, bytes) = self
                .reader
                .leaf(at)
                .map_err(Refusal::unread)?
                .ok_or(Fault::NotBound)?;
            let previous = Leaf::from_bytes(&bytes).map_err(internal)?.body.previous();
            history.push(bytes);
            match previous {
                Some(entry) if at != bind && entry.index < at => at = entry.index,
                _ => break,
            }
        }
        history.reverse();
        Ok(history)
    }
}

/// The unit that a binding came with.
///
/// # Errors
/// [`Refusal`] if the stored envelope cannot be read.
pub(super) fn unit_of(binding: &StoredBinding, reader: &Reader) -> Result<Unit, Refusal> {
    let mut units = envelope_of(binding, reader)?.units;
    match usize::try_from(binding.unit) {
        Ok(at) if at < units.len() => Ok(units.swap_remove(at)),
        _ => Err(internal("a unit beyond its envelope")),
    }
}

/// The envelope that a binding came in.
///
/// # Errors
/// [`Refusal`] if it cannot be read.
pub(super) fn envelope_of(binding: &StoredBinding, reader: &Reader) -> Result<Envelope, Refusal> {
    let (der, _) = reader.envelope(binding.envelope).map_err(Refusal::unread)?;
    Envelope::from_bytes(&der).map_err(internal)
}

/// Why there is no proof: mostly a tile that could not be read.
fn unproved(error: ProveError<TileReadError<LedgerError>>) -> Refusal {
    if let ProveError::Reader(TileReadError::Reader(error)) = error {
        return Refusal::unread(error);
    }
    internal(error)
}

fn internal(error: impl Display) -> Refusal {
    Refusal::new(Fault::Internal, error)
}
