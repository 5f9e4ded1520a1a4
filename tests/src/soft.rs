//! A station and chips in software: what stories need that ask the CA for things no real station would.

use crate::chips::Vendor;
use crate::factory::Factory;
use crate::failure::{At as _, Failure, Outcome};
use crate::tls::{Credentials, channel};
use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64ct::{Base64, Encoding as _};
use identity::document::{Document as _, Grant};
use identity::envelope::{
    ConfirmRequest, Envelope, Purpose, StationRequest, Unit, Version1, VoidRequest, request_hash,
};
use identity::evidence::{Bytes32, EndorsedChip, Evidence, Injected, OnChip, Signature};
use identity::message::{
    Confirmation, Endorsement, InjectionReceipt, KeyOrigin, Message as _, Possession, Transport,
};
use identity::{
    CertificateHash, ChipUid, DeviceSerial, DocumentHash, Id, LeafHash, P256Key, PartNumber,
    RequestId, Timestamp,
};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use proto::factory::{
    self, AdoptRequest, FactoryServiceClient, GetChallengesRequest, Issued, ProvisionRequest,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::transport::Channel;

/// Part of the chips that take an injected key.
const INJECTED: &str = "sim-mcu-b2";

/// A P-256 key in software.
#[derive(Clone)]
pub struct SoftKey {
    secret: SecretKey,
    public: P256Key,
    pair: Arc<EcdsaKeyPair>,
}

/// A chip in software, endorsed by the factory's vendor.
#[derive(Clone, Debug)]
pub struct SoftChip {
    /// Its identifier.
    pub uid: ChipUid,
    /// Its part number.
    pub part: PartNumber,
    /// Its fixed key.
    pub key: SoftKey,
    attestation: SoftKey,
    endorsement: Signature,
}

/// A station in software, enrolled like any other.
#[derive(Clone, Debug)]
pub struct SoftStation {
    /// Its name.
    pub id: Id,
    /// Its key for TLS.
    pub tls: SoftKey,
    /// Its key for envelopes.
    pub request: SoftKey,
    /// Its key for injection receipts.
    pub receipt: SoftKey,
    /// Its TLS certificate.
    pub certificate: PathBuf,
    pub(crate) client: FactoryServiceClient<Channel>,
}

/// Where a unit belongs.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The grant.
    pub grant: DocumentHash,
    /// The lot.
    pub lot: Id,
}

/// A signed request, ready to be sent as often as one likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The envelope, DER.
    pub envelope: Vec<u8>,
    /// The station's signature.
    pub signature: Vec<u8>,
}

/// What became of a unit: index and certificate, or the fault's code.
pub type Answer = Result<(u64, Vec<u8>), String>;

impl SoftKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn generate() -> Outcome<Self> {
        let mut scalar = [0; 32];
        getrandom::fill(&mut scalar).map_err(Failure::new)?;
        // All but one in 2^32 of random values are scalars of the curve.
        let secret = SecretKey::from_slice(&scalar).map_err(Failure::new)?;
        Self::of(secret)
    }

    fn of(secret: SecretKey) -> Outcome<Self> {
        let point = secret.public_key().to_sec1_point(false);
        let public = P256Key::from_sec1(point.as_bytes()).map_err(Failure::new)?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &secret.to_bytes(),
            point.as_bytes(),
        );
        Ok(Self {
            secret,
            public,
            pair: Arc::new(pair.map_err(Failure::new)?),
        })
    }

    /// The key with which a vendor endorses its chips.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn of_vendor(vendor: &Vendor) -> Outcome<Self> {
        let pem = fs::read_to_string(vendor.private()).at(&vendor.private())?;
        Self::of(SecretKey::from_pkcs8_pem(&pem).map_err(Failure::new)?)
    }

    /// Its public half.
    ///
    /// # Errors
    /// [`Failure`] never happens for a key that was made.
    pub fn public(&self) -> Outcome<P256Key> {
        Ok(self.public)
    }

    /// Signs a digest.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn sign(&self, digest: &[u8; 32]) -> Outcome<Signature> {
        let digest = Digest::import_less_safe(digest, &SHA256).map_err(Failure::new)?;
        let signature = self.pair.sign_digest(&digest).map_err(Failure::new)?;
        signature
            .as_ref()
            .try_into()
            .map(Signature)
            .map_err(Failure::new)
    }

    /// The key as PKCS #8.
    ///
    /// # Errors
    /// [`Failure`] of the encoding.
    pub fn pkcs8(&self) -> Outcome<Vec<u8>> {
        let document = self.secret.to_pkcs8_der().map_err(Failure::new)?;
        Ok(document.as_bytes().to_vec())
    }
}

