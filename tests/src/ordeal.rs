//! One unit while one call of the server fails: the call is hit, the server goes on, ends or waits for a person, the
//! person starts it again where it asks for that, and the station sends the same until the unit is whole. Then
//! everything that was acknowledged is held against certificate, proof, log and the heads that were seen, every invariant
//! against what is left (`ordeal/invariants.rs`), and one bit of that is flipped.

mod invariants;

use crate::acknowledged::Acknowledged;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::faults::{Call, Deed, Plan};
use crate::flips::Found;
use crate::ground::{Ground, Whole, live};
use crate::patience::{now, pause};
use crate::soft::{Signed, SoftChip, SoftStation};
use identity::hash::sha256;
use invariants::{Left, Refusal, Shown};
use koseki_verify::Trust;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// Input/output error (errno(3)).
const EIO: u32 = 5;
/// Interrupted by a signal.
const EINTR: u32 = 4;
/// No space left on the device.
const ENOSPC: u32 = 28;

/// A server that only waits for what it cannot know is started anew after so long, as its operator would.
const TILL_RESTART: Duration = Duration::from_secs(5);
/// A unit that is not whole after so long is stuck.
const TILL_STUCK: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// One fault at one call.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Number of the call on the way of one unit, from 1.
    pub number: u64,
    /// The call.
    pub call: Call,
    /// What happens to it.
    pub deed: Deed,
}

/// How it went on after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aftermath {
    /// The call was not made this time: no fault fired.
    NotReached,
    /// The station was answered all the same.
    Unnoticed,
    /// A refusal, and by and by the server went on by itself.
    WentOn,
    /// The process ended, and was started again.
    Ended,
    /// Issuing stopped, and the server was started anew.
    Restarted,
}

/// What came of a fault, and of the bit that was flipped behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Met {
    /// How it went on.
    pub aftermath: Aftermath,
    /// Who found the bit.
    pub found: Found,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, call, deed } = self;
        write!(f, "{deed:?} at call {number}, {} {}", call.name, call.path)
    }
}

impl fmt::Display for Aftermath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReached => "not reached",
            Self::Unnoticed => "unnoticed by the station",
            Self::WentOn => "refused, then went on by itself",
            Self::Ended => "the process ended and was started again",
            Self::Restarted => "issuing stopped until the server was started anew",
        })
    }
}

/// Every fault that each of these calls can meet: errors of the system, a kill before and after it, and for writes a
/// short one and a torn one.
#[must_use]
pub fn faults_at(calls: &[Call]) -> Vec<Fault> {
    let errors = [EIO, ENOSPC, EINTR].map(Deed::Fail);
    let kills = [Deed::KillBefore, Deed::KillAfter];
    let halves = [Deed::Cut, Deed::Tear];
    let deeds = |call: &Call| -> Vec<Deed> {
        let is_write = call.name.contains("write");
        let more = if is_write { &halves[..] } else { &[] };
        [&errors[..], &kills, more].concat()
    };
    let of_call = |(call, number): (&Call, u64)| {
        let fault = move |deed| Fault {
            number,
            call: call.clone(),
            deed,
        };
        deeds(call).into_iter().map(fault).collect::<Vec<_>>()
    };
    calls.iter().zip(1..).flat_map(of_call).collect()
}

impl Fault {
    /// Lets one unit meet the fault, in a copy of the factory at `home`, which is removed if all held.
    ///
    /// # Errors
    /// [`Failure`] says what is lost, twice, forked, stuck, not acceptable, or which invariant does not hold.
    pub async fn meet(&self, ground: &Ground, home: &Path) -> Outcome<Met> {
        let mut factory = ground.governed_copy(home)?;
        let station = ground.station.reconnected(&factory)?;
        let chip = SoftChip::make(&factory.vendor, 2)?;
        let mut unit = Unit {
            signed: ground.prepare(&station, &chip, 1).await?,
            ledger: ground.ledger.clone(),
            shown: Shown::default(),
            station,
            chip,
        };
        let trust = Trust::load(&ground.trust()).map_err(Failure::new)?;
        let aftermath = self.befall(&mut unit, &mut factory, &trust).await?;
        let refusal = Refusal::provoke(ground, &unit).await?;
        let newest = unit.station.checkpoint().await.map_err(Failure::new)?;
        unit.ledger.checkpoint(&newest)?;
        let left = Left::by_a_kill(&mut factory, &mut unit.shown, &trust)?;
        unit.ledger
            .hold_against(&factory.log_dir(), &ground.trust())?;
        left.hold(&unit.ledger, &refusal)?;
        let found = left.flip(self.word(), &mut factory, &mut unit).await?;
        std::fs::remove_dir_all(home)?;
        Ok(Met { aftermath, found })
    }

