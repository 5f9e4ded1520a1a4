//! Scrapping units and closing lots, for stations.

use super::{Corridor, internal};
use crate::issuance::admit::Job;
use crate::issuance::{Receipt, Refusal};
use crate::store::StoreError;
use identity::Id;
use identity::envelope::request_hash;
use identity::leaf::{Body, Leaf, LotClose};
use identity::lot::{Difference, LotCloseRequest, ScrapRequest, differences};

/// A lot that is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedLot {
    /// Its `lot-close` leaf.
    pub receipt: Receipt,
    /// What that leaf says.
    pub close: LotClose,
    /// Where the station's counts differ; none if the lot is reconciled.
    pub differences: Vec<Difference>,
}

impl Corridor {
    /// Scraps a unit for its station.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn scrap(
        &self,
        peer: &Id,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<Receipt, Refusal> {
        let name = request_hash::<ScrapRequest>(&request);
        self.move_on(peer, name, move |this, station| {
            let admission = &this.shared.admission;
            let job =
                this.with_reader(|reader| admission.scrap(station, (request, signature), reader))?;
            Ok(Job::Scrap(Box::new(job)))
        })
        .await
    }

    /// Closes a lot with what its station counted. A difference from what the log holds never prevents that; it stands in
    /// the leaf and in the answer.
    ///
    /// # Errors
    /// [`Refusal`], recorded if the station is known.
    pub async fn close_lot(
        &self,
        peer: &Id,
        request: Vec<u8>,
        signature: Vec<u8>,
    ) -> Result<ClosedLot, Refusal> {
        let name = request_hash::<LotCloseRequest>(&request);
        let receipt = self
            .move_on(peer, name, move |this, station| {
                let job = this
                    .shared
                    .admission
                    .close_lot(station, (request, signature))?;
                Ok(Job::CloseLot(Box::new(job)))
            })
            .await?;
        let index = receipt.index;
        let (close, quantity) = self.with_reader(|reader| {
            let leaf = reader.leaf(index).map_err(internal)?;
            let body = leaf.and_then(|(_, bytes)| Leaf::from_bytes(&bytes).ok());
            let Some(Leaf {
                body: Body::LotClose(close),
                ..
            }) = body
            else {
                return Err(internal(StoreError::Damaged(
                    "a lot closed by another leaf",
                )));
            };
            let state = reader.lot_state(&close.lot).map_err(internal)?;
            let state = state.ok_or_else(|| internal("a lot that is not counted"))?;
            Ok((close, state.quantity))
        })?;
        Ok(ClosedLot {
            differences: differences(quantity, &close.counts, &close.tally).collect(),
            receipt,
            close,
        })
    }
}
