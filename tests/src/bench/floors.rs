use super::client::Crew;
use super::load::{in_flight, repeated};
use super::report::{Row, Times};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::hsm::{Hsm, Module};
use crate::soft::SoftKey;
use identity::key::{AwsLcVerifier, VerifyP256 as _};
use keyvault::{Key, KeySpec, KeyUse, Pin, Token};
use proto::factory::GetChainRequest;
use rusqlite::Connection;
use std::path::Path;

/// Rows of a commit.
const BATCHES: [u32; 4] = [1, 8, 64, 256];
/// Bytes of a row: leaf, TBS, openings and their share of an envelope.
const ROW: usize = 2_048;
/// Calls that the floor of a call is taken from, and how many at once.
const CALLS: (usize, u32) = (20_000, 64);

/// Seconds of one processor for each part, and what they were measured as.
pub(super) struct Floors {
    verify: Times,
    sign: Times,
    hsm: Times,
    commits: Vec<(u32, Times)>,
    call: Times,
    processors: f64,
}

impl Floors {
    pub(super) async fn measure(factory: &Factory, crew: &Crew) -> Outcome<Self> {
        let key = SoftKey::generate()?;
        let (public, digest) = (key.public()?, [0x5A; 32]);
        let signature = key.sign(&digest)?;
        let hsm = ca_like_key(factory.module(), &factory.path("bench-pins"))?;
        let commit =
            |batch: &u32| commits(&factory.path("bench.sqlite"), *batch).map(|it| (*batch, it));
        Ok(Self {
            verify: repeated(|| {
                let held = AwsLcVerifier.verify(&public, &digest, &signature.0);
                require(held, "a signature does not verify")
            })?,
            sign: repeated(|| key.sign(&digest).map(drop))?,
            hsm: repeated(|| {
                hsm.sign_p256_digest(&digest)
                    .map(drop)
                    .map_err(Failure::new)
            })?,
            commits: BATCHES.iter().map(commit).collect::<Outcome<_>>()?,
            call: calls(crew).await?,
            processors: std::thread::available_parallelism()?.get() as f64,
        })
    }

    /// Certificates in a second: four signatures checked at the door, two by the signer and its own, one made in the
    /// HSM, two rows durable, one call for the envelope. Checks of an envelope and its call serve all its units.
    pub(super) fn issuance(&self, units_at_once: u32, each: u32) -> f64 {
        let share = 1.0 / f64::from(each);
        let checks = (5.0 + 2.0 * share) * cost(&self.verify);
        let rows = 2.0 * self.row(units_at_once);
        self.processors / (checks + cost(&self.hsm) + rows + share * cost(&self.call))
    }

    /// Whole units in a second: a certificate with its two signatures by chip and station, a challenge, and a
    /// confirmation: two more signatures made and checked, one row, one call.
    pub(super) fn unit(&self, units_at_once: u32) -> f64 {
        let certificate = self.processors / self.issuance(units_at_once, 1);
        let made = 4.0 * cost(&self.sign);
        let confirmed = 2.0 * cost(&self.verify) + self.row(units_at_once);
        self.processors / (certificate + made + confirmed + 2.0 * cost(&self.call))
    }

    /// Injected keys in a second: three key pairs' worth of work cannot be told apart from outside the module, so the
    /// floor is its receipt signature alone.
    pub(super) fn injection(&self) -> f64 {
        1.0 / cost(&self.hsm)
    }

    /// Seconds for one row in a commit of this many.
    fn row(&self, batch: u32) -> f64 {
        let fit = self.commits.iter().rev().find(|(rows, _)| *rows <= batch);
        fit.map_or(0.0, |(rows, times)| cost(times) / f64::from(*rows))
    }

    pub(super) fn rows(&self, hsm: Hsm) -> Vec<Row> {
        let mut rows = vec![
            self.verify.row("floor-p256-verify", "-", 1),
            self.sign.row("floor-p256-sign", "-", 1),
            self.hsm.row("floor-hsm-sign", hsm.name(), 1),
        ];
        let commits = self.commits.iter();
        rows.extend(
            commits.map(|(batch, times)| times.row("floor-commit-rows", "-", *batch).times(*batch)),
        );
        rows.push(self.call.row("floor-mtls-call", "-", CALLS.1));
        rows
    }
}

/// Seconds for one.
fn cost(times: &Times) -> f64 {
    times.whole.as_secs_f64() / times.calls.len() as f64
}

/// A token of the benchmark's own in the same module.
pub(super) fn token(module: &Module, pins: &Path) -> Outcome<Token> {
    let label = "bench";
    std::fs::create_dir_all(pins)?;
    let loaded = keyvault::Module::load(module.path()).map_err(Failure::new)?;
    let pin = || Pin::new("bench-4711-0815".to_owned());
    loaded
        .init_token(label, &Pin::new("bench-so-4711".to_owned()), &pin())
        .map_err(Failure::new)?;
    loaded.open(label, pin()).map_err(Failure::new)
}

fn ca_like_key(module: &Module, pins: &Path) -> Outcome<Key> {
    let spec = KeySpec::new("bench-ca", KeyUse::IssuingCa).map_err(Failure::new)?;
    token(module, pins)?.generate(&spec).map_err(Failure::new)
}

/// Commits of so many rows at the end of a table, each on the disk when it returns.
fn commits(path: &Path, batch: u32) -> Outcome<Times> {
    let mut store = Connection::open(path).map_err(Failure::new)?;
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)";
    store.execute_batch(setup).map_err(Failure::new)?;
    let row = [0xA5_u8; ROW];
    repeated(move || {
        let transaction = store.transaction().map_err(Failure::new)?;
        for _ in 0..batch {
            transaction
                .prepare_cached("INSERT INTO row (bytes) VALUES (?1)")
                .and_then(|mut insert| insert.execute([row.as_slice()]))
                .map_err(Failure::new)?;
        }
        transaction.commit().map_err(Failure::new)
    })
}

/// Calls that have nothing to do but answer.
async fn calls(crew: &Crew) -> Outcome<Times> {
    let crew = crew.clone();
    in_flight(CALLS.1, vec![(); CALLS.0], move |call, ()| {
        let station = crew.station(call);
        async move {
            let answer = station.client.clone().get_chain(GetChainRequest {}).await;
            answer.map(drop).map_err(Failure::new)
        }
    })
    .await
}
