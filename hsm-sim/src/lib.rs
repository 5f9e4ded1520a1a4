//! Simulated hardware of the line: a PKCS#11 module and a chip on a serial line.
