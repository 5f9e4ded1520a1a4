//! What was acknowledged, kept outside of server and stations, and what must hold of it (the invariants of issuance,
//! `docs/issuance.md`).

use super::ground::{Chip, Ground, LIMIT};
use crate::failure::{Failure, Outcome, require};
use ca_server::issuance::{Issued, Receipt};
use identity::hash::RequestHash;
use identity::leaf::{Bind, Body, Leaf};
use identity::{RequestId, SubjectId, TbsHash, Timestamp};
use koseki_verify::{Scope, audit_log, verify_device};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use translog::tree::{Hash, leaf_hash, root_of};

/// More than a world's clock is ever off.
const CLOCK_AHEAD: u64 = 100 * 60 * 60 * 1000;

/// A ledger of answers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Index and certificate by request.
    requests: BTreeMap<[u8; 16], (u64, Vec<u8>)>,
    /// Certificate by index.
    binds: BTreeMap<u64, Vec<u8>>,
    /// Index of the `confirm` and of the `void` leaf by request.
    confirms: BTreeMap<[u8; 16], u64>,
    voids: BTreeMap<[u8; 16], u64>,
    /// Envelopes of units that were refused for good, with the key that they were for.
    refused: BTreeSet<(RequestHash, [u8; 32])>,
    /// Size and root of every checkpoint that left the server.
    heads: BTreeSet<(u64, [u8; 32])>,
    /// Size of the largest checkpoint that was published in the files.
    published: u64,
}

impl Ledger {
    /// A certificate arrived: the same as ever for this request, nobody else's, in the log, under a checkpoint that
    /// was signed before (I1, I2, I3, I8).
    pub(super) fn certificate(
        &mut self,
        ground: &Ground,
        request: &RequestId,
        given: &Issued,
        now: u64,
    ) -> Outcome<()> {
        let new = (given.index, given.certificate.clone());
        let is_new = !self.requests.contains_key(&request.0);
        let known = self
            .requests
            .entry(request.0)
            .or_insert_with(|| new.clone());
        require(
            *known == new,
            format_args!("I3: one request got two answers, {} and {}", known.0, new.0),
        )?;
        let known = self.binds.entry(new.0).or_insert_with(|| new.1.clone());
        require(
            *known == new.1,
            format_args!("I1: two certificates for the one leaf {}", new.0),
        )?;
        self.head(given.proof.as_bytes())?;
        if !is_new {
            return Ok(());
        }
        // A clock that is ahead, and within what is believed, dates a certificate ahead.
        let at = Timestamp(now + CLOCK_AHEAD);
        let verdict = verify_device(
            &given.certificate,
            given.proof.as_bytes(),
            &ground.trust,
            at,
        );
        require(
            verdict.accepted,
            format_args!(
                "I2: a certificate does not hold: {:?}",
                verdict.first_failure()
            ),
        )
    }

    /// A receipt arrived: of a unit's confirmation, or of its end.
    pub(super) fn receipt(
        &mut self,
        request: &RequestId,
        given: &Receipt,
        is_void: bool,
    ) -> Outcome<()> {
        self.head(given.proof.as_bytes())?;
        let all = match is_void {
            true => &mut self.voids,
            false => &mut self.confirms,
        };
        let known = all.entry(request.0).or_insert(given.index);
        require(
            *known == given.index,
            format_args!("I3: one receipt names {known}, then {}", given.index),
        )
    }

    /// A unit was refused for good: nothing of it may ever be in the log but the refusal (I9).
    pub(super) fn refused(&mut self, envelope: RequestHash, chip: &Chip) {
        self.refused.insert((envelope, chip.public.spki_hash().0));
    }

    /// A proof ends with the checkpoint that it is under; or this is one.
    pub(super) fn head(&mut self, proof: &[u8]) -> Outcome<()> {
        let text = std::str::from_utf8(proof).map_err(Failure::new)?;
        let (_, note) = text.split_once("\n\n").unwrap_or(("", text));
        let note = if note.starts_with('\u{2014}') {
            text
        } else {
            note
        };
        let body: String = note.split_inclusive('\n').take(3).collect();
        let checkpoint: translog::checkpoint::Checkpoint = body.parse().map_err(Failure::new)?;
        self.heads
            .insert((checkpoint.size(), *checkpoint.root().as_bytes()));
        Ok(())
    }

    /// The published checkpoint never shrinks (I5).
    pub(super) fn published(&mut self, note: &str) -> Outcome<()> {
        self.head(note.as_bytes())?;
        let size = note.lines().nth(1).and_then(|size| size.parse().ok());
        let size: u64 = size.ok_or_else(|| Failure::new("no checkpoint"))?;
        require(
            size >= self.published,
            format_args!(
                "I5: the checkpoint shrank from {} to {size}",
                self.published
            ),
        )?;
        self.published = size;
        Ok(())
    }

    /// Whether the certificate of this `bind` leaf was acknowledged.
    pub(super) fn holds(&self, bind: u64) -> bool {
        self.binds.contains_key(&bind)
    }

    /// Certificates acknowledged.
    pub(super) fn certificates(&self) -> usize {
        self.binds.len()
    }

