//! Grants and lots that do not cover a unit: of others, of other times, and of no room.

use crate::floor::{Floor, THIRD, with_stations};
use acceptance::factory::Factory;
use acceptance::lines::{CAMERAS, SENSORS};
use acceptance::patience::pause;
use acceptance::soft::{Order, SoftChip, SoftStation};
use identity::Id;
use identity::envelope::Purpose;
use std::time::Duration;

const DAY: i64 = 86_400;

/// Grants and lots that do not cover the unit.
pub(crate) struct Orders {
    pub(crate) sensors: Order,
    pub(crate) expired: Order,
    pub(crate) early: Order,
    pub(crate) line: Order,
    pub(crate) site: Order,
    pub(crate) others: Order,
    pub(crate) full: Order,
    pub(crate) used_up: Order,
}

/// A moment before and one after this story, in seconds since 1970, both of today (UTC): the log knows days, and takes
/// no lot under a grant of another day.
fn around_now() -> (i64, i64) {
    let now = || jiff::Timestamp::now().as_second();
    let left = DAY - now().rem_euclid(DAY);
    if left < 120 {
        pause(Duration::from_secs(left.unsigned_abs()));
    }
    let midnight = now().div_euclid(DAY) * DAY;
    (midnight.max(now() - 3_600), midnight + DAY - 1)
}

/// Grants for others, of other times, and of no room; each with a lot.
pub(crate) fn write_orders(factory: &Factory) {
    with_stations(factory, &[THIRD]);
    let (earlier, later) = around_now();
    let written = |second: i64| {
        let moment = jiff::Timestamp::from_second(second).unwrap();
        moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let expired = [written(earlier - 9 * DAY), written(earlier)];
    let early = [written(later), written(later + 9 * DAY)];
    let others = format!("[{THIRD:?}, \"ota-l2-prov-09\"]");
    let grants: [(&str, &[(&str, &str)]); 6] = [
        ("expired", &[("from", &expired[0]), ("until", &expired[1])]),
        ("early", &[("from", &early[0]), ("until", &early[1])]),
        ("line", &[("lines", r#"["line-3"]"#)]),
        ("site", &[("site", r#""JP-27-SAKAI""#)]),
        ("others", &[("stations", &others)]),
        ("little", &[("total", "2"), ("per_lot", "1")]),
    ];
    for (name, values) in grants {
        let id = format!("{name:?}");
        let values = [&[("id", id.as_str())], values].concat();
        let derived = factory
            .policies
            .derive("grants", CAMERAS.grant, name, &values);
        derived.unwrap();
    }
    for (grant, lot, first) in LOTS {
        let (id, serials) = (
            format!("{lot:?}"),
            format!("{{ from = \"{first}\", to = \"{}\" }}", first + 9),
        );
        let named = format!("{grant:?}");
        let values = [
            ("id", id.as_str()),
            ("grant", named.as_str()),
            ("quantity", "1"),
            ("serials", &serials),
        ];
        let derived = factory.policies.derive("lots", CAMERAS.lot, lot, &values);
        derived.unwrap();
    }
}

/// Lots of these grants, and their first serials.
const LOTS: [(&str, &str, u64); 5] = [
    ("little", "26W49-A", 26_490_001_000),
    ("little", "26W49-B", 26_490_002_000),
    ("little", "26W49-C", 26_490_003_000),
    ("expired", "26W49-D", 26_490_004_000),
    ("early", "26W49-E", 26_490_005_000),
];

pub(crate) fn first_of(order: &Order, orders: &Orders) -> u64 {
    match order.lot == orders.full.lot {
        true => LOTS[0].2,
        false => LOTS[2].2,
    }
}

impl Orders {
    pub(crate) fn load(factory: &Factory) -> Self {
        for grant in [
            "expired",
            "early",
            "line",
            "site",
            "others",
            "little",
            SENSORS.grant,
        ] {
            factory.load_grant(grant).unwrap();
        }
        factory.open_lot(SENSORS.grant, SENSORS.lot).unwrap();
        for (grant, lot, _) in LOTS {
            factory.open_lot(grant, lot).unwrap();
        }
        let order = |grant, lot| Order::under(factory, grant, lot).unwrap();
        Self {
            sensors: order(SENSORS.grant, SENSORS.lot),
            expired: order("expired", LOTS[3].1),
            early: order("early", LOTS[4].1),
            line: order("line", CAMERAS.lot),
            site: order("site", CAMERAS.lot),
            others: order("others", CAMERAS.lot),
            full: order("little", LOTS[0].1),
            used_up: order("little", LOTS[2].1),
        }
    }
}

/// Uses the little grant up with its first two lots.
pub(crate) async fn fill(floor: &Floor, station: &SoftStation, orders: &Orders) {
    for (number, (_, lot, first)) in (1_u32..).zip(&LOTS[..2]) {
        let order = Order {
            grant: orders.full.grant,
            lot: Id::new(lot).unwrap(),
        };
        let chip = SoftChip::make(&floor.factory.vendor, number).unwrap();
        let prepared = station.prepare(Purpose::Provision, order, &chip, *first);
        let answer = station.provision(&prepared.await.unwrap()).await.unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
}
