//! A CA of the rehearsal's own, with one station, one grant and one lot: the steps of `docs/first-device.md`.

use super::ground::{CA_SERVER, Daemon, Ground};
use super::{Outcome, RehearsalError};
use crate::sources::{SystemClock, rfc3339};
use identity::{Clock as _, Timestamp};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

macro_rules! policy {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../policies/", $name)))
    };
}
/// The project's example policies; dates are set anew.
const POLICIES: [(&str, &str); 8] = [
    policy!("ceremony/demo.toml"),
    policy!("grants/2026-ota-line-2-cam2.toml"),
    policy!("lots/26W48-A.toml"),
    policy!("makers/mihon-denki.toml"),
    policy!("products/md-cam2.toml"),
    policy!("products/md-tmp1.toml"),
    policy!("roles/roles.toml"),
    policy!("stations/ota-l2-prov-01.toml"),
];
/// Two of the three approvers; two are needed.
const APPROVERS: [&str; 2] = ["vet-01", "ca-op-02"];
const STATION: &str = "policies/stations/ota-l2-prov-01.toml";
const GRANT: &str = "policies/grants/2026-ota-line-2-cam2.toml";
const KEYS: &str = "station/request/station-request.toml";
const DAY_MS: u64 = 86_400_000;

/// The CA, with its server running.
#[derive(Debug)]
pub(super) struct Ca {
    address: String,
    server: Option<Daemon>,
}

/// Holds the ceremony, starts the server, enrols the station, and opens grant and lot.
pub(super) fn open(ground: &Ground) -> Outcome<Ca> {
    let mut ca = Ca {
        address: TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string(),
        server: None,
    };
    ground.run(&ground.chip_sim, &["vendor", "--out", "vendor"])?;
    let now = SystemClock.now();
    for (name, text) in POLICIES {
        ground.write(&format!("policies/{name}"), &dated(text, now))?;
    }
    ground.copy("vendor/vendor.pub.pem", "policies/vendors/sim-chips.pem")?;
    ground.write("ca-server.toml", &ca.settings(ground))?;
    let init = "init --ceremony policies/ceremony/demo.toml --pins pins";
    ca_server(ground, init, &["--attended", "rehearsal"])?;
    ca.start(ground)?;
    ca.enroll(ground)?;
    let approvals = approve(ground, "grant", GRANT, "")?;
    let load = format!("grant load --policies policies --grant {GRANT} --out grant {approvals}");
    ca_server(ground, &load, &[])?;
    let lot =
        format!("lot open --policies policies --grant {GRANT} --lot policies/lots/26W48-A.toml");
    ca_server(ground, &lot, &[])?;
    for (from, to) in [
        ("ca/ceremony/root.pem", "station/trust/ca/root.pem"),
        ("ca/ceremony/issuing.pem", "station/trust/ca/issuing.pem"),
        ("ca/ceremony/log.vkey", "station/trust/log.vkey"),
        ("ca/ceremony/ceremony.der", "station/trust/ceremony.der"),
        (
            "vendor/vendor.pub.pem",
            "station/trust/vendors/sim-chips.pem",
        ),
        ("grant/profile.der", "station/trust/profiles/cam2.der"),
    ] {
        ground.copy(from, to)?;
    }
    Ok(ca)
}

impl Ca {
    /// Starts the server, and waits until both of its sockets answer.
    pub(super) fn start(&mut self, ground: &Ground) -> Outcome<()> {
        let words = ["serve", "--config", "ca-server.toml"];
        let mut server = ground.start("ca-server", &ground.ca_server, &words)?;
        let admin = ground.path("ca/admin.sock");
        ground.until(CA_SERVER, || {
            server.check()?;
            let is_up =
                UnixStream::connect(&admin).is_ok() && TcpStream::connect(&self.address).is_ok();
            Ok(is_up.then_some(()))
        })?;
        self.server = Some(server);
        Ok(())
    }

    /// `kill -9` of the server.
    pub(super) fn kill(&mut self) -> Outcome<()> {
        self.server.take().map_or(Ok(()), Daemon::kill)
    }

