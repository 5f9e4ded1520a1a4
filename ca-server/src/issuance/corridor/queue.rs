//! Who is admitted and waits to be reserved, and when the writer takes them.
//!
//! A batch costs much whatever its size, so as many as possible should share one; but while all wait for one batch, a
//! processor has nothing to do. So the writer takes what is there
//!
//! - when the finisher has nothing in hand, and nobody is coming whose signatures are just being checked: whoever comes
//!   alone waits for nobody, and whoever does not waits [`LINGER`] at most;
//! - or when as many wait as are in the finisher's hands and coming together: then this half is reserved while the
//!   other is signed.

use super::ask::tell;
use super::{Pending, Refusal, overloaded};
use crate::issuance::admit::Job;
use crate::issuance::reserve::Queued;
use crate::metrics::{Meters, Stopwatch};
use identity::fault::Fault;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Jobs that may wait; more are refused with a hint when to come again.
pub(super) const QUEUE: usize = 4096;
/// Most jobs in one transaction.
const MOST_IN_BATCH: usize = 1024;
/// With so many batches that are reserved and not recorded yet no other is begun.
const MOST_HELD: usize = 2;
/// How long at most those in the queue wait for others whose signatures are being checked, to share a batch with them.
const LINGER: Duration = Duration::from_millis(5);

/// The queue, as those see it who put something in.
#[derive(Debug)]
pub(super) struct Queue {
    line: Mutex<Line>,
    changed: Condvar,
    meters: Arc<Meters>,
}

#[derive(Debug, Default)]
struct Line {
    /// Each with when it came.
    jobs: VecDeque<(Stopwatch, Queued)>,
    /// Requests whose signatures are being checked.
    coming: usize,
    /// Batches that the finisher has or is about to get, and the units in them.
    held: (usize, usize),
    is_closed: bool,
    /// What the writer sleeps on.
    asleep: Option<Turn>,
}

/// What the writer has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Nobody is there.
    Nobody,
    /// Wait until something changes.
    Wait,
    /// Wait for those who are coming, but not long.
    Linger,
    /// Take them.
    Take,
    /// Nobody is there, and nobody will come.
    End,
}

impl Line {
    fn turn(&self) -> Turn {
        let (batches, units) = self.held;
        let waiting = self.jobs.len();
        match batches {
            _ if waiting == 0 && self.is_closed => Turn::End,
            _ if waiting == 0 => Turn::Nobody,
            0 if self.coming == 0 || waiting >= MOST_IN_BATCH => Turn::Take,
            0 => Turn::Linger,
            MOST_HELD.. => Turn::Wait,
            _ if waiting >= (units + self.coming).min(MOST_IN_BATCH) => Turn::Take,
            _ => Turn::Wait,
        }
    }

    /// One job more, or why not.
    fn put(&mut self, queued: Queued) -> Option<(Queued, Refusal)> {
        if self.is_closed {
            let refusal = Refusal::passing(Fault::Stopped, "shutting down", 2000);
            return Some((queued, refusal));
        }
        if self.jobs.len() >= QUEUE {
            return Some((queued, overloaded("the queue is full")));
        }
        self.jobs.push_back((Stopwatch::start(), queued));
        None
    }

    fn take(&mut self) -> Vec<Queued> {
        let count = self.jobs.len().min(MOST_IN_BATCH);
        self.jobs.drain(..count).map(|(_, job)| job).collect()
    }
}

impl Queue {
    /// An empty queue and the one who takes from it.
    pub(super) fn new(meters: &Arc<Meters>) -> (Arc<Self>, Taker) {
        let queue = Arc::new(Self {
            line: Mutex::default(),
            changed: Condvar::new(),
            meters: Arc::clone(meters),
        });
        let taker = Taker(Arc::clone(&queue));
        (queue, taker)
    }

