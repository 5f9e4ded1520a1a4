//! A disk that forgets what was not flushed: each file as programs see it now, as it would be after a power cut, and
//! the writes between the two. When the power goes, of those writes some are kept, some lost, some torn, in no order.
//!
//! A file's name is durable from its first flush on. A write damages nothing beside it (SQLite calls that powersafe
//! overwrite, and takes it for granted as well). Sectors are 512 bytes, and each is written whole or not at all.

use super::chance::Chance;
use rusqlite::ffi;
use std::collections::BTreeMap;
use std::os::raw::c_int;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SECTOR: usize = 512;

/// Disks by the directory whose files they hold.
static MOUNTED: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());
static NEXT_HANDLE: AtomicU64 = AtomicU64::new(1);

/// How a process ends without warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `kill -9`: what it wrote is with the system, and survives.
    Kill,
    /// The power goes: what was not flushed may be lost.
    PowerCut,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// The process ends before it.
    Before(End),
    /// The process ends when it is done.
    After(End),
    /// Half of a write is done, then the power goes.
    Tear,
    /// It fails; half of it may be done.
    Fail,
    /// There is no room.
    Full,
}

/// What happened to a disk so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Calls that changed something: writes, flushes, truncations, removals.
    pub calls: u64,
    /// Of those, the ones that were done, or half done.
    pub done: u64,
    /// Processes that ended in the middle of a call.
    pub ended: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Sectors of writes that a power cut lost.
    pub lost: u64,
    /// Sectors of unflushed writes that survived a power cut.
    pub kept: u64,
}

/// One disk.
#[derive(Debug)]
pub struct Disk(Mutex<State>);

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    course: Course,
}

/// What happens to the disk and whoever uses it.
#[derive(Debug)]
struct Course {
    /// Who may use the disk; handles of processes before are dead.
    process: u64,
    over: Option<End>,
    plan: Option<(u64, Deed)>,
    /// Flushes from now to the one that something happens to.
    flushes_left: Option<(u64, Deed)>,
    lies: bool,
    chance: Chance,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Piece>,
    is_named: bool,
    is_gone: bool,
    locks: BTreeMap<u64, c_int>,
    shared: BTreeMap<u64, (u8, u8)>,
    regions: Vec<Region>,
}

/// Memory that connections of one process share.
type Region = Arc<[AtomicU64]>;

#[derive(Clone, Debug)]
enum Piece {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// An open file of a process.
#[derive(Debug)]
pub struct Handle {
    disk: Arc<Disk>,
    name: String,
    process: u64,
    id: u64,
    /// Keeps memory that SQLite was given for as long as it may use it.
    regions: Vec<Region>,
}

impl Disk {
    /// An empty disk.
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self(Mutex::new(State {
            files: BTreeMap::new(),
            course: Course {
                process: 0,
                over: None,
                plan: None,
                flushes_left: None,
                lies: false,
                chance,
                counts: Counts::default(),
            },
        }))
    }

    /// Another disk with the same files, all flushed.
    #[must_use]
    pub fn copy(&self, chance: Chance) -> Self {
        let copy = Self::new(chance);
        let files = &self.state().files;
        let flushed = |file: &File| File {
            live: file.live.clone(),
            durable: file.live.clone(),
            is_named: true,
            ..File::default()
        };
        copy.state().files = files
            .iter()
            .filter(|(_, file)| !file.is_gone)
            .map(|(name, file)| (name.clone(), flushed(file)))
            .collect();
        copy
    }

    /// Files in this directory are on this disk from now on.
    pub fn mount(self, directory: &Path) -> Arc<Self> {
        let disk = Arc::new(self);
        mounted().insert(directory.to_owned(), Arc::clone(&disk));
        disk
    }

    /// Forgets the disk of a directory.
    pub fn unmount(directory: &Path) {
        mounted().remove(directory);
    }

    /// The disk that a file is on, and its name there.
    #[must_use]
    pub fn of(path: &Path) -> Option<(Arc<Self>, String)> {
        let disk = Arc::clone(mounted().get(path.parent()?)?);
        Some((disk, path.file_name()?.to_str()?.to_owned()))
    }

    /// Something happens to the call that comes as this one from now, counted from 1.
    pub fn plan(&self, call: u64, deed: Deed) {
        let course = &mut self.state().course;
        course.plan = Some((course.counts.calls + call, deed));
    }

    /// Something happens to the flush that comes as this one from now, counted from 1.
    pub fn plan_flush(&self, flush: u64, deed: Deed) {
        self.state().course.flushes_left = Some((flush, deed));
    }

