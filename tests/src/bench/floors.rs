use super::client::Crew;
use super::load::{at_once, in_flight, repeated, repeated_for};
use super::report::{Row, Times};
use crate::factory::Factory;
use crate::failure::{At as _, Failure, Outcome, require};
use crate::hsm::{Hsm, Module};
use crate::soft::SoftKey;
use aws_lc_rs::agreement;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use identity::P256Key;
use identity::key::{AwsLcVerifier, VerifyP256 as _};
use keyvault::{Key, KeySpec, KeyUse, Pin, Token};
use proto::factory::GetChainRequest;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// Rows of a commit.
const BATCHES: [u32; 7] = [1, 4, 16, 32, 64, 128, 256];
/// Bytes of a row that a binding adds: leaf, TBS, openings and its share of an envelope.
const BINDING: usize = 2_048;
/// Bytes of a row that a signature or an attempt adds.
const SMALL: usize = 256;
/// How long each size of commits is measured.
const COMMITS: Duration = Duration::from_millis(400);
/// How many calls are under way at once, and how many are made, for the floor of a call.
const CALLS: [(u32, usize); 2] = [(1, 4_000), (64, 16_000)];

/// How long signature checks and signatures are measured for the pace of one moment.
const PACE: Duration = Duration::from_millis(500);

/// Seconds for each part, and what they were measured as.
pub(super) struct Floors {
    verify: Times,
    sign: Times,
    make: Times,
    agree: Times,
    hsm: Times,
    pacemaker: Pacemaker,
    checkpoint: Times,
    flush: Times,
    bindings: Vec<(u32, Times)>,
    small: Vec<(u32, Times)>,
    calls: Vec<(u32, Times)>,
}

/// How fast all processors together check signatures and have them made in the HSM: seconds for one of each. A machine
/// that is shared changes its pace from minute to minute, so each row has its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    verify: f64,
    hsm: f64,
}

impl Pace {
    /// The pace of what lay between two measurements.
    pub(super) fn between(self, later: Self) -> Self {
        Self {
            verify: f64::midpoint(self.verify, later.verify),
            hsm: f64::midpoint(self.hsm, later.hsm),
        }
    }
}

/// What a pace is measured with.
struct Pacemaker {
    public: P256Key,
    signature: [u8; 64],
    hsm: Key,
    processors: u32,
}

/// What is signed.
const DIGEST: [u8; 32] = [0x5A; 32];

impl Pacemaker {
    fn check(&self) -> Outcome<()> {
        let held = AwsLcVerifier.verify(&self.public, &DIGEST, &self.signature);
        require(held, "a signature does not verify")
    }

    fn sign(&self) -> Outcome<()> {
        let signed = self.hsm.sign_p256_digest(&DIGEST);
        signed.map(drop).map_err(Failure::new)
    }

    fn pace(&self) -> Outcome<Pace> {
        let by_all = (self.processors, PACE);
        Ok(Pace {
            verify: cost(&at_once(by_all, || self.check())?),
            hsm: cost(&at_once(by_all, || self.sign())?),
        })
    }
}

