//! A grant is for so many certificates, and a crowd gets no more.

use crate::floor::{FIRST, Floor, code};
use acceptance::lines::CAMERAS;
use acceptance::register::Register;
use acceptance::soft::{Order, SoftChip};
use identity::envelope::Purpose;
use identity::leaf::Body;
use tokio::task::JoinSet;

const LIMIT: u32 = 200;
const TASKS: u32 = 64;
/// The quota and a thousand more.
const ASKED: u32 = LIMIT + 1_000;
/// A second lot with room for the whole quota, so that it is the grant and not a lot that runs out.
const OTHER_LOT: (&str, u64) = ("26W49-A", 26_490_001_000);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_tasks_get_exactly_the_quota() {
    let floor = Floor::open_with(LIMIT, |factory| {
        let values = [
            ("id", "\"26W49-A\""),
            ("serials", r#"{ from = "26490001000", to = "26490003999" }"#),
        ];
        let derived = factory
            .policies
            .derive("lots", CAMERAS.lot, OTHER_LOT.0, &values);
        derived.unwrap();
        let file = factory.policies.file("lots", CAMERAS.lot);
        let wider = factory.policies.edit(&file, "26480001999", "26480003999");
        wider.unwrap();
    });
    floor.factory.open_lot(CAMERAS.grant, OTHER_LOT.0).unwrap();
    let other = Order::under(&floor.factory, CAMERAS.grant, OTHER_LOT.0).unwrap();
    let lots = [(floor.order, CAMERAS.first), (other, OTHER_LOT.1)];
    let station = floor.station(FIRST);
    let mut register = Register::open(&floor.factory).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (station, vendor) = (station.clone(), floor.factory.vendor.clone());
        tasks.spawn(async move {
            let mut codes = Vec::new();
            for number in (task..ASKED).step_by(usize::try_from(TASKS).unwrap()) {
                // Both halves of the numbers come to both lots in turn.
                let (order, first) = lots[usize::from((number / TASKS + task) % 2 == 1)];
                let chip = SoftChip::make(&vendor, number).unwrap();
                let serial = first + u64::from(number);
                let prepared = station.prepare(Purpose::Provision, order, &chip, serial);
                codes.push(code(station.provision(&prepared.await.unwrap()).await));
            }
            codes
        });
    }
    let codes: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let issued = codes.iter().filter(|code| code.is_none()).count();
    let refused = codes.iter().flatten().filter(|code| *code == "CA-0203");
    assert_eq!(issued, usize::try_from(LIMIT).unwrap());
    assert_eq!(refused.count(), 1_000, "{codes:?}");
    let news = register.news().await.unwrap();
    let ordinals: Vec<u32> = news
        .iter()
        .filter_map(|leaf| match &leaf.body {
            Body::Bind(bind) => Some(bind.grant.ordinal),
            _ => None,
        })
        .collect();
    assert_eq!(ordinals, (0..LIMIT).collect::<Vec<_>>());
    assert!(floor.factory.status().unwrap().contains(" 200 of 200 "));
}
