//! Which PKCS#11 module a factory works with.

use crate::failure::{At as _, Failure, Outcome};
use crate::process::programs;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// A kind of module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsm {
    /// The project's simulator, loaded by path like any other.
    Simulator,
    /// `SoftHSM2`, of the Debian package `softhsm2`.
    SoftHsm2,
}

/// A module with tokens of its own.
#[derive(Clone, Debug)]
pub struct Module {
    hsm: Hsm,
    path: PathBuf,
    home: PathBuf,
}

impl std::str::FromStr for Hsm {
    type Err = Failure;

    fn from_str(name: &str) -> Result<Self, Failure> {
        match name {
            "hsm-sim" => Ok(Self::Simulator),
            "softhsm2" => Ok(Self::SoftHsm2),
            _ => Err(Failure::new("an HSM is hsm-sim or softhsm2")),
        }
    }
}

impl Hsm {
    /// The one that the stories of this run use: `KOSEKI_HSM`, or the simulator.
    ///
    /// # Panics
    /// On a name that is none.
    #[must_use]
    pub fn of_this_run() -> Self {
        match std::env::var("KOSEKI_HSM") {
            Ok(name) => name.parse().unwrap_or_else(|failure| panic!("{failure}")),
            Err(_unset) => Self::Simulator,
        }
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Simulator => "hsm-sim",
            Self::SoftHsm2 => "softhsm2",
        }
    }
}

impl Module {
    /// Prepares a directory for the module's tokens.
    ///
    /// # Errors
    /// [`Failure`] if the module is not there.
    pub fn prepare(hsm: Hsm, home: &Path) -> Outcome<Self> {
        let tokens = home.join("tokens");
        fs::create_dir_all(&tokens).at(&tokens)?;
        let path = match hsm {
            Hsm::Simulator => programs()?.join("libhsm_sim.so"),
            Hsm::SoftHsm2 => PathBuf::from(SOFTHSM),
        };
        fs::metadata(&path).at(&path)?;
        let module = Self {
            hsm,
            path,
            home: home.to_owned(),
        };
        module.moved_to(home)
    }

    /// The same kind of module, with the tokens below this directory.
    ///
    /// # Errors
    /// [`Failure`] if its settings cannot be written.
    pub fn moved_to(&self, home: &Path) -> Outcome<Self> {
        let module = Self {
            home: home.to_owned(),
            ..self.clone()
        };
        let settings = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            home.join("tokens").display()
        );
        let conf = module.softhsm_conf();
        fs::write(&conf, settings).at(&conf)?;
        Ok(module)
    }

    /// Which module it is.
    #[must_use]
    pub const fn hsm(&self) -> Hsm {
        self.hsm
    }

    /// Where the module is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells a program where the tokens are.
    pub fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match self.hsm {
            Hsm::Simulator => command.env("HSM_SIM_TOKENS", self.home.join("tokens")),
            Hsm::SoftHsm2 => command.env("SOFTHSM2_CONF", self.softhsm_conf()),
        }
    }

    fn softhsm_conf(&self) -> PathBuf {
        self.home.join("softhsm2.conf")
    }
}