    /// Holds everything against the log at the end of a world.
    pub(super) fn hold_against(
        &self,
        ground: &Ground,
        log: &Path,
        leaves: &[Vec<u8>],
    ) -> Outcome<()> {
        let findings = audit_log(log, &ground.trust, Scope::Whole).map_err(Failure::new)?;
        require(
            findings.findings.is_empty(),
            format_args!("I4, I6, I10: the auditor finds {:?}", findings.findings),
        )?;
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        require(
            findings.size == leaves.len() as u64,
            format_args!(
                "I5: {} leaves published, {} kept",
                findings.size,
                leaves.len()
            ),
        )?;
        self.hold_heads(&hashes)?;
        let parsed = leaves.iter().map(|leaf| Leaf::from_bytes(leaf));
        let parsed: Vec<Leaf> = parsed.collect::<Result<_, _>>().map_err(Failure::new)?;
        let binds = binds(&parsed)?;
        self.hold_certificates(&binds)?;
        self.hold_moves(&parsed, &binds)?;
        let surplus = binds.values().find(|bind| {
            let entry = (bind.request, bind.certificate.spki.0);
            self.refused.contains(&entry)
        });
        require(
            surplus.is_none(),
            format_args!("I9: a refused unit is bound: {surplus:?}"),
        )
    }

    /// Every checkpoint ever seen is of this one history (I5, I11).
    fn hold_heads(&self, hashes: &[Hash]) -> Outcome<()> {
        for (size, root) in &self.heads {
            let begun = usize::try_from(*size).ok().and_then(|it| hashes.get(..it));
            let is_ours = begun.is_some_and(|begun| root_of(begun).as_bytes() == root);
            require(
                is_ours,
                format_args!(
                    "I5, I11: a head of {size} leaves was seen that the log does not continue"
                ),
            )?;
        }
        Ok(())
    }

    /// What was acknowledged is there, and nothing else (I8, I11).
    fn hold_certificates(&self, binds: &BTreeMap<u64, &Bind>) -> Outcome<()> {
        for (index, certificate) in &self.binds {
            let bind = binds.get(index);
            let bind = bind.ok_or_else(|| {
                Failure::new(format_args!("I11: acknowledged, and lost: leaf {index}"))
            })?;
            let (tbs, _) = identity::idevid::split(certificate).map_err(Failure::new)?;
            require(
                TbsHash::of(&tbs) == bind.certificate.tbs,
                format_args!("I8: leaf {index} permits another certificate"),
            )?;
        }
        let unknown = binds.keys().find(|index| !self.binds.contains_key(index));
        require(
            unknown.is_none(),
            format_args!("stuck: nobody was ever told of the certificate at {unknown:?}"),
        )
    }

    /// Confirmations and voids: those acknowledged are there; another confirmation only where a void came first to
    /// the station.
    fn hold_moves(&self, leaves: &[Leaf], binds: &BTreeMap<u64, &Bind>) -> Outcome<()> {
        let of = |kind: fn(&Body) -> Option<SubjectId>| -> BTreeMap<u64, SubjectId> {
            let all = (0..).zip(leaves);
            all.filter_map(|(at, leaf)| Some((at, kind(&leaf.body)?)))
                .collect()
        };
        let confirmed = of(|body| match body {
            Body::Confirm(confirm) => Some(confirm.subject),
            _ => None,
        });
        let voided = of(|body| match body {
            Body::Void(void) => Some(void.subject),
            _ => None,
        });
        for (told, found) in [(&self.confirms, &confirmed), (&self.voids, &voided)] {
            for index in told.values() {
                require(
                    found.contains_key(index),
                    format_args!("I11: acknowledged, and lost: the receipt at {index}"),
                )?;
            }
        }
        let told: BTreeSet<_> = self.confirms.values().collect();
        for (index, subject) in &confirmed {
            let was_told = told.contains(index) || voided.values().any(|it| it == subject);
            require(
                was_told && binds.values().any(|bind| bind.subject == *subject),
                format_args!("stuck: nobody was ever told of the confirmation at {index}"),
            )?;
        }
        Ok(())
    }
}

/// The bindings by index; no key, subject or serial twice, ordinals dense and below the limit (I1, I4, I6). The
/// auditor looks at the same; this looks again without its code.
fn binds(leaves: &[Leaf]) -> Outcome<BTreeMap<u64, &Bind>> {
    let (mut binds, mut seen) = (BTreeMap::new(), BTreeSet::new());
    for (index, leaf) in (0..).zip(leaves) {
        let Body::Bind(bind) = &leaf.body else {
            continue;
        };
        for (kind, bytes) in [
            (0, bind.subject.0.to_vec()),
            (1, bind.certificate.spki.0.to_vec()),
            (2, bind.certificate.serial.0.to_vec()),
        ] {
            require(
                seen.insert((kind, bytes)),
                format_args!("I1, I6: leaf {index} takes what another has (kind {kind})"),
            )?;
        }
        let next = u32::try_from(binds.len()).map_err(Failure::new)?;
        require(
            bind.grant.ordinal == next && next < LIMIT,
            format_args!(
                "I4: leaf {index} has ordinal {} as number {next}",
                bind.grant.ordinal
            ),
        )?;
        binds.insert(index, bind);
    }
    Ok(binds)
}
