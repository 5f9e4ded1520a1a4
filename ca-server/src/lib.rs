//! The CA of the family register: issuance corridor, ledger, store and services.