impl std::fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SoftKey")
    }
}

impl SoftChip {
    /// A camera's chip with a fixed key.
    ///
    /// # Errors
    /// [`Failure`] of the vendor's key.
    pub fn make(vendor: &Vendor, number: u32) -> Outcome<Self> {
        Self::of_vendor(&SoftKey::of_vendor(vendor)?, number)
    }

    /// As [`Self::make`], with the vendor's key at hand.
    ///
    /// # Errors
    /// [`Failure`] without randomness.
    pub fn of_vendor(vendor: &SoftKey, number: u32) -> Outcome<Self> {
        Self::of(vendor, "sim-se-a1", &[0x01, 0x23, 0, 0, 0xF0], number)
    }

    /// A sensor's chip, which took its fixed key from a line HSM.
    ///
    /// # Errors
    /// [`Failure`] of the vendor's key.
    pub fn make_sensor(vendor: &Vendor, number: u32) -> Outcome<Self> {
        let prefix = [0x04, 0x17, 0, 0, 0, 0, 0, 0xF0];
        Self::of(&SoftKey::of_vendor(vendor)?, INJECTED, &prefix, number)
    }

    /// A chip of any part with any beginning of its identifier.
    ///
    /// # Errors
    /// [`Failure`] without randomness, or no such identifier.
    pub fn of(vendor: &SoftKey, part: &str, prefix: &[u8], number: u32) -> Outcome<Self> {
        let uid = [prefix, &number.to_be_bytes()].concat();
        let (uid, part) = (
            ChipUid::new(&uid).map_err(Failure::new)?,
            PartNumber::new(part).map_err(Failure::new)?,
        );
        let attestation = SoftKey::generate()?;
        let message = Endorsement {
            uid: &uid,
            part: &part,
            attestation: &attestation.public()?.spki_hash(),
        };
        let endorsement = vendor.sign(&message.digest())?;
        Ok(Self {
            uid,
            part,
            key: SoftKey::generate()?,
            attestation,
            endorsement,
        })
    }

    /// Evidence of where its key came from; a sensor's needs the station's word.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn evidence(&self, receipt: &SoftKey, request: &RequestId) -> Outcome<Evidence> {
        match self.part.as_str() {
            INJECTED => self.injected(receipt, request),
            _ => self.on_chip(),
        }
    }

    /// Evidence of a key that was injected.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn injected(&self, receipt: &SoftKey, request: &RequestId) -> Outcome<Evidence> {
        let (nonce, wrapped) = ([7; 32], [9; 32]);
        let ephemeral = SoftKey::generate()?.public()?;
        let transport = Transport {
            uid: &self.uid,
            part: &self.part,
            ephemeral: ephemeral.sec1(),
            nonce: &nonce,
        };
        let message = InjectionReceipt {
            request,
            uid: &self.uid,
            spki: &self.key.public()?.spki_hash(),
            ephemeral: ephemeral.sec1(),
            wrapped: &wrapped,
        };
        Ok(Evidence::Injected(Injected {
            chip: self.endorsed()?,
            nonce: Bytes32(nonce),
            ephemeral,
            transport: self.attestation.sign(&transport.digest())?,
            wrapped: Bytes32(wrapped),
            receipt: receipt.sign(&message.digest())?,
        }))
    }

    fn endorsed(&self) -> Outcome<EndorsedChip> {
        Ok(EndorsedChip {
            attestation: self.attestation.public()?,
            endorsement: self.endorsement,
        })
    }

    /// Evidence of a key that was made on the chip.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn on_chip(&self) -> Outcome<Evidence> {
        let nonce = [7; 32];
        let message = KeyOrigin {
            uid: &self.uid,
            part: &self.part,
            spki: &self.key.public()?.spki_hash(),
            nonce: &nonce,
        };
        Ok(Evidence::OnChip(OnChip {
            chip: self.endorsed()?,
            nonce: Bytes32(nonce),
            origin: self.attestation.sign(&message.digest())?,
        }))
    }
}

