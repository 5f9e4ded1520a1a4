//! The signer itself: one exchange from request to reply.

use crate::checks::Checks;
use crate::code::{Code, Reach};
use crate::error::{Fault, SignerError};
use crate::follow::{self, Head};
use crate::judge::{Documents, Verdict, judge};
use crate::key::CaKey;
use crate::message::{Answer, Item, Outcome, Refused, SignReply, SignRequest, Stopped};
use crate::parallel;
use crate::pinned::Pinned;
use crate::sign;
use crate::store::{Store, attempt};
use identity::TbsHash;
use identity::approval::ApproverSet;
use identity::envelope::Signature;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// What the signer is told by its own operator, and by nobody else.
#[derive(Clone, Debug)]
pub struct SignerConfig {
    /// File of the signer's store; created if it is not there.
    pub store: PathBuf,
    /// Origin of the log.
    pub origin: String,
    /// The log's verifier key (C2SP signed-note).
    pub log_vkey: String,
    /// The issuing CA's certificate, DER.
    pub issuing_certificate: Vec<u8>,
    /// Who approves grants and stations. Must be the ceremony's.
    pub approvers: ApproverSet,
    /// Frames of the store's write-ahead log from which on it is written back ([`pages::LONG_LOG`] unless there is a
    /// reason).
    pub long_log: u32,
}

/// Follows one log and signs what it permits.
pub struct Signer {
    pinned: Pinned,
    key: Box<dyn CaKey>,
    store: Store,
    head: Head,
    documents: Documents,
    checks: Arc<Checks>,
    /// Set when nothing may be signed any more by this process.
    stopped: Option<Fault>,
}

/// What is answered to one item.
type Answered = Result<[u8; 64], Fault>;

impl Signer {
    /// Makes the empty store of a CA key that has signed nothing yet. Once, at the ceremony.
    ///
    /// # Errors
    /// [`SignerError`]: the configuration is not fit, or the file is there already or cannot be written.
    pub fn make_store(config: SignerConfig) -> Result<(), SignerError> {
        let path = config.store.clone();
        Store::make(&path, &Pinned::try_from(config)?)
    }

    /// Opens the store, exclusively, and checks it: the tree over all leaf hashes must be that of the newest
    /// checkpoint followed. Takes time in proportion to the log, about a second for some million leaves.
    ///
    /// A store that has seen its log fork is opened, and every exchange is answered with that.
    ///
    /// # Errors
    /// [`SignerError`]: configuration and key do not fit together, or the store is missing, in use, newer, of
    /// another log or damaged.
    pub fn open(config: SignerConfig, key: Box<dyn CaKey>) -> Result<Self, SignerError> {
        let path = config.store.clone();
        let long_log = config.long_log;
        let pinned = Pinned::try_from(config)?;
        if key.public_key() != *pinned.issuer.key() {
            return Err(SignerError::ForeignKey);
        }
        let store = Store::open(&path, &pinned, long_log)?;
        let head = Head::load(&store, &pinned)?;
        let stopped = store
            .halt()
            .map_err(|error| crate::store::failed(&path, error))?;
        Ok(Self {
            pinned,
            key,
            store,
            head,
            documents: Documents::default(),
            checks: Arc::default(),
            stopped,
        })
    }

