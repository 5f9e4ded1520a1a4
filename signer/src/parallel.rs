//! Work on all processors.

use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::thread::{available_parallelism, scope};

/// Fewer things than this for each processor are done faster by one.
const LEAST: usize = 4;

/// How many there are. Finding out reads files, so it is done once.
static PROCESSORS: OnceLock<usize> = OnceLock::new();

/// Applies `work` to each of `things`; the results stand in their order.
pub(crate) fn map<T: Sync, R: Send>(things: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = PROCESSORS.get_or_init(|| available_parallelism().map_or(1, Into::into));
    let share = things.len().div_ceil(*processors).max(LEAST);
    let (own, others) = things.split_at(share.min(things.len()));
    let work = &work;
    scope(|scope| {
        let others: Vec<_> = others
            .chunks(share)
            .map(|things| scope.spawn(move || things.iter().map(work).collect::<Vec<_>>()))
            .collect();
        let mut results: Vec<_> = own.iter().map(work).collect();
        for other in others {
            results.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    })
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
