//! What `make faults` looks at after each fault, with a known bug planted: each look finds it. Secrets are planted in
//! `secrets`; answers that are lost, twice or forked, in `planted`.

use acceptance::canaries::files;
use acceptance::factory::{Factory, copy_all};
use acceptance::failure::Outcome;
use acceptance::flips::{Copies, Flip, STORES, same_words};
use acceptance::ground::Ground;
use acceptance::hsm::Hsm;
use acceptance::recount::{Recount, entries, hold_status, root};
use identity::hash::RequestHash;
use koseki_verify::{Scope, Trust, audit_log};
use std::fs;

/// A copy of the ground that nobody runs, with what its leaves say.
struct Held {
    ground: Ground,
    factory: Factory,
    recount: Recount,
}

impl Held {
    async fn begin() -> Self {
        let ground = Ground::open(Hsm::of_this_run()).await.unwrap();
        let factory = ground.factory.copy_to(&ground.home("held")).unwrap();
        let recount = Recount::of(entries(&factory.log_dir()).unwrap()).unwrap();
        let held = Self {
            ground,
            factory,
            recount,
        };
        held.hold().unwrap();
        held
    }

    fn trust(&self) -> Trust {
        Trust::load(&self.ground.trust()).unwrap()
    }

    /// The looks at the stores.
    fn hold(&self) -> Outcome<()> {
        let copies = Copies::of(&self.factory)?;
        self.recount.hold_store(&copies.store)?;
        let stores = [&copies.store, &copies.signer];
        let given = self.ground.ledger.certificates();
        self.recount.hold_signatures(stores, given)
    }

    /// Changes a store, checksums and all.
    fn change(&self, store: &str, sql: &str) {
        let store = pages::open(&self.factory.path(store)).unwrap();
        assert!(store.execute(sql, []).unwrap() > 0, "{sql}");
    }

