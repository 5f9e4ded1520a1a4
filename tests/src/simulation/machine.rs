//! The CA's host: its disk, its HSM, its clock, and at times a running server.

use super::Chance;
use super::disk::{Disk, End};
use super::ground::{Ground, Moods, Places, SetClock, SetEntropy, SoftCaKey};
use super::shelf::Shelf;
use super::{Counts, Plant};
use crate::failure::{Failure, Outcome};
use ca_server::issuance::{Corridor, Ends, Steps, Stop};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Batches that may wait between writer and finisher of the real server; one more is never reserved.
const AHEAD: usize = 2;

/// A step of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Door 2 for what is queued.
    Reserve,
    /// Doors 3 to 5 for the oldest batch.
    Record,
    /// Door 6 for the oldest that is recorded.
    Release,
    /// Nobody asks for anything.
    LookAfter,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stepped {
    /// There was nothing to do.
    Idle,
    /// It was done, or failed and said so.
    Done,
    /// The process ended in the middle of it.
    Ended(End),
}

struct Running {
    corridor: Corridor,
    steps: Steps,
    /// Batches between door 2 and door 3.
    ahead: usize,
}

pub(super) struct Machine<'g> {
    pub(super) disk: Arc<Disk>,
    pub(super) clock: Arc<SetClock>,
    pub(super) moods: Arc<Moods>,
    pub(super) places: Places,
    pub(super) counts: Counts,
    ground: &'g Ground,
    shelf: Shelf,
    entropy: Arc<SetEntropy>,
    chance: Chance,
    plant: Plant,
    running: Option<Running>,
    /// Calls of the disk that were done when the step began that is under way.
    done_before: u64,
}

impl<'g> Machine<'g> {
    pub(super) fn new(
        ground: &'g Ground,
        places: &Places,
        mut chance: Chance,
        plant: Plant,
    ) -> Outcome<Self> {
        let disk = ground.lay_out(places, chance.fork())?;
        if plant == Plant::AnswerBeforeFsync {
            disk.lie();
        }
        Ok(Self {
            disk,
            clock: Arc::new(SetClock::new(super::ground::BEGIN)),
            moods: Arc::default(),
            places: places.clone(),
            counts: Counts::default(),
            ground,
            shelf: Shelf::of(places)?,
            entropy: Arc::new(SetEntropy::new(chance.fork())),
            chance,
            plant,
            running: None,
            done_before: 0,
        })
    }

    /// The running server.
    pub(super) fn corridor(&self) -> Option<&Corridor> {
        self.running.as_ref().map(|running| &running.corridor)
    }

    /// Starts the server. False if it ended on the way; that is a failure only if nothing was done to it.
    pub(super) fn start(&mut self) -> Outcome<bool> {
        let before = self.disk.counts();
        self.begin_step()?;
        let key = SoftCaKey::new(&self.moods);
        let parts = self
            .ground
            .parts(&self.places, &self.clock, &self.entropy, key);
        let opened = parts.and_then(|parts| Corridor::open(parts, AHEAD).map_err(Failure::new));
        if let Some(how) = self.disk.over() {
            drop(opened);
            self.end(how)?;
            return Ok(false);
        }
        match opened {
            Ok((corridor, steps)) => {
                self.counts.starts += 1;
                self.running = Some(Running {
                    corridor,
                    steps,
                    ahead: 0,
                });
                Ok(true)
            }
            Err(_) if self.disk.counts().failed > before.failed => {
                self.end(End::Kill)?;
                Ok(false)
            }
            Err(failure) => Err(Failure::new(format_args!("no start any more: {failure}"))),
        }
    }

    /// Takes a step.
    pub(super) fn step(&mut self, step: Step) -> Outcome<Stepped> {
        self.begin_step()?;
        let stale = match (step, self.plant) {
            (Step::Reserve, Plant::QuotaReadOutside) => Some(issued(&self.places)?),
            _ => None,
        };
        let Some(running) = &mut self.running else {
            return Ok(Stepped::Idle);
        };
        let worked = match step {
            // The real writer would wait until the finisher took a batch.
            Step::Reserve | Step::LookAfter if running.ahead >= AHEAD => false,
            Step::Reserve => running.steps.reserve(),
            Step::Record => running.steps.record(),
            Step::Release => running.steps.release(),
            Step::LookAfter => {
                running.steps.look_after();
                true
            }
        };
        running.ahead = match (step, worked) {
            (Step::Reserve | Step::LookAfter, true) => running.ahead + 1,
            (Step::Record, true) => running.ahead.saturating_sub(1),
            (Step::Record, false) => 0,
            _ => running.ahead,
        };
        if let Some(how) = self.disk.over() {
            return Ok(Stepped::Ended(how));
        }
        if let Some(stale) = stale.filter(|_| worked && self.chance.one_in(2)) {
            put_issued(&self.places, stale)?;
        }
        match worked {
            true => Ok(Stepped::Done),
            false => Ok(Stepped::Idle),
        }
    }

