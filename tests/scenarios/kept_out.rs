//! Who is kept out: of the server's services, and of the programs' memory.

use crate::support::Shop;
use acceptance::factory::Factory;
use acceptance::hsm::Hsm;
use acceptance::lines::CAMERAS;
use acceptance::patience::until;
use acceptance::soft::{SoftChip, SoftStation};

const STOLEN: &str = "ota-l2-prov-01";

#[tokio::test]
async fn a_station_enrolled_anew_shuts_its_old_tls_key_out() {
    let home = tempfile::tempdir().unwrap();
    let factory = Factory::running(home.path(), Hsm::of_this_run()).unwrap();
    let chip = SoftChip::make(&factory.vendor, 1).unwrap();
    let old = SoftStation::enroll(&factory, STOLEN).unwrap();
    old.challenges(std::iter::once(&chip)).await.unwrap();
    // The people approve again, with keys of another machine.
    std::fs::remove_dir_all(factory.path("approvals")).unwrap();
    let stations = factory.path("soft-stations");
    std::fs::rename(stations.join(STOLEN), stations.join("stolen")).unwrap();
    let new = SoftStation::enroll(&factory, STOLEN).unwrap();
    let refused = old.challenges(std::iter::once(&chip)).await.unwrap_err();
    assert!(refused.to_string().contains("enrol"), "{refused}");
    new.challenges(std::iter::once(&chip)).await.unwrap();
}

#[test]
fn no_program_that_reads_pins_leaves_a_core_dump() {
    let mut shop = Shop::open(Hsm::of_this_run(), &[CAMERAS]);
    assert_eq!(shop.factory.server_core_limits().unwrap(), ["0", "0"]);
    let mut tray = shop.tray();
    tray.put(&shop.factory.vendor, CAMERAS.part, 1, 1).unwrap();
    let programmer = tray.present(1).unwrap();
    let lot = shop.lot(CAMERAS, 1, 1);
    let mut agent = shop.station.start(&lot, &programmer.sockets).unwrap();
    until("the agent to give up core dumps", || {
        let none = agent.core_limits()? == ["0", "0"];
        Ok(none.then_some(()))
    })
    .unwrap();
    assert!(agent.wait().unwrap().success(), "{}", agent.said());
}
