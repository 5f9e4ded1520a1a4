//! What the signer knows of subjects, keys and grants, as the log's rules ask for it.

use super::{damaged, document, sealed, unseal};
use crate::error::Fault;
use identity::leaf::{EntryRef, GrantTerms};
use identity::rules::{Effect, GrantState, Known, Stage, SubjectState};
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
        Ok(get.exists([spki.as_bytes()])?)
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
    pub(crate) fn apply(&self, effect: Effect) -> Result<(), Fault> {
        match effect {
            Effect::None | Effect::Document(_) => Ok(()),
            Effect::Grant(grant, terms) => self.put_grant(
                &grant,
                GrantState {
                    terms,
                    issued: 0,
                    scrapped: 0,
                },
            ),
            Effect::Bound {
                subject,
                spki,
                grant,
                issued,
                state,
            } => {
                let known = self.known_grant(&grant)?;
                self.put_grant(&grant, GrantState { issued, ..known })?;
                let mut put = self
                    .connection
                    .prepare_cached("INSERT INTO spki (hash) VALUES (?1)")?;
                put.execute([spki.as_bytes()])?;
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

/// bind ‖ index of the newest entry ‖ its hash ‖ stage.
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
    ]
    .concat()
}

fn read_subject(bytes: &[u8]) -> Result<SubjectState, Fault> {
    let parse = || {
        let (bind, rest) = bytes.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (hash, number) = rest.split_first_chunk()?;
        let (_, stage) = STAGES.into_iter().find(|(known, _)| [*known] == number)?;
        let last = EntryRef {
            index: u64::from_be_bytes(*index),
            hash: LeafHash(*hash),
        };
        Some(SubjectState {
            bind: u64::from_be_bytes(*bind),
            last,
            stage,
        })
    };
    parse().ok_or_else(|| damaged("a subject's state"))
}

/// limit ‖ scrap allowance ‖ first day ‖ last day ‖ issued ‖ scrapped.
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
    } = *state;
    [limit, scrap, first.0, last.0, issued, scrapped]
        .map(u32::to_be_bytes)
        .concat()
}

fn read_grant(bytes: &[u8]) -> Result<GrantState, Fault> {
    let (words, rest) = bytes.as_chunks();
    let numbers: Vec<_> = words.iter().copied().map(u32::from_be_bytes).collect();
    match (numbers.as_slice(), rest) {
        (&[limit, scrap, first, last, issued, scrapped], []) => {
            let terms = GrantTerms {
                limit,
                scrap,
                first: Day(first),
                last: Day(last),
            };
            Ok(GrantState {
                terms,
                issued,
                scrapped,
            })
        }
        _ => Err(damaged("a grant's state")),
    }
}
