//! How a lot ends: every serial accounted for, be it by several stations, a board scrapped and its serial made with
//! another, and devices that the station does not account for.

use crate::altered_answers::Between;
use crate::changing_hands::{leave_a_bound_unit, work};
use crate::every_step::governed_shop;
use crate::support::Shop;
use acceptance::chips::Tray;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::process::{finish, program, said};
use acceptance::proxy::{Question, Said};
use acceptance::station::{Station, events};
use proto::factory::GetLotResponse;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use tonic_prost::prost::Message as _;

/// The other station that the cameras' grant names.
const SECOND: &str = "ota-l2-prov-02";
/// Units of the lot's order.
const PLANNED: u32 = 1_000;

/// Closes the lot: how the command ended, and what it said.
fn close(shop: &Shop) -> (Option<i32>, String) {
    close_as(shop, &shop.lot(CAMERAS, 0, PLANNED), &[])
}

fn close_as(shop: &Shop, lot: &Path, more: &[&str]) -> (Option<i32>, String) {
    let words = [&["lot", "close", lot.to_str().unwrap()], more].concat();
    let output = shop.station.try_words(&words).unwrap();
    let told = format!("{}{}", said(&output.stdout), said(&output.stderr));
    (output.status.code(), told)
}

/// What anyone finds who has the log.
pub(crate) fn audit(shop: &Shop) -> Value {
    let mut audit = Command::new(program("koseki-verify").unwrap());
    shop.factory.settle().unwrap();
    audit.arg("log").arg(shop.factory.log_dir()).arg("--json");
    let output = finish(audit.arg("--trust").arg(shop.station.trust())).unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the command says of a lot that is closed already.
const BEFORE: &str = "it was closed before, and nothing is changed now\n";

/// What it said when it closed the lot, as it says it again.
fn closed_before(told: &str) -> String {
    let (closed, rest) = told.split_once('\n').unwrap();
    format!("{closed}\n{BEFORE}{rest}")
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[test]
fn a_lot_closes_with_every_serial_accounted_for_and_takes_no_more() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 0, 3).code, Some(0));
    let (code, told) = close(&shop);
    assert_eq!(code, Some(0), "{told}");
    let sum = "planned 1000 = pass 3 + hold 0 + fail 0 + scrapped 0 + unused 997";
    assert!(told.contains(sum), "{told}");
    // Again is the same leaf, and is said to be.
    assert_eq!(close(&shop), (code, closed_before(&told)));
    let (code, told) = close_as(
        &shop,
        &shop.lot(CAMERAS, 0, PLANNED),
        &["--differs=pass=3:4"],
    );
    assert_eq!(code, Some(65), "{told}");
    for word in [
        BEFORE,
        sum,
        "CA-0212",
        "nothing differed when it was closed",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let found = audit(&shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    let lot = &found["lots"][0];
    assert_eq!((&lot["bound"], &lot["confirmed"]), (&3.into(), &3.into()));
    assert_eq!(found["kinds"]["lot-close"], 1);
    assert!(lot["closed"].is_u64(), "{lot}");
    let status = shop.factory.status().unwrap();
    assert!(!status.contains("ALARM"), "{status}");
    // The next unit of this lot gets no certificate, and its chip no key.
    let refused = shop.make(CAMERAS, 3, 1);
    assert_ne!(refused.code, Some(0), "{}", refused.said);
    assert!(refused.said.contains("CA-0212"), "{}", refused.said);
    let serial = (CAMERAS.first + 3).to_string();
    assert!(!shop.station.journal().contains(&serial), "{serial}");
    // Nor is anybody asked to put chips in for it.
    let empty = shop.factory.path("tray-empty");
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(empty.join("order.txt"), "-\n").unwrap();
    let programmer = Tray::new(&empty).present(1).unwrap();
    let lot = shop.lot(CAMERAS, 3, 1);
    let ended = shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(20), "{}", ended.said);
    let lines = events(&ended.said);
    assert_eq!(lines.last().unwrap()["fault"]["code"], "CA-0212");
    assert_eq!(audit(&shop)["kinds"]["bind"], 3);
}