impl Order {
    /// Under a grant that was loaded.
    ///
    /// # Errors
    /// [`Failure`] names the file.
    pub fn under(factory: &Factory, grant: &str, lot: &str) -> Outcome<Self> {
        let path = factory.grant_dir(grant).join("grant.der");
        let grant = Grant::from_bytes(&fs::read(&path).at(&path)?).at(&path)?;
        Ok(Self {
            grant: grant.hash(),
            lot: Id::new(lot).map_err(Failure::new)?,
        })
    }
}

impl SoftStation {
    /// Enrolls a station whose keys are in software, and connects it.
    ///
    /// # Errors
    /// [`Failure`] of a step.
    pub fn enroll(factory: &Factory, id: &str) -> Outcome<Self> {
        let home = factory.path("soft-stations").join(id);
        fs::create_dir_all(&home).at(&home)?;
        let [tls, request, receipt] = [(); 3].map(|()| SoftKey::generate());
        let (tls, request, receipt) = (tls?, request?, receipt?);
        write_request(&home, id, [&tls, &request, &receipt])?;
        let certificate = home.join("station.cert.pem");
        factory.enroll_station(id, &home, &certificate)?;
        let own = Credentials {
            certificate: &certificate,
            key: &tls,
        };
        let client = FactoryServiceClient::new(channel(factory, own)?);
        Ok(Self {
            id: Id::new(id).map_err(Failure::new)?,
            tls,
            request,
            receipt,
            certificate,
            client,
        })
    }

    /// The same station with another connection, to its factory or a copy of it.
    ///
    /// # Errors
    /// [`Failure`] of the certificate.
    pub fn reconnected(&self, factory: &Factory) -> Outcome<Self> {
        let own = Credentials {
            certificate: &self.certificate,
            key: &self.tls,
        };
        Ok(Self {
            client: FactoryServiceClient::new(channel(factory, own)?),
            ..self.clone()
        })
    }

