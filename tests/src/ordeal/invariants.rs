//! What must hold after each fault, whatever it was. Which line looks at which invariant:
//!
//! | | what holds | where |
//! |---|---|---|
//! | I1 | one TBS a key, one signature a TBS | `Acknowledged::certificate` (answers), `Recount::of` (leaves), `Recount::hold_signatures` (server, signer, certificates) |
//! | I2 | the leaf is below a checkpoint signed before the release | [`is_accepted`]: certificate, proof and checkpoint as they were released |
//! | I3 | the same again for the same request | `Acknowledged::certificate` and `receipt`, at the retry behind each fault and behind the flipped bit |
//! | I4 | quota kept, ordinals dense | the audit in [`Left::hold`]; without its code `Recount::hold_store` counts |
//! | I5 | one history, and its file never shrinks | `Acknowledged::hold_against` (heads that were seen), `Recount::hold_store` (heads that were committed), [`Shown::look`] |
//! | I6 | serials unique, epochs rise | the audit in [`Left::hold`] |
//! | I7 | no secret in a file, log, environment or command line | `Canaries`: [`Left::by_a_kill`] asks the running server, [`Left::hold`] all files. Core dumps: `scenarios::kept_out` |
//! | I8 | nothing released without its leaf | `Acknowledged::hold_against` (as many leaves as answers), `Recount::hold_signatures` (each for these bytes). That issuing stops where the log cannot be written: `scenarios::full_disk` |
//! | I9 | a refusal changes nothing but its record | [`Refusal`]: one leaf and no other; `Recount::hold_store`: no row that does not follow from a leaf |
//! | I10 | approvals over exactly these bytes | the audit in [`Left::hold`], with all documents and the approvers pinned |
//! | I11 | acknowledged is durable | `Acknowledged::hold_against`, `receipt`; `Recount::hold_signatures` |
//! | I12 | status follows from the log | `Recount::hold_store`, `hold_status`. There are no revocation lists yet; a void is a stage of its unit, and counted |
//! | I13 | a flipped bit is found before use | [`Left::flip`] |
//!
//! I14 is about disposal, which is not there yet.

use super::Unit;
use crate::acknowledged::Acknowledged;
use crate::canaries::Canaries;
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::flips::{Copies, Flip, Found, same_words};
use crate::ground::{Ground, Whole};
use crate::patience::{now, pause};
use crate::recount::{self, Recount, hold_status};
use crate::soft::now as today;
use identity::envelope::{Envelope, request_hash};
use identity::hash::RequestHash;
use koseki_verify::{Findings, Level, Scope, Trust, audit_log, verify_device};
use std::path::PathBuf;
use std::time::Duration;

/// A key that is bound is asked for again under another serial: refused, for ever.
const REFUSED: &str = "CA-0402";
/// A refusal is a leaf after so long, or it is none.
const TILL_LEAF: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);
/// A factory has more files than these.
const FILES: usize = 20;

/// The checkpoint file, as often as somebody looked.
#[derive(Debug, Default)]
pub(super) struct Shown(u64);

impl Shown {
    /// It never shrinks (I5).
    pub(super) fn look(&mut self, factory: &Factory) -> Outcome<()> {
        self.see(recount::published(&factory.log_dir())?)
    }

    fn see(&mut self, size: u64) -> Outcome<()> {
        let before = std::mem::replace(&mut self.0, size);
        require(
            size >= before,
            format_args!("I5: the checkpoint file shrank from {before} leaves to {size}"),
        )
    }
}

/// A request that was refused once all was over.
pub(super) struct Refusal {
    /// Leaves before it.
    before: u64,
    request: RequestHash,
}

impl Refusal {
    /// The unit's key is asked for under another serial. Comes back when the refusal is a leaf.
    pub(super) async fn provoke(ground: &Ground, unit: &Unit) -> Outcome<Self> {
        let before = size(unit).await?;
        let other = ground.prepare(&unit.station, &unit.chip, 2).await?;
        let code = match unit.station.certify(&other).await {
            Ok(given) => return Err(Failure::new(format_args!("I1: bound twice: {given:?}"))),
            Err(refused) => refused.code.unwrap_or_default(),
        };
        require(
            code == REFUSED,
            format_args!("a key that is bound is refused as {code}"),
        )?;
        let begin = now();
        while size(unit).await? == before {
            require(
                begin.elapsed() < TILL_LEAF,
                "I9: the refusal is on no record",
            )?;
            pause(PAUSE);
        }
        Ok(Self {
            before,
            request: request_hash::<Envelope>(&other.envelope),
        })
    }
}

/// How many leaves the server's newest checkpoint is for.
async fn size(unit: &Unit) -> Outcome<u64> {
    let note = unit.station.checkpoint().await.map_err(Failure::new)?;
    let note = String::from_utf8(note).map_err(Failure::new)?;
    let size = note.lines().nth(1).and_then(|size| size.parse().ok());
    size.ok_or_else(|| Failure::new("no checkpoint"))
}