/// Closing is for good: with another lot file than the lot was made from, or with counts that the log does not have, the
/// lot stays open until somebody says what differs, and by how much.
#[test]
fn a_lot_does_not_close_with_a_difference_that_nobody_named() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 0, 2).code, Some(0));
    // The file of the first two alone, and one whose serials are partly of no order.
    let (short, beyond) = (shop.lot(CAMERAS, 0, 2), shop.lot(CAMERAS, 1, PLANNED));
    for (lot, more, wanted) in [
        (
            &short,
            &[][..],
            "difference planned: 2 stated, 1000 ordered",
        ),
        (
            &short,
            &["--differs", "pass=2:1000"],
            "--differs planned=2:1000",
        ),
        (
            &short,
            &["--differs=planned=3:1000"],
            "--differs planned=2:1000",
        ),
        (
            &beyond,
            &[],
            "difference serials: 26480002000 is not of the order",
        ),
        (&beyond, &[], "difference pass: 1 stated, 2 in the log"),
        (&beyond, &[], "--differs serials=1 --differs pass=1:2"),
        (
            &beyond,
            &["--differs=serials=1"],
            "--differs serials=1 --differs pass=1:2",
        ),
    ] {
        let (code, told) = close_as(&shop, lot, more);
        assert_eq!(code, Some(65), "{told}");
        for word in [wanted, "LINE-0210", "26W48-A still open", "planned "] {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
    let whole = shop.lot(CAMERAS, 0, PLANNED);
    let (code, told) = close_as(&shop, &whole, &["--differs", "pass=1:2"]);
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("nothing differs"), "{told}");
    for (named, hint) in [
        ("pass", "pass=STATED:FOUND"),
        ("serials", "serials=COUNT"),
        ("hold=1:2", "serials, planned, sum, pass, open"),
        ("pass=1:1", "no difference"),
    ] {
        let (code, told) = close_as(&shop, &whole, &["--differs", named]);
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains(hint), "{told}");
    }
    assert_eq!(audit(&shop)["kinds"]["lot-close"], Value::Null);
    assert_eq!(close(&shop).0, Some(0));
}

/// The CA counts boards and does not hear of serials: that the lot file had another one is told by the command.
#[test]
fn a_lot_that_closes_with_a_serial_of_no_order_says_so() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 1, 1).code, Some(0));
    let beyond = shop.lot(CAMERAS, 1, PLANNED);
    let (code, told) = close_as(&shop, &beyond, &["--differs", "serials=1"]);
    assert_eq!(code, Some(30), "{told}");
    for word in ["closed leaf=", "serials: 26480002000 is not", "CA-0214"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let again = close_as(&shop, &beyond, &["--differs", "serials=1"]);
    assert_eq!(again, (code, closed_before(&told)));
    // Closed is closed: a command for it is another one's, and says so.
    let (code, told) = close_as(&shop, &shop.lot(CAMERAS, 0, 2), &[]);
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("CA-0212"), "{told}");
}

/// Somebody with the station's keys makes thirty devices more, and takes them out of its journal.
#[test]
fn thirty_ghosts_are_found_when_the_lot_closes() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.make(CAMERAS, 0, 2).code, Some(0));
    let journal = shop.station.home().join("state/journal");
    let honest = shop.station.home().join("honest");
    copy(&journal, &honest);
    assert_eq!(shop.make(CAMERAS, 2, 30).code, Some(0));
    copy(&honest, &journal);
    let whole = shop.lot(CAMERAS, 0, PLANNED);
    for wrong in [&[][..], &["--differs=pass=2:31"], &["--differs=pass=3:32"]] {
        let (code, told) = close_as(&shop, &whole, wrong);
        assert_eq!(code, Some(65), "{told}");
        assert!(told.contains("--differs pass=2:32"), "{told}");
    }
    let (code, told) = close_as(&shop, &whole, &["--differs", "pass=2:32"]);
    assert_eq!(code, Some(30), "{told}");
    // Who has not heard the answer asks again, and gets the same.
    let again = close_as(&shop, &whole, &["--differs", "pass=2:32"]);
    assert_eq!(again, (code, closed_before(&told)));
    // Whoever names nothing is told the same; whoever names something else hears that it is not so.
    assert_eq!(close_as(&shop, &whole, &[]), again);
    let (wrong, contradicted) = close_as(&shop, &whole, &["--differs", "pass=2:31"]);
    assert_eq!(wrong, Some(65), "{contradicted}");
    for word in [BEFORE, "CA-0212", "closed with: --differs pass=2:32"] {
        assert!(contradicted.contains(word), "{word}: {contradicted}");
    }
    let difference = "difference pass: 2 stated, 32 found";
    assert!(
        told.contains(difference) && told.contains("CA-0214"),
        "{told}"
    );
    let status = shop.factory.status().unwrap();
    let alarm = "pass: 2 stated, 32 in the log";
    assert!(
        status.contains("ALARM") && status.contains(alarm),
        "{status}"
    );
    let found = audit(&shop);
    let findings = found["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{found:#}");
    assert_eq!(findings[0]["code"], "VERIFY-0209");
    assert_eq!(findings[0]["note"], alarm);
}

