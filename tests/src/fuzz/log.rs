//! The log's text and binary files.

use translog::checkpoint::Checkpoint;
use translog::note::SignedNote;
use translog::policy::Policy;
use translog::receipt::TlogProof;
use translog::tile::{Resource, Tile, Width, decode_entries, encode_entries};

pub(super) fn checkpoint(input: &[u8]) -> bool {
    let Ok(note) = SignedNote::parse(input) else {
        return false;
    };
    assert_eq!(note.to_string().as_bytes(), input);
    let Ok(checkpoint) = note.text().parse::<Checkpoint>() else {
        return false;
    };
    assert_eq!(checkpoint.to_string(), note.text());
    true
}

pub(super) fn tlog_proof(input: &[u8]) -> bool {
    let proof = TlogProof::parse(input);
    if let Ok(proof) = &proof {
        assert_eq!(proof.to_string().as_bytes(), input);
    }
    proof.is_ok()
}

pub(super) fn policy(input: &[u8]) -> bool {
    let Ok(policy) = Policy::parse(input) else {
        return false;
    };
    assert!(!policy.logs().is_empty(), "a policy without a log");
    assert!(policy.is_quorum(|_| true), "all witnesses are a quorum");
    true
}

/// The first byte is the width less one; the rest is a tile, a bundle of entries, or the path of one.
pub(super) fn tile(input: &[u8]) -> bool {
    let Some((width, bytes)) = input.split_first() else {
        return false;
    };
    let width = Width::new(u16::from(*width) + 1).expect("1 to 256");
    let path = str::from_utf8(bytes)
        .ok()
        .and_then(|path| path.parse::<Resource>().ok());
    if let Some(resource) = &path {
        assert_eq!(resource.to_string().as_bytes(), bytes);
    }
    let tile = Tile::from_bytes(bytes, width);
    if let Ok(tile) = &tile {
        assert_eq!(tile.to_bytes(), bytes);
    }
    let entries = decode_entries(bytes, width);
    if let Ok(entries) = &entries {
        assert_eq!(encode_entries(entries).as_deref(), Ok(bytes));
    }
    path.is_some() || tile.is_ok() || entries.is_ok()
}