/// What a fault and all that came behind it left of a factory.
pub(super) struct Left<'a> {
    trust: &'a Trust,
    canaries: Canaries,
    home: PathBuf,
    status: String,
    findings: Findings,
    recount: Recount,
    copies: Copies,
}

impl<'a> Left<'a> {
    /// Has a last look at the server and kills it.
    pub(super) fn by_a_kill(
        factory: &mut Factory,
        shown: &mut Shown,
        trust: &'a Trust,
    ) -> Outcome<Self> {
        let canaries = Canaries::of(factory)?;
        let process = factory.server_id();
        let process = process.ok_or_else(|| Failure::new("no server runs"))?;
        canaries.search_process(process)?;
        factory.settle()?;
        let status = factory.status()?;
        factory.kill_server()?;
        shown.look(factory)?;
        let log = factory.log_dir();
        Ok(Self {
            trust,
            canaries,
            home: factory.path(""),
            status,
            findings: audit_log(&log, trust, Scope::Whole).map_err(Failure::new)?,
            recount: Recount::of(recount::entries(&log)?)?,
            copies: Copies::of(factory)?,
        })
    }

    /// Everything but the flipped bit.
    pub(super) fn hold(&self, ledger: &Acknowledged, refusal: &Refusal) -> Outcome<()> {
        let Findings {
            findings,
            documents,
            documents_named,
            approvers_pinned,
            ..
        } = &self.findings;
        require(
            self.findings.is_clean(),
            format_args!("I4, I6, I10: the auditor finds {findings:?}"),
        )?;
        require(
            *approvers_pinned && *documents == Some(*documents_named),
            format_args!("I10: {documents:?} of {documents_named} documents are approved"),
        )?;
        self.recount
            .hold_refusal(refusal.before, REFUSED, &refusal.request)?;
        self.recount.hold_store(&self.copies.store)?;
        let stores = [&self.copies.store, &self.copies.signer];
        self.recount
            .hold_signatures(stores, ledger.certificates())?;
        let root = recount::root(self.recount.entries());
        hold_status(&self.status, &self.findings, &root)?;
        let searched = self.canaries.search(&self.home)?;
        require(
            searched > FILES,
            format_args!("only {searched} files were searched for secrets"),
        )
    }

    /// Flips the bit that this word chooses in what is left, which was sound until now (I13).
    pub(super) async fn flip(
        &self,
        word: u64,
        factory: &mut Factory,
        unit: &mut Unit,
    ) -> Outcome<Found> {
        let flip = Flip::choose(factory, word)?;
        let words = self.copies.words()?;
        require(!self.copies.met_damage(), "I13: damaged before the flip")?;
        let heard = factory.server_log().len();
        let damaged = flip.make(factory)?;
        if flip.is_published() {
            return flip.hold_audit(&factory.log_dir(), self.trust);
        }
        if factory.start_server().is_err() {
            flip.hold_refusal(&since(factory, heard))?;
            return Ok(Found::AtStart);
        }
        // What it answers is right: the ledger knows.
        if let Err(refused) = unit.live().await? {
            let said = since(factory, heard);
            flip.hold_refusal(&format!("{refused}\n{said}"))?;
            return Ok(Found::WhenRead);
        }
        // Whoever asks how it is may be the first to have it read that page.
        if factory.settle().is_err() {
            flip.hold_refusal(&since(factory, heard))?;
            return Ok(Found::WhenRead);
        }
        factory.kill_server()?;
        let copies = Copies::of(factory)?;
        let log = recount::entries(&factory.log_dir())?;
        require(
            log == self.recount.entries(),
            format_args!("I13: {flip} is flipped, and the log is another"),
        )?;
        let said = copies.words()?;
        same_words(&words, &said).map_err(|it| Failure::new(format_args!("{it}: {flip}")))?;
        // No row of that page was used, and whoever asks for one is told.
        if copies.met_damage() {
            return Ok(Found::Unused);
        }
        require(
            words.len() == said.len(),
            format_args!("I13: {flip} is flipped, and a table is gone"),
        )?;
        self.recount.hold_store(&copies.store)?;
        // The signer's attempts are no words: one that is lost is kept by the server, another is a second signature.
        let stores = [&copies.store, &copies.signer];
        self.recount
            .hold_signatures(stores, unit.ledger.certificates())?;
        flip.place(factory, &damaged)
    }
}

/// What the server said since its log was so long.
fn since(factory: &Factory, heard: usize) -> String {
    let said = factory.server_log();
    said.get(heard..).unwrap_or_default().to_owned()
}

/// A relying party takes certificate and receipt, as they were released (I2).
pub(super) fn is_accepted((certified, receipt): &Whole, trust: &Trust) -> Outcome<()> {
    let verdict = verify_device(&certified.certificate, &receipt.proof, trust, today());
    require(
        verdict.accepted && verdict.level == Some(Level::Confirmed),
        format_args!("a relying party does not accept the unit: {verdict:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_file_that_shrinks_is_found() {
        let mut shown = Shown::default();
        for size in [3, 3, 5] {
            shown.see(size).unwrap();
        }
        let found = shown.see(4).unwrap_err().to_string();
        assert!(found.starts_with("I5: "), "{found}");
    }
}
