//! The wire between station, CA and auditor: gRPC services and their generated types.
//!
//! The documents inside the messages (envelopes, grants, leaves) are canonical DER and belong to `identity`; here
//! they are bytes. Sizes are capped before anything is parsed: by the transport at [`MAX_REQUEST_MESSAGE`], then by
//! the limits below.

pub mod fault;
#[expect(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::as_conversions,
    clippy::clone_on_ref_ptr,
    clippy::doc_markdown,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::too_many_lines,
    reason = "generated"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/koseki.rs"));
}
mod rpc;

pub use rpc::Rpc;

/// Types that all services share.
pub mod common {
    pub use crate::generated::koseki::common::v1::*;
}

/// `koseki.factory.v1`: issuance for stations.
pub mod factory {
    pub use crate::generated::koseki::factory::v1::factory_service_client::FactoryServiceClient;
    pub use crate::generated::koseki::factory::v1::factory_service_server::{
        FactoryService, FactoryServiceServer,
    };
    pub use crate::generated::koseki::factory::v1::*;
}

/// `koseki.audit.v1`: reading of the log.
pub mod audit {
    pub use crate::generated::koseki::audit::v1::audit_service_client::AuditServiceClient;
    pub use crate::generated::koseki::audit::v1::audit_service_server::{
        AuditService, AuditServiceServer,
    };
    pub use crate::generated::koseki::audit::v1::*;
}

/// `koseki.admin.v1`: the operator's local socket.
pub mod admin {
    pub use crate::generated::koseki::admin::v1::admin_service_client::AdminServiceClient;
    pub use crate::generated::koseki::admin::v1::admin_service_server::{
        AdminService, AdminServiceServer,
    };
    pub use crate::generated::koseki::admin::v1::*;
}

/// Descriptors of all files with their imports, an encoded `google.protobuf.FileDescriptorSet`, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/koseki.bin"));

/// Metadata that carries the newest checkpoint a station saw, a signed note, with every request: a log that went back
/// is found out by whichever station asks first, before anything is added to it.
pub const SEEN: &str = "koseki-checkpoint-bin";
/// Longest checkpoint in [`SEEN`], in bytes.
pub const MAX_SEEN: usize = 4096;
/// Most units in one envelope, and most chips in one `GetChallenges`.
pub const MAX_UNITS: usize = 64;
/// Longest envelope of `Provision` and `Adopt`, in bytes.
pub const MAX_ENVELOPE: usize = 256 * 1024;
/// Longest request document of `Confirm` and `Void`, and longest PEM of `EnrollStation`, in bytes.
pub const MAX_REQUEST: usize = 16 * 1024;
/// Length of a signature, r ‖ s, in bytes.
pub const SIGNATURE_LEN: usize = 64;
/// Most approvals with one document.
pub const MAX_APPROVALS: usize = 16;
/// Most leaves in one page of `ListEntries`.
pub const MAX_ENTRIES: u32 = 256;
/// Longest message a server decodes, in bytes: the longest envelope, its signature and the framing around them.
pub const MAX_REQUEST_MESSAGE: usize = MAX_ENVELOPE + 4 * 1024;
/// Longest message a client decodes, in bytes: a full page of leaves is 1 MiB, 64 issued units with their proofs less.
pub const MAX_RESPONSE_MESSAGE: usize = 2 * 1024 * 1024;