    /// Leaves followed so far; the caller sends from here.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.head.size()
    }

    /// Where whoever admits requests has their signatures checked.
    #[must_use]
    pub fn checks(&self) -> Arc<Checks> {
        Arc::clone(&self.checks)
    }

    /// DER [`SignRequest`] in, DER [`SignReply`] out. What is answered as signed is durable.
    #[must_use]
    pub fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        let reply = match self.answer(request) {
            Ok(outcomes) => SignReply::Outcomes(outcomes),
            Err(fault) => SignReply::Stopped(self.stop(fault)),
        };
        // Cannot fail: items are capped and every text is short. No bytes are no reply to anyone who reads them.
        reply.to_bytes().unwrap_or_default()
    }

    fn answer(&mut self, request: &[u8]) -> Result<Vec<Outcome>, Fault> {
        if let Some(fault) = &self.stopped {
            return Err(fault.clone());
        }
        let request =
            SignRequest::from_bytes(request).map_err(|error| Fault::new(Code::Malformed, error))?;
        let verdicts = self.follow_and_judge(&request)?;
        let signed = self.sign(&wanted(&request.items, &verdicts))?;
        let answers = request
            .items
            .iter()
            .zip(verdicts)
            .map(|(item, verdict)| outcome(item, verdict, &signed));
        Ok(answers.collect())
    }

    /// One transaction: the new head, the sets and the attempts. After it the HSM may be used, not before.
    fn follow_and_judge(
        &mut self,
        request: &SignRequest,
    ) -> Result<Vec<Result<Verdict, Fault>>, Fault> {
        let transaction = self.store.begin()?;
        let followed = follow::follow(&transaction, &self.pinned, &self.head, request);
        let head = match followed {
            Err(fault) if fault.code.reach() == Reach::Store => {
                transaction.rollback()?;
                let theirs = request.checkpoint.as_bytes();
                if let Err(error) = self.store.set_halt(&fault, self.head.note(), theirs) {
                    // This process signs nothing more in any case; the log of the service keeps both notes.
                    tracing::error!(
                        %error,
                        ours = %String::from_utf8_lossy(self.head.note()),
                        theirs = %String::from_utf8_lossy(theirs),
                        "a fork could not be written down"
                    );
                }
                return Err(fault);
            }
            followed => followed?,
        };
        // If this transaction comes to nothing, what was read in it counts for nothing.
        let mut documents = std::mem::take(&mut self.documents);
        let verdicts = judge(
            &transaction,
            (&self.pinned, &self.checks),
            &mut documents,
            &request.envelopes,
            &request.items,
        );
        if let Some(fault) = verdicts
            .iter()
            .find_map(|verdict| verdict.as_ref().err().filter(|fault| !fault.is_of_item()))
        {
            return Err(fault.clone());
        }
        for (index, tbs) in wanted(&request.items, &verdicts) {
            attempt::put(&transaction, index, &tbs)?;
        }
        self.store.commit(transaction)?;
        (self.head, self.documents) = (head, documents.kept());
        Ok(verdicts)
    }

    /// Signs what was judged fit and makes the good signatures durable. Each index once, however often it was asked.
    fn sign(&self, wanted: &BTreeMap<u64, TbsHash>) -> Result<BTreeMap<u64, Answered>, Fault> {
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (key, pinned) = (self.key.as_ref(), &self.pinned);
        let wanted: Vec<_> = wanted.iter().collect();
        let signed = parallel::map(&wanted, |(index, tbs)| {
            (**index, sign::sign_one(key, pinned, tbs))
        });
        let signed: BTreeMap<_, _> = signed.into_iter().collect();
        let transaction = self.store.begin()?;
        for (index, answer) in &signed {
            if let Ok(signature) = answer {
                attempt::put_signature(&transaction, *index, signature)?;
            }
        }
        self.store.commit(transaction)?;
        Ok(signed)
    }

    fn stop(&mut self, fault: Fault) -> Stopped {
        tracing::error!(
            code = fault.code.as_str(),
            text = fault.text,
            size = self.size(),
            "nothing signed"
        );
        let stopped = Stopped {
            code: fault.code.as_str().to_owned(),
            text: fault.text.clone(),
            size: self.size(),
        };
        if fault.code.reach() >= Reach::Process {
            self.stopped = Some(fault);
        }
        stopped
    }
}

/// What is to be signed, by index.
fn wanted(items: &[Item], verdicts: &[Result<Verdict, Fault>]) -> BTreeMap<u64, TbsHash> {
    let each = items
        .iter()
        .zip(verdicts)
        .filter_map(|(item, verdict)| match verdict {
            Ok(Verdict::Sign(tbs)) => Some((item.index, *tbs)),
            Ok(Verdict::Stored(_)) | Err(_) => None,
        });
    each.collect()
}

fn outcome(
    item: &Item,
    verdict: Result<Verdict, Fault>,
    signed: &BTreeMap<u64, Answered>,
) -> Outcome {
    let answered = verdict.and_then(|verdict| match verdict {
        Verdict::Stored(signature) => Ok(signature),
        Verdict::Sign(_) => signed
            .get(&item.index)
            .cloned()
            .unwrap_or_else(|| Err(Fault::bare(Code::HsmFailed))),
    });
    let answer = match answered {
        Ok(signature) => Answer::Signed(Signature(signature)),
        Err(fault) => {
            tracing::warn!(
                code = fault.code.as_str(),
                index = item.index,
                text = fault.text,
                "refused"
            );
            Answer::Refused(Refused {
                code: fault.code.as_str().to_owned(),
                text: fault.text,
            })
        }
    };
    Outcome {
        index: item.index,
        answer,
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("origin", &self.pinned.origin)
            .field("size", &self.size())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
