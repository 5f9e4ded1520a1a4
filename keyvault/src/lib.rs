//! The only door to an HSM: PKCS#11 sessions, objects and mechanisms.