    /// One challenge for each chip, and the CA's time.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn challenges<'a>(
        &self,
        chips: impl Iterator<Item = &'a SoftChip>,
    ) -> Outcome<(Vec<Vec<u8>>, Timestamp)> {
        let uids = chips.map(|chip| chip.uid.as_bytes().to_vec()).collect();
        let asked = GetChallengesRequest {
            uids,
            ..GetChallengesRequest::default()
        };
        let answer = self.client.clone().get_challenges(asked).await;
        let answer = answer.map_err(Failure::new)?.into_inner();
        Ok((answer.challenges, Timestamp(answer.server_time_ms)))
    }

    /// The line to the CA.
    #[must_use]
    pub fn client(&self) -> FactoryServiceClient<Channel> {
        self.client.clone()
    }

    /// Asks for a challenge and signs a request for one unit.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn prepare(
        &self,
        purpose: Purpose,
        order: Order,
        chip: &SoftChip,
        serial: u64,
    ) -> Outcome<Signed> {
        self.seal(&self.draft(purpose, order, chip, serial).await?)
    }

    /// Asks for a challenge and writes a request for one unit.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn draft(
        &self,
        purpose: Purpose,
        order: Order,
        chip: &SoftChip,
        serial: u64,
    ) -> Outcome<Envelope> {
        let (challenges, _servers_time) = self.challenges(std::iter::once(chip)).await?;
        let challenge = challenges.into_iter().next();
        let challenge = challenge.ok_or_else(|| Failure::new("no challenge"))?;
        let unit = self.unit(order, chip, serial, challenge)?;
        Ok(Envelope {
            version: Version1,
            purpose,
            station: self.id,
            time: now(),
            grant: order.grant,
            lot: order.lot,
            seen: None,
            units: vec![unit],
        })
    }

    /// A unit under a request id of its own, with proof of possession.
    ///
    /// # Errors
    /// [`Failure`] without randomness, or of the serial's form.
    pub fn unit(
        &self,
        order: Order,
        chip: &SoftChip,
        serial: u64,
        challenge: Vec<u8>,
    ) -> Outcome<Unit> {
        let mut request = [0; 16];
        getrandom::fill(&mut request).map_err(Failure::new)?;
        let request = RequestId(request);
        let serial = DeviceSerial::new(&serial.to_string()).map_err(Failure::new)?;
        let octets = |bytes: &[u8]| der::asn1::OctetString::new(bytes).map_err(Failure::new);
        let mut unit = Unit {
            request,
            uid: chip.uid,
            part: chip.part,
            serial,
            key: octets(&chip.key.public()?.spki())?,
            challenge: octets(&challenge)?,
            possession: Signature([0; 64]),
            evidence: chip.evidence(&self.receipt, &request)?,
            observations: Vec::new(),
        };
        self.prove(chip, &mut unit, &order.grant)?;
        Ok(unit)
    }

    /// Has the chip prove possession for what the unit now says.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn prove(&self, chip: &SoftChip, unit: &mut Unit, grant: &DocumentHash) -> Outcome<()> {
        let possession = Possession {
            challenge: unit.challenge.as_bytes(),
            request: &unit.request,
            uid: &unit.uid,
            serial: &unit.serial,
            spki: &chip.key.public()?.spki_hash(),
            grant,
            station: &self.id,
        };
        unit.possession = chip.key.sign(&possession.digest())?;
        Ok(())
    }

    /// What the chip and the station say once the certificate is in the chip.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm, or of the answer's form.
    pub fn confirmation(
        &self,
        chip: &SoftChip,
        request: RequestId,
        issued: &Issued,
    ) -> Outcome<ConfirmRequest> {
        let leaf = LeafHash(fixed(&issued.leaf_hash)?);
        let certificate = CertificateHash::of(&issued.certificate);
        let message = Confirmation {
            nonce: &fixed(&issued.confirm_nonce)?,
            certificate: &certificate,
            leaf: &leaf,
        };
        Ok(ConfirmRequest {
            version: Version1,
            station: self.id,
            time: now(),
            request,
            leaf,
            certificate,
            signature: chip.key.sign(&message.digest())?,
        })
    }

    /// The station's verdict that a unit will never ship.
    ///
    /// # Errors
    /// [`Failure`] never happens: the reason is a fault's code.
    pub fn verdict(&self, request: RequestId) -> Outcome<VoidRequest> {
        Ok(VoidRequest {
            version: Version1,
            station: self.id,
            time: now(),
            request,
            reason: Id::new("LINE-0111").map_err(Failure::new)?,
        })
    }

    /// Signs a request, whatever it says.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn seal<R: StationRequest>(&self, request: &R) -> Outcome<Signed> {
        self.seal_bytes::<R>(request.to_bytes())
    }

    /// Signs bytes as if they were a request.
    ///
    /// # Errors
    /// [`Failure`] of the algorithm.
    pub fn seal_bytes<R: StationRequest>(&self, bytes: Vec<u8>) -> Outcome<Signed> {
        let signature = self.request.sign(&request_hash::<R>(&bytes).0)?;
        Ok(Signed {
            envelope: bytes,
            signature: signature.0.to_vec(),
        })
    }

    /// Sends a request of one unit to be provisioned.
    ///
    /// # Errors
    /// [`Failure`] of the call itself, with the fault's code if it has one.
    pub async fn provision(&self, signed: &Signed) -> Outcome<Answer> {
        let issued = self.issue(signed).await?;
        Ok(issued.map(|issued| (issued.index, issued.certificate)))
    }

    /// As [`Self::provision`], with all that the CA answers.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn issue(&self, signed: &Signed) -> Outcome<Result<Issued, String>> {
        let request = ProvisionRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().provision(request).await;
        let answer = answer.map_err(|status| refused(&status))?;
        one(answer.into_inner().results)
    }

    /// Sends a confirmation; gives the index of its leaf.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn confirm(&self, signed: &Signed) -> Outcome<Result<u64, String>> {
        let request = factory::ConfirmRequest {
            request: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        leaf(self.client.clone().confirm(request).await)
    }

    /// Sends a void; gives the index of its leaf.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn void(&self, signed: &Signed) -> Outcome<Result<u64, String>> {
        let request = factory::VoidRequest {
            request: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        leaf(self.client.clone().void(request).await)
    }

    /// Sends a scrapping; gives the index of its leaf.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn scrap(&self, signed: &Signed) -> Outcome<Result<u64, String>> {
        let request = factory::ScrapUnitRequest {
            request: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        leaf(self.client.clone().scrap_unit(request).await)
    }

    /// Sends the end of a lot; gives the index of its leaf.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn close_lot(&self, signed: &Signed) -> Outcome<Result<u64, String>> {
        let request = factory::CloseLotRequest {
            request: signed.envelope.clone(),
            signature: signed.signature.clone(),
            shares: Vec::new(),
        };
        let answer = self.client.clone().close_lot(request).await;
        let answer = answer.map_err(|status| refused(&status))?.into_inner();
        let receipt = answer.receipt.ok_or_else(|| Failure::new("no receipt"))?;
        Ok(Ok(receipt.index))
    }

    /// Sends a request of one unit to be adopted.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub async fn adopt(&self, signed: &Signed) -> Outcome<Answer> {
        let request = AdoptRequest {
            envelope: signed.envelope.clone(),
            signature: signed.signature.clone(),
        };
        let answer = self.client.clone().adopt(request).await;
        let answer = answer.map_err(|status| refused(&status))?;
        let issued = one(answer.into_inner().results)?;
        Ok(issued.map(|issued| (issued.index, issued.certificate)))
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Outcome<[u8; N]> {
    bytes.try_into().map_err(Failure::new)
}

