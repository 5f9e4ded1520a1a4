//! Turns the .proto files into Rust, a descriptor set for reflection, and the list of RPCs. No protoc is needed.

use prost::Message as _;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};
use tonic_prost_build::FileDescriptorSet;

const ROOT: &str = "proto";
const FILES: [&str; 4] = [
    "koseki/common/v1/fault.proto",
    "koseki/factory/v1/factory.proto",
    "koseki/audit/v1/audit.proto",
    "koseki/admin/v1/admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    writeln!(io::stdout(), "cargo::rerun-if-changed={ROOT}")?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let descriptors = protox::compile(FILES, [ROOT])?;
    fs::write(out.join("koseki.bin"), descriptors.encode_to_vec())?;
    write_rpcs(&out.join("rpc.rs"), &rpcs(&descriptors))?;
    tonic_prost_build::configure()
        .include_file("koseki.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// One RPC: its variant's name and its path on the wire.
struct Rpc {
    variant: String,
    path: String,
}

/// Every RPC of every service, in the order of the files.
fn rpcs(set: &FileDescriptorSet) -> Vec<Rpc> {
    let services = set.file.iter().flat_map(|file| {
        file.service
            .iter()
            .map(move |service| (file.package(), service))
    });
    services
        .flat_map(|(package, service)| {
            let name = service.name();
            service.method.iter().map(move |method| Rpc {
                variant: format!(
                    "{}{}",
                    name.strip_suffix("Service").unwrap_or(name),
                    method.name()
                ),
                path: format!("/{package}.{name}/{}", method.name()),
            })
        })
        .collect()
}

/// Writes `enum Rpc`: a `match` without a wildcard over it fails to compile when an RPC is added.
fn write_rpcs(target: &Path, rpcs: &[Rpc]) -> Result<(), Box<dyn Error>> {
    let (mut variants, mut all, mut paths) = (String::new(), String::new(), String::new());
    for Rpc { variant, path } in rpcs {
        writeln!(variants, "    /// `{path}`\n    {variant},")?;
        writeln!(all, "        Self::{variant},")?;
        writeln!(paths, "            Self::{variant} => {path:?},")?;
    }
    let text = format!(
        "/// Every RPC of every service. Match it without a wildcard, so that a new RPC fails the build where it is not\n\
         /// provided for.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]\n\
         pub enum Rpc {{\n{variants}}}\n\n\
         impl Rpc {{\n\
         \x20   /// All of them, in the order of the files.\n    pub const ALL: [Self; {count}] = [\n{all}    ];\n\n\
         \x20   /// The path on the wire: `/package.Service/Method`.\n    #[must_use]\n\
         \x20   pub const fn path(self) -> &'static str {{\n        match self {{\n{paths}        }}\n    }}\n}}\n",
        count = rpcs.len(),
    );
    Ok(fs::write(target, text)?)
}