    /// The fault fires while the unit is made; it is made all the same, and a relying party takes it.
    async fn befall(
        &self,
        unit: &mut Unit,
        factory: &mut Factory,
        trust: &Trust,
    ) -> Outcome<Aftermath> {
        unit.shown.look(factory)?;
        factory.faults()?.arm(&Plan::at(self.number, self.deed))?;
        let first = unit.live().await?;
        await_files(factory)?;
        let fired = factory.faults()?.fired()?;
        require(fired <= 1, format_args!("{fired} faults fired"))?;
        let (whole, mut aftermath) = unit.until_whole(factory, first).await?;
        // What lags may be hit behind the answer.
        if factory.has_ended()? {
            factory.start_server()?;
            aftermath = aftermath.max(Aftermath::Ended);
        }
        // A retry: the ledger knows the bytes and the place that it must give. What stopped behind the answer goes on
        // by itself, too.
        let again = unit.live().await?;
        let (_, after) = unit.until_whole(factory, again).await?;
        invariants::is_accepted(&whole, trust)?;
        Ok(match fired {
            0 => Aftermath::NotReached,
            _ => aftermath.max(after),
        })
    }

    /// What chooses the bit that is flipped behind it: the same for the same fault.
    fn word(&self) -> u64 {
        let name = sha256(format!("{} {:?}", self.number, self.deed).as_bytes());
        name.iter()
            .take(8)
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

/// Files may lag behind the answer: they are waited for, or the end of the server, or so long that it is a stop.
fn await_files(factory: &mut Factory) -> Outcome<()> {
    let begin = now();
    while !factory.has_ended()? && begin.elapsed() < TILL_RESTART {
        if factory.has_settled().unwrap_or(false) {
            return Ok(());
        }
        pause(PAUSE);
    }
    Ok(())
}

/// A unit and its station.
struct Unit {
    signed: Signed,
    ledger: Acknowledged,
    shown: Shown,
    station: SoftStation,
    chip: SoftChip,
}

/// What a try gave: the unit's certificate and receipt, or why not.
type Tried = Result<Whole, crate::way::Refused>;

impl Unit {
    async fn live(&mut self) -> Outcome<Tried> {
        live(&self.station, &self.chip, &self.signed, &mut self.ledger).await
    }

    /// Sends the same again and again. The fault is over: what was hit once is not hit again.
    async fn until_whole(
        &mut self,
        factory: &mut Factory,
        mut tried: Tried,
    ) -> Outcome<(Whole, Aftermath)> {
        factory.faults()?.disarm()?;
        let (begin, mut aftermath, mut since) = (now(), Aftermath::Unnoticed, now());
        loop {
            let refused = match tried {
                Ok(whole) => return Ok((whole, aftermath)),
                Err(refused) => refused,
            };
            require(
                begin.elapsed() < TILL_STUCK,
                format_args!("STUCK: {refused}\n{}", factory.server_log()),
            )?;
            aftermath = aftermath.max(Aftermath::WentOn);
            self.shown.look(factory)?;
            if factory.has_ended()? {
                factory.start_server()?;
                aftermath = aftermath.max(Aftermath::Ended);
            } else if since.elapsed() > TILL_RESTART {
                factory.kill_server()?;
                factory.start_server()?;
                (aftermath, since) = (Aftermath::Restarted, now());
            } else {
                pause(PAUSE);
            }
            tried = self.live().await?;
        }
    }
}
