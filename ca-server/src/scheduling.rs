//! What the system is told about threads: which of them give way, and where they run.
//!
//! Writer, finisher and releaser have a batch in hand, for which all its units wait; threads that talk to stations and those that
//! check signatures bring more work, or refuse it. Where processors are short the batch goes first, so that whoever asks for
//! too much does not take from those who were let in.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How much a thread gives way: as in `nice(2)`, which on Linux is of one thread.
const BY: i32 = 5;

/// From now on the calling thread gives way, and the threads that it begins. Where that is not permitted, all are equal.
pub(crate) fn give_way() {
    if let Err(error) = rustix::process::nice(BY) {
        tracing::debug!(%error, "no thread gives way to another");
    }
}

/// From now on the calling thread, one of as many as there are processors, stays on the one with its number. A batch waits
/// for the disk for too short a time for the system to move other work there, so each processor has work of its own that
/// fills the gap. Where there are more processors than threads, or it is not permitted, the system places them all.
pub(crate) fn stay_on(number: usize, of: usize) {
    let placed = sched_getaffinity(None).and_then(|permitted| {
        match (0..CpuSet::MAX_CPU)
            .filter(|at| permitted.is_set(*at))
            .nth(number)
        {
            Some(processor) if usize::try_from(permitted.count()) == Ok(of) => {
                let mut one = CpuSet::new();
                one.set(processor);
                sched_setaffinity(None, &one)
            }
            _ => Ok(()),
        }
    });
    if let Err(error) = placed {
        tracing::debug!(%error, "no thread stays where it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn only_the_thread_itself_gives_way() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        let before = priority();
        let after = on_a_thread(|| {
            give_way();
            priority()
        });
        assert_eq!(after, (before + BY).min(19));
        assert_eq!(priority(), before);
    }

    #[test]
    fn threads_stay_on_one_processor_each_if_there_are_as_many() {
        let permitted = sched_getaffinity(None).unwrap();
        let processors = usize::try_from(permitted.count()).unwrap();
        let placed = |number, of| {
            on_a_thread(move || {
                stay_on(number, of);
                sched_getaffinity(None).unwrap()
            })
        };
        let mut all = CpuSet::new();
        for number in 0..processors {
            let one = placed(number, processors);
            assert_eq!(one.count(), 1);
            let processor = (0..CpuSet::MAX_CPU).find(|at| one.is_set(*at)).unwrap();
            assert!(!all.is_set(processor), "two threads on one processor");
            all.set(processor);
        }
        assert_eq!(all, permitted);
        assert_eq!(placed(0, processors + 1), permitted);
        assert_eq!(sched_getaffinity(None).unwrap(), permitted);
    }
}
