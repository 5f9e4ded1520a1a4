use super::error::{Finding, PolicyError, PolicyFault};
use super::grant::{GrantProposal, load_grant};
use super::lot::{collide, grant_of_lot, load_lot};
use super::station::{StationPlan, load_station};
use super::{load_ceremony, load_maker, load_product, load_roles};
use identity::Id;
use identity::document::LotOrder;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Loads every policy file of a directory and checks them against one another: products, makers and vendor keys that
/// grants name, stations on the lines that grants name, lots within their grant, serial ranges apart. Empty if all
/// is well; the findings stand in the order of the file names, folder by folder, each once, and none that only follows
/// from another: of a grant or station whose own file is wrong, nobody is told that it is not there.
#[must_use]
pub fn check_dir(dir: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = dir.read_dir() {
        findings.push(PolicyError::of_file(dir, PolicyFault::Unreadable(error)));
        return findings;
    }
    every(dir, "makers", &mut findings, |path| {
        load_maker(dir, &stem(path)?)
    });
    every(dir, "products", &mut findings, |path| {
        load_product(dir, &stem(path)?)
    });
    every(dir, "ceremony", &mut findings, load_ceremony);
    every(dir, "roles", &mut findings, load_roles);
    let stations = every(dir, "stations", &mut findings, load_station);
    let grants = every(dir, "grants", &mut findings, |path| load_grant(dir, path));
    for (path, proposal) in &grants {
        findings.extend(stations_of(path, proposal, &stations));
    }
    let lots = every(dir, "lots", &mut findings, |path| lot_of(path, &grants));
    findings.extend(ranges_apart(&lots));
    findings.extend(lots_within_grants(&lots, &grants));
    let mut told = BTreeSet::new();
    findings.retain(|finding| !follows(dir, finding) && told.insert(finding.to_string()));
    findings
}

/// Whether a finding is that something is not there whose file is there, and is wrong for another reason.
fn follows(dir: &Path, finding: &Finding) -> bool {
    let PolicyFault::Unknown { kind, id } = &*finding.fault else {
        return false;
    };
    let folder = match *kind {
        "grant" => "grants",
        "station" => "stations",
        _ => return false,
    };
    dir.join(folder).join(format!("{id}.toml")).is_file()
}

type Loaded<T> = Vec<(PathBuf, T)>;
type Lot<'a> = (LotOrder, &'a GrantProposal);

/// Loads every TOML file of one folder, by name; a folder that is not there is empty.
fn every<T>(
    dir: &Path,
    folder: &str,
    findings: &mut Vec<Finding>,
    load: impl Fn(&Path) -> Result<T, PolicyError>,
) -> Loaded<T> {
    let mut loaded = Vec::new();
    for path in files(&dir.join(folder)).unwrap_or_else(|error| {
        findings.push(error);
        Vec::new()
    }) {
        match load(&path) {
            Ok(value) => loaded.push((path, value)),
            Err(error) => findings.push(error),
        }
    }
    loaded
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, PolicyError> {
    let unreadable = |error| PolicyError::of_file(folder, PolicyFault::Unreadable(error));
    if !folder.try_exists().map_err(unreadable)? {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn stem(path: &Path) -> Result<Id, PolicyError> {
    let stem = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| Id::new(stem).ok());
    stem.ok_or_else(|| {
        PolicyError::of_file(
            path,
            PolicyFault::Rule("the file's name is an id: letters, digits, '.', '_' and '-'"),
        )
    })
}

fn contradiction(
    path: &Path,
    what: &'static str,
    values: (String, String),
    other: &impl ToString,
) -> Finding {
    let (found, expected) = values;
    PolicyError::of_file(
        path,
        PolicyFault::Contradiction {
            what,
            found,
            expected,
            other: other.to_string(),
        },
    )
}

/// Every station that a grant names exists, and stands at the grant's site on one of its lines.
fn stations_of(
    path: &Path,
    proposal: &GrantProposal,
    stations: &Loaded<StationPlan>,
) -> Vec<Finding> {
    let grant = &proposal.grant;
    let mut findings = Vec::new();
    for id in &grant.stations {
        let Some((file, station)) = stations.iter().find(|(_, station)| station.id == *id) else {
            findings.push(PolicyError::of_file(
                path,
                PolicyFault::Unknown {
                    kind: "station",
                    id: id.to_string(),
                },
            ));
            continue;
        };
        if station.site != grant.site {
            let values = (grant.site.to_string(), station.site.to_string());
            findings.push(contradiction(path, "the site", values, &file.display()));
        }
        if !grant.lines.contains(&station.line) {
            let lines = grant
                .lines
                .iter()
                .map(Id::as_str)
                .collect::<Vec<_>>()
                .join(", ");
            findings.push(contradiction(
                path,
                "the line",
                (lines, station.line.to_string()),
                &file.display(),
            ));
        }
    }
    findings
}

fn lot_of<'a>(path: &Path, grants: &'a Loaded<GrantProposal>) -> Result<Lot<'a>, PolicyError> {
    let id = grant_of_lot(path)?;
    let named = grants
        .iter()
        .map(|(_, proposal)| proposal)
        .find(|proposal| proposal.grant.id == id);
    let proposal = named.ok_or_else(|| {
        PolicyError::of_file(
            path,
            PolicyFault::Unknown {
                kind: "grant",
                id: id.to_string(),
            },
        )
    })?;
    let lot = load_lot(path, &proposal.grant)?;
    let serials = &proposal.product.serials;
    if serials.allows(&lot.first_serial) && serials.allows(&lot.last_serial) {
        return Ok((lot, proposal));
    }
    let values = (
        format!("{} to {}", lot.first_serial, lot.last_serial),
        serials.as_str().to_owned(),
    );
    Err(contradiction(
        path,
        "the form of serials",
        values,
        &format!("product {}", proposal.grant.product),
    ))
}

