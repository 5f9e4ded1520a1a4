//! The chip's end is built as firmware builds it: without `std`, and with no allocator anywhere. The least firmware
//! (`sdk/device/firmware`) is linked for this machine, whose core is always there.

use acceptance::metadata::root;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What the compiler itself calls, and every bare-metal toolchain brings: no memory is handed out by any of it.
const OF_THE_COMPILER: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];
/// Flash that the chip's end may take on bare metal, code and constants.
const MOST_FLASH: u64 = 64 * 1024;
const BARE_METAL: &str = "thumbv7em-none-eabi";

#[test]
fn the_chips_end_links_without_std_and_without_an_allocator() {
    let built = build(&[]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    let image = target().join("release/koseki-firmware-size");
    // The C library is linked, and holds `malloc`: whatever is not in the image itself is taken from there.
    let allowed = BTreeSet::from(OF_THE_COMPILER.map(str::to_owned));
    let borrowed = symbols(&image, &["--dynamic", "--undefined-only"]);
    assert!(borrowed.is_subset(&allowed), "{borrowed:?}");
    let own = symbols(&image, &["--demangle"]);
    assert!(own.iter().any(|name| name.contains("koseki_device")));
    for name in &own {
        let is_of = |part: &str| name.contains(part);
        let words = ["alloc", "malloc", "std::", "__rdl_", "__rg_"];
        assert!(!words.into_iter().any(is_of), "{name} is in the image");
    }
}

/// The driver of the station's end uses a heap; a firmware that takes it does not build.
#[test]
fn a_heap_in_the_chips_end_would_be_seen() {
    let built = build(&["--features", "koseki-device/driver"]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(
        !built.status.success(),
        "a heap without allocator was built"
    );
    assert!(said.contains("no global memory allocator found"), "{said}");
}

#[test]
fn on_bare_metal_the_chips_end_fits_into_its_flash() {
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = PathBuf::from(String::from_utf8(rustc.unwrap().stdout).unwrap().trim());
    if !sysroot.join("lib/rustlib").join(BARE_METAL).is_dir() {
        println!("core for {BARE_METAL} is not on this machine; the host's image stands for it");
        return;
    }
    let script = root().join("scripts/firmware.sh");
    let built = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&built.stdout);
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    let section = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        let size: u64 = words.next()?.parse().ok()?;
        [".text", ".rodata"].contains(&name).then_some(size)
    };
    let flash: u64 = said.lines().filter_map(section).sum();
    println!("{BARE_METAL}: {flash} bytes of flash");
    assert!((1..=MOST_FLASH).contains(&flash), "{said}");
}

/// The firmware has a lock file of its own, so that no feature of the workspace gets into it; it must be the same code.
#[test]
fn the_firmware_is_locked_to_the_same_packages() {
    let all = locked("Cargo.lock");
    let firmware = locked("sdk/device/firmware/Cargo.lock");
    assert!(firmware.len() > 20);
    let others: Vec<_> = firmware
        .difference(&all)
        .filter(|(name, _)| name != "koseki-firmware-size")
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

fn locked(file: &str) -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let word = |package: &toml::Value, key: &str| package[key].as_str().unwrap().to_owned();
    let packages = packages.iter();
    packages
        .map(|package| (word(package, "name"), word(package, "version")))
        .collect()
}

/// Kept between runs, so that only the first one builds what it is made of.
fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("firmware")
}

/// Links the firmware as it is, with an entry point of its own and nothing that runs before it.
fn build(more: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--release", "--locked", "--offline"]);
    cargo.arg("--target-dir").arg(target()).args(more);
    cargo.args(["--", "-C", "link-arg=-nostartfiles", "-C", "link-arg=-lc"]);
    let firmware = root().join("sdk/device/firmware");
    cargo.current_dir(firmware).output().unwrap()
}

/// Names of the image's symbols, without the version that the C library gives them.
fn symbols(image: &Path, which: &[&str]) -> BTreeSet<String> {
    let mut nm = Command::new("nm");
    let listed = nm.arg("--just-symbols").args(which).arg(image).output();
    let listed = listed.unwrap();
    assert!(listed.status.success(), "nm: {listed:?}");
    let text = String::from_utf8(listed.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split('@').next());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    assert!(!names.is_empty(), "{} has no symbols", image.display());
    names
}
