//! Lots: how many boards stand where, and whether the lot is closed.

use super::{damaged, sealed, unseal};
use crate::error::Fault;
use identity::DocumentHash;
use identity::document::{Document as _, LotOrder};
use identity::lot::LotTally;
use identity::rules::LotState;
use rusqlite::{Connection, OptionalExtension as _, params};

const LOT: &str = "lot_state";

/// State of a lot, if it was ever opened.
pub(crate) fn get(connection: &Connection, lot: &DocumentHash) -> Result<Option<LotState>, Fault> {
    let mut get = connection.prepare_cached("SELECT state FROM lot_state WHERE document = ?1")?;
    let row = get
        .query_row([lot.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    row.map(|row| read(unseal(LOT, lot.as_bytes(), &row)?).ok_or_else(|| damaged("a lot's state")))
        .transpose()
}

/// Keeps a lot's new state.
pub(crate) fn put(
    connection: &Connection,
    lot: &DocumentHash,
    state: &LotState,
) -> rusqlite::Result<()> {
    let row = sealed(LOT, lot.as_bytes(), write(state));
    let mut put = connection
        .prepare_cached("INSERT OR REPLACE INTO lot_state (document, state) VALUES (?1, ?2)")?;
    put.execute(params![lot.as_bytes(), row])?;
    Ok(())
}

/// The lots of a store from before lots were counted: open, and with nothing in them, because no `bind` leaf named one.
pub(super) fn begin_counting(connection: &Connection) -> Result<(), Fault> {
    let mut orders = connection.prepare("SELECT der FROM document WHERE kind = ?1")?;
    let rows = orders.query_map([LotOrder::KIND], |row| row.get::<_, Vec<u8>>(0))?;
    for row in rows {
        let order = LotOrder::from_bytes(&row?).map_err(damaged)?;
        let state = LotState {
            grant: order.grant,
            quantity: order.quantity,
            tally: LotTally::default(),
            closed: None,
        };
        put(connection, &order.hash(), &state)?;
    }
    Ok(())
}

/// grant ‖ quantity ‖ bound ‖ confirmed ‖ voided ‖ scrapped ‖ keyless ‖ index of the entry that closed it, if any.
fn write(state: &LotState) -> Vec<u8> {
    let LotTally {
        bound,
        confirmed,
        voided,
        scrapped,
        keyless,
    } = state.tally;
    let numbers = [state.quantity, bound, confirmed, voided, scrapped, keyless];
    let numbers = numbers.into_iter().flat_map(u32::to_be_bytes);
    let closed = state.closed.map(u64::to_be_bytes);
    let closed = closed.iter().flatten().copied();
    state
        .grant
        .0
        .into_iter()
        .chain(numbers)
        .chain(closed)
        .collect()
}

fn read(bytes: &[u8]) -> Option<LotState> {
    let (grant, rest) = bytes.split_first_chunk()?;
    let (numbers, closed) = rest.split_first_chunk::<24>()?;
    let (words, []) = numbers.as_chunks::<4>() else {
        return None;
    };
    let words = <[[u8; 4]; 6]>::try_from(words).ok()?;
    let [quantity, bound, confirmed, voided, scrapped, keyless] = words.map(u32::from_be_bytes);
    let closed = match closed {
        [] => None,
        entry => Some(u64::from_be_bytes(entry.try_into().ok()?)),
    };
    Some(LotState {
        grant: DocumentHash(*grant),
        quantity,
        tally: LotTally {
            bound,
            confirmed,
            voided,
            scrapped,
            keyless,
        },
        closed,
    })
}
