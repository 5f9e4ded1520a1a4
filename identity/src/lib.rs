//! The words of Koseki: devices, keys, proofs, profiles, leaves and their state rules.