#[test]
fn a_scrapped_board_makes_room_for_another_and_the_lot_still_adds_up() {
    let mut shop = governed_shop();
    let work = work(&mut shop, CAMERAS);
    let left = leave_a_bound_unit(&shop, &work);
    let scrap = |serial: &str, more: &[&str]| {
        let words = ["unit", "scrap", serial, "--lot", CAMERAS.lot, "--reason"];
        let words = [&words[..], &["board-broken"], more].concat();
        let output = shop.station.try_words(&words).unwrap();
        assert!(output.status.success(), "{}", said(&output.stderr));
    };
    scrap(&left.serial, &[]);
    // Another that never had a key, of a serial that nobody will have.
    let last = (CAMERAS.first + u64::from(PLANNED) - 1).to_string();
    scrap(&last, &[]);
    assert!(shop.station.open_units().unwrap().is_empty());
    let ended = shop
        .station
        .run(&work.lot, &work.programmer.sockets)
        .unwrap();
    assert!(ended.told("PASS", &left.serial), "{}", ended.said);
    let (code, told) = close(&shop);
    assert_eq!(code, Some(0), "{told}");
    let sum = "planned 1000 = pass 15 + hold 0 + fail 0 + scrapped 1 + unused 984";
    assert!(told.contains(sum), "{told}");
    assert!(
        told.contains("boards: open 0, voided 0, scrapped 2"),
        "{told}"
    );
    let found = audit(&shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    assert_eq!(found["kinds"]["scrap"], 2);
    assert_eq!(found["grants"][0]["scrapped"], 2);
}

/// A second station with the cameras' grant.
fn second_station(shop: &Shop) -> Station {
    let mut second = Station::enroll(&shop.factory, SECOND).unwrap();
    let (grant, lot) = (CAMERAS.grant, CAMERAS.lot);
    second.take_grant(&shop.factory, grant, &[lot]).unwrap();
    second
}

/// Makes units at a station: lots of the same order, each with chips of its own.
fn make_at(station: &Station, shop: &mut Shop, first: u32, count: u32) {
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, first, count)
        .unwrap();
    let programmer = tray.present(2).unwrap();
    let lot = shop.lot(CAMERAS, u64::from(first), count);
    let ended = station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
}

fn share_of(station: &Station, shop: &Shop) -> PathBuf {
    let lot = shop.lot(CAMERAS, 0, PLANNED);
    let share = station.home().join("share");
    let (lot, out) = (lot.to_str().unwrap(), share.to_str().unwrap());
    let output = station
        .try_words(&["lot", "share", lot, "--out", out])
        .unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    share
}

fn close_with(shop: &Shop, shares: &[&Path]) -> (Option<i32>, String) {
    let with = |share: &&Path| format!("--with={}", share.display());
    let words: Vec<_> = shares.iter().map(with).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    close_as(shop, &shop.lot(CAMERAS, 0, PLANNED), &words)
}

#[test]
fn two_stations_close_one_lot_with_both_their_counts() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let second = second_station(&shop);
    assert_eq!(shop.make(CAMERAS, 0, 3).code, Some(0));
    make_at(&second, &mut shop, 3, 4);
    let share = share_of(&second, &shop);
    // A share whose numbers were altered is no share, nor is one with another signature, nor the same one twice.
    let text = std::fs::read_to_string(&share).unwrap();
    let forged = shop.station.home().join("forged");
    std::fs::write(&forged, text.replacen("pass", "fail", 1)).unwrap();
    let (code, told) = close_with(&shop, &[&forged]);
    assert_eq!(code, Some(78), "{told}");
    let signature = text.lines().nth(2).unwrap();
    let other: String = signature.chars().rev().collect();
    std::fs::write(&forged, text.replace(signature, &other)).unwrap();
    let (_, told) = close_with(&shop, &[&forged]);
    assert!(told.contains("CA-0102"), "{told}");
    let (_, told) = close_with(&shop, &[&share, &share]);
    assert!(told.contains("CA-0101"), "{told}");

    let (code, told) = close_with(&shop, &[&share]);
    assert_eq!(code, Some(0), "{told}");
    let sum = "planned 1000 = pass 7 + hold 0 + fail 0 + scrapped 0 + unused 993";
    assert!(told.contains(sum), "{told}");
    let found = audit(&shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    assert_eq!(found["lots"][0]["confirmed"], 7);
    assert!(!shop.factory.status().unwrap().contains("ALARM"));
}