impl Floors {
    pub(super) async fn measure(factory: &Factory, crew: &Crew) -> Outcome<Self> {
        let key = SoftKey::generate()?;
        let public = key.public()?;
        let token = token(factory.module(), &factory.path("bench-pins"))?;
        let (hsm, log) = (
            generated(&token, KeyUse::IssuingCa)?,
            generated(&token, KeyUse::Log)?,
        );
        let commit = |bytes: usize| {
            let path = factory.path(&format!("bench-{bytes}.sqlite"));
            let one = move |batch: &u32| commits(&path, *batch, bytes).map(|it| (*batch, it));
            BATCHES.iter().map(one).collect::<Outcome<Vec<_>>>()
        };
        let mut called = Vec::new();
        for (at_once, count) in CALLS {
            called.push((at_once, calls(crew, at_once, count).await?));
        }
        let processors = std::thread::available_parallelism()?.get();
        let processors = u32::try_from(processors).map_err(Failure::new)?;
        let pacemaker = Pacemaker {
            public,
            signature: key.sign(&DIGEST)?.0,
            hsm,
            processors,
        };
        Ok(Self {
            verify: repeated(|| pacemaker.check())?,
            sign: repeated(|| key.sign(&DIGEST).map(drop))?,
            make: repeated(|| {
                let made = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
                made.map(drop).map_err(Failure::new)
            })?,
            agree: agreements(&public)?,
            hsm: repeated(|| pacemaker.sign())?,
            checkpoint: repeated(|| log.sign_ed25519(&DIGEST).map(drop).map_err(Failure::new))?,
            flush: flushes(&factory.path("bench.flush"))?,
            bindings: commit(BINDING)?,
            small: commit(SMALL)?,
            calls: called,
            pacemaker,
        })
    }

    /// The pace of this moment.
    pub(super) fn pace(&self) -> Outcome<Pace> {
        self.pacemaker.pace()
    }

    /// Certificates in a second, from what the promises demand of each: five signatures checked (proof of possession,
    /// endorsement and origin of the key, the new signature, and the station's, once an envelope); one signature made
    /// in the HSM, and one for the checkpoint of a batch; three commits of a batch (binding, attempt, signature at the
    /// signer; the server may lose its copy) and a flush of the head; one call an envelope.
    ///
    /// Checks, the HSM's signatures and calls were measured on all processors at once; what else is computed is divided
    /// among them, and the disk is not.
    pub(super) fn issuance(&self, load: Load) -> f64 {
        1.0 / self.certificate(load)
    }

    fn certificate(&self, load: Load) -> f64 {
        let share = 1.0 / f64::from(load.each);
        let checks = (4.0 + share) * load.pace.verify;
        let signatures = load.pace.hsm + self.shared(&self.checkpoint) / load.batch;
        let rows = row(&self.bindings, load.batch) + 2.0 * row(&self.small, load.batch);
        let disk = rows + cost(&self.flush) / load.batch;
        checks + signatures + disk + share * self.call(load.in_flight)
    }

    /// Whole units in a second: a certificate with the four signatures that chip and station make for it, and the
    /// confirmation: two more signatures checked, a checkpoint, two commits and a flush; two more calls.
    pub(super) fn unit(&self, load: Load) -> f64 {
        let made = 4.0 * self.shared(&self.sign);
        let checks = 2.0 * load.pace.verify + self.shared(&self.checkpoint) / load.batch;
        let disk = 2.0 * row(&self.small, load.batch) + cost(&self.flush) / load.batch;
        let more = made + checks + disk + 2.0 * self.call(load.in_flight);
        1.0 / (self.certificate(load) + more)
    }

    /// Injected keys in a second, with so many threads: two key pairs made and one agreement computed, as fast as
    /// software does it, and the receipt's signature in the module.
    pub(super) fn injection(&self, threads: u32) -> f64 {
        let parts = 2.0 * cost(&self.make) + cost(&self.agree) + cost(&self.hsm);
        f64::from(threads.min(self.pacemaker.processors)) / parts
    }

    /// Seconds of the whole machine for one of what was measured on one processor.
    fn shared(&self, times: &Times) -> f64 {
        cost(times) / f64::from(self.pacemaker.processors)
    }

    /// What so many flushes one after another would allow in a second.
    pub(super) fn flushed(&self, flushes: f64) -> f64 {
        1.0 / (flushes * cost(&self.flush))
    }

    /// Seconds of the whole machine for a call.
    fn call(&self, in_flight: u32) -> f64 {
        let fit = self.calls.iter().rev();
        let mut fit = fit.filter(|(at_once, _)| *at_once <= in_flight);
        fit.next().map_or(0.0, |(_, times)| cost(times))
    }

