use crate::sample::{PAGE, contents, filled};
use pages::{LONG_LOG, WriteBack};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Opens it and reads everything.
fn read(path: &Path) -> rusqlite::Result<()> {
    contents(&pages::open(path)?).map(drop)
}

/// The database with this done to its bytes is refused as damaged.
fn refused(path: &Path, what: &str, harm: impl FnOnce(&mut Vec<u8>)) {
    let sound = fs::read(path).unwrap();
    let mut bytes = sound.clone();
    harm(&mut bytes);
    assert!(bytes != sound, "{what}: nothing was done");
    fs::write(path, &bytes).unwrap();
    let error = read(path).expect_err(what);
    assert!(pages::is_damage(&error), "{what}: {error:?}");
    fs::write(path, &sound).unwrap();
    read(path).unwrap();
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sample.sqlite");
    filled(&path);
    let sound = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let mut noticed = 0;
    for (at, byte) in sound.iter().enumerate() {
        // All bits of the database's header, and of the rest one of every seventh byte.
        let bits = match at {
            0..100 => 0..8,
            _ if at % 7 == 0 => at % 8..at % 8 + 1,
            _ => 0..0,
        };
        for bit in bits {
            let offset = u64::try_from(at).unwrap();
            file.write_all_at(&[byte ^ (1 << bit)], offset).unwrap();
            let error = read(&path).expect_err("a flipped bit was read");
            assert!(pages::is_damage(&error), "byte {at}, bit {bit}: {error:?}");
            file.write_all_at(&[*byte], offset).unwrap();
            noticed += 1;
        }
    }
    assert_eq!(noticed, 8 * 100 + (sound.len() - 1) / 7 - 99 / 7);
    read(&path).unwrap();
}

#[test]
fn pages_that_are_missing_moved_or_empty_are_noticed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sample.sqlite");
    filled(&path);
    let pages = fs::read(&path).unwrap().len() / PAGE;
    assert!(pages > 8, "{pages} pages");
    refused(&path, "cut inside of the last page", |bytes| {
        bytes.truncate((pages - 1) * PAGE + 700);
    });
    refused(&path, "without the last page", |bytes| {
        bytes.truncate((pages - 1) * PAGE);
    });
    for page in 0..pages {
        refused(&path, "zeros", |bytes| bytes[page * PAGE..][..PAGE].fill(0));
    }
    for page in 1..pages - 1 {
        refused(&path, "two pages changed places", |bytes| {
            let (before, after) = bytes.split_at_mut((page + 1) * PAGE);
            before[page * PAGE..].swap_with_slice(&mut after[..PAGE]);
        });
    }
}

#[test]
fn what_another_program_wrote_is_noticed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sample.sqlite");
    filled(&path);
    let other = Connection::open(&path).unwrap();
    other
        .execute("DELETE FROM claim WHERE idx = 7", [])
        .unwrap();
    drop(other);
    assert!(pages::is_damage(&read(&path).unwrap_err()));
}

/// No mapping into memory and no reading of parts leads past the checksums.
#[test]
fn there_is_no_way_round() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sample.sqlite");
    filled(&path);
    let size = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().read(true).write(true).open(&path);
    let file = file.unwrap();
    // A page that only a long entry goes on in.
    let at = (0..size).step_by(PAGE).find(|at| {
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, *at).unwrap();
        page[100..4000].iter().all(|byte| *byte == 5)
    });
    file.write_all_at(&[6], at.unwrap() + 2000).unwrap();
    let connection = pages::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mapped: i64 = connection
        .query_row("PRAGMA mmap_size = 1000000000", [], |row| row.get(0))
        .unwrap_or(0);
    let query = "SELECT bytes FROM entry WHERE idx = 5";
    assert!(pages::met_damage(&connection).is_none());
    let read = connection.query_row(query, [], |row| row.get::<_, Vec<u8>>(0));
    assert!(pages::is_damage(&read.unwrap_err()), "mapped: {mapped}");
    assert!(pages::is_damage(&pages::met_damage(&connection).unwrap()));
    // What is not damaged can still be read.
    let query = "SELECT bytes FROM entry WHERE idx = 4";
    let read = connection.query_row(query, [], |row| row.get::<_, Vec<u8>>(0));
    assert_eq!(read.unwrap(), vec![4; 12_100]);
}

#[test]
fn a_copy_has_checksums_too() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("sample.sqlite");
    let copy = home.path().join("copy.sqlite");
    filled(&path);
    let connection = pages::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let name = copy.to_str().unwrap();
    connection.execute("VACUUM INTO ?1", [name]).unwrap();
    let copied = pages::connect(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    pages::insist(&copied).unwrap();
    assert_eq!(contents(&copied).unwrap(), contents(&connection).unwrap());
    refused(&copy, "a bit of the copy", |bytes| bytes[5 * PAGE + 5] ^= 1);
}

/// As after a kill: what was committed stands in the write-ahead log only, and reaches the database at the next start.
#[test]
fn what_a_kill_left_in_the_log_is_read_and_gets_its_checksums() {
    let home = tempfile::tempdir().unwrap();
    let (path, killed) = (home.path().join("a.sqlite"), home.path().join("b.sqlite"));
    let mut connection = pages::open(&path).unwrap();
    crate::sample::fill(&mut connection);
    let log = |path: &Path| path.with_extension("sqlite-wal");
    fs::copy(&path, &killed).unwrap();
    fs::copy(log(&path), log(&killed)).unwrap();
    assert!(fs::metadata(log(&killed)).unwrap().len() > 8 * 4096);
    let expected = contents(&connection).unwrap();
    let mut next = pages::open(&killed).unwrap();
    assert_eq!(contents(&next).unwrap(), expected);
    let write_back = WriteBack::begin(&mut next, LONG_LOG).unwrap();
    assert!(write_back.all(&next).unwrap());
    drop(next);
    assert_eq!(fs::metadata(log(&killed)).unwrap().len(), 0);
    assert_eq!(contents(&pages::open(&killed).unwrap()).unwrap(), expected);
}
