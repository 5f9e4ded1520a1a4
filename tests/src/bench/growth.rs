//! How the rate, the memory and the start of a server change with the number of devices in its register.

use super::client::Crew;
use super::floors::Floors;
use super::issuance::Course;
use super::report::Row;
use super::{GRANT, LOT, Selection, in_its_own_process, prepare, runtime};
use crate::factory::Factory;
use crate::failure::{Failure, Outcome, require};
use crate::hsm::Hsm;
use crate::soft::Order;
use ca_server::store::{ClaimKey, NewBinding, Reader, Store, StoreError, Transaction};
use identity::evidence::Grade;
use identity::hash::sha256;
use identity::leaf::{Bind, Body, Bytes32, CertificateRef, EvidenceRef, GrantUse, Leaf, Serial20};
use identity::{
    ChipUid, DocumentHash, RequestHash, RequestId, SpkiHash, SubjectId, TbsHash, Timestamp,
};
use std::path::Path;
use std::time::{Duration, Instant};

/// Envelopes under way at once while the rate is measured, one unit each.
const LEVEL: u32 = 64;
/// Devices added in one transaction.
const STEP: u64 = 1_000;
/// Devices added before the server is started, so that no start takes longer than one waits for.
const PART: u64 = 200_000;
const PART_STEP: usize = 200_000;

/// Rows for registers of these sizes, each measured with so many units.
///
/// # Errors
/// [`Failure`] of a step, or of the run with all that it said.
pub fn grow(hsm: Hsm, sizes: &[u64], units: u32) -> Outcome<Vec<Row>> {
    let mut arguments = vec!["--units".to_owned(), units.to_string()];
    for size in sizes {
        arguments.extend(["--grow-to".to_owned(), size.to_string()]);
    }
    in_its_own_process(hsm, Duration::ZERO, &arguments)
}

/// What [`grow`] starts.
///
/// # Errors
/// [`Failure`] of a step, or that a unit was refused.
pub fn grow_inside(home: &Path, hsm: Hsm, sizes: &[u64], units: u32) -> Outcome<Vec<Row>> {
    let (mut factory, runtime) = (prepare(home, hsm)?, runtime()?);
    let crew = runtime.block_on(async { Crew::enroll(&factory) })?;
    factory.load_grant(GRANT)?;
    factory.open_lot(GRANT, LOT)?;
    let floors = runtime.block_on(Floors::measure(&factory, &crew))?;
    let crew = crew.under(&factory)?;
    let selection = Selection {
        units,
        only: Vec::new(),
        levels: Vec::new(),
        flush: Duration::ZERO,
    };
    // A first few, so that there is one whose sizes the others take.
    runtime.block_on(course(&factory, &crew, &floors, &selection).issuance("warm", 8, (64, 1)))?;
    let mut rows = Vec::new();
    for size in sizes {
        for part in (PART..*size).step_by(PART_STEP).chain([*size]) {
            factory.stop_server()?;
            seed(&factory, part)?;
            // This start writes the log's files and shows the signer what it has not seen.
            factory.start_server()?;
        }
        factory.stop_server()?;
        let began = Instant::now();
        factory.start_server()?;
        let start_s = began.elapsed().as_secs_f64();
        let crew = runtime.block_on(async { crew.reconnected(&factory) })?;
        let course = course(&factory, &crew, &floors, &selection);
        let row = runtime.block_on(course.issuance("growth", LEVEL, (units, 1)))?;
        rows.push(Row {
            devices: *size,
            server_mb: factory.server_memory()? / 1e6,
            start_s,
            ..row
        });
    }
    factory.stop_server()?;
    Ok(rows)
}

const fn course<'a>(
    factory: &'a Factory,
    crew: &'a Crew,
    floors: &'a Floors,
    selection: &'a Selection,
) -> Course<'a> {
    Course {
        factory,
        crew,
        floors,
        selection,
    }
}

/// Enters devices until there are so many: each with its leaf, claims, openings, TBS, envelope and signature, written by
/// the store's own code under the log's own rules, and as large as those of a real one. Only what is inside TBS, openings,
/// envelope and signature is made up: nobody will ask for these devices again.
fn seed(factory: &Factory, size: u64) -> Outcome<()> {
    let store =
        Store::open(&factory.path("ca/state/ca.sqlite"), pages::LONG_LOG).map_err(Failure::new)?;
    let seeds = Seeds::like_a_real_one(factory, &store)?;
    let now = u64::try_from(jiff::Timestamp::now().as_millisecond()).map_err(Failure::new)?;
    let mut issued = seeds.issued(&store)?;
    while issued < size {
        let until = size.min(issued + STEP);
        let put = |transaction: &mut Transaction<'_>| {
            (issued..until).try_for_each(|ordinal| seeds.put(transaction, ordinal, Timestamp(now)))
        };
        store.write(put).map_err(Failure::new)?;
        issued = until;
    }
    require(seeds.issued(&store)? >= size, "devices are missing")
}

