//! Runs a test once for each module, in a child process, because a module reads its configuration from the environment
//! of the process and is initialised once in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use keyvault::{Module, Pin, Token};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const SIMULATOR: &str = "libhsm_sim.so";

/// Set in the child: the module under test.
const MODULE: &str = "KEYVAULT_TEST_MODULE";

pub(crate) const LABEL: &str = "line 7";
pub(crate) const SO_PIN: &str = "so-4711-4711";
pub(crate) const USER_PIN: &str = "user-0815-0815";

/// Declares a test that is run on each module.
macro_rules! on_every_module {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            $crate::harness::run(concat!(module_path!(), "::", stringify!($name)), $body);
        }
    };
}
pub(crate) use on_every_module;

/// The module under test.
pub(crate) struct Hsm {
    pub(crate) module: Module,
    pub(crate) path: PathBuf,
}

impl Hsm {
    /// A new token, opened.
    pub(crate) fn token(&self) -> Token {
        self.module
            .init_token(LABEL, &pin(SO_PIN), &pin(USER_PIN))
            .unwrap();
        self.module.open(LABEL, pin(USER_PIN)).unwrap()
    }

    pub(crate) fn is_softhsm(&self) -> bool {
        self.path.ends_with("libsofthsm2.so")
    }

    /// The same library behind our back.
    pub(crate) fn behind_our_back(&self) -> cryptoki::context::Pkcs11 {
        cryptoki::context::Pkcs11::new(&self.path).unwrap()
    }

    /// A session of somebody else in this process. The login is the process's.
    pub(crate) fn foreign_session(&self) -> cryptoki::session::Session {
        let context = self.behind_our_back();
        let slots = context.get_slots_with_initialized_token().unwrap();
        let slot = slots
            .into_iter()
            .find(|slot| context.get_token_info(*slot).unwrap().label() == LABEL);
        context.open_rw_session(slot.unwrap()).unwrap()
    }
}

pub(crate) fn pin(text: &str) -> Pin {
    Pin::new(text.to_owned())
}

/// In the parent: starts this test again once for each module. In the child: runs `body`.
pub(crate) fn run(path: &str, body: fn(&Hsm)) {
    if let Some(module) = std::env::var_os(MODULE) {
        let path = PathBuf::from(module);
        return body(&Hsm {
            module: Module::load(&path).unwrap(),
            path,
        });
    }
    let (_crate, test) = path.split_once("::").unwrap();
    for module in modules() {
        run_child(&module, test);
    }
}

fn run_child(module: &Path, test: &str) {
    let tokens = tempfile::tempdir().unwrap();
    let configuration = tokens.path().join("softhsm2.conf");
    let text = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.path().display()
    );
    std::fs::write(&configuration, text).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MODULE, module)
        .env("SOFTHSM2_CONF", &configuration)
        .env("HSM_SIM_TOKENS", tokens.path())
        .output()
        .unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test} on {}:\n{text}",
        module.display()
    );
}

/// `SoftHSM2`, and the simulated HSM where it has been built: beside the test or in the target directory above.
fn modules() -> Vec<PathBuf> {
    let beside = std::env::current_exe().unwrap();
    let simulator = beside
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(SIMULATOR))
        .find(|it| it.exists());
    if simulator.is_none() {
        eprintln!("{SIMULATOR} not built: on SoftHSM2 only");
    }
    std::iter::once(PathBuf::from(SOFTHSM))
        .chain(simulator)
        .collect()
}
