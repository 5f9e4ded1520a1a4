//! Policy files: what is accepted becomes documents that are canonical and permitted.

use crate::factory::copy_all;
use crate::metadata;
use ca_server::policy::{load_ceremony, load_grant, load_roles, load_station};
use identity::document::{Document as _, Grant, Profile};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

thread_local! {
    /// The project's policies, with one file too many: the input.
    static DIR: TempDir = {
        let dir = tempfile::tempdir().expect("a temporary directory");
        copy_all(&metadata::root().join("policies"), dir.path()).expect("a copy of the policies");
        dir
    };
}

pub(super) fn policies(input: &[u8]) -> bool {
    // A file has the name of what is in it.
    let text = String::from_utf8_lossy(input);
    let mut ids = text.lines().filter_map(|line| line.strip_prefix("id = \""));
    let id = ids.next().and_then(|rest| rest.split('"').next());
    let is_plain = |id: &&str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let name = id.filter(is_plain).filter(|id| (1..64).contains(&id.len()));
    let name = format!("{}.toml", name.unwrap_or("input"));
    DIR.with(|dir| try_all(dir.path(), &name, input))
}

fn try_all(dir: &Path, name: &str, input: &[u8]) -> bool {
    let path = dir.join("input").join(name);
    fs::create_dir_all(dir.join("input")).expect("a directory");
    fs::write(&path, input).expect("a file");
    let grant = load_grant(dir, &path);
    if let Ok(proposal) = &grant {
        let bytes = proposal.grant.to_bytes();
        assert_eq!(Grant::from_bytes(&bytes).as_ref(), Ok(&proposal.grant));
        let profile = proposal.product.profile.to_bytes();
        let read = Profile::from_bytes(&profile);
        assert_eq!(read.map(|it| it.hash()), Ok(proposal.grant.profile));
    }
    let accepted = grant.is_ok()
        | load_station(&path).is_ok()
        | load_ceremony(&path).is_ok()
        | load_roles(&path).is_ok();
    fs::remove_file(&path).expect("the file that was written");
    accepted
}
