//! Some hundreds of simulated mornings (`acceptance::simulation`); `make simulate` lives thousands.

use acceptance::process::{finish, program, said};
use std::process::{Command, Output};

/// Lives seeds. The token of the log's key is in a directory that the program makes.
fn simulate(arguments: &[&str]) -> Output {
    let mut command = Command::new(program("simulate").unwrap());
    finish(command.args(arguments).env_remove("HSM_SIM_TOKENS")).unwrap()
}

fn told(output: &Output) -> String {
    said(&output.stdout) + &said(&output.stderr)
}

#[test]
fn invariants_hold_in_simulated_mornings() {
    let lived = simulate(&["--seeds", "260"]);
    let told = told(&lived);
    assert!(lived.status.success(), "{told}");
    assert!(told.contains("260 seeds, all invariants hold"), "{told}");
}

/// A station crashed while the answer to its void was on the way, and took the unit for settled that it had forgotten.
#[test]
fn an_answer_from_before_a_crash_settles_no_unit() {
    let lived = simulate(&["--seed", "7723"]);
    assert!(lived.status.success(), "{}", told(&lived));
}

/// A start wrote pages of the database from a log that an earlier process had failed to flush, and the power went.
#[test]
fn a_start_that_is_cut_off_leaves_no_torn_page() {
    let lived = simulate(&["--seed", "412"]);
    assert!(lived.status.success(), "{}", told(&lived));
}

#[test]
fn planted_bugs_are_found_by_the_simulation() {
    // Whichever comes first: the certificate is asked for again, or its confirmation.
    for (bug, findings) in [
        ("answer-before-fsync", ["a head of"; 2]),
        ("quota-outside", ["ordinal"; 2]),
        ("retry-signs-anew", ["I3: ", "I11: "]),
    ] {
        let lived = simulate(&["--seeds", "60", "--plant", bug]);
        let told = told(&lived);
        assert!(
            lived.status.success() && told.contains("the planted bug is found"),
            "{bug}: {told}"
        );
        let is_it = findings.iter().any(|finding| told.contains(finding));
        assert!(is_it, "{bug}: {told}");
    }
}

/// Two processes, whose paths have nothing in common but the seed.
#[test]
fn a_seed_gives_the_same_world_again() {
    let worlds = [(); 2].map(|()| simulate(&["--seed", "7"]));
    let [one, other] = worlds.map(|world| {
        assert!(world.status.success(), "{}", told(&world));
        said(&world.stdout)
    });
    assert!(one.lines().count() > 20);
    assert_eq!(one, other);
}

/// The roots that one process prints are those of any other: of a few seeds together, and of each alone.
#[test]
fn a_seed_gives_the_same_root_in_another_process() {
    let [one, other] = [(); 2].map(|()| {
        let lived = simulate(&["--seeds", "3", "--first", "100"]);
        assert!(lived.status.success(), "{}", told(&lived));
        roots(&lived)
    });
    // Seed 100, which is the first, seed 101, which is lived twice, and the one word for all three.
    assert_eq!(one.len(), 3, "{one:?}");
    assert_eq!(one, other);
    for (seed, root) in [("100", &one[0]), ("101", &one[1])] {
        let alone = roots(&simulate(&["--seed", seed]));
        let root = root.strip_prefix(&format!("seed {seed} "));
        assert_eq!(alone, [root.unwrap()], "seed {seed}");
    }
    assert_ne!(
        one[0].split_whitespace().last(),
        one[1].split_whitespace().last()
    );
}

/// The lines that name a root, or all of them in one word.
fn roots(lived: &Output) -> Vec<String> {
    let told = said(&lived.stdout);
    let roots = told.lines().filter(|line| line.contains("root"));
    roots.map(str::to_owned).collect()
}