    /// One job more.
    ///
    /// # Errors
    /// [`Refusal`]: the queue is full or closed.
    pub(super) fn put(&self, job: Job) -> Result<Pending, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.change(|line| line.put(Queued { job, reply })) {
            None => Ok(answer),
            Some((_, refusal)) => Err(refusal),
        }
    }

    /// One request more is on its way.
    pub(super) fn begin(self: &Arc<Self>) -> OnTheWay {
        self.change(|line| line.coming += 1);
        OnTheWay(Some(Arc::clone(self)))
    }

    /// So many units are on their way to the finisher.
    pub(super) fn hold(self: &Arc<Self>, units: usize) -> Held {
        self.hold_batches(1, units)
    }

    /// The finisher is about to look for all that is open: nothing is reserved beside that.
    pub(super) fn hold_alone(self: &Arc<Self>) -> Held {
        self.hold_batches(MOST_HELD, 0)
    }

    fn hold_batches(self: &Arc<Self>, batches: usize, units: usize) -> Held {
        self.change(|line| line.held = (line.held.0 + batches, line.held.1 + units));
        let queue = Arc::clone(self);
        Held {
            queue,
            batches,
            units,
        }
    }

    /// Takes no more; what waits can still be taken.
    pub(super) fn close(&self) {
        self.change(|line| line.is_closed = true);
    }

    /// Changes the line, and wakes the writer if that gives it something else to do.
    fn change<T>(&self, change: impl FnOnce(&mut Line) -> T) -> T {
        let mut line = self.line();
        let changed = change(&mut line);
        let oldest = line.jobs.front().map(|(since, _)| *since);
        self.meters.wait(line.jobs.len(), oldest);
        if line.asleep.is_some_and(|turn| turn != line.turn()) {
            line.asleep = None;
            drop(line);
            self.changed.notify_one();
        }
        changed
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose signatures are being checked, until this is dropped.
#[derive(Debug)]
pub(super) struct OnTheWay(Option<Arc<Queue>>);

impl OnTheWay {
    /// It has come: these are its jobs. Whoever finds no place is told so.
    pub(super) fn arrive(mut self, jobs: Vec<Queued>) {
        let Some(queue) = self.0.take() else { return };
        let refused: Vec<_> = queue.change(|line| {
            line.coming = line.coming.saturating_sub(1);
            jobs.into_iter().filter_map(|job| line.put(job)).collect()
        });
        for (queued, refusal) in refused {
            tell(queued.reply, refusal);
        }
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            queue.change(|line| line.coming = line.coming.saturating_sub(1));
        }
    }
}

/// A batch that is reserved and not recorded yet, until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    queue: Arc<Queue>,
    batches: usize,
    units: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let free = |line: &mut Line| {
            let (batches, units) = line.held;
            let batches = batches.saturating_sub(self.batches);
            line.held = (batches, units.saturating_sub(self.units));
        };
        self.queue.change(free);
    }
}

/// What the writer gets.
#[derive(Debug)]
pub(super) enum Next {
    /// These are to be reserved.
    Jobs(Vec<Queued>),
    /// Nobody came.
    Nobody,
    /// Nobody will come any more.
    End,
}

/// The one who takes from the queue. When it is dropped nobody is left who waits: a writer that ended badly keeps
/// nobody waiting.
#[derive(Debug)]
pub(super) struct Taker(Arc<Queue>);

impl Taker {
    /// The queue.
    pub(super) const fn queue(&self) -> &Arc<Queue> {
        &self.0
    }

    /// What is there, now.
    pub(super) fn take(&self) -> Vec<Queued> {
        self.0.change(Line::take)
    }

    /// Waits until it is time to take what is there, or until nobody came for so long.
    pub(super) fn next(&self, idle: Duration) -> Next {
        let mut since = Stopwatch::start();
        let mut line = self.0.line();
        let mut last = line.turn();
        loop {
            let turn = line.turn();
            if turn != last {
                (last, since) = (turn, Stopwatch::start());
            }
            let longest = match turn {
                Turn::Nobody => idle,
                Turn::Linger => LINGER,
                Turn::Wait => Duration::MAX,
                Turn::Take => Duration::ZERO,
                Turn::End => return Next::End,
            };
            let left = longest.saturating_sub(since.elapsed());
            if left.is_zero() {
                drop(line);
                return if turn == Turn::Nobody {
                    Next::Nobody
                } else {
                    Next::Jobs(self.take())
                };
            }
            line.asleep = Some(turn);
            line = self.sleep(line, left);
            line.asleep = None;
        }
    }