    /// The station's settings, with these sockets.
    pub(super) fn station(&self, ground: &Ground, sockets: &[String]) -> String {
        let sockets = (1..).zip(sockets).map(|(number, address): (u32, _)| {
            format!("[[socket]]\nname = \"{number}\"\ntcp = \"{address}\"\n")
        });
        include_str!("station.toml")
            .replace("@ADDRESS@", &self.address)
            .replace("@MODULE@", &ground.module.to_string_lossy())
            .replace("@SOCKETS@", &sockets.collect::<String>())
    }

    fn settings(&self, ground: &Ground) -> String {
        include_str!("ca-server.toml")
            .replace("@ADDRESS@", &self.address)
            .replace("@MODULE@", &ground.module.to_string_lossy())
    }

    fn enroll(&self, ground: &Ground) -> Outcome<()> {
        ground.write_secret("station/user.pin", "rehearsal-user")?;
        ground.write_secret("station/so.pin", "rehearsal-so")?;
        ground.copy(
            "ca/ceremony/infrastructure.pem",
            "station/infrastructure-root.pem",
        )?;
        // Enrolling looks at no socket, but settings name at least one.
        let settings = self.station(ground, &["127.0.0.1:9".to_owned()]);
        ground.write("station/line-agent.toml", &settings)?;
        let words = "enroll --config station/line-agent.toml --out station/request";
        ground.run(&ground.agent, &split(words))?;
        let approvals = approve(ground, "station", STATION, &format!("--keys {KEYS}"))?;
        let enroll = format!(
            "station enroll --statement {STATION} --keys {KEYS} --csr station/request/station.csr.pem \
             --out station/station.cert.pem {approvals}"
        );
        ca_server(ground, &enroll, &[]).map(drop)
    }
}

/// Has two approvers sign; gives the options that name their approvals.
fn approve(ground: &Ground, kind: &str, what: &str, keys: &str) -> Outcome<String> {
    let mut approvals = String::new();
    for who in APPROVERS {
        let out = format!("{kind}-{who}.pem");
        let words = format!(
            "approve {kind} {what} {keys} --policies policies --ceremony ca/ceremony/ceremony.der --approver {who} \
             --token-label approver-{who} --pin-file pins/approvers/{who}/approver-{who}.pin --out {out} --yes"
        );
        let module = ground.module.to_string_lossy();
        let words = [&split(&words)[..], &["--module", &module]].concat();
        ground.run(&ground.ca_server, &words)?;
        approvals.push_str(&format!("--approval {out} "));
    }
    Ok(approvals)
}

/// Runs a command of the CA server: words apart from one another, and those that hold blanks.
fn ca_server(ground: &Ground, words: &str, more: &[&str]) -> Result<String, RehearsalError> {
    let words = [&split(words)[..], more, &["--config", "ca-server.toml"]].concat();
    ground.run(&ground.ca_server, &words)
}

fn split(words: &str) -> Vec<&str> {
    words.split_ascii_whitespace().collect()
}

/// A policy whose grants and mandates run from yesterday for a hundred days.
fn dated(text: &str, now: Timestamp) -> String {
    let yesterday = rfc3339(Timestamp(now.0.saturating_sub(DAY_MS)));
    let later = rfc3339(now.plus_millis(100 * DAY_MS));
    let in_ten_years = rfc3339(now.plus_millis(3_652 * DAY_MS));
    let line = |line: &str| match line.split_once(" = 20") {
        Some((key @ ("from" | "not_before"), _)) => format!("{key} = {yesterday}\n"),
        // The infrastructure root outlives what it signs.
        Some(("until", rest)) if rest.starts_with("36") => format!("until = {in_ten_years}\n"),
        Some(("until", _)) => format!("until = {later}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_valid_on_the_day_of_the_rehearsal() {
        let now = Timestamp(1_900_000_000_000);
        let grant = dated(
            "from = 2026-11-23T08:00:00+09:00\nuntil = 2027-03-31T18:00:00+09:00",
            now,
        );
        assert_eq!(
            grant,
            "from = 2030-03-16T17:46:40.000Z\nuntil = 2030-06-25T17:46:40.000Z\n"
        );
        let root = dated("until = 2036-11-22T18:00:00+09:00", now);
        assert!(root.starts_with("until = 2040-03-"), "{root}");
        assert_eq!(dated("quantity = 1_000", now), "quantity = 1_000\n");
    }
}
