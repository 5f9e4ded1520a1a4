//! Links the module so that it stays in memory once it is loaded.
//!
//! The cryptographic library keeps state for each thread and has it destroyed when the thread ends.
//! A client that unloads the module before that would leave a destructor whose code is gone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}
