//! The project's own policies as test data, whole or with one place altered.

use super::{load_grant, load_product};
use identity::document::Document as _;
use identity::{Id, P256Key};
use std::path::{Path, PathBuf};

/// `policies/` of the project.
pub(super) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// A copy of the policies in which the first `from` of one file is `to`.
pub(super) fn altered(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for folder in std::fs::read_dir(dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        let target = copy.path().join(folder.file_name().unwrap());
        std::fs::create_dir(&target).unwrap();
        for path in std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            std::fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
    }
    let text = std::fs::read_to_string(dir().join(file)).unwrap();
    assert!(text.contains(from), "{file} holds no {from:?}");
    std::fs::write(copy.path().join(file), text.replacen(from, to, 1)).unwrap();
    copy
}

/// Three public keys: the points 1·G, 2·G and 3·G, known to everybody.
pub(super) fn keys() -> [P256Key; 3] {
    [
        "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "037cf27b188d034f7e8a52380304b51ac3c08969e277f21b35a60b48fc47669978",
        "025ecbe4d1a6330a44c8f7ef951d4bf165e6c6b721efada985fb41661bc6e7fd6c",
    ]
    .map(|point| P256Key::from_sec1(&hex::decode(point).unwrap()).unwrap())
}

/// A change of these hashes is a change of what approvers sign: never update them without knowing why they moved.
#[test]
fn the_meaning_of_the_samples_has_not_moved() {
    let product = load_product(&dir(), &id("md-cam2")).unwrap();
    let grant = load_grant(&dir(), &dir().join("grants/2026-ota-line-2-cam2.toml"))
        .unwrap()
        .grant;
    assert_eq!(
        product.profile.hash().to_string(),
        "ff23472bf11b8db3edf1015247b668e86bbc9eacace8a41f4f773c121fa0d7c5"
    );
    assert_eq!(
        grant.hash().to_string(),
        "37fe8a68737c1c9c9dec77ad56dfdacd02f2135593989fd623a1c3d70c4136be"
    );
}