    pub(super) fn rows(&self, hsm: Hsm) -> Vec<Row> {
        let mut rows = vec![
            self.verify.row("floor-p256-verify", "-", 1),
            self.sign.row("floor-p256-sign", "-", 1),
            self.make.row("floor-p256-make", "-", 1),
            self.agree.row("floor-p256-agree", "-", 1),
            self.hsm.row("floor-hsm-sign", hsm.name(), 1),
            self.checkpoint.row("floor-hsm-checkpoint", hsm.name(), 1),
            self.flush.row("floor-flush", "-", 1),
        ];
        for (name, commits) in [
            ("floor-commit-binding", &self.bindings),
            ("floor-commit-small", &self.small),
        ] {
            let commits = commits.iter();
            rows.extend(commits.map(|(batch, times)| times.row(name, "-", *batch).times(*batch)));
        }
        let calls = self.calls.iter();
        rows.extend(calls.map(|(at_once, times)| times.row("floor-mtls-call", "-", *at_once)));
        rows
    }
}

/// How the path was used: calls under way at once, units in each, and units that one commit served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) in_flight: u32,
    pub(super) each: u32,
    pub(super) batch: f64,
    pub(super) pace: Pace,
}

/// Seconds for one.
fn cost(times: &Times) -> f64 {
    times.whole.as_secs_f64() / times.calls.len() as f64
}

/// Seconds for one row in a commit of so many: between two sizes that were measured on the line between them.
fn row(measured: &[(u32, Times)], batch: f64) -> f64 {
    let points = measured
        .iter()
        .map(|(rows, times)| (f64::from(*rows), cost(times)));
    let points: Vec<_> = points.collect();
    let above = points.iter().position(|(rows, _)| *rows >= batch);
    let (low, high) = match above {
        Some(0) => (points[0], points[0]),
        Some(above) => (points[above - 1], points[above]),
        // Beyond the largest, as there.
        None => return points.last().map_or(0.0, |(rows, seconds)| seconds / rows),
    };
    let part = if high.0 > low.0 {
        (batch - low.0) / (high.0 - low.0)
    } else {
        0.0
    };
    (low.1 + part.max(0.0) * (high.1 - low.1)) / batch.max(1.0)
}

/// Agreements with the key of another.
fn agreements(theirs: &P256Key) -> Outcome<Times> {
    let theirs = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, theirs.sec1());
    let own = agreement::PrivateKey::generate(&agreement::ECDH_P256).map_err(Failure::new)?;
    repeated(|| agreement::agree(&own, theirs, Failure::new("no secret"), |_secret| Ok(())))
}

/// Flushes of a few kilobytes at the end of a file.
fn flushes(path: &Path) -> Outcome<Times> {
    let mut file = std::fs::File::create(path).at(path)?;
    let bytes = [0xA5_u8; 4_096];
    repeated(move || {
        file.write_all(&bytes)?;
        Ok(file.sync_data()?)
    })
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

fn generated(token: &Token, usage: KeyUse) -> Outcome<Key> {
    let spec = KeySpec::new(&format!("bench-{usage:?}"), usage).map_err(Failure::new)?;
    token.generate(&spec).map_err(Failure::new)
}

/// Commits of so many rows at the end of a table, each on the disk when it returns.
fn commits(path: &Path, batch: u32, bytes: usize) -> Outcome<Times> {
    let mut store = pages::open(path).map_err(Failure::new)?;
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL)";
    store.execute_batch(setup).map_err(Failure::new)?;
    let row = vec![0xA5_u8; bytes];
    repeated_for(COMMITS, move || {
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
async fn calls(crew: &Crew, at_once: u32, count: usize) -> Outcome<Times> {
    let crew = crew.clone();
    in_flight(at_once, vec![(); count], move |call, ()| {
        let station = crew.station(call);
        async move {
            let answer = station.client.clone().get_chain(GetChainRequest {}).await;
            answer.map(drop).map_err(Failure::new)
        }
    })
    .await
}
