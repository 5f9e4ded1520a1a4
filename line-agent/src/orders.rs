//! What may be made here: grants with their profiles, and the lots under them.

use crate::config::{self, Station};
use crate::files::{FileError, read_bounded};
use identity::document::{Document as _, Grant, MAX_DOCUMENT, Profile};
use identity::serial_pattern::SerialPattern;
use identity::{DocumentHash, Id};
use std::path::Path;

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
pub struct Orders(Vec<Order>);

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
        Ok(Self(orders))
    }

    /// The order that a lot stands under.
    #[must_use]
    pub fn for_lot(&self, lot: &Id) -> Option<&Order> {
        self.0.iter().find(|order| order.lots.contains(lot))
    }

    /// All orders.
    #[must_use]
    pub fn all(&self) -> &[Order] {
        &self.0
    }

    #[cfg(test)]
    pub(crate) const fn new(orders: Vec<Order>) -> Self {
        Self(orders)
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
