//! See `acceptance::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| acceptance::fuzz::hold("pkcs11_template", input));
