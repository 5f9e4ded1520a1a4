//! What several stories use.

use acceptance::acknowledged::Acknowledged;
use acceptance::chips::{INJECTED, ON_CHIP, Part, Tray};
use acceptance::factory::Factory;
use acceptance::failure::Outcome;
use acceptance::faults::{Call, Plan, Shim};
use acceptance::hsm::Hsm;
use acceptance::soft::{Order, Signed, SoftChip, SoftStation};
use acceptance::station::{Ended, Station};
use acceptance::way::Refused;
use identity::envelope::Purpose;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const CAMERAS: Line = Line {
    grant: "2026-ota-line-2-cam2",
    lot: "26W48-A",
    part: ON_CHIP,
    first: 26_480_001_000,
};
pub(crate) const SENSORS: Line = Line {
    grant: "2026-ota-line-2-tmp1",
    lot: "26W48-B",
    part: INJECTED,
    first: 26_480_002_000,
};
pub(crate) const STATION: &str = "ota-l2-prov-01";

/// A product in production.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) grant: &'static str,
    pub(crate) lot: &'static str,
    pub(crate) part: Part,
    pub(crate) first: u64,
}

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

/// A factory without hardware, stopped, with one unit made: copies of it are what faults are tried on.
pub(crate) struct Floor {
    pub(crate) factory: Factory,
    pub(crate) station: SoftStation,
    pub(crate) order: Order,
    pub(crate) ledger: Acknowledged,
    /// The request of the unit that is made.
    pub(crate) made: Option<Signed>,
    shim: Shim,
    home: TempDir,
}

impl Floor {
    pub(crate) async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let shim = Shim::build(home.path()).unwrap();
        let factory = Factory::running(&home.path().join("floor"), Hsm::of_this_run()).unwrap();
        factory.load_grant(CAMERAS.grant).unwrap();
        factory.open_lot(CAMERAS.grant, CAMERAS.lot).unwrap();
        let station = SoftStation::enroll(&factory, STATION).unwrap();
        let order = Order::under(&factory, CAMERAS.grant, CAMERAS.lot).unwrap();
        factory
            .publish_trust(&home.path().join("trust"), &[CAMERAS.grant])
            .unwrap();
        let mut floor = Self {
            factory,
            station,
            order,
            ledger: Acknowledged::default(),
            made: None,
            shim,
            home,
        };
        floor.make_the_first_unit().await;
        floor.factory.stop_server().unwrap();
        floor
    }

    async fn make_the_first_unit(&mut self) {
        let station = self.station.clone();
        let chip = SoftChip::make(&self.factory.vendor, 1).unwrap();
        let signed = self.prepare(&station, &chip, 0).await.unwrap();
        let given = station.certify(&signed).await.unwrap();
        self.ledger.certificate(&signed, &given).unwrap();
        let confirmation = station.sealed_confirmation(&signed, &chip, &given).unwrap();
        let receipt = station.hand_in(&confirmation).await.unwrap();
        self.ledger.receipt(&signed, &receipt).unwrap();
        self.made = Some(signed);
    }

    /// A request for the unit of this number in the lot.
    pub(crate) async fn prepare(
        &self,
        station: &SoftStation,
        chip: &SoftChip,
        number: u64,
    ) -> Outcome<Signed> {
        let serial = CAMERAS.first + number;
        station
            .prepare(Purpose::Provision, self.order, chip, serial)
            .await
    }

    /// A copy whose server runs under a page of faults that is not armed yet.
    pub(crate) fn governed_copy(&self, home: &Path) -> Outcome<Factory> {
        let mut copy = self.factory.copy_to(home)?;
        copy.govern(&self.shim)?;
        copy.start_server()?;
        Ok(copy)
    }

    /// The durable calls of the server while one unit is made.
    pub(crate) async fn watch_one_unit(&self) -> Vec<Call> {
        let copy = self.governed_copy(&self.home("watched")).unwrap();
        let station = self.station.reconnected(&copy).unwrap();
        let chip = SoftChip::make(&copy.vendor, 2).unwrap();
        let signed = self.prepare(&station, &chip, 1).await.unwrap();
        copy.faults().unwrap().arm(&Plan::watch()).unwrap();
        let given = station.certify(&signed).await.unwrap();
        let confirmation = station.sealed_confirmation(&signed, &chip, &given).unwrap();
        station.hand_in(&confirmation).await.unwrap();
        copy.faults().unwrap().trace().unwrap()
    }

    /// Where something of this name may be put.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What auditors believe in.
    pub(crate) fn trust(&self) -> PathBuf {
        self.home("trust")
    }
}

/// A call made again if there was no answer at all: the first after a restart may find the old connection.
pub(crate) async fn answered<T, F>(call: impl Fn() -> F) -> Result<T, Refused>
where
    F: Future<Output = Result<T, Refused>>,
{
    match call().await {
        Err(refused) if refused.code.is_none() => call().await,
        answer => answer,
    }
}
