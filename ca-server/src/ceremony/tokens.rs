//! Tokens and keys of the ceremony.

use super::pins::Pins;
use super::{CeremonyError, Orders};
use crate::policy::{CeremonyPlan, TokenKey};
use identity::hash::sha256;
use identity::key::AwsLcVerifier;
use identity::{Entropy, Id, P256Key, VerifyP256 as _};
use keyvault::{Key, KeySpec, KeyUse, Module, Token};

/// Every key of the ceremony, in its token.
pub(super) struct Keys {
    pub(super) root: Key,
    pub(super) issuing: Key,
    pub(super) infrastructure: Key,
    pub(super) server: Key,
    pub(super) log: Key,
    pub(super) approvers: Vec<(Id, Key)>,
}

impl Keys {
    /// Makes the tokens and the keys in them.
    pub(super) fn make(
        module: &Module,
        orders: &Orders<'_>,
        pins: &Pins,
        entropy: &dyn Entropy,
    ) -> Result<Self, CeremonyError> {
        let plan = orders.plan;
        let make = |key: &TokenKey, usage| {
            let token = token(module, pins, key)?;
            Ok::<_, CeremonyError>((generate(&token, key.label.as_str(), usage)?, token))
        };
        let (root, _) = make(&plan.root.key, KeyUse::RootCa)?;
        let (issuing, _) = make(&plan.issuing.key, KeyUse::IssuingCa)?;
        let (infrastructure, token) = make(&plan.infrastructure.key, KeyUse::Infrastructure)?;
        let settings = &orders.config.hsm.infrastructure;
        let server = generate(&token, &settings.server_key, KeyUse::ServerTls)?;
        token.generate_secret(&settings.challenge_key)?;
        let (log, _) = make(&plan.log, KeyUse::Log)?;
        let mut approvers = Vec::new();
        for approver in &plan.approvers {
            let (key, _) = make(&approver.key, KeyUse::Approver)?;
            approvers.push((approver.id, key));
        }
        let keys = Self {
            root,
            issuing,
            infrastructure,
            server,
            log,
            approvers,
        };
        keys.try_out(entropy)?;
        Ok(keys)
    }

    /// Lets every approver's key sign once and checks it: a card that cannot sign is found in the room, not at the
    /// first grant. The message has a prefix of its own, so that it is no approval.
    fn try_out(&self, entropy: &dyn Entropy) -> Result<(), CeremonyError> {
        let mut nonce = [0; 32];
        entropy
            .fill(&mut nonce)
            .map_err(|_failed| CeremonyError::Entropy)?;
        let message = [b"koseki/ceremony-trial/v1\n".as_slice(), &nonce].concat();
        for (id, key) in &self.approvers {
            let signature = key.sign_p256(&message)?;
            let public = P256Key::from_spki(key.spki_der())?;
            if !AwsLcVerifier.verify(&public, &sha256(&message), &signature) {
                return Err(CeremonyError::Certificate(format!(
                    "the card of {id} gave a signature that its public key does not verify"
                )));
            }
        }
        Ok(())
    }
}

/// Labels of every token of the plan.
pub(super) fn labels(plan: &CeremonyPlan) -> impl Iterator<Item = Id> + '_ {
    let fixed = [
        plan.root.key.token,
        plan.issuing.key.token,
        plan.infrastructure.key.token,
        plan.log.token,
    ];
    fixed
        .into_iter()
        .chain(plan.approvers.iter().map(|approver| approver.key.token))
}

fn token(module: &Module, pins: &Pins, key: &TokenKey) -> Result<Token, CeremonyError> {
    let (user, officer) = pins.of(&key.token)?;
    module.init_token(key.token.as_str(), officer, user)?;
    Ok(module.open(key.token.as_str(), user.clone())?)
}

fn generate(token: &Token, label: &str, usage: KeyUse) -> Result<Key, CeremonyError> {
    Ok(token.generate(&KeySpec::new(label, usage)?)?)
}
