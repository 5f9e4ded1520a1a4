//! A call of the server fails, or writes less than it was given, on the way of one unit: a sample of what `make faults`
//! does at every call. The unit is made all the same, once, and everything that was acknowledged holds.

use acceptance::faults::Deed;
use acceptance::ground::Ground;
use acceptance::hsm::Hsm;
use acceptance::ordeal::{Aftermath, Fault, faults_at};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Faults of the sample.
const SAMPLE: usize = 12;
/// Faults at once: most of their time servers wait.
const AT_ONCE: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_call_that_fails_costs_no_unit() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
    let counts = sample(&ground, |deed| matches!(deed, Deed::Fail(_) | Deed::Cut)).await;
    let missed = counts.get(&Aftermath::NotReached).copied();
    assert!(missed.is_none(), "{counts:?}");
}

/// The lag of a server that nobody configured. Which calls are made then, and when, depends on the clock: some are not
/// reached, others fire at another call than was planned, and what was acknowledged holds whichever it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_kill_while_files_lag_costs_no_unit() {
    let ground = Ground::open(Hsm::of_this_run()).await.unwrap().lagging(50);
    let is_kill = |deed| matches!(deed, Deed::KillBefore | Deed::KillAfter | Deed::Tear);
    let counts = sample(&ground, is_kill).await;
    let fired = counts
        .iter()
        .filter(|(told, _)| **told != Aftermath::NotReached);
    let fired: usize = fired.map(|(_, count)| count).sum();
    assert!(fired >= SAMPLE / 2, "{counts:?}");
}

/// Has a sample of these faults happen, and counts what came of them.
async fn sample(ground: &Ground, wanted: fn(Deed) -> bool) -> BTreeMap<Aftermath, usize> {
    let calls = ground.watch_one_unit().await.unwrap().calls;
    let mut faults = faults_at(&calls);
    faults.retain(|fault| wanted(fault.deed));
    let step = faults.len() / SAMPLE;
    let sample: Vec<_> = faults.into_iter().step_by(step).enumerate().collect();
    assert!(sample.len() >= SAMPLE, "{} faults", sample.len());
    let (queue, told) = (Mutex::new(sample.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((number, fault)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let aftermath = meet(ground, *number, fault);
                    told.lock().unwrap().push(aftermath);
                }
            });
        }
    });
    let mut counts = BTreeMap::new();
    for aftermath in told.into_inner().unwrap() {
        *counts.entry(aftermath).or_insert(0) += 1;
    }
    println!("{} faults: {counts:?}", sample.len());
    counts
}

fn meet(ground: &Ground, number: usize, fault: &Fault) -> Aftermath {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let home = ground.home(&format!("fault-{number}"));
    runtime
        .block_on(fault.meet(ground, &home))
        .unwrap_or_else(|failure| panic!("{fault}: {failure}"))
        .aftermath
}
