//! The station on the factory line: drives the line HSM, the chip programmer and the CA.
