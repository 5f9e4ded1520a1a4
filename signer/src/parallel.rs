//! Work on all processors.

use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, available_parallelism, scope};

/// One thread for so many things, and one more for each so many after them, up to one a processor.
const LEAST: usize = 4;

/// How many there are. Finding out reads files, so it is done once.
static PROCESSORS: OnceLock<usize> = OnceLock::new();

/// Applies `work` to each of `things`; the results stand in their order. Whoever is done takes the next thing: a thread
/// that begins late, or waits for a processor, does less of it, and nobody waits long for the last.
pub(crate) fn map<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = PROCESSORS.get_or_init(|| available_parallelism().map_or(1, Into::into));
    let threads = things.len().div_ceil(LEAST).min(*processors);
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::with_capacity(things.len());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = things.get(at) else {
                return done;
            };
            done.push((at, work(thing)));
        }
    };
    let mut results = scope(|scope| {
        let others: Vec<_> = (1..threads)
            // The system may have no thread to give: what is not done by others is done here.
            .filter_map(|_| Builder::new().spawn_scoped(scope, some).ok())
            .collect();
        let mut results = some();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_things() {
        for count in [0, 1, 3, 4, 5, 8, 9, 100, 1001] {
            let things: Vec<usize> = (0..count).collect();
            assert_eq!(map(&things, |thing| *thing), things);
        }
    }
}