    /// Why nothing is issued.
    pub(super) fn stopped(&self) -> Option<Stop> {
        self.corridor()?.status().ok()?.stopped
    }

    /// Whether the process ends by itself now.
    pub(super) fn ends_itself(&self) -> bool {
        self.stopped().is_some_and(|it| it.ends == Ends::ByRestart)
    }

    /// The process ends.
    pub(super) fn end(&mut self, how: End) -> Outcome<()> {
        let wrote = self.disk.counts().done > self.done_before;
        self.disk.end(how);
        // Only now are its connections closed: to files of a process that is no more.
        self.running = None;
        match how {
            End::Kill => self.counts.kills += 1,
            End::PowerCut => {
                self.counts.power_cuts += 1;
                self.counts.files_lost += self.shelf.lose(&mut self.chance, wrote)?;
            }
        }
        if self.plant == Plant::RetrySignsAnew && self.chance.one_in(2) {
            forget_a_signature(&self.places)?;
        }
        Ok(())
    }

    /// Leaves whose signature the signer has and the server has not, by the disk as a power cut left it. Looked at on a copy:
    /// the next start finds what it would have found.
    pub(super) fn left_to_the_signer(&self) -> Outcome<Vec<u64>> {
        let aside = self.places.beside("aside");
        let (state, (store, signer)) = (aside.state(), (aside.store(), aside.signer()));
        let copy = self.disk.copy(Chance::new(0)).mount(&state);
        let left = left_to_the_signer(&store, &signer);
        Disk::unmount(&state);
        drop(copy);
        left.map_err(Failure::new)
    }

    /// The system writes out what it has of the log's files.
    pub(super) fn flush(&mut self) -> Outcome<()> {
        self.shelf.flush()
    }

    /// The HSM fails once in so many uses; never if zero.
    pub(super) fn let_hsm_fail(&self, once_in: u64) {
        self.moods.fails.store(once_in, Ordering::SeqCst);
    }

    /// Between steps too: what comes now belongs to no step before.
    pub(super) fn begin_step(&mut self) -> Outcome<()> {
        self.done_before = self.disk.counts().done;
        self.shelf.begin_step()
    }

    /// What happened so far.
    pub(super) fn sum(&self) -> Counts {
        let disk = self.disk.counts();
        Counts {
            calls: disk.calls,
            in_a_call: disk.ended,
            calls_failed: disk.failed,
            sectors_lost: disk.lost,
            sectors_kept: disk.kept,
            hsm_failures: self.moods.failed.load(Ordering::SeqCst),
            ..self.counts
        }
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        self.disk.end(End::Kill);
        self.running = None;
        Disk::unmount(&self.places.state());
    }
}

fn left_to_the_signer(store: &Path, signer: &Path) -> rusqlite::Result<Vec<u64>> {
    let (store, signer) = (pages::open(store)?, pages::open(signer)?);
    let mut unsigned = store.prepare("SELECT idx FROM binding WHERE signature IS NULL")?;
    let unsigned = unsigned.query_map([], |row| row.get::<_, i64>(0))?;
    let is_signed = "SELECT 1 FROM attempt WHERE entry = ?1 AND signature IS NOT NULL";
    let mut is_signed = signer.prepare(is_signed)?;
    let mut left = Vec::new();
    for index in unsigned {
        let index = index?;
        if is_signed.exists([index])? {
            left.extend(u64::try_from(index));
        }
    }
    Ok(left)
}

/// Planted bug: quota as somebody read it who did not hold the transaction.
fn issued(places: &Places) -> Outcome<i64> {
    let store = pages::open(&places.store()).map_err(Failure::new)?;
    let read = "SELECT issued FROM grant_state";
    store
        .query_row(read, [], |row| row.get(0))
        .map_err(Failure::new)
}

/// Planted bug: what was counted from that is written, over what others counted meanwhile.
fn put_issued(places: &Places, issued: i64) -> Outcome<()> {
    let store = pages::open(&places.store()).map_err(Failure::new)?;
    let put = "UPDATE grant_state SET issued = ?1";
    store.execute(put, [issued]).map(drop).map_err(Failure::new)
}

/// Planted bug: a signature is not kept, and made anew for whoever asks again.
fn forget_a_signature(places: &Places) -> Outcome<()> {
    let forget = |path: PathBuf, sql: &str| {
        let store = pages::open(&path).map_err(Failure::new)?;
        store.execute(sql, []).map(drop).map_err(Failure::new)
    };
    forget(
        places.signer(),
        "UPDATE attempt SET signature = NULL WHERE entry = (SELECT max(entry) FROM attempt)",
    )?;
    forget(
        places.store(),
        "UPDATE binding SET signature = NULL WHERE idx = (SELECT max(idx) FROM binding)",
    )
}