/// What seeded devices have in common.
struct Seeds {
    grant: DocumentHash,
    lot: DocumentHash,
    tbs: Vec<u8>,
    openings: Vec<u8>,
    envelope: Vec<u8>,
}

impl Seeds {
    fn like_a_real_one(factory: &Factory, store: &Store) -> Outcome<Self> {
        let reader = store.reader().map_err(Failure::new)?;
        let Order { grant, .. } = Order::under(factory, GRANT, LOT)?;
        let bind = newest_binding(&reader)?;
        let binding = reader.binding(bind).map_err(Failure::new)?;
        let binding = binding.ok_or_else(|| Failure::new("no unit was bound"))?;
        let (envelope, _) = reader.envelope(binding.envelope).map_err(Failure::new)?;
        Ok(Self {
            grant,
            lot: binding.lot,
            tbs: binding.tbs,
            openings: binding.openings,
            envelope,
        })
    }

    fn issued(&self, store: &Store) -> Outcome<u64> {
        let reader = store.reader().map_err(Failure::new)?;
        let grant = reader.grant(&self.grant).map_err(Failure::new)?;
        let grant = grant.ok_or_else(|| Failure::new("the grant is gone"))?;
        Ok(grant.issued.into())
    }

    fn put(
        &self,
        transaction: &mut Transaction<'_>,
        ordinal: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let random = |what: &[u8]| sha256(&[b"seed", what, &ordinal.to_be_bytes()].concat());
        let (request, spki) = (
            RequestId(first(&random(b"request"))),
            SpkiHash(random(b"spki")),
        );
        let bind = Bind {
            subject: SubjectId::of_p256(&spki),
            certificate: CertificateRef {
                serial: Serial20(first(&random(b"certificate"))),
                tbs: TbsHash(random(b"tbs")),
                spki,
                issuer: SpkiHash([1; 32]),
                epoch: 0,
            },
            grant: GrantUse {
                grant: self.grant,
                ordinal: u32::try_from(ordinal).unwrap_or(u32::MAX),
            },
            request: RequestHash(random(b"envelope")),
            evidence: EvidenceRef {
                grade: Grade::ChipAttested,
                hash: Bytes32(random(b"evidence")),
            },
            fields: Bytes32(random(b"fields")),
            lot: Some(self.lot),
            supersedes: None,
        };
        let day = now.day();
        let leaf = Leaf {
            day,
            body: Body::Bind(bind),
        };
        let entry = transaction.append(&leaf, now)?;
        let entry = entry.map_err(|_broken| StoreError::Damaged("a seeded leaf breaks a rule"))?;
        let envelope = transaction.put_envelope(&self.envelope, &[0x5A; 64])?;
        let binding = NewBinding {
            request: &request,
            holder: "ota-l2-prov-01",
            envelope,
            unit: 0,
            lot: &self.lot,
            facts: &random(b"facts"),
            tbs: &self.tbs,
            openings: &self.openings,
        };
        transaction.put_binding(entry, &binding)?;
        transaction.claim(&ClaimKey::request(&request), entry.index)?;
        // The last stands for the serial's claim: as wide, and no serial's.
        for claim in [b"uid", b"ser"] {
            let uid = ChipUid::new(&first::<16>(&random(claim)));
            let uid = uid.map_err(|_form| StoreError::Damaged("a seeded UID"))?;
            transaction.claim(&ClaimKey::uid(&uid), entry.index)?;
        }
        transaction.put_signature(entry.index, &[0x5A; 64])
    }
}

/// The first bytes of a hash.
fn first<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| hash[at])
}

/// Index of the newest `bind` leaf.
fn newest_binding(reader: &Reader) -> Outcome<u64> {
    let head = reader.head().map_err(Failure::new)?;
    for index in (0..head.size).rev() {
        if reader.binding(index).map_err(Failure::new)?.is_some() {
            return Ok(index);
        }
    }
    Err(Failure::new("no unit was bound"))
}
