use crate::sample::{contents, fill};
use pages::RewriteError;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A database of before, in a directory whose name has everything in it that a URI treats apart.
fn of_before(home: &Path) -> PathBuf {
    let directory = home.join("a?b#c%20 d&e=f");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("sample.sqlite");
    fill(&mut Connection::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn bare(path: &Path) -> Connection {
    pages::connect_bare(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
}

/// Names in its directory.
fn names(path: &Path) -> Vec<String> {
    let listed = fs::read_dir(path.parent().unwrap()).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = listed
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_database_of_before_is_left_alone_until_it_is_rewritten() {
    let home = tempfile::tempdir().unwrap();
    let path = of_before(home.path());
    let before = fs::read(&path).unwrap();
    let expected = contents(&bare(&path)).unwrap();
    assert!(pages::is_damage(&pages::open(&path).unwrap_err()));
    let connection = pages::connect(&path, OpenFlags::default()).unwrap();
    assert!(pages::is_bare(&connection).unwrap());
    let read = connection.query_row("SELECT count(*) FROM claim", [], |row| row.get::<_, i64>(0));
    assert!(pages::is_damage(&read.unwrap_err()));
    drop(connection);
    assert!(fs::read(&path).unwrap() == before, "it was written to");

    pages::rewrite(bare(&path), &path).unwrap();
    assert_eq!(names(&path), ["sample.sqlite"]);
    let connection = pages::open(&path).unwrap();
    assert!(!pages::is_bare(&connection).unwrap());
    assert_eq!(contents(&connection).unwrap(), expected);
    let id = connection.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0));
    assert_eq!(id.unwrap(), 77);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// As after a kill: all of it in the write-ahead log, and what an attempt before left beside it.
#[test]
fn what_stands_in_the_log_only_is_not_lost() {
    let home = tempfile::tempdir().unwrap();
    let path = of_before(home.path());
    let running = bare(&path);
    running.execute("DELETE FROM entry", []).unwrap();
    let expected = contents(&running).unwrap();
    assert!(expected.entries.is_empty());
    let killed = home.path().join("killed");
    fs::create_dir(&killed).unwrap();
    for name in names(&path).iter().filter(|name| !name.ends_with("shm")) {
        fs::copy(path.with_file_name(name), killed.join(name)).unwrap();
    }
    let path = killed.join("sample.sqlite");
    fs::write(killed.join("sample.sqlite.part"), b"half of a copy").unwrap();
    assert!(
        fs::metadata(killed.join("sample.sqlite-wal"))
            .unwrap()
            .len()
            > 4096
    );
    pages::rewrite(bare(&path), &path).unwrap();
    assert_eq!(names(&path), ["sample.sqlite"]);
    assert_eq!(contents(&pages::open(&path).unwrap()).unwrap(), expected);
}

#[test]
fn a_database_that_somebody_has_open_is_not_rewritten() {
    let home = tempfile::tempdir().unwrap();
    let path = of_before(home.path());
    let other = bare(&path);
    let expected = contents(&other).unwrap();
    let error = pages::rewrite(bare(&path), &path).unwrap_err();
    assert!(matches!(error, RewriteError::Sqlite(_)), "{error}");
    assert_eq!(contents(&other).unwrap(), expected);
    drop(other);
    assert_eq!(contents(&bare(&path)).unwrap(), expected);
}