    /// Nothing that was planned happens any more.
    pub fn unplan(&self) {
        let course = &mut self.state().course;
        (course.plan, course.flushes_left) = (None, None);
    }

    /// From now on flushes are acknowledged and not done: the bug of a server that answers before fsync.
    pub fn lie(&self) {
        self.state().course.lies = true;
    }

    /// How the process that uses the disk ended, if it did.
    #[must_use]
    pub fn over(&self) -> Option<End> {
        self.state().course.over
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state().course.counts
    }

    /// Ends the process that uses the disk; the next one finds what is left.
    pub fn end(&self, how: End) {
        let state = &mut *self.state();
        let course = &mut state.course;
        course.process += 1;
        (course.over, course.plan, course.flushes_left) = (None, None, None);
        for file in state.files.values_mut() {
            file.locks.clear();
            file.shared.clear();
            file.regions.clear();
            if how == End::PowerCut {
                file.lose(&mut course.chance, &mut course.counts);
            }
        }
        state
            .files
            .retain(|_, file| file.is_named || (how == End::Kill && !file.is_gone));
    }

    /// Opens a file.
    ///
    /// # Errors
    /// SQLite's code.
    pub fn open(self: &Arc<Self>, name: &str, may_create: bool) -> Result<Handle, c_int> {
        let mut state = self.state();
        if state.course.over.is_some() {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        let is_there = state.files.get(name).is_some_and(|file| !file.is_gone);
        if !is_there && !may_create {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        if !is_there {
            state.files.insert(name.to_owned(), File::default());
        }
        Ok(Handle {
            disk: Arc::clone(self),
            name: name.to_owned(),
            process: state.course.process,
            id: NEXT_HANDLE.fetch_add(1, Ordering::Relaxed),
            regions: Vec::new(),
        })
    }

    /// Removes a file. Unless that is made durable, a power cut may bring it back.
    #[must_use]
    pub fn remove(&self, name: &str, durably: bool) -> c_int {
        let mut state = self.state();
        if state.files.get(name).is_none_or(|file| file.is_gone) {
            return ffi::SQLITE_IOERR_DELETE_NOENT;
        }
        match state.course.judge() {
            Fate::Nothing | Fate::Half => ffi::SQLITE_IOERR_DELETE,
            Fate::Whole(then) => {
                if durably {
                    state.files.remove(name);
                } else if let Some(file) = state.files.get_mut(name) {
                    file.is_gone = true;
                }
                state.course.over = then;
                ffi::SQLITE_OK
            }
        }
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let state = self.state();
        state.files.get(name).is_some_and(|file| !file.is_gone)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mounted() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<Disk>>> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a call that changes something.
enum Fate {
    Nothing,
    Half,
    Whole(Option<End>),
}

impl Course {
    fn count_flush(&mut self) {
        if let Some((left, deed)) = self.flushes_left.take() {
            match left {
                1 => self.plan = Some((self.counts.calls + 1, deed)),
                _ => self.flushes_left = Some((left - 1, deed)),
            }
        }
    }

    fn judge(&mut self) -> Fate {
        let fate = self.judge_call();
        self.counts.done += u64::from(!matches!(fate, Fate::Nothing));
        fate
    }

    fn judge_call(&mut self) -> Fate {
        if self.over.is_some() {
            return Fate::Nothing;
        }
        self.counts.calls += 1;
        let Some((_, deed)) = self.plan.filter(|(at, _)| *at == self.counts.calls) else {
            return Fate::Whole(None);
        };
        self.plan = None;
        match deed {
            Deed::Before(end) | Deed::After(end) => {
                self.counts.ended += 1;
                if deed == Deed::After(end) {
                    return Fate::Whole(Some(end));
                }
                self.over = Some(end);
                Fate::Nothing
            }
            Deed::Tear => {
                self.counts.ended += 1;
                self.over = Some(End::PowerCut);
                Fate::Half
            }
            Deed::Fail => {
                self.counts.failed += 1;
                Fate::Half
            }
            Deed::Full => {
                self.counts.failed += 1;
                Fate::Nothing
            }
        }
    }
}

impl File {
    fn put(&mut self, piece: Piece) {
        apply(&mut self.live, &piece);
        self.pending.push(piece);
    }

    fn flush(&mut self) {
        for piece in std::mem::take(&mut self.pending) {
            apply(&mut self.durable, &piece);
        }
        self.is_named = true;
    }

    /// A flush that failed: what it wrote is not known, and what it did not write is never written again.
    fn flush_some(&mut self, chance: &mut Chance, counts: &mut Counts) {
        let live = self.live.clone();
        self.lose(chance, counts);
        self.live = live;
    }

    /// What is left after a power cut.
    fn lose(&mut self, chance: &mut Chance, counts: &mut Counts) {
        if std::mem::take(&mut self.is_gone) {
            // Removed and never flushed: it may be back.
            if !self.is_named || chance.one_in(2) {
                *self = Self::default();
                return;
            }
        }
        // A file whose name was never flushed may be there all the same.
        self.is_named |= !self.pending.is_empty() && chance.one_in(2);
        let most = self.pending.len() + 1;
        let style = chance.below(4);
        let until = chance.place(most);
        for (number, piece) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            match style {
                0 => counts.lost += 1,
                1 => self.keep(&piece, counts),
                // Written in order up to some point, the last one torn.
                2 if number < until => self.keep(&piece, counts),
                2 if number == until => self.tear(&piece, chance, counts),
                2 => counts.lost += 1,
                _ => self.tear(&piece, chance, counts),
            }
        }
        self.live.clone_from(&self.durable);
    }

    fn keep(&mut self, piece: &Piece, counts: &mut Counts) {
        counts.kept += 1;
        apply(&mut self.durable, piece);
    }

    /// Each sector of a write by itself.
    fn tear(&mut self, piece: &Piece, chance: &mut Chance, counts: &mut Counts) {
        let Piece::Write(at, bytes) = piece else {
            if chance.one_in(2) {
                self.keep(piece, counts);
            }
            return;
        };
        let mut from = 0;
        while from < bytes.len() {
            let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(bytes.len());
            if chance.one_in(2) {
                self.keep(&Piece::Write(at + from, bytes[from..to].to_vec()), counts);
            } else {
                counts.lost += 1;
            }
            from = to;
        }
    }
}

fn apply(bytes: &mut Vec<u8>, piece: &Piece) {
    match piece {
        Piece::Length(length) => bytes.resize(*length, 0),
        Piece::Write(at, new) => {
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
    }
}

impl Handle {
    /// Reads; what is beyond the end is zero, and said.
    #[must_use]
    pub fn read(&self, out: &mut [u8], at: usize) -> c_int {
        self.with(ffi::SQLITE_IOERR_READ, |_, file| {
            let there = file.live.get(at..).unwrap_or_default();
            let length = there.len().min(out.len());
            out[..length].copy_from_slice(&there[..length]);
            out[length..].fill(0);
            match length == out.len() {
                true => ffi::SQLITE_OK,
                false => ffi::SQLITE_IOERR_SHORT_READ,
            }
        })
    }

    /// Writes.
    #[must_use]
    pub fn write(&self, bytes: &[u8], at: usize) -> c_int {
        let half = &bytes[..bytes.len() / 2];
        self.change(
            ffi::SQLITE_IOERR_WRITE,
            Piece::Write(at, bytes.to_vec()),
            Some(Piece::Write(at, half.to_vec())),
        )
    }

    /// Sets the length.
    #[must_use]
    pub fn truncate(&self, length: usize) -> c_int {
        self.change(ffi::SQLITE_IOERR_TRUNCATE, Piece::Length(length), None)
    }

    /// Flushes.
    #[must_use]
    pub fn sync(&self) -> c_int {
        self.with(ffi::SQLITE_IOERR_FSYNC, |course, file| {
            course.count_flush();
            match course.judge() {
                Fate::Whole(then) => {
                    if !course.lies {
                        file.flush();
                    }
                    course.over = then;
                    ffi::SQLITE_OK
                }
                Fate::Half => {
                    file.flush_some(&mut course.chance, &mut course.counts);
                    ffi::SQLITE_IOERR_FSYNC
                }
                Fate::Nothing => ffi::SQLITE_IOERR_FSYNC,
            }
        })
    }

    /// Its length.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        let mut length = None;
        let code = self.with(ffi::SQLITE_IOERR_FSTAT, |_, file| {
            length = Some(file.live.len());
            ffi::SQLITE_OK
        });
        length.filter(|_| code == ffi::SQLITE_OK)
    }

    /// Takes SQLite's lock of this level (sqlite.org/lockingv3.html).
    #[must_use]
    pub fn lock(&self, level: c_int) -> c_int {
        self.with(ffi::SQLITE_IOERR_LOCK, |_, file| {
            let own = file.locks.get(&self.id).copied().unwrap_or_default();
            let others = file.locks.iter().filter(|(id, _)| **id != self.id);
            let highest = others.map(|(_, level)| *level).max().unwrap_or_default();
            let stands_in_the_way = match level {
                ffi::SQLITE_LOCK_SHARED => ffi::SQLITE_LOCK_PENDING,
                ffi::SQLITE_LOCK_RESERVED => ffi::SQLITE_LOCK_RESERVED,
                _ => ffi::SQLITE_LOCK_SHARED,
            };
            if own >= level {
                return ffi::SQLITE_OK;
            }
            if highest >= stands_in_the_way {
                return ffi::SQLITE_BUSY;
            }
            file.locks.insert(self.id, level);
            ffi::SQLITE_OK
        })
    }

    /// Goes back to a lower lock.
    #[must_use]
    pub fn unlock(&self, level: c_int) -> c_int {
        // One that is dead holds nothing.
        self.with(ffi::SQLITE_OK, |_, file| {
            match level {
                ffi::SQLITE_LOCK_NONE => file.locks.remove(&self.id),
                _ => file.locks.insert(self.id, level),
            };
            ffi::SQLITE_OK
        })
    }

    /// Whether anybody is about to write.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let mut reserved = false;
        let code = self.with(ffi::SQLITE_IOERR, |_, file| {
            reserved = file
                .locks
                .values()
                .any(|level| *level >= ffi::SQLITE_LOCK_RESERVED);
            ffi::SQLITE_OK
        });
        reserved && code == ffi::SQLITE_OK
    }

    /// A region of the memory that all connections to this file share; none if it is not there and not wanted.
    ///
    /// # Errors
    /// SQLite's code.
    pub fn region(
        &mut self,
        number: usize,
        bytes: usize,
        extend: bool,
    ) -> Result<Option<&[AtomicU64]>, c_int> {
        let mut found = None;
        let code = self.with(ffi::SQLITE_IOERR_SHMMAP, |_, file| {
            while extend && file.regions.len() <= number {
                let words = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0));
                file.regions.push(words.collect());
            }
            found = file.regions.get(number).map(Arc::clone);
            ffi::SQLITE_OK
        });
        match (code, found) {
            (ffi::SQLITE_OK, None) => Ok(None),
            (ffi::SQLITE_OK, Some(region)) => {
                self.regions.push(region);
                Ok(self.regions.last().map(AsRef::as_ref))
            }
            (code, _) => Err(code),
        }
    }

