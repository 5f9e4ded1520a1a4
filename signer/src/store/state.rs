//! What the signer knows of subjects, keys, grants and lots, as the log's rules ask for it.

use super::{damaged, document, leaf, lot, sealed, unseal};
use crate::error::Fault;
use identity::leaf::{EntryRef, GrantTerms};
use identity::rules::{Change, Effect, GrantState, Known, LotState, Stage, SubjectState};
use identity::{Day, DocumentHash, LeafHash, SpkiHash, SubjectId};
use rusqlite::{Connection, OptionalExtension as _, params};

const SUBJECT: &str = "subject";
const GRANT: &str = "grant_state";

/// The sets inside a transaction, before one leaf.
#[derive(Debug)]
pub(crate) struct Sets<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) size: u64,
    pub(crate) last_day: Day,
}

impl Known for Sets<'_> {
    type Error = Fault;

    fn subject(&self, subject: &SubjectId) -> Result<Option<SubjectState>, Fault> {
        subject_state(self.connection, subject)
    }

    fn is_certified(&self, spki: &SpkiHash) -> Result<bool, Fault> {
        let mut get = self
            .connection
            .prepare_cached("SELECT 1 FROM spki WHERE hash = ?1")?;
        if get.exists([spki.as_bytes()])? {
            return Ok(true);
        }
        let Some(fixed) = self.subject(&SubjectId::of_p256(spki))? else {
            return Ok(false);
        };
        let bind = leaf::bind(self.connection, fixed.bind)?;
        let (_, bind) = bind.ok_or_else(|| damaged("a subject without its bind"))?;
        Ok(bind.certificate.spki == *spki)
    }

    fn grant(&self, grant: &DocumentHash) -> Result<Option<GrantState>, Fault> {
        let mut get = self
            .connection
            .prepare_cached("SELECT state FROM grant_state WHERE document = ?1")?;
        let row = get
            .query_row([grant.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
            .optional()?;
        row.map(|row| read_grant(unseal(GRANT, grant.as_bytes(), &row)?))
            .transpose()
    }

    fn lot(&self, lot: &DocumentHash) -> Result<Option<LotState>, Fault> {
        lot::get(self.connection, lot)
    }

    fn has_document(&self, hash: &DocumentHash) -> Result<bool, Fault> {
        Ok(document::is_entered(self.connection, hash)?)
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn last_day(&self) -> Day {
        self.last_day
    }
}

impl Sets<'_> {
    /// Takes over what a permitted leaf changes. Documents are kept with the leaf that names them.
    pub(crate) fn apply(&self, Change { effect, lot }: Change) -> Result<(), Fault> {
        if let Some((lot, state)) = lot {
            lot::put(self.connection, &lot, &state)?;
        }
        match effect {
            Effect::None | Effect::Document(_) => Ok(()),
            Effect::Grant(grant, terms) => self.put_grant(
                &grant,
                GrantState {
                    terms,
                    issued: 0,
                    scrapped: 0,
                    in_lots: false,
                    closed: None,
                },
            ),
            Effect::GrantClosed(grant, entry) => {
                let (known, closed) = (self.known_grant(&grant)?, Some(entry));
                self.put_grant(&grant, GrantState { closed, ..known })
            }
            Effect::InLots(grant) => {
                let known = self.known_grant(&grant)?;
                let in_lots = true;
                self.put_grant(&grant, GrantState { in_lots, ..known })
            }
            Effect::Bound {
                subject,
                spki,
                grant,
                issued,
                state,
            } => {
                let known = self.known_grant(&grant)?;
                let in_lots = known.in_lots || state.lot.is_some();
                self.put_grant(
                    &grant,
                    GrantState {
                        issued,
                        in_lots,
                        ..known
                    },
                )?;
                // A fixed key that is certified itself is kept once, as the subject.
                if subject != SubjectId::of_p256(&spki) {
                    let mut put = self
                        .connection
                        .prepare_cached("INSERT INTO spki (hash) VALUES (?1)")?;
                    put.execute([spki.as_bytes()])?;
                }
                self.put_subject(&subject, state)
            }
            Effect::Moved(subject, state) => self.put_subject(&subject, state),
            Effect::Scrapped {
                subject,
                grant,
                scrapped,
            } => {
                let known = self.known_grant(&grant)?;
                self.put_grant(&grant, GrantState { scrapped, ..known })?;
                subject.map_or(Ok(()), |(subject, state)| self.put_subject(&subject, state))
            }
        }
    }

    /// The rules found this grant a moment ago.
    fn known_grant(&self, grant: &DocumentHash) -> Result<GrantState, Fault> {
        self.grant(grant)?
            .ok_or_else(|| damaged(format_args!("grant {grant} is not there")))
    }

    fn put_subject(&self, subject: &SubjectId, state: SubjectState) -> Result<(), Fault> {
        let row = sealed(SUBJECT, subject.as_bytes(), write_subject(&state));
        let mut put = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO subject (id, state) VALUES (?1, ?2)")?;
        put.execute(params![subject.as_bytes(), row])?;
        Ok(())
    }

    fn put_grant(&self, grant: &DocumentHash, state: GrantState) -> Result<(), Fault> {
        let row = sealed(GRANT, grant.as_bytes(), write_grant(&state));
        let mut put = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO grant_state (document, state) VALUES (?1, ?2)",
        )?;
        put.execute(params![grant.as_bytes(), row])?;
        Ok(())
    }
}

