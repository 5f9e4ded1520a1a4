//! For relying parties and auditors: certificate, proof and trust make one verdict, offline.
