//! Commands that talk to the running server's local socket.

use super::prepare::write_new;
use super::watch::moment;
use super::{CloseGrant, Enroll, Exit, Failure, Load, Open, Retry, Void, Where, say};
use crate::admin::approval::{self, ApprovalFileError};
use crate::admin::{Client, StationRequest};
use crate::app::SystemClock;
use crate::config::Config;
use crate::policy::{load_grant, load_lot, load_station};
use identity::document::{Document as _, Grant as GrantDocument};
use identity::{Clock as _, Id, Timestamp};
use proto::admin::{EnrollStationRequest, LoadGrantRequest};
use std::future::Future;
use std::path::{Path, PathBuf};

pub(super) fn enroll(order: &Enroll) -> Result<(), Failure> {
    let plan = load_station(&order.statement)?;
    let statement = StationRequest::load(&order.keys)?.statement(&plan)?;
    let csr_pem =
        std::fs::read_to_string(&order.csr).map_err(|error| Failure::file(&order.csr, &error))?;
    let request = EnrollStationRequest {
        statement: statement.to_bytes(),
        approvals: approvals(&order.approval)?,
        csr_pem,
    };
    let answer = at_server(&order.at, |mut client| async move {
        Ok(client.enroll(request).await?)
    })?;
    write_new(&order.out, answer.certificate_pem.as_bytes())?;
    say(&format!(
        "station {} is leaf {}; certificate: {}\n",
        statement.id,
        answer.index,
        order.out.display()
    ))
}

pub(super) fn load_grant_into_server(order: &Load) -> Result<(), Failure> {
    let proposal = load_grant(&order.policies, &order.grant)?;
    let (grant, profile) = (
        proposal.grant.to_bytes(),
        proposal.product.profile.to_bytes(),
    );
    let request = LoadGrantRequest {
        grant: grant.clone(),
        profile: profile.clone(),
        approvals: approvals(&order.approval)?,
    };
    let answer = at_server(&order.at, |mut client| async move {
        Ok(client.load_grant(request).await?)
    })?;
    if let Some(directory) = &order.out {
        std::fs::create_dir_all(directory).map_err(|error| Failure::file(directory, &error))?;
        write_new(&directory.join("grant.der"), &grant)?;
        write_new(&directory.join("profile.der"), &profile)?;
    }
    say(&format!(
        "grant {} is leaf {}; SHA-256 {}\n{}",
        proposal.grant.id,
        answer.index,
        hex::encode(answer.grant_hash),
        not_now(&proposal.grant, SystemClock.now())
    ))
}

/// That nothing is issued under a grant today, and why.
fn not_now(grant: &GrantDocument, now: Timestamp) -> String {
    if grant.valid_at(now) {
        return String::new();
    }
    let [from, until] = [grant.not_before, grant.not_after].map(|at| moment(at.0));
    let word = match now < grant.not_before {
        true => "it has not begun",
        false => "it has ended",
    };
    format!("note: {word}: it holds from {from} to {until}, and nothing new is issued now\n")
}

pub(super) fn close_grant(order: &CloseGrant) -> Result<(), Failure> {
    let (grant, reason) = (order.grant.clone(), reason(&order.reason)?.to_string());
    let index = at_server(&order.at, |mut client| async move {
        Ok(client.close_grant(grant, reason).await?)
    })?;
    say(&format!(
        "grant {} is closed for ever; leaf {index}\n",
        order.grant
    ))
}

pub(super) fn open_lot(order: &Open) -> Result<(), Failure> {
    let proposal = load_grant(&order.policies, &order.grant)?;
    let lot = load_lot(&order.lot, &proposal.grant)?;
    let bytes = lot.to_bytes();
    let index = at_server(&order.at, |mut client| async move {
        Ok(client.open_lot(bytes).await?)
    })?;
    say(&format!("lot {} is leaf {index}\n", lot.id))
}

pub(super) fn void(order: &Void) -> Result<(), Failure> {
    let id = request_id(&order.request)?;
    let reason = reason(&order.reason)?;
    let index = at_server(&order.at, |mut client| async move {
        Ok(client.void(id, reason.to_string()).await?)
    })?;
    say(&format!(
        "unit {} is void for ever; leaf {index}\n",
        order.request
    ))
}

pub(super) fn retry(order: &Retry) -> Result<(), Failure> {
    let id = request_id(&order.request)?;
    let left = at_server(&order.at, |mut client| async move {
        Ok(client.retry(id).await?)
    })?;
    match left {
        None => say(&format!(
            "unit {} is signed; its station gets the certificate by asking again\n",
            order.request
        )),
        Some(unit) => Err(Failure::new(
            Exit::Permission,
            format!("the signer sets it aside again: {}", unit.reason),
            "mend what it names, or void the unit",
        )),
    }
}

fn reason(word: &str) -> Result<Id, Failure> {
    Id::new(word).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("--reason: {error}"),
            "give one word, such as recall or a fault code; it stands in the log for ever",
        )
    })
}

fn request_id(text: &str) -> Result<[u8; 16], Failure> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map_err(|error| {
        Failure::new(
            Exit::Usage,
            format!("--request: {error}"),
            "give the 32 hexadecimal digits of the request id, as in the unit's record file",
        )
    })?;
    Ok(id)
}

fn approvals(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let read = |path: &PathBuf| approval::read(path).map(|approval| approval.to_bytes());
    let approvals: Result<Vec<_>, ApprovalFileError> = paths.iter().map(read).collect();
    Ok(approvals?)
}

/// Connects to the server of the configuration and talks to it.
pub(super) fn at_server<T, F>(at: &Where, talk: impl FnOnce(Client) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let config = Config::load(&at.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::file(Path::new("runtime"), &error))?;
    runtime.block_on(async {
        let client = Client::connect(&config.paths.admin_socket).await?;
        talk(client).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_grant;

    #[test]
    fn a_grant_that_is_loaded_outside_its_days_is_said_to_allow_nothing_now() {
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
        let file = policies.join("grants/2026-ota-line-2-cam2.toml");
        let grant = load_grant(&policies, &file).unwrap().grant;
        let (from, until) = (grant.not_before, grant.not_after);
        assert_eq!(not_now(&grant, from), "");
        let early = not_now(&grant, Timestamp(from.0 - 1));
        assert!(early.starts_with("note: it has not begun: it holds from 2026-11-"));
        let late = not_now(&grant, Timestamp(until.0 + 1));
        assert!(late.starts_with("note: it has ended: "), "{late}");
    }
}
