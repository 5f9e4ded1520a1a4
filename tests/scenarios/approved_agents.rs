//! A station's statement names the line agents that may work there. Another one, were it one byte longer, gets no challenge:
//! it burns nothing and binds nothing, the refusal is on record, and the approved one makes the same chips.

use crate::support::Shop;
use acceptance::hsm::Hsm;
use acceptance::lines::{CAMERAS, STATION};
use acceptance::process::{finish, program, said};
use acceptance::register::Register;
use acceptance::station::{Ended, events};
use identity::hash::sha256;
use identity::leaf::Body;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tokio::runtime::Runtime;

/// Units that the line is asked for.
const UNITS: u32 = 2;

fn hash_of(program: &Path) -> String {
    hex::encode(sha256(&fs::read(program).unwrap()))
}

/// The shop whose statement names the good agent, and a release of long ago that nobody runs any more.
fn picky() -> Shop {
    let good = hash_of(&program("line-agent").unwrap());
    let named = format!("agents = [{good:?}, {:?}]\nrequester =", "ff".repeat(32));
    Shop::open_with(Hsm::of_this_run(), &[CAMERAS], |factory| {
        let file = factory.policies.file("stations", STATION);
        factory.policies.edit(&file, "requester =", &named).unwrap();
    })
}

/// The agent with one byte behind its end: it runs as before.
fn other_agent(shop: &Shop) -> PathBuf {
    let (good, other) = (
        program("line-agent").unwrap(),
        shop.factory.path("line-agent"),
    );
    let mut bytes = fs::read(&good).unwrap();
    bytes.push(0);
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, fs::metadata(&good).unwrap().permissions()).unwrap();
    other
}

fn with(program: &Path, shop: &Shop, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    let settings = shop.station.home().join("line-agent.toml");
    command.args(arguments).arg("--config").arg(settings);
    finish(shop.factory.module().tell(&mut command)).unwrap()
}

#[test]
fn an_agent_that_is_not_approved_burns_nothing_and_the_approved_one_makes_the_same_chips() {
    let mut shop = picky();
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, UNITS)
        .unwrap();
    let lot = shop.lot(CAMERAS, 0, UNITS);
    let run = ["run", "--headless", "--lot", lot.to_str().unwrap()];
    let runtime = Runtime::new().unwrap();
    let mut register = runtime.block_on(Register::open(&shop.factory)).unwrap();

    let other = other_agent(&shop);
    let programmer = tray.present(1).unwrap();
    shop.station.write_settings(&programmer.sockets).unwrap();
    let refused = with(&other, &shop, &run);
    let told = said(&refused.stdout);
    assert_eq!(refused.status.code(), Some(50), "{told}");
    let units: Vec<_> = events(&told)
        .into_iter()
        .filter(|line| line["event"] == "unit" && line["verdict"].is_string())
        .collect();
    assert!(!units.is_empty(), "{told}");
    for unit in &units {
        assert_eq!(unit["verdict"], "ERROR");
        assert_eq!(unit["fault"]["code"], "CA-0111");
    }
    assert_eq!(shop.station.journalled("keyed"), 0, "no key was made");
    let news = runtime.block_on(register.news()).unwrap();
    assert!(!news.is_empty(), "the refusal is on record");
    for leaf in news {
        let reason = match leaf.body {
            Body::Refuse(refuse) => refuse.reason,
            body => panic!("{body:?}"),
        };
        assert_eq!(reason.as_str(), "CA-0111");
    }
    let found = said(&with(&other, &shop, &["doctor"]).stdout);
    assert!(found.contains("NG  ca: CA-0111"), "{found}");
    drop(programmer);

    let programmer = tray.present(1).unwrap();
    shop.station.write_settings(&programmer.sockets).unwrap();
    let good = program("line-agent").unwrap();
    let found = said(&with(&good, &shop, &["doctor"]).stdout);
    assert!(found.contains("this program is approved"), "{found}");
    let made = with(&good, &shop, &run);
    let ended = Ended {
        code: made.status.code(),
        said: said(&made.stdout),
    };
    assert_eq!(ended.code, Some(0), "{}", ended.said);
    for serial in CAMERAS.first..CAMERAS.first + u64::from(UNITS) {
        assert!(ended.told("PASS", &serial.to_string()), "{}", ended.said);
    }
    let mut passed = shop.station.records().unwrap();
    passed.retain(|record| record["outcome"] == "PASS");
    assert_eq!(passed.len(), UNITS as usize);
    for record in passed {
        assert_eq!(record["metadata"]["agent_sha256"], hash_of(&good));
    }
}

#[test]
fn where_no_agent_is_named_any_works_and_doctor_says_so() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    shop.station.write_settings(&programmer.sockets).unwrap();
    let (other, lot) = (other_agent(&shop), shop.lot(CAMERAS, 0, 1));
    let found = said(&with(&other, &shop, &["doctor"]).stdout);
    assert!(found.contains("any program is let in"), "{found}");
    let run = ["run", "--headless", "--lot", lot.to_str().unwrap()];
    let made = with(&other, &shop, &run);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made.stdout));
}
