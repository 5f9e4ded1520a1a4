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
    let calls = ground.watch_one_unit().await.unwrap();
    let faults: Vec<_> = faults_at(&calls)
        .into_iter()
        .filter(|fault| matches!(fault.deed, Deed::Fail(_) | Deed::Cut))
        .collect();
    let step = faults.len() / SAMPLE;
    let sample: Vec<_> = faults.into_iter().step_by(step).enumerate().collect();
    let (queue, told) = (Mutex::new(sample.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((number, fault)) = queue.lock().unwrap().next() else {
                        return;
                    };
                    let aftermath = meet(&ground, *number, fault);
                    told.lock().unwrap().push(aftermath);
                }
            });
        }
    });
    let mut counts = BTreeMap::new();
    for aftermath in told.into_inner().unwrap() {
        *counts.entry(aftermath).or_insert(0) += 1;
    }
    let missed = counts.get(&Aftermath::NotReached).copied();
    assert!(sample.len() >= SAMPLE && missed.is_none(), "{counts:?}");
    println!("{} faults fired: {counts:?}", sample.len());
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
}
