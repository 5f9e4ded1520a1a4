//! SQLite's interface to the system (sqlite.org/vfs.html), led to the simulation's disks. Files that are on none of
//! them go to the system as ever.
#![expect(
    unsafe_code,
    reason = "SQLite calls its file system through C function pointers"
)]

use acceptance::simulation::disk::{Disk, Handle};
use rusqlite::ffi::{self, sqlite3_file, sqlite3_io_methods, sqlite3_vfs};
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The system's own.
static SYSTEM: AtomicPtr<sqlite3_vfs> = AtomicPtr::new(ptr::null_mut());
static RANDOM: AtomicU64 = AtomicU64::new(1);

/// An open file as SQLite keeps it: its methods first, then what is ours.
#[repr(C)]
struct Opened {
    base: sqlite3_file,
    handle: *mut Handle,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
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

/// Makes the simulation's disks the default of this process. To be called before anything opens a database.
///
/// # Errors
/// SQLite's code.
pub(crate) fn register() -> Result<(), c_int> {
    // SAFETY: initialising is permitted at any time, and finding by no name gives the default.
    let system = unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(ptr::null())
    };
    // SAFETY: a VFS that was found stays registered and unchanged; the struct is plain data.
    let Some(found) = (unsafe { system.as_ref() }) else {
        return Err(ffi::SQLITE_ERROR);
    };
    SYSTEM.store(system, Ordering::SeqCst);
    let own = c_int::try_from(size_of::<Opened>()).unwrap_or(c_int::MAX);
    let ours = Box::new(sqlite3_vfs {
        iVersion: 2,
        szOsFile: found.szOsFile.max(own),
        pNext: ptr::null_mut(),
        zName: c"koseki-simulation".as_ptr(),
        xOpen: Some(open),
        xDelete: Some(remove),
        xAccess: Some(access),
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        ..*found
    });
    // SAFETY: the struct is never freed, and all of its functions are of this file or the system's.
    match unsafe { ffi::sqlite3_vfs_register(Box::into_raw(ours), 1) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(code),
    }
}

/// The disk and name of a path; none for the system's files and for files without a name.
///
/// # Safety
/// `path` is null or a C string.
unsafe fn place(path: *const c_char) -> Option<(std::sync::Arc<Disk>, String)> {
    if path.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    Disk::of(Path::new(path.to_str().ok()?))
}

/// # Safety
/// As SQLite calls `xOpen`: `file` has room for `szOsFile` bytes.
unsafe extern "C" fn open(
    _vfs: *mut sqlite3_vfs,
    path: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's promise for a file's name.
    let Some((disk, name)) = (unsafe { place(path) }) else {
        let system = SYSTEM.load(Ordering::SeqCst);
        // SAFETY: `register` stored a VFS that lives for ever, and SQLite's arguments are passed on as they are.
        return unsafe {
            match (*system).xOpen {
                Some(open) => open(system, path, file, flags, out_flags),
                None => ffi::SQLITE_CANTOPEN,
            }
        };
    };
    // The signer makes its file itself before it lets SQLite open it.
    // SAFETY: `place` found a disk, so it is a C string.
    let is_made = Path::new(unsafe { CStr::from_ptr(path) }.to_str().unwrap_or_default()).exists();
    let may_create = flags & ffi::SQLITE_OPEN_CREATE != 0 || is_made;
    let opened = disk.open(&name, may_create);
    let (methods, handle, code) = match opened {
        Ok(handle) => (
            ptr::from_ref(&METHODS),
            Box::into_raw(Box::new(handle)),
            ffi::SQLITE_OK,
        ),
        Err(code) => (ptr::null(), ptr::null_mut(), code),
    };
    let base = sqlite3_file { pMethods: methods };
    // SAFETY: `file` has room for `Opened`, as `szOsFile` says; whatever was there is not read.
    unsafe { file.cast::<Opened>().write(Opened { base, handle }) };
    if !out_flags.is_null() {
        // SAFETY: not null, and SQLite's to be written.
        unsafe { out_flags.write(flags) };
    }
    code
}

/// # Safety
/// As SQLite calls `xDelete`.
unsafe extern "C" fn remove(
    _vfs: *mut sqlite3_vfs,
    path: *const c_char,
    sync_directory: c_int,
) -> c_int {
    // SAFETY: SQLite's promise for a file's name.
    match unsafe { place(path) } {
        Some((disk, name)) => disk.remove(&name, sync_directory != 0),
        None => {
            let system = SYSTEM.load(Ordering::SeqCst);
            // SAFETY: as in `open`.
            unsafe {
                match (*system).xDelete {
                    Some(delete) => delete(system, path, sync_directory),
                    None => ffi::SQLITE_IOERR_DELETE,
                }
            }
        }
    }
}

/// # Safety
/// As SQLite calls `xAccess`.
unsafe extern "C" fn access(
    _vfs: *mut sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite's promise for a file's name.
    match unsafe { place(path) } {
        Some((disk, name)) => {
            // SAFETY: SQLite's to be written.
            unsafe { out.write(c_int::from(disk.has(&name))) };
            ffi::SQLITE_OK
        }
        None => {
            let system = SYSTEM.load(Ordering::SeqCst);
            // SAFETY: as in `open`.
            unsafe {
                match (*system).xAccess {
                    Some(access) => access(system, path, flags, out),
                    None => ffi::SQLITE_IOERR_ACCESS,
                }
            }
        }
    }
}

