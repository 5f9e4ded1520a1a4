//! Every byte of a small store, of the server's and of the signer's, with one bit of it flipped; and what a damaged page
//! does to issuing.

use crate::child::{run, run_on_small_disk};
use crate::world::{Places, World, fault, request, tell};
use ca_server::issuance::Ends;
use ca_server::store::{ClaimKey, Reader, Store, StoreError};
use identity::fault::Fault;
use identity::{ChipUid, DocumentHash};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const PAGE: usize = 4096;

/// Three units: one confirmed, one void, one bound. The stores are closed and nothing is left beside them. Gives the
/// grant.
fn fill(room: &Path, places: Places) -> DocumentHash {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stores = [places.store.clone(), places.signer.clone()];
    let grant = runtime.block_on(async {
        let world = World::open(room, places).await;
        let issued = world.provision(1).await.unwrap();
        world.confirm(1, &issued).await.unwrap();
        world.provision(2).await.unwrap();
        world.void(2).await.unwrap();
        world.provision(3).await.unwrap();
        world.corridor.stop();
        world.grant_hash()
    });
    drop(runtime);
    for store in stores {
        let mut log = store.into_os_string();
        log.push("-wal");
        assert_eq!(fs::metadata(&log).unwrap().len(), 0, "{log:?}");
    }
    grant
}

/// A store that is flipped and mended again.
struct Patient {
    sound: Vec<u8>,
    file: File,
}

impl Patient {
    fn of(path: &Path) -> Self {
        let file = File::options().write(true).open(path).unwrap();
        let sound = fs::read(path).unwrap();
        assert_eq!(sound.len() % PAGE, 0);
        Self { sound, file }
    }

    fn pages(&self) -> usize {
        self.sound.len() / PAGE
    }

    fn flip(&self, at: usize, bit: usize) {
        let offset = u64::try_from(at).unwrap();
        let byte = self.sound[at] ^ (1 << bit);
        self.file.write_all_at(&[byte], offset).unwrap();
    }

    fn mend(&self, at: usize) {
        let offset = u64::try_from(at).unwrap();
        self.file.write_all_at(&[self.sound[at]], offset).unwrap();
    }
}

/// Which table each page belongs to, by SQLite's own account.
fn tables(connection: &Connection) -> BTreeMap<usize, String> {
    let query = "SELECT pageno - 1, coalesce(tbl_name, 'sqlite_schema') FROM dbstat
        LEFT JOIN sqlite_schema USING (name)";
    let mut query = connection.prepare(query).unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?)));
    let rows = rows.unwrap().map(Result::unwrap);
    rows.map(|(page, table)| (usize::try_from(page).unwrap(), table))
        .collect()
}

/// Whether everything of a table and its indexes can be read again from the file.
fn can_be_read(connection: &Connection, table: &str) -> bool {
    connection.execute_batch("PRAGMA shrink_memory").unwrap();
    let check = format!("PRAGMA integrity_check({table})");
    let found = connection.query_row(&check, [], |row| row.get::<_, String>(0));
    match found {
        Ok(found) => found == "ok",
        Err(error) => {
            assert!(pages::is_damage(&error), "{error}");
            false
        }
    }
}

/// Flips one bit of every byte, and every bit of the heads of pages and of some tables. Gives how many.
fn every_byte(path: &Path, whole: &[&str]) -> usize {
    let patient = Patient::of(path);
    let connection = pages::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let tables = tables(&connection);
    // Pages that hold nothing are nowhere read.
    let free: u32 = connection
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap();
    assert_eq!(
        tables.len() + usize::try_from(free).unwrap(),
        patient.pages(),
        "{tables:?}"
    );
    let mut noticed = 0;
    for (page, table) in &tables {
        assert!(can_be_read(&connection, table), "{table}");
        for at in page * PAGE..(page + 1) * PAGE {
            let all = at % PAGE < 108 || whole.contains(&table.as_str());
            let bits = if all { 0..8 } else { at % 8..at % 8 + 1 };
            for bit in bits {
                patient.flip(at, bit);
                let is_read = can_be_read(&connection, table);
                patient.mend(at);
                assert!(!is_read, "byte {at} of {table}, bit {bit}");
                noticed += 1;
            }
        }
        assert!(can_be_read(&connection, table), "{table}, mended");
    }
    assert!(noticed > patient.sound.len(), "{noticed}");
    noticed
}

