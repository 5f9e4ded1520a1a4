//! Following the log: every leaf, in order, held against the checkpoint, the earlier leaves and the rules.

use crate::code::Code;
use crate::error::{Fault, SignerError, ensure};
use crate::message::{Entry, SignRequest};
use crate::pinned::Pinned;
use crate::store::state::Sets;
use crate::store::{self, Store, leaf as leaves};
use crate::support;
use identity::document::Document as _;
use identity::leaf::{Body, Leaf};
use identity::rules::{self, RuleError};
use identity::support::Supported;
use identity::{Day, LeafHash};
use rusqlite::Connection;
use translog::checkpoint::Checkpoint;
use translog::tree::{Frontier, Hash};

/// How far the log was followed.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    frontier: Frontier,
    last_day: Day,
    /// The newest checkpoint followed, as a signed note; empty before the first.
    note: Vec<u8>,
}

impl Head {
    /// The stored head, checked: the tree over all stored leaf hashes is the one its checkpoint signs.
    pub(crate) fn load(store: &Store, pinned: &Pinned) -> Result<Self, SignerError> {
        let unreadable = |error: rusqlite::Error| SignerError::Damaged(error.to_string());
        let frontier = leaves::frontier(store.connection(), u64::MAX).map_err(unreadable)?;
        let Some((note, day)) = store.head().map_err(unreadable)? else {
            let empty = Self {
                frontier,
                last_day: Day(0),
                note: Vec::new(),
            };
            return if empty.size() == 0 {
                Ok(empty)
            } else {
                Err(SignerError::Damaged("leaves without a head".to_owned()))
            };
        };
        let checkpoint = open(pinned, &note).map_err(|fault| SignerError::Damaged(fault.text))?;
        if (checkpoint.size(), checkpoint.root()) != (frontier.size(), frontier.root()) {
            return Err(SignerError::Damaged(
                "the leaf hashes do not make the tree of the newest checkpoint".to_owned(),
            ));
        }
        let day =
            store::unseal("head", &note, &day).map_err(|fault| SignerError::Damaged(fault.text))?;
        let day = day
            .try_into()
            .map_err(|_length| SignerError::Damaged("the newest day".to_owned()))?;
        Ok(Self {
            frontier,
            last_day: Day(u32::from_be_bytes(day)),
            note,
        })
    }

    /// Leaves followed.
    pub(crate) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The newest checkpoint followed.
    pub(crate) fn note(&self) -> &[u8] {
        &self.note
    }
}

/// Takes the log over up to the request's checkpoint and gives the new head. Everything is written inside the
/// caller's transaction; on any error the caller rolls it back.
pub(crate) fn follow(
    connection: &Connection,
    pinned: &Pinned,
    head: &Head,
    request: &SignRequest,
) -> Result<Head, Fault> {
    let checkpoint = open(pinned, request.checkpoint.as_bytes())?;
    let known = place(connection, head, &checkpoint, request)?;
    check_overlap(connection, &checkpoint, request, known)?;
    let new = request.entries.get(known..).unwrap_or_default();
    let mut frontier = head.frontier.clone();
    frontier.extend(new.iter().map(|entry| Hash::new(hash_of(entry).0)));
    ensure!(frontier.root() == checkpoint.root(), Code::Root);
    let mut sets = Sets {
        connection,
        size: head.size(),
        last_day: head.last_day,
    };
    for entry in new {
        sets.last_day = take_over(&sets, pinned, entry)?;
        sets.size = sets.size.saturating_add(1);
    }
    if !new.is_empty() {
        store::put_head(connection, request.checkpoint.as_bytes(), sets.last_day)?;
    }
    let note = if new.is_empty() {
        head.note.clone()
    } else {
        request.checkpoint.as_bytes().to_vec()
    };
    Ok(Head {
        frontier,
        last_day: sets.last_day,
        note,
    })
}

fn open(pinned: &Pinned, note: &[u8]) -> Result<Checkpoint, Fault> {
    let opened = pinned
        .log
        .open(note)
        .map_err(|error| Fault::new(Code::Checkpoint, error))?;
    Ok(opened.checkpoint().clone())
}

fn hash_of(entry: &Entry) -> LeafHash {
    LeafHash::of(entry.leaf.as_bytes())
}