    fn sleep<'a>(&self, line: MutexGuard<'a, Line>, longest: Duration) -> MutexGuard<'a, Line> {
        let woken = self.0.changed.wait_timeout(line, longest);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.close();
        drop(self.0.change(|line| std::mem::take(&mut line.jobs)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::scope;

    /// Longer than any test: who waits so long for nobody never ends.
    const FOR_EVER: Duration = Duration::from_secs(60 * 60);

    fn queue() -> (Arc<Queue>, Taker) {
        Queue::new(&Arc::default())
    }

    fn put(queue: &Queue, binds: impl IntoIterator<Item = u64>) -> Vec<Pending> {
        let put = |bind| queue.put(Job::Retry(bind)).unwrap();
        binds.into_iter().map(put).collect()
    }

    fn queued(binds: impl IntoIterator<Item = u64>) -> Vec<Queued> {
        let queued = |bind| {
            let (reply, _nobody_waits) = oneshot::channel();
            let job = Job::Retry(bind);
            Queued { job, reply }
        };
        binds.into_iter().map(queued).collect()
    }

    fn binds(next: Next) -> Vec<u64> {
        let Next::Jobs(jobs) = next else {
            panic!("{next:?}");
        };
        let bind = |queued: &Queued| {
            let Job::Retry(bind) = &queued.job else {
                panic!("{queued:?}");
            };
            *bind
        };
        jobs.iter().map(bind).collect()
    }

    fn turn(queue: &Queue) -> Turn {
        queue.line().turn()
    }

    #[test]
    fn whoever_comes_alone_waits_for_nobody() {
        let (queue, taker) = queue();
        assert!(matches!(taker.next(Duration::ZERO), Next::Nobody));
        let _pending = put(&queue, [1]);
        assert_eq!(binds(taker.next(FOR_EVER)), [1]);
        // The one after it comes while the writer sleeps.
        scope(|scope| {
            let next = scope.spawn(|| taker.next(FOR_EVER));
            let _pending = put(&queue, [2]);
            assert_eq!(binds(next.join().unwrap()), [2]);
        });
    }

    #[test]
    fn those_in_the_queue_share_a_batch_with_those_whose_signatures_are_being_checked() {
        let (queue, taker) = queue();
        let (third, refused) = (queue.begin(), queue.begin());
        let _pending = put(&queue, [1, 2]);
        assert_eq!(turn(&queue), Turn::Linger);
        third.arrive(queued([3]));
        assert_eq!(turn(&queue), Turn::Linger);
        // One that is refused at door 1 comes to an end, too.
        drop(refused);
        assert_eq!(turn(&queue), Turn::Take);
        assert_eq!(binds(taker.next(FOR_EVER)), [1, 2, 3]);
    }

    #[test]
    fn nobody_waits_for_ever_for_one_who_does_not_come() {
        let (queue, taker) = queue();
        let _never_comes = queue.begin();
        let _pending = put(&queue, [1]);
        assert_eq!(binds(taker.next(FOR_EVER)), [1]);
    }

    #[test]
    fn one_half_is_reserved_while_the_other_is_signed() {
        let (queue, taker) = queue();
        let held = queue.hold(3);
        let _pending = put(&queue, [1, 2]);
        assert_eq!(turn(&queue), Turn::Wait);
        let coming = queue.begin();
        let _pending = put(&queue, [3]);
        assert_eq!(turn(&queue), Turn::Wait, "a fourth is coming");
        coming.arrive(queued([4]));
        assert_eq!(turn(&queue), Turn::Take);
        assert_eq!(binds(taker.next(FOR_EVER)), [1, 2, 3, 4]);
        // Never more than one batch beside the one that is signed.
        let beside = queue.hold(4);
        let _pending = put(&queue, 5..105);
        assert_eq!(turn(&queue), Turn::Wait);
        drop(held);
        assert_eq!(turn(&queue), Turn::Take);
        drop(beside);
        assert_eq!(turn(&queue), Turn::Take);
        let alone = queue.hold_alone();
        assert_eq!(turn(&queue), Turn::Wait);
        drop(alone);
        assert_eq!(turn(&queue), Turn::Take);
    }

    #[test]
    fn a_finisher_that_ends_badly_keeps_nobody_waiting() {
        let (queue, taker) = queue();
        let held = queue.hold(2);
        let _pending = put(&queue, [1]);
        scope(|scope| {
            let next = scope.spawn(|| taker.next(FOR_EVER));
            let finisher = scope.spawn(move || {
                let _held = held;
                panic!("ended badly")
            });
            assert!(finisher.join().is_err());
            assert_eq!(binds(next.join().unwrap()), [1]);
        });
    }

    #[test]
    fn a_writer_that_ends_badly_keeps_nobody_waiting() {
        let (queue, taker) = queue();
        let mut pending = put(&queue, [1]);
        drop(taker);
        pending.pop().unwrap().blocking_recv().unwrap_err();
        let refusal = queue.put(Job::Retry(2)).unwrap_err();
        assert_eq!(refusal.fault, Fault::Stopped);
    }

    #[test]
    fn what_waits_when_the_queue_is_closed_is_taken_before_the_end() {
        let (queue, taker) = queue();
        let _pending = put(&queue, [1, 2]);
        queue.close();
        let refusal = queue.put(Job::Retry(3)).unwrap_err();
        assert_eq!(refusal.fault, Fault::Stopped);
        assert_eq!(binds(taker.next(FOR_EVER)), [1, 2]);
        assert!(matches!(taker.next(FOR_EVER), Next::End));
    }

    #[test]
    fn a_batch_ends_when_it_is_full_and_so_does_the_queue() {
        let (queue, taker) = queue();
        let all = u64::try_from(QUEUE).unwrap();
        let _pending = put(&queue, 0..all);
        let refusal = queue.put(Job::Retry(all)).unwrap_err();
        assert_eq!(refusal.fault, Fault::Overloaded);
        assert!(refusal.retry_after_ms.is_some());
        let _never_comes = queue.begin();
        let first = binds(taker.next(FOR_EVER));
        assert_eq!(first, (0..1024).collect::<Vec<_>>());
        let _fits = put(&queue, [all]);
        // Nobody waits for more than fit.
        let _held = queue.hold(2 * MOST_IN_BATCH);
        assert_eq!(turn(&queue), Turn::Take);
        assert_eq!(taker.take().len(), MOST_IN_BATCH);
    }
}
