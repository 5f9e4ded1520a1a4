//! SQLite's interface to the system (sqlite.org/vfs.html), laid over the one that is the default: pages of a database
//! get their checksum when they are written and are verified when they are read. Every other file, and every other
//! call, goes to the default as it is.
#![expect(
    unsafe_code,
    reason = "SQLite calls its file system through C function pointers"
)]

use crate::checksum::{CHECKSUM, PAGE, Page, holds, seal};
use rusqlite::Connection;
use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Under which SQLite knows this file system.
pub(crate) const NAME: &CStr = c"koseki-pages";
/// File control of this file system: whether the pages have no room for a checksum.
const IS_BARE: c_int = 0x4B50;
/// File control of this file system: whether a page was read here that is not what was written to its place.
const MET_DAMAGE: c_int = 0x4B51;
/// Bytes of a database's header; SQLite reads them, and no others, without their page.
const HEADER: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Byte of the header that says how many bytes SQLite leaves free at the end of each page.
const RESERVED: usize = 20;

/// The file system below.
static BELOW: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());

/// An open database as SQLite keeps it: our methods first, what is ours, and behind it the file of the system below.
#[repr(C)]
struct Paged {
    base: sqlite3_file,
    /// Whether the file was there and its pages have no room for a checksum. Then none is read or written.
    is_bare: bool,
    /// Whether a page was read that is not what was written to its place.
    met_damage: bool,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Without xFetch, which came with version 3, SQLite maps nothing into memory past xRead.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(map),
    xShmLock: Some(lock_shared),
    xShmBarrier: Some(barrier),
    xShmUnmap: Some(unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Of a file that is not open.
static NONE: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: None,
    xRead: None,
    xWrite: None,
    xTruncate: None,
    xSync: None,
    xFileSize: None,
    xLock: None,
    xUnlock: None,
    xCheckReservedLock: None,
    xFileControl: None,
    xSectorSize: None,
    xDeviceCharacteristics: None,
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Makes the file system known to SQLite, over what is the default now. Once; later calls change nothing.
///
/// # Errors
/// SQLite's code.
pub(crate) fn register() -> Result<(), c_int> {
    static DONE: OnceLock<Result<(), c_int>> = OnceLock::new();
    *DONE.get_or_init(lay_over_default)
}

fn lay_over_default() -> Result<(), c_int> {
    // SAFETY: initialising is permitted at any time.
    match unsafe { ffi::sqlite3_initialize() } {
        ffi::SQLITE_OK => {}
        code => return Err(code),
    }
    // SAFETY: SQLite is initialised; no name gives the default.
    let below = unsafe { ffi::sqlite3_vfs_find(ptr::null()) };
    // SAFETY: a VFS that was found stays registered and unchanged; the struct is plain data.
    let Some(found) = (unsafe { below.as_ref() }) else {
        return Err(ffi::SQLITE_ERROR);
    };
    BELOW.store(below, Ordering::SeqCst);
    let own = c_int::try_from(size_of::<Paged>()).unwrap_or(c_int::MAX);
    // All but opening is below's own, with its own data: it does not look at the struct that it is called through.
    let ours = Box::new(sqlite3_vfs {
        szOsFile: found.szOsFile.saturating_add(own),
        pNext: ptr::null_mut(),
        zName: NAME.as_ptr(),
        xOpen: Some(open),
        ..*found
    });
    // SAFETY: the struct is never freed, and all of its functions are of this file or below's.
    match unsafe { ffi::sqlite3_vfs_register(Box::into_raw(ours), 0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

/// How many bytes SQLite leaves free at the end of each page; with `wanted`, from the first page on of an empty one.
pub(crate) fn reserved(connection: &Connection, wanted: Option<u8>) -> rusqlite::Result<c_int> {
    let wanted = wanted.map_or(-1, c_int::from);
    ask(connection, ffi::SQLITE_FCNTL_RESERVE_BYTES, wanted)
}

/// Whether the file was there before it was opened and its pages have no room for a checksum.
pub(crate) fn is_bare(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(ask(connection, IS_BARE, 0)? != 0)
}

/// Whether a page was read through this connection that is not what was written to its place.
pub(crate) fn met_damage(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(ask(connection, MET_DAMAGE, 0)? != 0)
}

fn ask(connection: &Connection, what: c_int, mut value: c_int) -> rusqlite::Result<c_int> {
    // SAFETY: the handle is used while the connection is borrowed, and not closed.
    let database = unsafe { connection.handle() };
    let with = ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: the questions that are asked here read and write one int.
    match unsafe { ffi::sqlite3_file_control(database, c"main".as_ptr(), what, with) } {
        ffi::SQLITE_OK => Ok(value),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)),
    }
}

/// # Safety
/// As SQLite calls `xOpen`: `file` has room for `szOsFile` bytes, aligned for any of its structs.
unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    let below = BELOW.load(Ordering::SeqCst);
    // SAFETY: `lay_over_default` stored a VFS that lives for ever before this function could be called.
    let Some(open) = (unsafe { (*below).xOpen }) else {
        return ffi::SQLITE_CANTOPEN;
    };
    if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
        // SAFETY: SQLite's arguments are passed on as they are; the room is more than below asked for.
        return unsafe { open(below, path, file, flags, out_flags) };
    }
    let closed = || sqlite3_file {
        pMethods: ptr::null(),
    };
    // SAFETY: there is room for `Paged`, which begins with this; not open until the end.
    unsafe { file.write(closed()) };
    // SAFETY: there is room for a `Paged` and the file of below behind it.
    let inner = unsafe { inner(file) };
    // SAFETY: as above.
    unsafe { inner.write(closed()) };
    // SAFETY: `inner` has the room that below asked for, and the other arguments are SQLite's.
    let opened = unsafe { open(below, path, inner, flags, out_flags) };
    // SAFETY: `inner` was written above.
    let Some(methods) = (unsafe { methods(inner) }) else {
        return failed(opened, ffi::SQLITE_CANTOPEN);
    };
    let found = match opened {
        // SAFETY: below opened the file with these methods.
        ffi::SQLITE_OK => unsafe { look(inner, methods) },
        code => Err(code),
    };
    match found {
        Ok(is_bare) => {
            let base = sqlite3_file { pMethods: &METHODS };
            // SAFETY: there is room for `Paged`.
            unsafe {
                file.cast::<Paged>().write(Paged {
                    base,
                    is_bare,
                    met_damage: false,
                });
            };
            ffi::SQLITE_OK
        }
        Err(code) => {
            if let Some(close) = methods.xClose {
                // SAFETY: below opened the file, and SQLite, which sees no methods, will not close it.
                unsafe { close(inner) };
            }
            code
        }
    }
}

/// The code, which must be one of failure.
const fn failed(code: c_int, other: c_int) -> c_int {
    match code {
        ffi::SQLITE_OK => other,
        code => code,
    }
}

/// Whether the file is a database whose pages have no room for a checksum. What is no whole header is none, and
/// whatever else is wrong with it is found when its first page is read.
///
/// # Safety
/// `inner` is open with these methods.
unsafe fn look(inner: *mut sqlite3_file, methods: &sqlite3_io_methods) -> Result<bool, c_int> {
    let Some(read) = methods.xRead else {
        return Err(ffi::SQLITE_IOERR_READ);
    };
    let mut header = [0_u8; HEADER];
    let out = header.as_mut_ptr().cast::<c_void>();
    // SAFETY: so many bytes may be written there.
    match unsafe { read(inner, out, amount(HEADER), 0) } {
        ffi::SQLITE_OK => Ok(header.starts_with(MAGIC) && header.get(RESERVED) == Some(&0)),
        ffi::SQLITE_IOERR_SHORT_READ => Ok(false),
        code => Err(code),
    }
}

fn amount(bytes: usize) -> c_int {
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// Where the file of the system below is: behind ours.
///
/// # Safety
/// `file` has the room that this file system asks for.
const unsafe fn inner(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: the caller's promise.
    unsafe { file.cast::<Paged>().add(1) }.cast()
}

/// The file of the system below, with its methods.
///
/// # Safety
/// `file` is one that [`open`] opened and [`close`] did not close.
unsafe fn below<'a>(file: *mut sqlite3_file) -> (*mut sqlite3_file, &'a sqlite3_io_methods) {
    // SAFETY: the caller's promise.
    let inner = unsafe { inner(file) };
    // SAFETY: `inner` was written when the file was opened.
    (inner, unsafe { methods(inner) }.unwrap_or(&NONE))
}

/// The methods of a file of the system below; none if it is not open. They stay as long as the file is open.
///
/// # Safety
/// `inner` was written.
unsafe fn methods<'a>(inner: *mut sqlite3_file) -> Option<&'a sqlite3_io_methods> {
    // SAFETY: the caller's promise.
    let methods = unsafe { (*inner).pMethods };
    // SAFETY: null, or what below wrote there, which lives as long as the file is open.
    unsafe { methods.as_ref() }
}

/// What is ours of a file.
///
/// # Safety
/// As for [`below`], and nobody else uses it now.
const unsafe fn paged<'a>(file: *mut sqlite3_file) -> &'a mut Paged {
    // SAFETY: `open` wrote a `Paged`; SQLite calls the methods of one file from one thread at a time.
    unsafe { &mut *file.cast::<Paged>() }
}

/// Where the page of this length and offset is, if it is one.
fn place(length: c_int, at: sqlite3_int64) -> Option<u64> {
    let place = u64::try_from(at).ok()?;
    (length == amount(PAGE) && place.is_multiple_of(4096)).then_some(place)
}

/// Reads a page and verifies it. The header may be read alone, before its page: SQLite learns the size of pages from
/// it, and then reads it again with its page.
///
/// # Safety
/// As SQLite calls `xRead`: `out` has room for `length` bytes.
unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    out: *mut c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let (inner, methods) = unsafe { below(file) };
    let Some(read) = methods.xRead else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: SQLite's arguments are passed on as they are.
    let code = unsafe { read(inner, out, length, at) };
    if at.saturating_add(length.into()) <= amount(HEADER).into() {
        return code;
    }
    let is_sound = match (code, place(length, at)) {
        (ffi::SQLITE_OK, Some(place)) => {
            // SAFETY: so many bytes were written there just now, and SQLite uses them when we return.
            let page = unsafe { &*out.cast::<Page>() };
            holds(page, place)
        }
        // A page that is cut off is damaged; one behind the end was never there.
        // SAFETY: below opened the file with these methods.
        (ffi::SQLITE_IOERR_SHORT_READ, Some(_)) => match unsafe { ends(inner, methods) } {
            Ok(end) => end <= at,
            Err(code) => return code,
        },
        (ffi::SQLITE_OK | ffi::SQLITE_IOERR_SHORT_READ, None) => false,
        (code, _) => return code,
    };
    if is_sound {
        return code;
    }
    // SAFETY: an open file.
    unsafe { paged(file) }.met_damage = true;
    ffi::SQLITE_IOERR_DATA
}