/// The same without the checksums, for a bit of every byte of the claims: how often SQLite finds them in order although
/// they are others.
fn claims_lost_without_checksums(path: &Path) -> usize {
    let patient = Patient::of(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).unwrap();
    let claims = || -> rusqlite::Result<Vec<(Vec<u8>, i64)>> {
        let mut claims = connection.prepare("SELECT key, idx FROM claim")?;
        let rows = claims.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let sound = claims().unwrap();
    let tables = tables(&connection);
    let pages = tables.iter().filter(|(_, table)| *table == "claim");
    let bytes = pages.flat_map(|(page, _)| page * PAGE..(page + 1) * PAGE);
    let is_lost = |at: &usize| {
        patient.flip(*at, at % 8);
        let is_lost =
            can_be_read(&connection, "claim") && claims().is_ok_and(|found| found != sound);
        patient.mend(*at);
        is_lost
    };
    bytes.filter(is_lost).count()
}

#[test]
fn one_flipped_bit_of_any_byte_of_the_stores_is_noticed() {
    run_on_small_disk(
        concat!(
            module_path!(),
            "::one_flipped_bit_of_any_byte_of_the_stores_is_noticed"
        ),
        8000,
        |room| {
            let places = Places::below(room);
            let [store, signer] =
                ["ca.sqlite", "signer.sqlite"].map(|name| room.join("small").join(name));
            let [from, of_signer] = [places.store.clone(), places.signer.clone()];
            fill(room, places);
            fs::copy(from, &store).unwrap();
            fs::copy(of_signer, &signer).unwrap();
            // A flipped bit of a claim is a device that may be bound again.
            let lost = claims_lost_without_checksums(&store);
            assert!(lost > 200, "SQLite itself misses only {lost}");
            let noticed = [
                every_byte(&store, &["claim"]),
                every_byte(&signer, &["subject"]),
            ];
            println!("{noticed:?} flipped bits are noticed; SQLite lets {lost} claims be others");
        },
    );
}

/// Opens the store and reads what issuing reads of it.
fn answers(path: &Path, grant: &DocumentHash) -> Result<Vec<String>, StoreError> {
    let store = Store::open(path, pages::LONG_LOG)?;
    let reader = store.reader()?;
    let size = reader.head()?.size;
    let mut told = vec![
        format!("{:?}", reader.head()?),
        format!("{:?}", reader.leaves(0, size)?),
        format!("{:?}", reader.documents()?),
        format!("{:?}", reader.closed_lots()?),
        format!("{:?}", (reader.open_bindings()?, reader.in_flight()?)),
        format!("{:?}", (reader.set_aside()?, reader.grant(grant)?)),
        format!("{:?}", reader.refusals(size, 100)?),
    ];
    for entry in 0..=size {
        told.push(format!("{:?}", reader.past_root(entry)?));
        let binding = reader.binding(entry)?;
        if let Some(binding) = &binding {
            told.push(format!("{:?}", reader.envelope(binding.envelope)?));
            told.push(format!("{:?}", reader.lot(&binding.lot)?));
            told.push(format!("{:?}", reader.lot_state(&binding.lot)?));
        }
        told.push(format!("{binding:?}"));
    }
    // Devices 1 to 3 are known, 4 is not.
    for device in 1..=4_u16 {
        let [high, low] = device.to_be_bytes();
        let uid = ChipUid::new(&[0xc0, 0, high, low]).unwrap();
        let keys = [ClaimKey::request(&request(device)), ClaimKey::uid(&uid)];
        for key in keys {
            let seen = (
                reader.owner(&key)?,
                store.write(|claims| claims.owner(&key))?,
            );
            assert_eq!(seen.0, seen.1);
            told.push(format!("{seen:?}"));
        }
    }
    told.push(windows(&store)?);
    drop(reader);
    store.settle()?;
    Ok(told)
}

/// A store at rest, and no write-ahead log of any before it.
fn lay(path: &Path, store: &[u8]) {
    for log in ["sqlite-wal", "sqlite-shm"] {
        let log = path.with_extension(log);
        assert!(!log.exists() || fs::remove_file(log).is_ok());
    }
    fs::write(path, store).unwrap();
}

fn windows(store: &Store) -> Result<String, StoreError> {
    let none = identity::Timestamp(0);
    let open = store.write(|windows| windows.has_closed_windows(none))?;
    Ok(format!("{open}"))
}

/// Through the store itself, for a bit of every 61st byte and all of the header.
#[test]
fn a_store_with_a_flipped_bit_gives_the_same_answers_or_none() {
    run_on_small_disk(
        concat!(
            module_path!(),
            "::a_store_with_a_flipped_bit_gives_the_same_answers_or_none"
        ),
        8000,
        |room| {
            let path = room.join("small/ca.sqlite");
            let places = Places::below(room);
            let from = places.store.clone();
            let grant = fill(room, places);
            fs::copy(from, &path).unwrap();
            // The fence rises with every opening; what is compared is what was there before.
            let expected = answers(&path, &grant).unwrap();
            let sound = fs::read(&path).unwrap();
            let (mut noticed, mut unread) = (BTreeMap::new(), BTreeSet::new());
            let of_header = (0..100).flat_map(|at| (0..8).map(move |bit| (at, bit)));
            let others = (0..sound.len()).step_by(61).map(|at| (at, at / 61 % 8));
            for (at, bit) in of_header.chain(others) {
                let mut flipped = sound.clone();
                flipped[at] ^= 1 << bit;
                lay(&path, &flipped);
                match answers(&path, &grant) {
                    Ok(told) => {
                        assert!(told == expected, "byte {at}, bit {bit} gave other answers");
                        unread.insert(at / PAGE);
                    }
                    Err(StoreError::DamagedPage(_) | StoreError::Damaged(_)) => {
                        *noticed.entry(at / PAGE).or_insert(0) += 1;
                    }
                    Err(other) => panic!("byte {at}, bit {bit}: {other}"),
                }
            }
            lay(&path, &sound);
            assert_eq!(answers(&path, &grant).unwrap(), expected);
            // A page is read or it is not: of those that are, no flipped bit got through.
            let read: BTreeSet<_> = noticed.keys().copied().collect();
            assert!(read.is_disjoint(&unread), "{noticed:?} {unread:?}");
            assert!(read.len() > 10, "only {noticed:?}");
            let connection = pages::connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            let tables = tables(&connection);
            let unread: BTreeSet<_> = unread.iter().map(|page| tables[page].as_str()).collect();
            assert!(
                unread.is_subset(&BTreeSet::from(["lot_request"])),
                "{unread:?}"
            );
        },
    );
}

/// Where a table begins.
fn root_page(path: &Path, table: &str) -> usize {
    let connection = pages::connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let query = "SELECT rootpage - 1 FROM sqlite_schema WHERE name = ?1";
    let page = connection.query_row(query, [table], |row| row.get::<_, u32>(0));
    usize::try_from(page.unwrap()).unwrap()
}

#[test]
fn a_damaged_page_stops_issuing_until_it_is_mended() {
    run(
        concat!(
            module_path!(),
            "::a_damaged_page_stops_issuing_until_it_is_mended"
        ),
        |room| {
            tell(async {
                let world = World::open(room, Places::below(room)).await;
                let first = world.provision(1).await.unwrap();
                let path = Places::below(room).store;
                let at = root_page(&path, "claim") * PAGE + 4000;
                let flip = |_log: &Path| {
                    let patient = Patient::of(&path);
                    patient.flip(at, 3);
                };
                let world = world.restart_after(flip);
                assert_eq!(fault(world.provision(2).await), Fault::StoreUnavailable);
                let stop = world.corridor.status().unwrap().stopped.unwrap();
                assert_eq!(stop.ends, Ends::ByRepair);
                let said = stop.refusal.to_string();
                assert!(said.contains("the store is damaged"), "{said}");
                assert!(said.contains("restore a backup"), "{said}");
                // A retry needs that page too.
                assert_eq!(fault(world.provision(1).await), Fault::StoreUnavailable);
                let checked = Reader::open(&path).unwrap().check();
                assert!(!matches!(checked.as_deref(), Ok("ok")), "{checked:?}");
                let world = world.restart_after(flip);
                let again = world.provision(1).await.unwrap();
                assert_eq!(again.certificate, first.certificate);
                world.provision(2).await.unwrap();
                world.corridor.stop();
            });
        },
    );
}
