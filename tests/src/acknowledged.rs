//! A ledger of what the CA acknowledged, kept outside of all its programs.

use crate::failure::{At as _, Failure, Outcome, require};
use crate::metadata::root;
use crate::process::{program, succeed};
use crate::soft::Signed;
use crate::way::{Certified, Receipt, request_of};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Answers as they arrived, by request id.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    certificates: BTreeMap<[u8; 16], (u64, Vec<u8>)>,
    receipts: BTreeMap<[u8; 16], u64>,
    /// Size and root of every checkpoint that came with an answer.
    heads: BTreeSet<(u64, String)>,
}

impl Acknowledged {
    /// Takes in a certificate; the same request must always have got the same.
    ///
    /// # Errors
    /// [`Failure`] says what the request got before, or who else got this.
    pub fn certificate(&mut self, signed: &Signed, given: &Certified) -> Outcome<()> {
        self.head(&given.proof)?;
        let request = request_of(signed)?.0;
        let new = (given.index, given.certificate.clone());
        let known = self
            .certificates
            .entry(request)
            .or_insert_with(|| new.clone());
        require(
            *known == new,
            "FORK: one request got two certificates or two places in the log",
        )?;
        let others = self
            .certificates
            .iter()
            .filter(|(other, _)| **other != request);
        for (_, (index, certificate)) in others {
            let differs = *index != given.index && *certificate != given.certificate;
            require(
                differs,
                "TWICE: two requests got one certificate or one place in the log",
            )?;
        }
        Ok(())
    }

    /// Takes in the receipt of a confirmation; the same request must always have got the same leaf.
    ///
    /// # Errors
    /// [`Failure`] says what the request got before.
    pub fn receipt(&mut self, signed: &Signed, given: &Receipt) -> Outcome<()> {
        self.head(&given.proof)?;
        let known = self
            .receipts
            .entry(request_of(signed)?.0)
            .or_insert(given.index);
        require(
            *known == given.index,
            "TWICE: one unit was confirmed in two leaves",
        )
    }

    /// Takes in the checkpoint that ends a proof.
    ///
    /// # Errors
    /// [`Failure`] if there is none.
    pub fn head(&mut self, proof: &[u8]) -> Outcome<()> {
        let text = std::str::from_utf8(proof).map_err(Failure::new)?;
        let (_, checkpoint) = text.split_once("\n\n").unwrap_or(("", text));
        self.checkpoint(checkpoint.as_bytes())
    }

    /// Takes in a checkpoint.
    ///
    /// # Errors
    /// [`Failure`] if it is none.
    pub fn checkpoint(&mut self, note: &[u8]) -> Outcome<()> {
        let text = std::str::from_utf8(note).map_err(Failure::new)?;
        let mut lines = text.lines().skip(1);
        let size = lines.next().and_then(|size| size.parse().ok());
        match (size, lines.next()) {
            (Some(size), Some(root)) => self.heads.insert((size, root.to_owned())),
            _ => return Err(Failure::new(format_args!("no checkpoint: {text:?}"))),
        };
        Ok(())
    }

    /// The certificates, by the index of their leaf.
    pub fn certificates(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let all = self.certificates.values();
        all.map(|(index, certificate)| (*index, certificate.as_slice()))
    }

    /// How many certificates and receipts were acknowledged.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.certificates.len(), self.receipts.len())
    }

    /// Holds everything against the published log: an audit without findings, every checkpoint ever seen a root of
    /// it, and exactly as many `bind` and `confirm` leaves as were acknowledged.
    ///
    /// # Errors
    /// [`Failure`] says what is lost, twice, or forked.
    pub fn hold_against(&self, log: &Path, trust: &Path) -> Outcome<()> {
        let mut audit = Command::new(program("koseki-verify")?);
        audit.arg("log").arg(log).arg("--json").arg("--trust");
        let told: Value =
            serde_json::from_str(&succeed(audit.arg(trust))?).map_err(Failure::new)?;
        let (certificates, receipts) = self.counts();
        for (kind, count) in [("bind", certificates), ("confirm", receipts)] {
            let found = told["kinds"][kind].as_u64().unwrap_or_default();
            let said = format_args!("{found} {kind} leaves, {count} acknowledged");
            require(found >= count as u64, format_args!("LOST: {said}"))?;
            require(found <= count as u64, format_args!("TWICE: {said}"))?;
        }
        self.hold_heads(log)
    }

    /// A program that shares no code with ours computes the root of every size that was seen.
    fn hold_heads(&self, log: &Path) -> Outcome<()> {
        let mut python = Command::new("python3");
        python
            .arg(root().join("tests/outside/recompute.py"))
            .arg(log);
        python.args(self.heads.iter().map(|(size, _)| size.to_string()));
        let told = succeed(&mut python).at(log)?;
        let roots: BTreeSet<_> = told.lines().collect();
        for (size, root) in &self.heads {
            let is_ours = roots.contains(format!("{size} {root}").as_str());
            require(
                is_ours,
                format_args!(
                    "FORK: a head of {size} leaves was seen that the log does not continue"
                ),
            )?;
        }
        Ok(())
    }
}
