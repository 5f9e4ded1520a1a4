//! The server is killed before, in and after every call that makes something durable on the way of one unit, from the
//! request to the receipt. What was acknowledged is there afterwards, with the same bytes and once.

use acceptance::factory::Factory;
use acceptance::failure::{Failure, Outcome, require};
use acceptance::faults::{Call, Deed, Plan};
use acceptance::ground::{Ground, OneUnit, live};
use acceptance::hsm::Hsm;
use acceptance::soft::SoftChip;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Doors of `docs/issuance.md` as a trace of durable calls shows them. Door 1 writes nothing and ends where door 2
/// begins; door 5 waits for no disk, and with what door 6 does it is over when the certificate has come.
const DOORS: [&str; 8] = [
    "2 reserve, until COMMIT",
    "3 publish",
    "4 sign, until the attempt is durable",
    "4 sign, until the signature is durable",
    "5 record",
    "7 confirm, until COMMIT",
    "7 confirm, published",
    "7 confirm, followed by the signer",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_server_is_killed_at_every_door() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let unit = ground.watch_one_unit().await.unwrap();
    let points = points(&unit);
    let (next, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failures = at_once(|| {
        let mut failures = Vec::new();
        while let Some((number, point)) = points
            .iter()
            .enumerate()
            .nth(next.fetch_add(1, Ordering::Relaxed))
        {
            match point.try_at(&ground, number) {
                Ok(()) => fired.fetch_add(1, Ordering::Relaxed),
                Err(failure) => {
                    failures.push(format!("{point}: {failure}"));
                    0
                }
            };
        }
        failures
    });
    assert!(
        failures.is_empty(),
        "{} of {} kills:\n{}",
        failures.len(),
        points.len(),
        failures.join("\n")
    );
    assert_eq!(fired.into_inner(), points.len());
    let mut at_door = BTreeMap::new();
    for point in &points {
        *at_door.entry(point.door).or_insert(0) += 1;
    }
    assert!(
        DOORS.iter().all(|door| at_door.contains_key(door)),
        "{at_door:?}"
    );
    println!(
        "{} kills, none lost, none twice, no fork: {at_door:?}",
        points.len()
    );
}

/// One kill.
struct Point {
    door: &'static str,
    number: u64,
    deed: Deed,
    call: Call,
}

impl Point {
    /// In a copy of the factory: killed here, started again, the station sends the same again.
    fn try_at(&self, ground: &Ground, number: usize) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.killed_here(ground, &ground.home(&format!("point-{number}"))))
    }

    async fn killed_here(&self, ground: &Ground, home: &Path) -> Outcome<()> {
        let mut factory = ground.governed_copy(home)?;
        let station = ground.station.reconnected(&factory)?;
        let (mut ledger, chip) = (ground.ledger.clone(), SoftChip::make(&factory.vendor, 2)?);
        let signed = ground.prepare(&station, &chip, 1).await?;
        factory.faults()?.arm(&Plan::at(self.number, self.deed))?;
        let lost = live(&station, &chip, &signed, &mut ledger).await?;
        require(
            lost.is_err(),
            "the server answered everything, and was not killed",
        )?;
        self.held_against(&factory)?;
        factory.await_end()?;
        factory.faults()?.disarm()?;
        factory.start_server()?;
        for _retry in 0..2 {
            live(&station, &chip, &signed, &mut ledger)
                .await?
                .map_err(Failure::new)?;
        }
        ledger.checkpoint(&station.checkpoint().await.map_err(Failure::new)?)?;
        factory.kill_server()?;
        ledger.hold_against(&factory.log_dir(), &ground.trust())?;
        std::fs::remove_dir_all(home)?;
        Ok(())
    }

    /// The kill fired once, and where it was planned.
    fn held_against(&self, factory: &Factory) -> Outcome<()> {
        let (fired, trace) = (factory.faults()?.fired()?, factory.faults()?.trace()?);
        require(fired == 1, format_args!("{fired} kills fired"))?;
        let hit = trace.iter().find(|call| call.hit);
        let is_planned =
            hit.is_some_and(|hit| (&hit.name, &hit.path) == (&self.call.name, &self.call.path));
        require(is_planned, format_args!("the kill fired at {hit:?}"))
    }
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Call { name, path, .. } = &self.call;
        write!(
            f,
            "door {}, {:?} at call {}, {name} {path}",
            self.door, self.deed, self.number
        )
    }
}

/// Before every call; in the middle of every write; after every call that makes others durable or visible. Of a run of
/// writes to one file only the first, the middle and the last: what is in a log of SQLite before its COMMIT is nothing.
fn points(unit: &OneUnit) -> Vec<Point> {
    let (bound, confirmed) = unit.calls.split_at(unit.certified);
    let mut points = Vec::new();
    for ((at, call), number) in unit.calls.iter().enumerate().zip(1..) {
        let is_amid = match at.checked_sub(bound.len()) {
            None => is_amid_equals(bound, at),
            Some(at) => is_amid_equals(confirmed, at),
        };
        let deeds: &[Deed] = match call.name.as_str() {
            "write" | "pwrite" | "writev" if is_amid => &[],
            "write" | "pwrite" | "writev" => &[Deed::KillBefore, Deed::Tear],
            "fsync" | "fdatasync" | "rename" => &[Deed::KillBefore, Deed::KillAfter],
            _ => &[Deed::KillBefore],
        };
        let door = door(unit, at, call);
        points.extend(deeds.iter().map(|deed| Point {
            door,
            number,
            deed: *deed,
            call: call.clone(),
        }));
    }
    points
}

/// Neither the first nor the middle nor the last of a run of equal calls.
fn is_amid_equals(calls: &[Call], at: usize) -> bool {
    let is_equal = |call: &&Call| **call == calls[at];
    let before = calls[..at].iter().rev().take_while(is_equal).count();
    let after = calls[at + 1..].iter().take_while(is_equal).count();
    before > 0 && after > 0 && before != after && before != after + 1
}

fn door(unit: &OneUnit, at: usize, call: &Call) -> &'static str {
    let before = &unit.calls[..at];
    let (store, signer) = (
        flushed(before, "ca.sqlite-wal"),
        flushed(before, "signer.sqlite-wal"),
    );
    let is_of = |part: &str| call.path.contains(part);
    match (store, signer) {
        (0, 0) => DOORS[0],
        (1, 0) if is_of("ca/state/log") || is_of("ca/head") => DOORS[1],
        (1, 0) if is_of("signer") => DOORS[2],
        (1, 1) if is_of("signer") => DOORS[3],
        (1, 2) if is_of("ca.sqlite") && at < unit.certified => DOORS[4],
        (1, 2) if is_of("ca.sqlite") => DOORS[5],
        (2, 2) if is_of("ca/state/log") || is_of("ca/head") => DOORS[6],
        (2, 2) if is_of("signer") => DOORS[7],
        _ => panic!("{call:?} belongs to no door after {store} and {signer} flushes"),
    }
}

/// Transactions that were flushed: flushes of a write-ahead log behind more than its header.
fn flushed(calls: &[Call], file: &str) -> usize {
    let (mut writes, mut flushed) = (0, 0);
    for call in calls.iter().filter(|call| call.path.ends_with(file)) {
        match call.name.as_str() {
            "fsync" | "fdatasync" if writes > 1 => (writes, flushed) = (0, flushed + 1),
            "fsync" | "fdatasync" => writes = 0,
            _ => writes += 1,
        }
    }
    flushed
}

/// The same work on every core; all that it gave.
fn at_once<T: Send>(work: impl Fn() -> Vec<T> + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(&work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}
