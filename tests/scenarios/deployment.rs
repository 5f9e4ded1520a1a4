//! The files of `deploy/`: units that systemd takes, alerts and a dashboard that name what is measured.

use acceptance::metadata::root;
use acceptance::process::{finish, said};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const UNITS: [&str; 2] = ["koseki-ca-server.service", "koseki-line-agent@.service"];
/// The worst that systemd may say of a unit's exposure, in tenths; 0 is best, 100 is worst.
const EXPOSURE: u32 = 15;

#[test]
fn alerts_and_dashboard_name_only_what_is_measured() {
    let page = read("docs/metrics.md");
    let measured: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(['`', '{']).next())
        .collect();
    assert!(measured.len() > 20, "{measured:?}");
    for file in [
        "deploy/prometheus/koseki-alerts.yml",
        "deploy/grafana/koseki-ca.json",
        "deploy/grafana/koseki-line.json",
    ] {
        let used = names(&read(file));
        assert!(used.len() > 10, "{file}: {used:?}");
        for name in used {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(&name);
            assert!(measured.contains(base), "{file} names {name}");
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_where_it_is_written() {
    let rules = read("deploy/prometheus/koseki-alerts.yml");
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 10, "{} alerts", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for needed in ["expr: ", "severity: ", "summary: ", "todo: ", "docs: "] {
            assert!(alert.contains(needed), "{name}: no {needed}");
        }
        let docs = alert
            .lines()
            .find_map(|line| line.trim().strip_prefix("docs: "));
        let (file, heading) = docs.unwrap().split_once('#').unwrap_or((docs.unwrap(), ""));
        let headings = read(file);
        let anchors = headings.lines().filter_map(|line| line.split_once("# "));
        let anchors: BTreeSet<String> = anchors.map(|(_, text)| anchor(text)).collect();
        let is_there = heading.is_empty() || anchors.contains(heading);
        assert!(is_there, "{name}: {file} has no heading {heading}");
    }
    // Prometheus has the last word: its checker as scripts/setup.sh fetched it, or as it is installed.
    let fetched = root().join("target/checkers/bin/promtool");
    let installed = || PathBuf::from("promtool");
    let promtool = Some(fetched)
        .filter(|path| path.exists())
        .unwrap_or_else(installed);
    if Command::new(&promtool).arg("--version").output().is_err() {
        println!("promtool is not here: alerts are only read");
        return;
    }
    for [what, file] in [
        ["check", "koseki-alerts.yml"],
        ["test", "koseki-alerts.test.yml"],
    ] {
        let mut promtool = Command::new(&promtool);
        promtool.current_dir(root().join("deploy/prometheus"));
        let told = finish(promtool.args([what, "rules", file])).unwrap();
        let said = said(&told.stdout) + &said(&told.stderr);
        assert!(told.status.success(), "{file}: {said}");
    }
}

#[test]
fn the_dashboards_are_json_and_every_panel_asks_for_something() {
    for file in [
        "deploy/grafana/koseki-ca.json",
        "deploy/grafana/koseki-line.json",
    ] {
        let board: serde_json::Value = serde_json::from_str(&read(file)).unwrap();
        let panels = board["panels"].as_array().unwrap();
        assert!(panels.len() >= 12, "{file}: {} panels", panels.len());
        for panel in panels {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty(), "{file}: {}", panel["title"]);
        }
    }
}

#[test]
fn units_name_commands_that_are_there_and_credentials_of_the_configuration() {
    let server = read("deploy/systemd/koseki-ca-server.service");
    for needed in [
        "Type=notify",
        "WatchdogSec=",
        "Restart=on-failure",
        "RestartForceExitStatus=75",
        "User=koseki-ca",
        "StateDirectory=koseki koseki-head koseki-signer koseki-backups",
        "LimitCORE=0",
    ] {
        assert!(server.contains(needed), "{needed}");
    }
    let agent = read("deploy/systemd/koseki-line-agent@.service");
    for needed in [
        "Type=notify",
        "WatchdogSec=",
        "User=koseki-line",
        "SuccessExitStatus=20 30 40",
        "--log-format json",
    ] {
        assert!(agent.contains(needed), "{needed}");
    }
    for (unit, program) in [(&server, "ca-server"), (&agent, "line-agent")] {
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/"));
        let mut words = start.unwrap().split(' ');
        assert_eq!(words.next(), Some(program));
        // An option that the program does not know is a wrong command line (64), before anything is looked at.
        let mut command = Command::new(acceptance::process::program(program).unwrap());
        let output = finish(command.args(words)).unwrap();
        assert!(!output.status.success());
        assert_ne!(output.status.code(), Some(64), "{}", said(&output.stderr));
    }
}

/// Where systemd is installed, it has the last word.
#[test]
fn systemd_takes_the_units_and_finds_them_closed() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("systemd-analyze is not here: units are only read");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    for unit in UNITS {
        // The programs are not installed here: the same unit with a program that is.
        let text = read(&format!("deploy/systemd/{unit}"));
        let text = text
            .replace("/usr/bin/ca-server", "/usr/bin/env")
            .replace("/usr/bin/line-agent", "/usr/bin/env");
        let path = home.path().join(unit.replace('@', "@A"));
        fs::write(&path, text).unwrap();
        let mut verify = Command::new("systemd-analyze");
        let output = finish(verify.args(["verify", "--man=no"]).arg(&path)).unwrap();
        let told = said(&output.stderr);
        let name = path.file_name().unwrap().to_str().unwrap();
        let ours: Vec<_> = told.lines().filter(|line| line.contains(name)).collect();
        assert!(ours.is_empty(), "{ours:#?}");
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=yes", "--no-pager"]);
        security.arg(format!("--threshold={EXPOSURE}")).arg(&path);
        let output = finish(&mut security).unwrap();
        let told = said(&output.stdout);
        println!("{}", told.lines().last().unwrap_or_default());
        assert!(output.status.success(), "{told}");
    }
}

fn read(name: &str) -> String {
    let path: PathBuf = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words
        .filter(|word| word.starts_with("koseki_"))
        .map(str::to_owned)
        .collect()
}

/// As GitHub and GitLab make them.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}
