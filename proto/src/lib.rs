//! The wire between station, CA and auditor: gRPC services and their generated types.