/// Serials are unique at a maker, so two lots never share one ([`collide`]).
fn ranges_apart(lots: &Loaded<Lot<'_>>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (position, (path, (lot, proposal))) in lots.iter().enumerate() {
        let earlier = lots.get(..position).unwrap_or_default();
        let ours = (lot, &proposal.grant);
        let shared = earlier
            .iter()
            .filter(|(_, (other, its))| collide(ours, (other, &its.grant)));
        for (other_path, (other, _)) in shared {
            let fault = PolicyFault::Overlap {
                serials: format!("{} to {}", lot.first_serial, lot.last_serial),
                taken: format!("{} to {}", other.first_serial, other.last_serial),
                other: other_path.display().to_string(),
            };
            findings.push(PolicyError::of_file(path, fault));
        }
    }
    findings
}

/// The lots of a grant together are not more than its limit.
fn lots_within_grants(lots: &Loaded<Lot<'_>>, grants: &Loaded<GrantProposal>) -> Vec<Finding> {
    let planned = |id: &Id| -> u64 {
        lots.iter()
            .filter(|(_, (_, proposal))| proposal.grant.id == *id)
            .map(|(_, (lot, _))| u64::from(lot.quantity))
            .sum()
    };
    grants
        .iter()
        .map(|(path, proposal)| (path, &proposal.grant, planned(&proposal.grant.id)))
        .filter(|(_, grant, planned)| *planned > u64::from(grant.limit))
        .map(|(path, grant, planned)| {
            contradiction(
                path,
                "the total",
                (grant.limit.to_string(), format!("{planned} planned")),
                &"the lots of this grant",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn findings(file: &str, from: &str, to: &str) -> Vec<String> {
        let copy = sample::altered(file, from, to);
        check_dir(copy.path())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_samples_are_in_order() {
        assert_eq!(
            check_dir(&sample::dir())
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_in_order() {
        let home = tempfile::tempdir().unwrap();
        let found = check_dir(&home.path().join("polices"));
        assert!(matches!(found.as_slice(), [one] if one.to_string().contains("cannot be read")));
    }

    const TMP1: &str = "grants/2026-ota-line-2-tmp1.toml";
    const FAULTS: &[(&str, &str, &str, &str)] = &[
        (
            TMP1,
            "product = \"md-tmp1\"",
            "product = \"md-xyz\"",
            "products/md-xyz.toml: cannot be read",
        ),
        (
            TMP1,
            "\"ota-l2-prov-02\"",
            "\"ota-l2-prov-99\"",
            "there is no station ota-l2-prov-99",
        ),
        (
            TMP1,
            "site = \"JP-13-OTA\"",
            "site = \"JP-14\"",
            "the site is JP-14 here and JP-13-OTA in",
        ),
        (
            TMP1,
            "\"line-2\"",
            "\"line-3\"",
            "the line is line-3 here and line-2 in",
        ),
        (
            TMP1,
            "per_lot = 1_000",
            "per_lot = 999",
            "quantity: the quantity is 1000",
        ),
        (
            "lots/26W48-B.toml",
            "2026-ota-line-2-tmp1",
            "2026-none",
            "there is no grant 2026-none",
        ),
        (
            "lots/26W48-B.toml",
            "from = \"26480002000\"",
            "from = \"26480001999\"",
            "its serials 26480001999 to 26480002999 overlap 26480001000 to 26480001999 in ",
        ),
        (
            "lots/26W48-B.toml",
            "from = \"26480002000\", to = \"26480002999\"",
            "from = \"26990002000\", to = \"26990002999\"",
            "the form of serials",
        ),
        (
            "products/md-cam2.toml",
            "maker = \"mihon-denki\"",
            "maker = \"nobody\"",
            "makers/nobody.toml: cannot be read",
        ),
        (
            "products/md-tmp1.toml",
            "\"sim-chips\"",
            "\"none\"",
            "vendors/none.pem: cannot be read",
        ),
    ];

    #[test]
    fn files_are_held_against_one_another() {
        for (file, from, to, expected) in FAULTS {
            let found = findings(file, from, to);
            assert!(
                found.iter().any(|finding| finding.contains(expected)),
                "{to}: {found:#?}"
            );
        }
    }

    /// A product that two kinds of files lead to, and what follows from a grant that cannot be read.
    #[test]
    fn a_fault_is_found_once_and_nothing_that_only_follows_from_it() {
        for (file, from, to) in [
            (
                "products/md-tmp1.toml",
                "maker = \"mihon-denki\"",
                "maker = \"x y\"",
            ),
            (TMP1, "total = 20_000", "total = \"many\""),
            (
                "stations/ota-l2-prov-01.toml",
                "line = \"line-2\"",
                "lane = \"line-2\"",
            ),
        ] {
            let found = findings(file, from, to);
            assert_eq!(found.len(), 1, "{found:#?}");
            assert!(found[0].contains(file), "{found:#?}");
        }
    }

    #[test]
    fn the_lots_of_a_grant_are_added_up() {
        let copy = sample::altered(
            "grants/2026-ota-line-2-tmp1.toml",
            "total = 20_000",
            "total = 1_500",
        );
        let lot = std::fs::read_to_string(copy.path().join("lots/26W48-B.toml")).unwrap();
        let second = lot
            .replace("26W48-B", "26W48-C")
            .replace("\"26480002", "\"26480003");
        std::fs::write(copy.path().join("lots/26W48-C.toml"), second).unwrap();
        let found: Vec<String> = check_dir(copy.path())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(
            found[0].contains("the total is 1500 here and 2000 planned in the lots of this grant"),
            "{found:#?}"
        );
    }
}
