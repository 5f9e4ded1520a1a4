//! The rooms see each other only in the directions that ARCHITECTURE.md allows, and no file outgrows a reader.

use acceptance::metadata::{cargo_metadata, packages, root, text};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Who may see whom; `acceptance` sees everybody.
const DIRECTIONS: [(&str, &[&str]); 12] = [
    ("identity", &[]),
    ("translog", &[]),
    ("koseki-device", &["identity"]),
    ("keyvault", &[]),
    ("pages", &[]),
    ("proto", &[]),
    ("vitals", &[]),
    ("koseki-verify", &["identity", "translog"]),
    ("signer", &["identity", "translog", "keyvault", "pages"]),
    (
        "ca-server",
        &[
            "identity", "translog", "keyvault", "pages", "proto", "signer", "vitals",
        ],
    ),
    (
        "line-agent",
        &[
            "identity",
            "keyvault",
            "proto",
            "koseki-device",
            "koseki-verify",
            "vitals",
        ],
    ),
    ("hsm-sim", &["identity", "koseki-device"]),
];
const LONGEST_FILE: usize = 800;

#[test]
fn rooms_see_each_other_only_in_the_given_directions() {
    let edges = edges(&cargo_metadata(false).unwrap());
    assert!(edges.len() > DIRECTIONS.len(), "too few edges: {edges:?}");
    let breaches = breaches(&edges);
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn the_picture_shows_what_is_so_and_no_more() {
    let edges: BTreeSet<_> = edges(&cargo_metadata(false).unwrap())
        .into_iter()
        .filter(|(from, _)| from != "acceptance")
        .collect();
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert_eq!(drawn(&text), edges);
    let allowed = DIRECTIONS.iter().flat_map(|(room, seen)| {
        seen.iter()
            .map(|other| ((*room).to_owned(), (*other).to_owned()))
    });
    assert_eq!(allowed.collect::<BTreeSet<_>>(), edges);
}

#[test]
fn a_planted_edge_is_caught() {
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let planted = [
        edge("ca-server", "line-agent"),
        edge("identity", "translog"),
        edge("signer", "hsm-sim"),
        edge("stranger", "identity"),
    ];
    assert_eq!(breaches(&planted).len(), planted.len());
}

#[test]
fn every_room_is_known() {
    let metadata = cargo_metadata(false).unwrap();
    for package in packages(&metadata) {
        let name = text(package, "name");
        assert!(
            name == "acceptance" || DIRECTIONS.iter().any(|(room, _)| *room == name),
            "{name} is in no row of the directions"
        );
    }
}

#[test]
fn files_are_short_and_hold_no_unfinished_work() {
    let mut sources = Vec::new();
    collect(&root(), &mut sources);
    assert!(
        sources.len() > 100,
        "only {} sources were found",
        sources.len()
    );
    // Written apart so that this file does not hold what it looks for.
    let forbidden = [
        concat!("to", "do!("),
        concat!("unimpl", "emented!("),
        concat!("#[al", "low("),
        concat!("#![al", "low("),
    ];
    let mut faults = Vec::new();
    for path in &sources {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            faults.push(format!("{}: {lines} lines", path.display()));
        }
        let found = forbidden.iter().filter(|word| text.contains(**word));
        faults.extend(found.map(|word| format!("{}: {word}", path.display())));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Edges between our own packages, of every kind: normal, build, test.
fn edges(metadata: &Value) -> Vec<(String, String)> {
    let ours: BTreeMap<&str, &Value> = packages(metadata)
        .iter()
        .map(|package| (text(package, "name"), package))
        .collect();
    let mut edges = Vec::new();
    for (name, package) in &ours {
        let dependencies = package["dependencies"].as_array().unwrap();
        let to_ours = dependencies
            .iter()
            .map(|dependency| text(dependency, "name"))
            .filter(|to| ours.contains_key(to) && to != name);
        edges.extend(to_ours.map(|to| ((*name).to_owned(), to.to_owned())));
    }
    edges
}

/// Edges of the picture: `from[label] --> to & to`.
fn drawn(text: &str) -> BTreeSet<(String, String)> {
    let package = |node: &str| {
        let name = node.split('[').next().unwrap_or_default().trim();
        let known = [
            ("device", "koseki-device"),
            ("verify", "koseki-verify"),
            ("ca", "ca-server"),
            ("agent", "line-agent"),
            ("sim", "hsm-sim"),
        ];
        let known = known.iter().find(|(short, _)| *short == name);
        known.map_or(name, |(_, package)| package).to_owned()
    };
    let arrows = text.lines().filter_map(|line| line.split_once("-->"));
    arrows
        .flat_map(|(from, to)| to.split('&').map(move |to| (package(from), package(to))))
        .collect()
}

fn breaches(edges: &[(String, String)]) -> Vec<&(String, String)> {
    let allowed = |(from, to): &&(String, String)| {
        from == "acceptance"
            || DIRECTIONS
                .iter()
                .any(|(room, seen)| room == from && seen.contains(&to.as_str()))
    };
    edges.iter().filter(|edge| !allowed(edge)).collect()
}

fn collect(dir: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
