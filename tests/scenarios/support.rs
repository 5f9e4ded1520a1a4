//! What several stories use.

use acceptance::chips::Tray;
use acceptance::factory::Factory;
use acceptance::hsm::Hsm;
use acceptance::lines::{Line, STATION};
use acceptance::station::{Ended, Station};
use std::path::PathBuf;
use tempfile::TempDir;

/// A factory with one station, ready to make the lots of these lines.
pub(crate) struct Shop {
    pub(crate) factory: Factory,
    pub(crate) station: Station,
    trays: u32,
    _home: TempDir,
}

impl Shop {
    pub(crate) fn open(hsm: Hsm, lines: &[Line]) -> Self {
        Self::open_with(hsm, lines, |_| ())
    }

    /// As [`Self::open`], with policies altered before anybody reads them.
    pub(crate) fn open_with(hsm: Hsm, lines: &[Line], alter: impl FnOnce(&mut Factory)) -> Self {
        Self::open_at(hsm, lines, jiff::Timestamp::now(), alter)
    }

    /// As [`Self::open_with`], with policies for another day.
    pub(crate) fn open_at(
        hsm: Hsm,
        lines: &[Line],
        now: jiff::Timestamp,
        alter: impl FnOnce(&mut Factory),
    ) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut factory = Factory::prepare_at(home.path(), hsm, now).unwrap();
        alter(&mut factory);
        factory.hold_ceremony().unwrap();
        factory.start_server().unwrap();
        let mut station = Station::enroll(&factory, STATION).unwrap();
        for line in lines {
            factory.load_grant(line.grant).unwrap();
            factory.open_lot(line.grant, line.lot).unwrap();
            station
                .take_grant(&factory, line.grant, &[line.lot])
                .unwrap();
        }
        Self {
            factory,
            station,
            trays: 0,
            _home: home,
        }
    }

    /// A tray of its own.
    pub(crate) fn tray(&mut self) -> Tray {
        self.trays += 1;
        Tray::new(&self.factory.path(&format!("tray-{}", self.trays)))
    }

    /// Makes `count` units of a line with good chips.
    pub(crate) fn make(&mut self, line: Line, first: u32, count: u32) -> Ended {
        let mut tray = self.tray();
        tray.put(&self.factory.vendor, line.part, first, count)
            .unwrap();
        let programmer = tray.present(2).unwrap();
        let lot = self.lot(line, u64::from(first), count);
        self.station.run(&lot, &programmer.sockets).unwrap()
    }

    /// A lot file of `count` units whose serials begin at the line's first plus `from`.
    pub(crate) fn lot(&self, line: Line, from: u64, count: u32) -> PathBuf {
        let rows = (line.first + from..).zip(0..count);
        let rows = rows.map(|(serial, _)| format!("{},{serial},unit\n", line.lot));
        let text: String = std::iter::once("lot,serial,label\n".to_owned())
            .chain(rows)
            .collect();
        self.station
            .lot_file(&format!("{}-{from}.csv", line.lot), text.as_bytes())
            .unwrap()
    }
}

/// Root, issuing CA and devices' certificates, as outside programs take them.
pub(crate) fn trust(shop: &Shop) -> (PathBuf, PathBuf, Vec<PathBuf>) {
    let trust = shop.station.trust();
    (
        trust.join("ca/root.pem"),
        trust.join("ca/issuing.pem"),
        shop.station.devices().unwrap(),
    )
}
