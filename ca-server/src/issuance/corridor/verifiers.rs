//! The threads that check signatures: as many as there are processors, and they give way to the corridor's own threads,
//! for which all wait whose signatures are checked already. Whoever is admitted there goes from there into the queue, with
//! no other thread in between.

use super::{Refusal, StartError};
use crate::scheduling::{give_way, stay_on};
use identity::fault::Fault;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

type Work = Box<dyn FnOnce() + Send>;

/// What waits for them. Who may wait is counted before (`super::room`).
#[derive(Default)]
pub(super) struct Verifiers {
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Work>,
    /// Threads that sleep until there is something.
    asleep: usize,
    is_closed: bool,
}

impl Verifiers {
    /// Begins the threads; they end when the line is closed and all that waited is done.
    pub(super) fn spawn(self: &Arc<Self>) -> Result<Vec<JoinHandle<()>>, StartError> {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        let one = |number: usize| {
            let this = Arc::clone(self);
            let thread = std::thread::Builder::new().name(format!("verifier-{number}"));
            let thread = thread.spawn(move || {
                give_way();
                stay_on(number, processors);
                this.run();
            });
            thread.map_err(StartError::Thread)
        };
        (0..processors).map(one).collect()
    }

    /// Puts work at the end of the line.
    ///
    /// # Errors
    /// [`Fault::Stopped`] if the line is closed.
    pub(super) fn take(&self, work: Work) -> Result<(), Refusal> {
        let mut line = self.line();
        if line.is_closed {
            return Err(Refusal::passing(Fault::Stopped, "shutting down", 2000));
        }
        line.waiting.push_back(work);
        let somebody_sleeps = line.asleep > 0;
        drop(line);
        // To wake nobody is a system call, too.
        if somebody_sleeps {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Takes no more; what waits is done.
    pub(super) fn close(&self) {
        self.line().is_closed = true;
        self.changed.notify_all();
    }

    /// Does what waits first, on the caller's thread. False if nothing does.
    pub(super) fn work_once(&self) -> bool {
        let work = self.line().waiting.pop_front();
        work.map(|work| work()).is_some()
    }

    fn run(&self) {
        while let Some(work) = self.next() {
            // Whoever waits for it is told by what it drops.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("a request could not be looked at");
            }
        }
    }

    fn next(&self) -> Option<Work> {
        let mut line = self.line();
        loop {
            if let Some(work) = line.waiting.pop_front() {
                return Some(work);
            }
            if line.is_closed {
                return None;
            }
            line.asleep = line.asleep.saturating_add(1);
            line = self
                .changed
                .wait(line)
                .unwrap_or_else(PoisonError::into_inner);
            line.asleep = line.asleep.saturating_sub(1);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.line();
        f.debug_struct("Verifiers")
            .field("waiting", &line.waiting.len())
            .field("is_closed", &line.is_closed)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn verifiers() -> (Arc<Verifiers>, Vec<JoinHandle<()>>) {
        let verifiers = Arc::<Verifiers>::default();
        let threads = verifiers.spawn().unwrap();
        (verifiers, threads)
    }

    #[test]
    fn what_waits_is_done_before_the_threads_end_and_nothing_is_taken_after() {
        let (verifiers, threads) = verifiers();
        let (done, results) = channel();
        for number in 0..100 {
            let done = done.clone();
            let work = move || done.send(number).unwrap();
            verifiers.take(Box::new(work)).unwrap();
        }
        verifiers.close();
        for thread in threads {
            thread.join().unwrap();
        }
        drop(done);
        let mut numbers: Vec<i32> = results.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
        let refusal = verifiers.take(Box::new(|| ())).unwrap_err();
        assert_eq!(refusal.fault, Fault::Stopped);
    }

    #[test]
    fn work_that_ends_badly_takes_no_thread_with_it() {
        let (verifiers, threads) = verifiers();
        for _ in 0..2 * threads.len() {
            verifiers.take(Box::new(|| panic!("ends badly"))).unwrap();
        }
        let (done, result) = channel();
        let work = move || done.send(1).unwrap();
        verifiers.take(Box::new(work)).unwrap();
        assert_eq!(result.recv().unwrap(), 1);
        verifiers.close();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
