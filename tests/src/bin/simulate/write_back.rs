//! What was acknowledged is on the disk after a power cut, whatever fails while the write-ahead log is written back, and
//! whoever reads meanwhile.

use acceptance::simulation::Chance;
use acceptance::simulation::disk::{Deed, Disk, End};
use ca_server::store::{Reader, Store, StoreError, Transaction};
use std::path::Path;
use std::sync::Arc;

const SEEDS: u64 = 1_000;
/// Frames of a long write-ahead log here.
const LONG_LOG: u32 = 12;
/// Writes of one process, unless one fails.
const WRITES: u64 = 40;
/// Calls of the disk that so many writes make, at least.
const CALLS: u64 = 300;

/// Flushes of them, about.
const FLUSHES: u64 = 40;

/// Calls of a start that has a log to write back, about.
const CALLS_OF_A_START: u64 = 40;

/// A disk, and what must be on it.
struct World {
    disk: Arc<Disk>,
    chance: Chance,
    acknowledged: Vec<i64>,
    failed: u64,
}

#[test]
fn nothing_acknowledged_is_lost_whatever_fails_while_the_log_is_written_back() {
    crate::vfs::register().unwrap();
    let mut failed = 0;
    for seed in 0..SEEDS {
        let home = tempfile::tempdir().unwrap();
        let mut chance = Chance::new(seed);
        let mut world = World {
            disk: Disk::new(chance.fork()).mount(home.path()),
            chance,
            acknowledged: Vec::new(),
            failed: 0,
        };
        let path = home.path().join("ca.sqlite");
        for process in 0..3 {
            world.live(&path);
            if world.chance.one_in(2) {
                world.begin_anew(&path);
            }
            world.disk.end(End::PowerCut);
            world.check(&path, &format!("seed {seed}, process {process}"));
        }
        failed += world.failed;
        Disk::unmount(home.path());
    }
    assert!(
        failed > SEEDS,
        "only {failed} writes came to know of a fault"
    );
}

impl World {
    /// One process: it ends with the first write that fails, as the server does.
    fn live(&mut self, path: &Path) {
        let store = Store::open(path, LONG_LOG).unwrap();
        let (reader, mut unflushed, mut snapshot) = (store.reader().unwrap(), Vec::new(), None);
        match self.chance.one_in(4) {
            true => self.disk.plan(1 + self.chance.below(CALLS), Deed::Fail),
            false => (self.disk).plan_flush(1 + self.chance.below(FLUSHES), Deed::Fail),
        }
        for _ in 0..WRITES {
            match self.chance.below(4) {
                0 => {
                    drop(snapshot.take());
                    snapshot = Some(reader.snapshot().unwrap());
                    // From the first reading on it holds.
                    reader.head().unwrap();
                }
                1 => drop(snapshot.take()),
                _ => {}
            }
            let row = match self.chance.below(3) {
                0 => store.write_unflushed(put).map(|row| unflushed.push(row)),
                _ => store.write(put).map(|row| {
                    self.acknowledged.append(&mut unflushed);
                    self.acknowledged.push(row);
                }),
            };
            if row.is_err() {
                self.failed += 1;
                break;
            }
        }
        drop(snapshot);
        drop(reader);
        // A server that stops in good order, whatever it met before.
        if self.chance.one_in(2) {
            match store.settle() {
                Ok(()) => self.acknowledged.append(&mut unflushed),
                Err(_) => self.failed += 1,
            }
        }
        self.disk.unplan();
    }

    /// A process that the power leaves in the middle of its start, after one that ended by itself: what that one failed to
    /// flush is in the system's memory, and nowhere else.
    fn begin_anew(&mut self, path: &Path) {
        self.disk.end(End::Kill);
        let deed = match self.chance.one_in(2) {
            true => Deed::Tear,
            false => Deed::After(End::PowerCut),
        };
        self.disk
            .plan(1 + self.chance.below(CALLS_OF_A_START), deed);
        drop(Store::open(path, LONG_LOG));
    }

    /// The next process finds all that was acknowledged, as it was.
    fn check(&self, path: &Path, when: &str) {
        let store = Store::open(path, LONG_LOG).unwrap();
        let reader = store.reader().unwrap();
        assert_eq!(reader.check().unwrap(), "ok", "{when}");
        for row in &self.acknowledged {
            let bytes = envelope(&reader, *row);
            assert_eq!(bytes, Some(bytes_of(*row)), "{when}: row {row}");
        }
        drop(reader);
        store.settle().unwrap();
    }
}

/// More than half a page, so that most rows have a page of their own.
fn bytes_of(row: i64) -> Vec<u8> {
    row.to_be_bytes().repeat(300)
}

/// Adds a row whose bytes tell its number.
fn put(transaction: &mut Transaction<'_>) -> Result<i64, StoreError> {
    let row = transaction.put_envelope(&[], &[])?;
    let next = transaction.put_envelope(&bytes_of(row + 1), &[])?;
    assert_eq!(next, row + 1);
    Ok(next)
}

fn envelope(reader: &Reader, row: i64) -> Option<Vec<u8>> {
    reader.envelope(row).ok().map(|(der, _)| der)
}