    /// Takes or gives back locks in the shared memory.
    #[must_use]
    pub fn lock_shared(&self, first: u32, count: u32, flags: c_int) -> c_int {
        let slots = u8::try_from(((1_u16 << count) - 1) << first).unwrap_or(u8::MAX);
        let is_exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        let unlocks = flags & ffi::SQLITE_SHM_UNLOCK != 0;
        let when_dead = match unlocks {
            true => ffi::SQLITE_OK,
            false => ffi::SQLITE_IOERR_SHMLOCK,
        };
        self.with(when_dead, |_, file| {
            let others = file.shared.iter().filter(|(id, _)| **id != self.id);
            let in_the_way = others.fold(0, |all, (_, (shared, exclusive))| {
                all | exclusive | if is_exclusive { *shared } else { 0 }
            });
            let own = file.shared.entry(self.id).or_default();
            let held = if is_exclusive { &mut own.1 } else { &mut own.0 };
            if unlocks {
                *held &= !slots;
                return ffi::SQLITE_OK;
            }
            if in_the_way & slots != 0 {
                return ffi::SQLITE_BUSY;
            }
            *held |= slots;
            ffi::SQLITE_OK
        })
    }

    /// Gives the shared memory back.
    pub fn unmap(&mut self, and_forget: bool) {
        let _dead = self.with(ffi::SQLITE_OK, |_, file| {
            file.shared.remove(&self.id);
            if and_forget && file.shared.is_empty() {
                file.regions.clear();
            }
            ffi::SQLITE_OK
        });
        self.regions.clear();
    }

    fn change(&self, failed: c_int, whole: Piece, half: Option<Piece>) -> c_int {
        self.with(failed, |course, file| match course.judge() {
            Fate::Whole(then) => {
                file.put(whole);
                course.over = then;
                ffi::SQLITE_OK
            }
            Fate::Half => {
                half.into_iter().for_each(|half| file.put(half));
                failed
            }
            Fate::Nothing if course.over.is_none() => ffi::SQLITE_FULL,
            Fate::Nothing => failed,
        })
    }

    /// Does something with the file, unless the process is over.
    fn with(&self, dead: c_int, act: impl FnOnce(&mut Course, &mut File) -> c_int) -> c_int {
        let state = &mut *self.disk.state();
        let is_dead = state.course.process != self.process || state.course.over.is_some();
        match state.files.get_mut(&self.name).filter(|_| !is_dead) {
            Some(file) => act(&mut state.course, file),
            None => dead,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.unmap(false);
        let _dead = self.unlock(ffi::SQLITE_LOCK_NONE);
    }
}