    /// Puts the stores back as they were.
    fn put_back(&self) {
        for directory in ["ca/state", "ca/signer"] {
            let here = self.factory.path(directory);
            fs::remove_dir_all(&here).unwrap();
            copy_all(&self.ground.factory.path(directory), &here).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whatever_a_refused_request_leaves_beside_its_refusal_is_found() {
    let held = Held::begin().await;
    for sql in [
        "INSERT INTO envelope (id, der, signature) SELECT 99, CAST(x'30' || der AS BLOB), signature FROM envelope LIMIT 1",
        "INSERT INTO claim (key, idx) SELECT CAST(x'01' || randomblob(16) AS BLOB), idx FROM binding LIMIT 1",
        "INSERT INTO claim (key, idx) SELECT CAST(x'05' || randomblob(16) AS BLOB), idx FROM binding LIMIT 1",
        "DELETE FROM claim WHERE substr(key, 1, 1) = x'04'",
        "INSERT INTO refusal (idx, at_ms, station, reason, count, openings) VALUES (0, 0, 'x', 'CA-0402', 1, x'')",
        "CREATE TABLE refused AS SELECT 1",
    ] {
        let store = pages::open(&held.factory.path(STORES[0])).unwrap();
        store.execute(sql, []).unwrap();
        drop(store);
        let found = held.hold().expect_err(sql).to_string();
        assert!(
            found.starts_with("I9") || found.starts_with("nobody recounts"),
            "{sql}: {found}"
        );
        held.put_back();
    }
    // A leaf that is no refusal, a refusal of something else, and one too many.
    let size = u64::try_from(held.recount.entries().len()).unwrap();
    let request = RequestHash([7; 32]);
    for before in [size - 2, size - 1, size] {
        let found = held.recount.hold_refusal(before, "CA-0402", &request);
        let found = found.unwrap_err().to_string();
        assert!(found.starts_with("I9: "), "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_count_that_does_not_follow_from_the_leaves_is_found() {
    let mut held = Held::begin().await;
    for sql in [
        "UPDATE grant_state SET issued = issued - 1",
        "UPDATE grant_state SET scrapped = 1",
        "UPDATE grant_state SET closed = 1",
        "UPDATE lot SET voided = voided + 1",
        "UPDATE lot_state SET keyless = keyless + 1",
        "UPDATE binding SET stage = 3",
        "UPDATE document SET hash = CAST(x'00' || substr(hash, 2) AS BLOB) WHERE idx = 1",
        "UPDATE past_head SET root = randomblob(32) WHERE size = 2",
    ] {
        held.change(STORES[0], sql);
        let found = held.hold().expect_err(sql).to_string();
        assert!(
            found.starts_with("I9, I12: ") || found.starts_with("I5: "),
            "{sql}: {found}"
        );
        held.put_back();
    }
    held.factory.start_server().unwrap();
    let told = held.factory.status().unwrap();
    let findings = audit_log(&held.factory.log_dir(), &held.trust(), Scope::Whole).unwrap();
    let root = root(held.recount.entries());
    hold_status(&told, &findings, &root).unwrap();
    for (so, otherwise) in [
        (" 1 of ", " 0 of "),
        (" issued", " issued, closed"),
        ("0 in flight", "1 in flight"),
        (&root[..8], "00000000"),
        ("HSM      ready", "HSM      ready\nALARM    something"),
    ] {
        let other = told.replace(so, otherwise);
        assert_ne!(other, told, "{so}");
        let found = hold_status(&other, &findings, &root).unwrap_err();
        assert!(
            found.to_string().starts_with("I9, I12: the status"),
            "{found}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_second_signature_or_tbs_for_a_leaf_is_found() {
    let held = Held::begin().await;
    for (store, sql) in [
        (STORES[0], "UPDATE binding SET signature = randomblob(64)"),
        (
            STORES[0],
            "UPDATE binding SET tbs = CAST(tbs || x'00' AS BLOB)",
        ),
        (STORES[1], "UPDATE attempt SET signature = randomblob(64)"),
        (STORES[1], "UPDATE attempt SET tbs = randomblob(32)"),
    ] {
        held.change(store, sql);
        let found = held.hold().expect_err(sql).to_string();
        assert!(found.starts_with("I1, "), "{sql}: {found}");
        held.put_back();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_flipped_bit_that_nobody_notices_is_reported() {
    let mut held = Held::begin().await;
    let (log, trust) = (held.factory.log_dir(), held.trust());
    // The audit must find it: one that was not flipped is as one that nobody noticed.
    let mut tried = 0;
    for path in files(&log).unwrap() {
        let name = path.strip_prefix(held.factory.path("")).unwrap();
        let flip = Flip {
            file: name.to_str().unwrap().to_owned(),
            byte: tried % 40,
            bit: 3,
        };
        assert!(flip.is_published(), "{flip}");
        let unnoticed = flip.hold_audit(&log, &trust).unwrap_err().to_string();
        assert!(unnoticed.starts_with("I13: "), "{unnoticed}");
        let sound = fs::read(&path).unwrap();
        let flipped = flip.make(&held.factory).unwrap();
        assert_eq!(sound[flip.byte] ^ flipped[flip.byte], 8);
        flip.hold_audit(&log, &trust).unwrap();
        fs::write(&path, sound).unwrap();
        tried += 1;
    }
    assert!(tried > 5, "only {tried} files");
    // Bits under a checksum that was made for them: the server starts on them and says nothing.
    let words = Copies::of(&held.factory).unwrap().words().unwrap();
    let sound = Copies::of(&held.factory).unwrap().words().unwrap();
    same_words(&words, &sound).unwrap();
    held.change(
        STORES[0],
        "UPDATE binding SET openings = CAST(x'00' || substr(openings, 2) AS BLOB)",
    );
    held.factory.start_server().unwrap();
    held.factory.kill_settled_server().unwrap();
    let now = Copies::of(&held.factory).unwrap().words().unwrap();
    let found = same_words(&words, &now).unwrap_err().to_string();
    assert!(found.starts_with("I13: other rows in "), "{found}");
    held.put_back();
    held.change(STORES[1], "UPDATE document SET kind = 'another'");
    let now = Copies::of(&held.factory).unwrap().words().unwrap();
    let found = same_words(&words, &now).unwrap_err().to_string();
    assert!(found.starts_with("I13: other rows in "), "{found}");
    // A server that does not start for another reason has not found it.
    let flip = Flip::choose(&held.factory, 1).unwrap();
    assert_eq!(flip, Flip::choose(&held.factory, 1).unwrap());
    flip.hold_refusal("the store is damaged").unwrap();
    let other = flip.hold_refusal("Address already in use").unwrap_err();
    assert!(other.to_string().starts_with("I13: "), "{other}");
}
