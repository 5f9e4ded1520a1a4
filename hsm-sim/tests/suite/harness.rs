//! Runs a test in a child process with a token directory of its own: a module reads its
//! configuration from the environment and is initialised once in a process.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Set in the child: the module under test.
const MODULE: &str = "HSM_SIM_TEST_MODULE";
/// Set in the child: a directory of its own.
const DIRECTORY: &str = "HSM_SIM_TEST_DIRECTORY";

pub(crate) const SO_PIN: &str = "so-4711";
pub(crate) const USER_PIN: &str = "user-0815";

/// `CKA_EC_PARAMS` of P-256 and Ed25519.
pub(crate) const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
pub(crate) const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// Declares a test of the simulator.
macro_rules! on_simulator {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::harness::run(name, &[$crate::harness::simulator()], $body);
        }
    };
}
pub(crate) use on_simulator;

/// Declares a test that the simulator and `SoftHSM2` must both pass.
macro_rules! on_both {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            let name = concat!(module_path!(), "::", stringify!($name));
            $crate::harness::run(name, &$crate::harness::both(), $body);
        }
    };
}
pub(crate) use on_both;

/// The module under test, in a child.
pub(crate) struct Hsm {
    pub(crate) module: PathBuf,
    pub(crate) directory: PathBuf,
}

impl Hsm {
    pub(crate) fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }

    pub(crate) fn load(&self) -> Pkcs11 {
        let context = Pkcs11::new(&self.module).unwrap();
        context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        context
    }

    /// The library with one new token that has a user PIN.
    pub(crate) fn with_token(&self) -> (Pkcs11, Slot) {
        let context = self.load();
        let slot = new_token(&context, "line 7");
        (context, slot)
    }

    /// A session in which the user is logged in, on a new token.
    pub(crate) fn logged_in(&self) -> (Pkcs11, Session) {
        let (context, slot) = self.with_token();
        let session = context.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&pin(USER_PIN))).unwrap();
        (context, session)
    }
}

/// Makes a token in the free slot.
pub(crate) fn new_token(context: &Pkcs11, label: &str) -> Slot {
    let free = *context.get_all_slots().unwrap().last().unwrap();
    context.init_token(free, &pin(SO_PIN), label).unwrap();
    let slots = context.get_slots_with_initialized_token().unwrap();
    let slot = slots
        .into_iter()
        .find(|slot| context.get_token_info(*slot).unwrap().label() == label)
        .unwrap();
    let session = context.open_rw_session(slot).unwrap();
    session.login(UserType::So, Some(&pin(SO_PIN))).unwrap();
    session.init_pin(&pin(USER_PIN)).unwrap();
    slot
}

pub(crate) fn pin(text: &str) -> AuthPin {
    AuthPin::new(text.to_owned().into_boxed_str())
}

/// The code that a call was refused with.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> RvError {
    let error = outcome.expect_err("should have been refused");
    let Error::Pkcs11(code, _) = error else {
        panic!("not a return value: {error}");
    };
    code
}

/// A key pair of this label on the token: the public and the private key.
pub(crate) fn key_pair(
    session: &Session,
    mechanism: &Mechanism<'_>,
    params: &[u8],
    label: &str,
) -> (ObjectHandle, ObjectHandle) {
    let label = Attribute::Label(label.into());
    let public = [
        Attribute::Token(true),
        Attribute::EcParams(params.to_vec()),
        Attribute::Verify(true),
        label.clone(),
    ];
    let private = [
        Attribute::Token(true),
        Attribute::Sign(true),
        Attribute::Derive(true),
        label,
    ];
    session
        .generate_key_pair(mechanism, &public, &private)
        .unwrap()
}

/// The only object of a class and label.
pub(crate) fn only(session: &Session, class: ObjectClass, label: &str) -> ObjectHandle {
    let template = [Attribute::Class(class), Attribute::Label(label.into())];
    match session.find_objects(&template).unwrap().as_slice() {
        [object] => *object,
        found => panic!("{} objects", found.len()),
    }
}

/// The bytes of one attribute.
pub(crate) fn bytes(
    session: &Session,
    object: ObjectHandle,
    kind: cryptoki::object::AttributeType,
) -> Vec<u8> {
    match session.get_attributes(object, &[kind]).unwrap().as_slice() {
        [Attribute::Value(value) | Attribute::EcPoint(value) | Attribute::EcParams(value)] => {
            value.clone()
        }
        other => panic!("{other:?}"),
    }
}

/// The built module: beside the test, or one directory up, whichever is newer.
pub(crate) fn simulator() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().skip(1).take(2);
    beside
        .map(|directory| directory.join("libhsm_sim.so"))
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .expect("libhsm_sim.so was not built")
}

/// The simulator, and `SoftHSM2` where it is installed.
pub(crate) fn both() -> Vec<PathBuf> {
    let mut modules = vec![simulator()];
    if Path::new(SOFTHSM).exists() {
        modules.push(SOFTHSM.into());
    } else {
        crate::skipped::skipped(&format!(
            "not tried on SoftHSM2: {SOFTHSM} is not installed"
        ));
    }
    modules
}

/// In the parent: starts this test again for each module. In the child: runs `body`.
pub(crate) fn run(path: &str, modules: &[PathBuf], body: fn(&Hsm)) {
    if let Some(module) = std::env::var_os(MODULE) {
        return body(&Hsm {
            module: module.into(),
            directory: std::env::var_os(DIRECTORY).unwrap().into(),
        });
    }
    for module in modules {
        let directory = tempfile::tempdir().unwrap();
        let outcome = child(path, module, directory.path()).output().unwrap();
        assert!(
            outcome.status.success(),
            "{path} on {}:\n{}{}",
            module.display(),
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&outcome.stderr)
        );
        let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
        assert!(text.contains("1 passed"), "{path} did not run:\n{text}");
    }
}

/// The command that runs a test of this program in a child with these tokens.
pub(crate) fn child(path: &str, module: &Path, directory: &Path) -> Command {
    let (_crate, test) = path.split_once("::").unwrap();
    let tokens = directory.join("tokens");
    let configuration = directory.join("softhsm2.conf");
    if module.ends_with("libsofthsm2.so") && !configuration.exists() {
        std::fs::create_dir_all(&tokens).unwrap();
        let text = format!("directories.tokendir = {}\n", tokens.display());
        std::fs::write(&configuration, text).unwrap();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--include-ignored"])
        .env(MODULE, module)
        .env(DIRECTORY, directory)
        .env("HSM_SIM_TOKENS", &tokens)
        .env("SOFTHSM2_CONF", &configuration);
    command
}