/// Where the entries stand beside what was followed: how many of them are known already. A signed head that is not
/// newer than ours must be one of our own trees; with any other root the log has shown two histories.
fn place(
    connection: &Connection,
    head: &Head,
    checkpoint: &Checkpoint,
    request: &SignRequest,
) -> Result<usize, Fault> {
    let ours = head.size();
    if checkpoint.size() <= ours
        && root_at(connection, head, checkpoint.size())? != checkpoint.root()
    {
        return Err(Fault::new(
            Code::Fork,
            format_args!("another tree of {} leaves", checkpoint.size()),
        ));
    }
    if checkpoint.size() < ours {
        return Err(Fault::new(
            Code::Behind,
            format_args!("{} of {ours} leaves", checkpoint.size()),
        ));
    }
    let count = u64::try_from(request.entries.len()).unwrap_or(u64::MAX);
    let is_whole =
        request.first <= ours && request.first.checked_add(count) == Some(checkpoint.size());
    let known = usize::try_from(ours.saturating_sub(request.first))
        .ok()
        .filter(|_| is_whole);
    known.ok_or_else(|| {
        Fault::new(
            Code::Gap,
            format_args!("send from {ours} to {}", checkpoint.size()),
        )
    })
}

fn root_at(connection: &Connection, head: &Head, size: u64) -> Result<Hash, Fault> {
    if size == head.size() {
        Ok(head.frontier.root())
    } else {
        Ok(leaves::frontier(connection, size)?.root())
    }
}

/// Entries sent again must be the ones followed. If another one is, and the log's own signature covers it, that is a
/// fork; without that signature it is only a wrong request.
fn check_overlap(
    connection: &Connection,
    checkpoint: &Checkpoint,
    request: &SignRequest,
    known: usize,
) -> Result<(), Fault> {
    let overlap = request.entries.get(..known).unwrap_or_default();
    for (index, entry) in (request.first..).zip(overlap) {
        if leaves::hash(connection, index)? == Some(hash_of(entry)) {
            continue;
        }
        let mut theirs = leaves::frontier(connection, request.first)?;
        theirs.extend(
            request
                .entries
                .iter()
                .map(|entry| Hash::new(hash_of(entry).0)),
        );
        let code = if theirs.root() == checkpoint.root() {
            Code::Fork
        } else {
            Code::Root
        };
        return Err(Fault::new(code, format_args!("another leaf at {index}")));
    }
    Ok(())
}

/// Checks one leaf and takes over what it changes. Gives its day.
fn take_over(sets: &Sets<'_>, pinned: &Pinned, entry: &Entry) -> Result<Day, Fault> {
    let at = |fault: Fault| Fault {
        text: format!("leaf {}: {}", sets.size, fault.text),
        ..fault
    };
    let bytes = entry.leaf.as_bytes();
    let leaf = Leaf::from_bytes(bytes).map_err(|error| at(Fault::new(Code::Leaf, error)))?;
    let supported = support::check(&leaf.body, entry.support.as_ref(), pinned).map_err(at)?;
    let hash = LeafHash::of(bytes);
    let change = rules::check(&leaf, hash, sets).map_err(|error| match error {
        RuleError::Violation(violation) => at(Fault::new(Code::Rule, violation)),
        RuleError::Lookup(fault) => fault,
    })?;
    sets.apply(change)?;
    leaves::put_hash(sets.connection, sets.size, &hash)?;
    if matches!(leaf.body, Body::Bind(_)) {
        leaves::put_bind(sets.connection, sets.size, bytes)?;
    }
    keep(sets, &supported)?;
    Ok(leaf.day)
}

fn keep(sets: &Sets<'_>, supported: &Supported) -> rusqlite::Result<()> {
    let connection = sets.connection;
    match supported {
        Supported::Nothing => Ok(()),
        Supported::Ceremony(document) => store::document::put(connection, document),
        Supported::LotOrder(document) => store::document::put(connection, document),
        Supported::Station(document) => {
            store::document::put_station(connection, &document.id, sets.size, &document.hash())?;
            store::document::put(connection, document)
        }
        Supported::Grant(document, profile) => {
            store::document::put(connection, profile.as_ref())?;
            store::document::put(connection, document.as_ref())
        }
    }
}