/// The station's own clock.
pub(crate) fn now() -> Timestamp {
    let now = jiff::Timestamp::now().as_millisecond();
    Timestamp(u64::try_from(now).unwrap_or_default())
}

/// The failure of a call by its fault's code, if it has one.
#[must_use]
pub fn refused(status: &tonic::Status) -> Failure {
    let fault = proto::fault::fault_from_status(status);
    Failure::new(fault.map_or_else(|| status.to_string(), |fault| fault.code))
}

/// An answer about one unit: three messages of one form.
trait Told {
    /// The receipt, or why it was refused.
    fn told(self) -> Option<Result<factory::LeafReceipt, proto::common::Fault>>;
}

macro_rules! told {
    ($($answer:ident $outcome:ident,)*) => {$(
        impl Told for factory::$answer {
            fn told(self) -> Option<Result<factory::LeafReceipt, proto::common::Fault>> {
                use factory::$outcome::Outcome::{Receipt, Refused};
                Some(match self.outcome? {
                    Receipt(receipt) => Ok(receipt),
                    Refused(fault) => Err(fault),
                })
            }
        }
    )*};
}

told! {
    ConfirmResponse confirm_response,
    VoidResponse void_response,
    ScrapUnitResponse scrap_unit_response,
}

/// The index of the leaf that an answer is about, or the code of the refusal.
fn leaf<A: Told>(
    answer: Result<tonic::Response<A>, tonic::Status>,
) -> Outcome<Result<u64, String>> {
    let answer = answer.map_err(|status| refused(&status))?.into_inner();
    match answer.told() {
        Some(Ok(receipt)) => Ok(Ok(receipt.index)),
        Some(Err(fault)) => Ok(Err(fault.code)),
        None => Err(Failure::new("an answer without an outcome")),
    }
}

fn one(results: Vec<factory::UnitResult>) -> Outcome<Result<Issued, String>> {
    use factory::unit_result::Outcome::{Issued, Refused};
    let result = results.into_iter().next().and_then(|result| result.outcome);
    match result {
        Some(Issued(issued)) => Ok(Ok(issued)),
        Some(Refused(fault)) => Ok(Err(fault.code)),
        None => Err(Failure::new("an answer without an outcome")),
    }
}

/// What a station's agent would write.
fn write_request(home: &Path, id: &str, [tls, request, receipt]: [&SoftKey; 3]) -> Outcome<()> {
    let spki = |key: &SoftKey| key.public().map(|key| Base64::encode_string(&key.spki()));
    let text = format!(
        "schema = \"station-request/v1\"\nid = \"{id}\"\nsite = \"JP-13-OTA\"\nline = \"line-2\"\n\n[keys]\ntls = \"{}\"\nrequest = \"{}\"\nreceipt = \"{}\"\n",
        spki(tls)?,
        spki(request)?,
        spki(receipt)?
    );
    let path = home.join("station-request.toml");
    fs::write(&path, text).at(&path)?;
    write_csr(home, tls)
}

/// Writes the certification request for a TLS key.
///
/// # Errors
/// [`Failure`] names the file.
pub fn write_csr(home: &Path, tls: &SoftKey) -> Outcome<()> {
    let key = PrivatePkcs8KeyDer::from(tls.pkcs8()?);
    let key = rcgen::KeyPair::try_from(&key).map_err(Failure::new)?;
    let csr = rcgen::CertificateParams::default();
    let csr = csr.serialize_request(&key).map_err(Failure::new)?;
    let path = home.join("station.csr.pem");
    fs::write(&path, csr.pem().map_err(Failure::new)?).at(&path)
}