/// Where the file ends.
///
/// # Safety
/// `inner` is open with these methods.
unsafe fn ends(
    inner: *mut sqlite3_file,
    methods: &sqlite3_io_methods,
) -> Result<sqlite3_int64, c_int> {
    let Some(size) = methods.xFileSize else {
        return Err(ffi::SQLITE_IOERR_FSTAT);
    };
    let mut end = 0;
    // SAFETY: it writes one number.
    match unsafe { size(inner, &raw mut end) } {
        ffi::SQLITE_OK => Ok(end),
        code => Err(code),
    }
}

/// Writes a page with its checksum. Nothing that has no room for one is written.
///
/// # Safety
/// As SQLite calls `xWrite`: there are `length` bytes.
unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: an open file.
    let (inner, methods) = unsafe { below(file) };
    // SAFETY: an open file.
    let is_bare = unsafe { paged(file) }.is_bare;
    let (Some(write), Some(place), false) = (methods.xWrite, place(length, at), is_bare) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: `place` found that there is a page of bytes.
    let mut page: Page = unsafe { *bytes.cast::<Page>() };
    if place == 0 && page.get(RESERVED).copied().map(usize::from) != Some(CHECKSUM) {
        return ffi::SQLITE_IOERR_WRITE;
    }
    seal(&mut page, place);
    // SAFETY: as many bytes as SQLite gave.
    unsafe { write(inner, page.as_ptr().cast(), length, at) }
}

