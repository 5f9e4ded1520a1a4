//! The fuzz targets over their seeds and over seeded mutations of them: a short, repeatable part of `make fuzz`.

use acceptance::fuzz::mutate::Mutator;
use acceptance::fuzz::{TARGETS, Target};
use acceptance::metadata::root;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

const MUTATIONS: usize = 20_000;
/// A dialogue signs with a key at nearly every step, and a policy is written to disk.
const SLOW: [(&str, usize); 2] = [("chip_dialogue", 600), ("policies", 2_000)];

#[test]
fn every_seed_is_accepted_and_mutations_hold_the_claims() {
    std::thread::scope(|scope| {
        let (left, right) = TARGETS.split_at(TARGETS.len() / 2);
        for half in [left, right] {
            scope.spawn(|| half.iter().for_each(exercise));
        }
    });
}

fn exercise(target: &Target) {
    let seeds = seeds(target.name);
    for (path, seed) in &seeds {
        assert!((target.hold)(seed), "{} is not accepted", path.display());
    }
    let seeds: Vec<_> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let mut mutator = Mutator::new(0x6B6F_7365_6B69);
    let slow = SLOW.iter().find(|(name, _)| *name == target.name);
    let count = slow.map_or(MUTATIONS, |(_, count)| *count);
    let mut refused = 0;
    for _ in 0..count {
        refused += usize::from(!(target.hold)(&mutator.mutate(&seeds)));
    }
    assert!(refused > 0, "{}: no mutation was refused", target.name);
}

#[test]
fn every_target_has_its_program_and_its_seeds() {
    let programs = names(&root().join("tests/fuzz/fuzz_targets"));
    let corpora = names(&root().join("tests/fuzz/corpus"));
    let targets: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(programs, targets);
    assert_eq!(corpora, targets);
}

fn names(dir: &PathBuf) -> BTreeSet<String> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect()
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = root().join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        })
        .collect()
}
