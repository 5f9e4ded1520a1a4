//! Who is kept out of the programs' memory.

use crate::support::{CAMERAS, Shop};
use acceptance::hsm::Hsm;
use acceptance::patience::until;

#[test]
fn no_program_that_reads_pins_leaves_a_core_dump() {
    let mut shop = Shop::open(Hsm::Simulator, &[CAMERAS]);
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
