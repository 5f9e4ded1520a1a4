//! Where faults are tried: a factory that can be copied, and the whole way of one unit in it.

use crate::acknowledged::Acknowledged;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome};
use crate::faults::{Call, Plan, Shim};
use crate::hsm::Hsm;
use crate::lines::{CAMERAS, STATION};
use crate::soft::{Order, Signed, SoftChip, SoftStation};
use crate::way::{Certified, Receipt, Refused};
use identity::envelope::Purpose;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A factory without hardware, stopped, with one unit made: copies of it are what faults are tried on.
pub struct Ground {
    /// The factory, stopped.
    pub factory: Factory,
    /// Its station.
    pub station: SoftStation,
    /// What the station works on.
    pub order: Order,
    /// What was acknowledged.
    pub ledger: Acknowledged,
    /// The request of the unit that is made.
    pub made: Option<Signed>,
    lag_ms: u16,
    shim: Shim,
    home: TempDir,
}

impl Ground {
    /// # Errors
    /// [`Failure`] of a step.
    pub async fn open(hsm: Hsm) -> Outcome<Self> {
        let home = tempfile::tempdir()?;
        let shim = Shim::build(home.path())?;
        let factory = Factory::running(&home.path().join("ground"), hsm)?;
        factory.load_grant(CAMERAS.grant)?;
        factory.open_lot(CAMERAS.grant, CAMERAS.lot)?;
        let station = SoftStation::enroll(&factory, STATION)?;
        let order = Order::under(&factory, CAMERAS.grant, CAMERAS.lot)?;
        factory.publish_trust(&home.path().join("trust"), &[CAMERAS.grant])?;
        let mut ground = Self {
            factory,
            station,
            order,
            ledger: Acknowledged::default(),
            made: None,
            // The same calls in the same order every time.
            lag_ms: 0,
            shim,
            home,
        };
        let chip = SoftChip::make(&ground.factory.vendor, 1)?;
        let signed = ground.prepare(&ground.station, &chip, 0).await?;
        let whole = live(&ground.station, &chip, &signed, &mut ground.ledger).await?;
        whole.map_err(Failure::new)?;
        ground.made = Some(signed);
        ground.factory.stop_server()?;
        Ok(ground)
    }

    /// The same, and in its copies the log's partial files lag by so much, as they do at a factory: which calls are made,
    /// and in which order, depends on the clock then.
    #[must_use]
    pub const fn lagging(mut self, lag_ms: u16) -> Self {
        self.lag_ms = lag_ms;
        self
    }

    /// A request for the unit of this number in the lot.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub async fn prepare(
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
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn governed_copy(&self, home: &Path) -> Outcome<Factory> {
        let mut copy = self.factory.copy_to(home)?;
        copy.govern(&self.shim)?;
        let lag = self.lag_ms;
        copy.configure(&format!("[publication]\nlag_ms = {lag}"))?;
        copy.start_server()?;
        Ok(copy)
    }

    /// The durable calls of the server while one unit is made.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub async fn watch_one_unit(&self) -> Outcome<OneUnit> {
        let copy = self.governed_copy(&self.home("watched"))?;
        let station = self.station.reconnected(&copy)?;
        let chip = SoftChip::make(&copy.vendor, 2)?;
        let signed = self.prepare(&station, &chip, 1).await?;
        let faults = copy.faults()?;
        faults.arm(&Plan::watch())?;
        let given = answered(|| station.certify(&signed)).await;
        let given = given.map_err(Failure::new)?;
        let certified = faults.trace()?.len();
        let confirmation = station.sealed_confirmation(&signed, &chip, &given)?;
        let receipt = answered(|| station.hand_in(&confirmation)).await;
        receipt.map_err(Failure::new)?;
        copy.settle()?;
        let calls = faults.trace()?;
        Ok(OneUnit { calls, certified })
    }

    /// Where something of this name may be put.
    #[must_use]
    pub fn home(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What auditors believe in.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.home("trust")
    }
}

/// The calls of one unit that make something durable.
#[derive(Clone, Debug)]
pub struct OneUnit {
    /// All of them, in their order.
    pub calls: Vec<Call>,
    /// How many of them were made when its certificate had come.
    pub certified: usize,
}

/// A unit's certificate and the receipt of its confirmation.
pub type Whole = (Certified, Receipt);

/// A unit's whole way. What arrived is in the ledger, also if the rest did not.
///
/// # Errors
/// [`Failure`] if what arrived contradicts the ledger.
pub async fn live(
    station: &SoftStation,
    chip: &SoftChip,
    signed: &Signed,
    ledger: &mut Acknowledged,
) -> Outcome<Result<Whole, Refused>> {
    let given = match answered(|| station.certify(signed)).await {
        Ok(given) => given,
        Err(refused) => return Ok(Err(refused)),
    };
    ledger.certificate(signed, &given)?;
    let confirmation = station.sealed_confirmation(signed, chip, &given)?;
    match answered(|| station.hand_in(&confirmation)).await {
        Ok(receipt) => {
            ledger.receipt(signed, &receipt)?;
            Ok(Ok((given, receipt)))
        }
        Err(refused) => Ok(Err(refused)),
    }
}

/// A call made again if there was no answer at all: the first after a restart may find the old connection.
///
/// # Errors
/// What the call was answered.
pub async fn answered<T, F>(call: impl Fn() -> F) -> Result<T, Refused>
where
    F: Future<Output = Result<T, Refused>>,
{
    match call().await {
        Err(refused) if refused.code.is_none() => call().await,
        answer => answer,
    }
}