/// Salts of write-ahead logs: never the same, and nothing that is judged depends on them.
///
/// # Safety
/// As SQLite calls `xRandomness`: `out` has room for `length` bytes.
unsafe extern "C" fn randomness(_vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    let count = usize::try_from(length).unwrap_or_default();
    for at in 0..count {
        let [.., byte] = RANDOM
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(8)
            .to_be_bytes();
        // SAFETY: `at` is below the length that SQLite gave.
        unsafe { out.add(at).cast::<u8>().write(byte) };
    }
    length
}

/// Time is the simulation's: nobody waits for it.
extern "C" fn sleep(_vfs: *mut sqlite3_vfs, micros: c_int) -> c_int {
    micros
}

/// Whose file this is.
///
/// # Safety
/// `file` is one that [`open`] opened and [`close`] did not close, and nobody else uses it now.
unsafe fn handle<'a>(file: *mut sqlite3_file) -> &'a mut Handle {
    // SAFETY: the caller's promise; SQLite calls the methods of one file from one thread at a time.
    unsafe { &mut *(*file.cast::<Opened>()).handle }
}

/// # Safety
/// As SQLite calls `xClose`.
unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let opened = file.cast::<Opened>();
    // SAFETY: `open` made the box, and SQLite closes a file once.
    unsafe {
        drop(Box::from_raw((*opened).handle));
        (*opened).handle = ptr::null_mut();
    }
    ffi::SQLITE_OK
}

/// # Safety
/// As SQLite calls `xRead`.
unsafe extern "C" fn read(
    file: *mut sqlite3_file,
    out: *mut c_void,
    length: c_int,
    at: i64,
) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_READ;
    };
    // SAFETY: SQLite gives so many bytes to be written; they are its own and initialised or never read by us.
    let out = unsafe {
        out.cast::<u8>().write_bytes(0, length);
        std::slice::from_raw_parts_mut(out.cast::<u8>(), length)
    };
    // SAFETY: an open file.
    unsafe { handle(file) }.read(out, at)
}

/// # Safety
/// As SQLite calls `xWrite`.
unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    at: i64,
) -> c_int {
    let (Ok(length), Ok(at)) = (usize::try_from(length), usize::try_from(at)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives so many bytes to be read.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) };
    // SAFETY: an open file.
    unsafe { handle(file) }.write(bytes, at)
}

/// # Safety
/// As SQLite calls `xTruncate`.
unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: i64) -> c_int {
    // SAFETY: an open file.
    let handle = unsafe { handle(file) };
    handle.truncate(usize::try_from(length).unwrap_or_default())
}

/// # Safety
/// As SQLite calls `xSync`.
unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.sync()
}

/// # Safety
/// As SQLite calls `xFileSize`.
unsafe extern "C" fn size(file: *mut sqlite3_file, out: *mut i64) -> c_int {
    // SAFETY: an open file.
    match unsafe { handle(file) }.length() {
        None => ffi::SQLITE_IOERR_FSTAT,
        Some(length) => {
            // SAFETY: SQLite's to be written.
            unsafe { out.write(i64::try_from(length).unwrap_or(i64::MAX)) };
            ffi::SQLITE_OK
        }
    }
}

/// # Safety
/// As SQLite calls `xLock`.
unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.lock(level)
}

/// # Safety
/// As SQLite calls `xUnlock`.
unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.unlock(level)
}

/// # Safety
/// As SQLite calls `xCheckReservedLock`.
unsafe extern "C" fn check_reserved(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: an open file, and SQLite's to be written.
    unsafe { out.write(c_int::from(handle(file).is_reserved())) };
    ffi::SQLITE_OK
}

extern "C" fn control(_file: *mut sqlite3_file, _what: c_int, _with: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

extern "C" fn sector_size(_file: *mut sqlite3_file) -> c_int {
    4096
}

/// What SQLite takes for granted on this system as well.
extern "C" fn characteristics(_file: *mut sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// # Safety
/// As SQLite calls `xShmMap`.
unsafe extern "C" fn map(
    file: *mut sqlite3_file,
    number: c_int,
    bytes: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    let (Ok(number), Ok(bytes)) = (usize::try_from(number), usize::try_from(bytes)) else {
        return ffi::SQLITE_IOERR_SHMMAP;
    };
    // SAFETY: an open file.
    let region = unsafe { handle(file) }.region(number, bytes, extend != 0);
    let (at, code) = match region {
        // Atomics may be written through a shared reference; the handle keeps them until `unmap`.
        Ok(region) => (
            region.map_or(ptr::null_mut(), |region| region.as_ptr().cast_mut().cast()),
            ffi::SQLITE_OK,
        ),
        Err(code) => (ptr::null_mut(), code),
    };
    // SAFETY: SQLite's to be written.
    unsafe { out.write(at) };
    code
}

/// # Safety
/// As SQLite calls `xShmLock`.
unsafe extern "C" fn lock_shared(
    file: *mut sqlite3_file,
    first: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    let (Ok(first), Ok(count)) = (u32::try_from(first), u32::try_from(count)) else {
        return ffi::SQLITE_IOERR_SHMLOCK;
    };
    // SAFETY: an open file.
    unsafe { handle(file) }.lock_shared(first, count, flags)
}

extern "C" fn barrier(_file: *mut sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

/// # Safety
/// As SQLite calls `xShmUnmap`.
unsafe extern "C" fn unmap(file: *mut sqlite3_file, and_forget: c_int) -> c_int {
    // SAFETY: an open file.
    unsafe { handle(file) }.unmap(and_forget != 0);
    ffi::SQLITE_OK
}