/// # Safety
/// As SQLite calls `xFileControl`.
unsafe extern "C" fn control(file: *mut sqlite3_file, what: c_int, with: *mut c_void) -> c_int {
    if matches!(what, IS_BARE | MET_DAMAGE) {
        // SAFETY: an open file.
        let paged = unsafe { paged(file) };
        let answer = match what {
            IS_BARE => paged.is_bare,
            _ => paged.met_damage,
        };
        // SAFETY: whoever asks these questions gives an int to be written.
        unsafe { with.cast::<c_int>().write(answer.into()) };
        return ffi::SQLITE_OK;
    }
    // SAFETY: an open file.
    let (inner, methods) = unsafe { below(file) };
    match methods.xFileControl {
        // SAFETY: SQLite's arguments are passed on as they are.
        Some(control) => unsafe { control(inner, what, with) },
        None => ffi::SQLITE_NOTFOUND,
    }
}

/// Parts of pages must not be read past their checksum.
///
/// # Safety
/// As SQLite calls `xDeviceCharacteristics`.
unsafe extern "C" fn characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: an open file.
    let (inner, methods) = unsafe { below(file) };
    let Some(characteristics) = methods.xDeviceCharacteristics else {
        return 0;
    };
    // SAFETY: below opened the file.
    unsafe { characteristics(inner) & !ffi::SQLITE_IOCAP_SUBPAGE_READ }
}

