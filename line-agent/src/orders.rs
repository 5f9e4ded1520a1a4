//! What may be made here: grants with their profiles, and the lots under them.

use crate::config::{self, Config, Station};
use crate::files::{FileError, read_bounded};
use identity::document::{Document as _, Grant, MAX_DOCUMENT, Profile};
use identity::fault::Fault;
use identity::serial_pattern::SerialPattern;
use identity::{DeviceSerial, DocumentHash, Id};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A grant with its product's profile.
#[derive(Clone, Debug)]
pub struct Order {
    /// The grant.
    pub grant: Grant,
    /// Its hash: the grant's name on the wire.
    pub grant_hash: DocumentHash,
    /// The profile of its product.
    pub profile: Profile,
    /// The form of its serials.
    pub serials: SerialPattern,
    /// Lots that may be made under it.
    pub lots: Vec<Id>,
}

/// All orders of a station; every lot stands under one grant only.
#[derive(Clone, Debug)]
pub struct Orders {
    all: Vec<Order>,
    /// The settings that name them, for commands that a person is told to give.
    settings: PathBuf,
}

impl Orders {
    /// Reads the documents and holds them against each other and against the station.
    ///
    /// # Errors
    /// [`FileError`] names the file and what does not fit.
    pub fn load(grants: &[config::Grant], station: &Station) -> Result<Self, FileError> {
        let orders = grants
            .iter()
            .map(|grant| Order::load(grant, station))
            .collect::<Result<Vec<_>, _>>()?;
        for (at, grant) in grants.iter().enumerate() {
            let others = orders.iter().take(at).flat_map(|order| &order.lots);
            if let Some(lot) = others.into_iter().find(|lot| grant.lots.contains(lot)) {
                return Err(FileError::content(
                    &grant.file,
                    format!("lot {lot} stands under another grant already"),
                ));
            }
        }
        Ok(Self {
            all: orders,
            settings: PathBuf::new(),
        })
    }

    /// Those that the settings name.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of(config: &Config) -> Result<Self, FileError> {
        Ok(Self {
            settings: config.file.clone(),
            ..Self::load(&config.grants, &config.station)?
        })
    }

    /// The command that scraps the unit that failed as often as it may.
    #[must_use]
    pub fn scrap_command(&self, lot: &Id, serial: &DeviceSerial) -> String {
        let settings = self.settings.to_string_lossy();
        let settings = quoted(&settings);
        let reason = Fault::AttemptsUsedUp.code();
        format!("line-agent unit scrap {serial} --lot {lot} --reason {reason} --config {settings}")
    }

    /// The order that a lot stands under.
    #[must_use]
    pub fn for_lot(&self, lot: &Id) -> Option<&Order> {
        self.all.iter().find(|order| order.lots.contains(lot))
    }

    /// All orders.
    #[must_use]
    pub fn all(&self) -> &[Order] {
        &self.all
    }

    #[cfg(test)]
    pub(crate) const fn new(orders: Vec<Order>) -> Self {
        Self {
            all: orders,
            settings: PathBuf::new(),
        }
    }
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")).into(),
    }
}

impl Order {
    fn load(files: &config::Grant, station: &Station) -> Result<Self, FileError> {
        let grant = document::<Grant>(&files.file)?;
        let profile = document::<Profile>(&files.profile)?;
        let require = |holds: bool, rule: &str| {
            if holds {
                Ok(())
            } else {
                Err(FileError::content(&files.file, rule))
            }
        };
        require(
            grant.profile == profile.hash(),
            "the profile is not the one that the grant names",
        )?;
        require(
            grant.product == profile.product && grant.maker == profile.maker,
            "grant and profile differ in product or maker",
        )?;
        require(grant.site == station.site, "the grant is for another site")?;
        require(
            grant.lines.contains(&station.line),
            "the grant does not name this line",
        )?;
        require(
            grant.stations.contains(&station.id),
            "the grant does not name this station",
        )?;
        let serials = SerialPattern::of(&profile)
            .map_err(|error| FileError::content(&files.profile, error))?;
        Ok(Self {
            serials,
            grant_hash: grant.hash(),
            grant,
            profile,
            lots: files.lots.clone(),
        })
    }
}

fn document<D: identity::document::Document>(path: &Path) -> Result<D, FileError> {
    D::from_bytes(&read_bounded(path, MAX_DOCUMENT)?)
        .map_err(|error| FileError::content(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_told_works_when_it_is_pasted() {
        let command = |settings: &str| {
            let orders = Orders {
                all: Vec::new(),
                settings: PathBuf::from(settings),
            };
            let lot = Id::new("26W48-A").unwrap();
            let serial = DeviceSerial::new("26480001000").unwrap();
            orders.scrap_command(&lot, &serial)
        };
        let plain = "/etc/koseki-line/line-agent.toml";
        assert_eq!(
            command(plain),
            format!(
                "line-agent unit scrap 26480001000 --lot 26W48-A --reason LINE-0220 --config {plain}"
            )
        );
        let told = command("/srv/line 2/it's.toml");
        assert!(
            told.ends_with(r"--config '/srv/line 2/it'\''s.toml'"),
            "{told}"
        );
    }
}
