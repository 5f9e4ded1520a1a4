//! What people approved or decided: documents that enter the log, and grants that are closed.

use super::{Corridor, receipt, wait};
use crate::issuance::admit::Job;
use crate::issuance::enter::DocumentJob;
use crate::issuance::{Receipt, Refusal};
use identity::Id;
use identity::approval::Approval;
use identity::document::{Ceremony, Grant, LotOrder, Profile, StationStatement};
use identity::fault::Fault;

impl Corridor {
    /// Begins the log with its ceremony.
    ///
    /// # Errors
    /// [`Refusal`] if the log has begun.
    pub async fn begin(&self, ceremony: Ceremony) -> Result<Receipt, Refusal> {
        self.enter(DocumentJob::ceremony(&ceremony)?).await
    }

    /// Enters an approved station.
    ///
    /// # Errors
    /// [`Refusal`] if it is not approved, or was entered before.
    pub async fn enter_station(
        &self,
        statement: StationStatement,
        approvals: Vec<Approval>,
    ) -> Result<Receipt, Refusal> {
        self.enter(DocumentJob::station(
            &statement,
            &approvals,
            &self.shared.approvers,
        )?)
        .await
    }

    /// Enters an approved grant with its profile.
    ///
    /// # Errors
    /// [`Refusal`] if it is not approved, or was entered before.
    pub async fn enter_grant(
        &self,
        grant: Grant,
        profile: Profile,
        approvals: Vec<Approval>,
    ) -> Result<Receipt, Refusal> {
        self.enter(DocumentJob::grant(
            &grant,
            &profile,
            &approvals,
            &self.shared.approvers,
        )?)
        .await
    }

    /// Closes a grant before its time, for an operator at the local socket: nothing more is bound or opened under it. It
    /// only takes away, and so needs no approval.
    ///
    /// # Errors
    /// [`Fault::GrantUnknown`], or [`Fault::GrantClosed`] if it is closed already.
    pub async fn close_grant(&self, grant: &Id, reason: Id) -> Result<Receipt, Refusal> {
        let entry = self.shared.admission.directory.grant_of_name(grant);
        let hash = entry
            .ok_or_else(|| Refusal::new(Fault::GrantUnknown, grant))?
            .hash;
        receipt(wait(self.enqueue(Job::CloseGrant(hash, reason))?).await?)
    }

    /// Opens a lot under a grant.
    ///
    /// # Errors
    /// [`Refusal`] if the grant is not in force, or another lot of this name is open.
    pub async fn open_lot(&self, order: LotOrder) -> Result<Receipt, Refusal> {
        let Some(grant) = self.shared.admission.directory.grant(&order.grant) else {
            return Err(Refusal::new(Fault::GrantUnknown, order.grant));
        };
        if order.quantity > grant.grant.per_lot {
            return Err(Refusal::new(
                Fault::LotFull,
                format!("the grant allows {} a lot", grant.grant.per_lot),
            ));
        }
        self.enter(DocumentJob::lot(&order)?).await
    }

    async fn enter(&self, job: DocumentJob) -> Result<Receipt, Refusal> {
        receipt(wait(self.enqueue(Job::Enter(Box::new(job)))?).await?)
    }
}
