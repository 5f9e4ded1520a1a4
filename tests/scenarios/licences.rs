//! Everything that is linked stands under a licence of deny.toml's list.

use acceptance::metadata::{cargo_metadata, packages, root, text};
use std::collections::BTreeSet;

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = allow_list();
    let metadata = cargo_metadata(true).unwrap();
    let packages = packages(&metadata);
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let refused: Vec<_> = packages
        .iter()
        .filter(|package| !permits(text(package, "license"), &allowed))
        .map(|package| format!("{}: {:?}", text(package, "name"), text(package, "license")))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn banned_packages_are_not_there() {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let banned: Vec<_> = deny["bans"]["deny"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ban| ban["crate"].as_str().unwrap())
        .collect();
    assert!(!banned.is_empty());
    let lock: toml::Table = read("Cargo.lock").parse().unwrap();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(&name), "{name} is banned in deny.toml");
    }
}

#[test]
fn licence_expressions_are_read_as_written() {
    let allowed = ["MIT", "ISC", "Apache-2.0"]
        .map(str::to_owned)
        .into_iter()
        .collect();
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "ISC AND (GPL-3.0 OR MIT)",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(permits(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "MIT OR",
        "(MIT",
    ] {
        assert!(!permits(bad, &allowed), "{bad}");
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn allow_list() -> BTreeSet<String> {
    let deny: toml::Table = read("deny.toml").parse().unwrap();
    let list = deny["licenses"]["allow"].as_array().unwrap();
    list.iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Whether an SPDX expression (SPDX 2.3 annex D) can be met from the list; an exception only ever adds permissions.
fn permits(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    any(&mut rest, allowed) == Some(true) && rest.is_empty()
}

/// `a OR b OR …`; nothing if it is no expression.
fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all(rest, allowed)?;
    while let [word, tail @ ..] = *rest
        && *word == "OR"
    {
        *rest = tail;
        met |= all(rest, allowed)?;
    }
    Some(met)
}

/// `a AND b AND …`, which binds more closely.
fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while let [word, tail @ ..] = *rest
        && *word == "AND"
    {
        *rest = tail;
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> Option<bool> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    if *first == "(" {
        let met = any(rest, allowed)?;
        let (close, tail) = rest.split_first()?;
        *rest = tail;
        return (*close == ")").then_some(met);
    }
    if let [word, _exception, tail @ ..] = *rest
        && *word == "WITH"
    {
        *rest = tail;
    }
    Some(allowed.contains(*first))
}
