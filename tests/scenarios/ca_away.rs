//! The CA cannot be reached in the middle of a lot: units wait in their sockets, and go on by themselves in the order
//! in which they came to wait. What the CA refuses for good is set aside and keeps nobody.

use crate::altered_answers::Between;
use crate::support::Shop;
use acceptance::cable::Cable;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::process::Daemon;
use acceptance::station::{Ended, events};
use serde_json::Value;

const SOCKETS: usize = 4;
const UNITS: u32 = 16;
/// Longer than any story: whoever waits goes on because the CA is back.
const LONG: u32 = 3_600;

fn of_kind(said: &str, kind: &str) -> Vec<Value> {
    let mut lines = events(said);
    lines.retain(|line| line["event"] == kind);
    lines
}

fn wait_for(agent: &mut Daemon, what: &str, kind: &str, count: usize) {
    until(what, || {
        let said = agent.said();
        assert!(agent.ended().unwrap().is_none(), "{said}");
        Ok((of_kind(&said, kind).len() >= count).then_some(()))
    })
    .unwrap();
}

#[test]
fn units_wait_for_the_ca_and_go_on_in_their_order() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let cable = Cable::to(shop.factory.address()).unwrap();
    shop.station.dial(&cable.address.to_string(), 1);
    shop.station.hold(LONG);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let programmer = tray.present(SOCKETS).unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    wait_for(&mut agent, "the first units", "unit", 2);
    cable.cut();
    wait_for(&mut agent, "every socket to be on hold", "wait", SOCKETS);
    let before = agent.said();
    let held = of_kind(&before, "wait");
    assert!(held.iter().all(|line| line["verdict"] == "HOLD"));
    assert!(
        held.iter().all(|line| line["fault"]["code"] == "LINE-0203"),
        "{before}"
    );
    cable.mend();
    let status = agent.wait().unwrap();
    let ended = Ended::of(status, &agent);
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    // Each unit has one line, and those that waited have theirs in the order in which they came to wait.
    let made = of_kind(&ended.said, "unit");
    assert_eq!(made.len(), usize::try_from(UNITS).unwrap());
    let serials = |lines: &[Value]| -> Vec<String> {
        let serial = |line: &Value| line["serial"].as_str().unwrap().to_owned();
        lines.iter().map(serial).collect()
    };
    let (held, made) = (serials(&held), serials(&made));
    let drained: Vec<_> = made
        .into_iter()
        .filter(|unit| held.contains(unit))
        .collect();
    assert_eq!(drained, held, "{}", ended.said);
    assert_eq!(shop.station.records().unwrap().len(), drained.len() * 4);
    assert_eq!(
        shop.station.journalled("dropped"),
        0,
        "no key was made in vain"
    );
}

#[test]
fn a_unit_that_the_ca_refuses_for_good_is_set_aside_and_keeps_nobody() {
    let mut between = Between::open();
    between.stand_trusted();
    let mut tray = between.shop.tray();
    tray.put(&between.shop.factory.vendor, CAMERAS.part, 1, 3)
        .unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = between.shop.lot(CAMERAS, 1, 3);
    let poison = (CAMERAS.first + 1).to_string();
    between.proxy.refuse(Some(poison.clone()));
    let ended = between.shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(20), "{}", ended.said);
    assert!(ended.told("HOLD", &poison), "{}", ended.said);
    let units = of_kind(&ended.said, "unit");
    assert_eq!((units.len(), &units[0]["set_aside"]), (3, &true.into()));
    assert_eq!(between.shop.station.devices().unwrap().len(), 2);
    let open = between.shop.station.open_units().unwrap();
    assert!(
        matches!(open.as_slice(), [line] if line.ends_with("step=sent aside=CA-0999")),
        "{open:?}"
    );
    // The CA's people have mended it, and somebody puts the chip back.
    between.proxy.refuse(None);
    drop(programmer);
    tray.rewind().unwrap();
    let programmer = tray.present(1).unwrap();
    let ended = between.shop.station.run(&lot, &programmer.sockets).unwrap();
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    assert!(ended.told("PASS", &poison), "{}", ended.said);
    assert!(between.shop.station.open_units().unwrap().is_empty());
}