/// # Safety
/// As SQLite calls `xShmBarrier`.
unsafe extern "C" fn barrier(file: *mut sqlite3_file) {
    // SAFETY: an open file.
    let (inner, methods) = unsafe { below(file) };
    match methods.xShmBarrier {
        // SAFETY: below opened the file.
        Some(barrier) => unsafe { barrier(inner) },
        None => std::sync::atomic::fence(Ordering::SeqCst),
    }
}

/// A method that is below's.
macro_rules! pass_on {
    ($name:ident, $method:ident, $missing:expr $(, $argument:ident: $kind:ty)*) => {
        /// # Safety
        /// As SQLite calls the method of this name.
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: an open file.
            let (inner, methods) = unsafe { below(file) };
            match methods.$method {
                // SAFETY: SQLite's arguments are passed on as they are.
                Some(method) => unsafe { method(inner $(, $argument)*) },
                None => $missing,
            }
        }
    };
}

pass_on!(close, xClose, ffi::SQLITE_IOERR_CLOSE);
pass_on!(truncate, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, length: sqlite3_int64);
pass_on!(sync, xSync, ffi::SQLITE_IOERR_FSYNC, flags: c_int);
pass_on!(size, xFileSize, ffi::SQLITE_IOERR_FSTAT, out: *mut sqlite3_int64);
pass_on!(lock, xLock, ffi::SQLITE_IOERR_LOCK, level: c_int);
pass_on!(unlock, xUnlock, ffi::SQLITE_IOERR_UNLOCK, level: c_int);
pass_on!(check_reserved, xCheckReservedLock, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, out: *mut c_int);
pass_on!(sector_size, xSectorSize, amount(PAGE));
pass_on!(map, xShmMap, ffi::SQLITE_IOERR_SHMMAP, number: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void);
pass_on!(lock_shared, xShmLock, ffi::SQLITE_IOERR_SHMLOCK, first: c_int, count: c_int, flags: c_int);
pass_on!(unmap, xShmUnmap, ffi::SQLITE_OK, and_forget: c_int);