/// State of a subject, if it was ever bound.
pub(crate) fn subject_state(
    connection: &Connection,
    subject: &SubjectId,
) -> Result<Option<SubjectState>, Fault> {
    let mut get = connection.prepare_cached("SELECT state FROM subject WHERE id = ?1")?;
    let row = get
        .query_row([subject.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    row.map(|row| read_subject(unseal(SUBJECT, subject.as_bytes(), &row)?))
        .transpose()
}

/// Stages by their stored number, which never changes meaning.
const STAGES: [(u8, Stage); 4] = [
    (1, Stage::Bound),
    (2, Stage::Confirmed),
    (3, Stage::Voided),
    (4, Stage::Scrapped),
];

/// bind ‖ index of the newest entry ‖ its hash ‖ stage ‖ lot, if its bind names one.
fn write_subject(state: &SubjectState) -> Vec<u8> {
    let stage = STAGES
        .iter()
        .find(|(_, stage)| *stage == state.stage)
        .map_or(0, |(number, _)| *number);
    [
        &state.bind.to_be_bytes()[..],
        &state.last.index.to_be_bytes(),
        &state.last.hash.0,
        &[stage],
        state.lot.as_ref().map_or(&[], |lot| &lot.0[..]),
    ]
    .concat()
}

fn read_subject(bytes: &[u8]) -> Result<SubjectState, Fault> {
    let parse = || {
        let (bind, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (number, lot) = rest.split_first()?;
        let (_, stage) = STAGES.into_iter().find(|(known, _)| known == number)?;
        let lot = match lot {
            [] => None,
            lot => Some(DocumentHash(lot.try_into().ok()?)),
        };
        let last = EntryRef {
            index: u64::from_be_bytes(*index),
            hash: LeafHash(*hash),
        };
        Some(SubjectState {
            bind: u64::from_be_bytes(*bind),
            last,
            stage,
            lot,
        })
    };
    parse().ok_or_else(|| damaged("a subject's state"))
}

/// limit ‖ scrap allowance ‖ first day ‖ last day ‖ issued ‖ scrapped, then what came later and may be missing: 1 if it is
/// in lots, else 0 ‖ index of the entry that closed it.
fn write_grant(state: &GrantState) -> Vec<u8> {
    let GrantState {
        terms:
            GrantTerms {
                limit,
                scrap,
                first,
                last,
            },
        issued,
        scrapped,
        in_lots,
        closed,
    } = *state;
    let numbers = [limit, scrap, first.0, last.0, issued, scrapped];
    let in_lots = (in_lots || closed.is_some()).then_some(u32::from(in_lots));
    let words = numbers.into_iter().chain(in_lots);
    let closed = closed.map(u64::to_be_bytes);
    let words = words.flat_map(u32::to_be_bytes);
    words.chain(closed.into_iter().flatten()).collect()
}

fn read_grant(bytes: &[u8]) -> Result<GrantState, Fault> {
    let parse = || {
        let (numbers, rest) = bytes.split_first_chunk::<24>()?;
        let (words, []) = numbers.as_chunks::<4>() else {
            return None;
        };
        let words = <[[u8; 4]; 6]>::try_from(words).ok()?;
        let [limit, scrap, first, last, issued, scrapped] = words.map(u32::from_be_bytes);
        let (in_lots, closed) = match rest.split_first_chunk::<4>() {
            None if rest.is_empty() => (false, None),
            None => return None,
            Some((in_lots, [])) => (u32::from_be_bytes(*in_lots) == 1, None),
            Some((in_lots, entry)) => {
                let entry = u64::from_be_bytes(entry.try_into().ok()?);
                (u32::from_be_bytes(*in_lots) == 1, Some(entry))
            }
        };
        let terms = GrantTerms {
            limit,
            scrap,
            first: Day(first),
            last: Day(last),
        };
        Some(GrantState {
            terms,
            issued,
            scrapped,
            in_lots,
            closed,
        })
    };
    parse().ok_or_else(|| damaged("a grant's state"))
}