/// One of the stations hides what it made: its share has less than the log.
#[test]
fn a_ghost_at_the_second_station_is_found_when_the_first_closes() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let second = second_station(&shop);
    assert_eq!(shop.make(CAMERAS, 0, 1).code, Some(0));
    make_at(&second, &mut shop, 1, 2);
    let journal = second.home().join("state/journal");
    let honest = second.home().join("honest");
    copy(&journal, &honest);
    make_at(&second, &mut shop, 3, 1);
    copy(&honest, &journal);
    let share = share_of(&second, &shop);
    let (code, told) = close_with(&shop, &[&share]);
    assert_eq!(code, Some(65), "{told}");
    let with = format!("--with={}", share.display());
    let whole = shop.lot(CAMERAS, 0, PLANNED);
    let (code, told) = close_as(&shop, &whole, &[&with, "--differs=pass=3:4"]);
    assert_eq!(code, Some(30), "{told}");
    assert!(
        told.contains("difference pass: 3 stated, 4 found"),
        "{told}"
    );
    let status = shop.factory.status().unwrap();
    assert!(status.contains("pass: 3 stated, 4 in the log"), "{status}");
}

/// Another station confirms a unit between a station's look and its word. The look is held back on its way until that has
/// happened, and so the CA has the last of it.
#[test]
fn a_lot_that_moves_on_while_it_is_closed_stays_open() {
    let mut between = Between::open();
    between.stand_trusted();
    let second = second_station(&between.shop);
    assert_eq!(between.shop.make(CAMERAS, 0, 2).code, Some(0));
    make_at(&second, &mut between.shop, 2, 1);
    let whole = between.shop.lot(CAMERAS, 0, PLANNED);
    let named = ["--differs", "pass=2:3"];
    let (code, told) = close(&between.shop);
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains(&named.join(" ")), "{told}");

    let look = between.proxy.heard(Question::Lot).unwrap();
    make_at(&second, &mut between.shop, 3, 1);
    between.proxy.forge(Question::Lot, look);
    let (code, told) = close_as(&between.shop, &whole, &named);
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("CA-0216"), "{told}");
    assert_eq!(between.proxy.fired(), 1);
    let kinds = &audit(&between.shop)["kinds"];
    assert_eq!(kinds["lot-close"], Value::Null, "nothing is closed");
    assert_eq!(kinds["refuse"], 1, "and that is on record");

    // Who looks again sees other numbers than those that were named.
    let (code, told) = close_as(&between.shop, &whole, &named);
    assert_eq!(code, Some(65), "{told}");
    assert!(told.contains("--differs pass=2:4"), "{told}");
    let share = share_of(&second, &between.shop);
    let (code, told) = close_with(&between.shop, &[&share]);
    assert_eq!(code, Some(0), "{told}");
    let again = close_with(&between.shop, &[&share]);
    assert_eq!(again, (code, closed_before(&told)));
    let found = audit(&between.shop);
    assert_eq!(found["findings"].as_array().unwrap().len(), 0, "{found:#}");
    assert_eq!(found["kinds"]["lot-close"], 1);
}

/// A CA from before the tally was in its answer: that is said, and not taken for a lie.
#[test]
fn an_older_ca_is_to_be_upgraded_before_a_lot_is_closed() {
    let mut between = Between::open();
    between.stand_trusted();
    assert_eq!(between.shop.make(CAMERAS, 0, 1).code, Some(0));
    let short = between.shop.lot(CAMERAS, 0, 1);
    assert_eq!(close_as(&between.shop, &short, &[]).0, Some(65));
    let Some(Said::Message(answer)) = between.proxy.heard(Question::Lot) else {
        panic!("the CA did not say how the lot stands")
    };
    let mut answer = GetLotResponse::decode(answer.as_slice()).unwrap();
    answer.tally = None;
    let older = Said::Message(answer.encode_to_vec());
    between.proxy.forge(Question::Lot, older);
    let (code, told) = close(&between.shop);
    assert_eq!(code, Some(20), "{told}");
    for word in [
        "LINE-0212",
        "have the CA upgraded first",
        "what its log holds",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(between.proxy.fired(), 1);
    // Once it is of today, the lot closes.
    assert_eq!(close(&between.shop).0, Some(0));
}
