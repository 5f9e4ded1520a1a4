//! Other people's implementations agree: trees, proofs, tiles, notes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ed25519_dalek::Signer as _;
use proptest::prelude::*;
use signed_note::{Note, StandardVerifier, VerifierList};
use translog::checkpoint::{Checkpoint, TrustedLog};
use translog::note::{NoteSigner, SignatureType, SignedNote, VerifierKey};
use translog::proof::{
    HashReader, Node, prove_consistency, prove_inclusion, verify_consistency, verify_inclusion,
};
use translog::tile::{RightEdge, Tile, TileId};
use translog::tree::{Hash, leaf_hash, root_of};

/// Hashes of complete subtrees, straight from the leaves.
struct Leaves(Vec<Hash>);

impl HashReader for Leaves {
    type Error = Infallible;

    fn hash(&self, node: Node) -> Result<Hash, Infallible> {
        let start = usize::try_from(node.index << node.level).unwrap();
        Ok(root_of(&self.0[start..start + (1 << node.level)]))
    }
}

fn entries(count: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| format!("entry {index}").into_bytes())
        .collect()
}

fn hashes(entries: &[Vec<u8>]) -> Vec<Hash> {
    entries.iter().map(|entry| leaf_hash(entry)).collect()
}

fn prefix(leaves: &[Hash], size: u64) -> &[Hash] {
    &leaves[..usize::try_from(size).unwrap()]
}

fn flat(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

#[test]
fn ct_merkle_has_the_same_roots_and_proofs() {
    let entries = entries(70);
    let leaves = Leaves(hashes(&entries));
    let mut tree = MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
    for (size, entry) in (1_u64..).zip(&entries) {
        tree.push(entry.clone());
        assert_eq!(
            tree.root().as_bytes().as_slice(),
            root_of(prefix(&leaves.0, size)).as_ref()
        );
        for index in 0..size {
            let theirs = tree.prove_inclusion(usize::try_from(index).unwrap());
            assert_eq!(
                flat(&prove_inclusion(&leaves, index, size).unwrap()),
                theirs.as_bytes()
            );
        }
        for old in 1..size {
            let theirs = tree.prove_consistency(usize::try_from(size - old).unwrap());
            assert_eq!(
                flat(&prove_consistency(&leaves, old, size).unwrap()),
                theirs.as_bytes()
            );
        }
    }
}

/// The hash store of `tlog_tiles`, filled as it says.
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes
            .iter()
            .map(|index| self.0[usize::try_from(*index).unwrap()])
            .collect())
    }
}

fn stored(entries: &[Vec<u8>]) -> Stored {
    let mut stored = Stored(Vec::new());
    for (index, entry) in (0..).zip(entries) {
        let new = tlog_tiles::stored_hashes(index, entry, &stored).unwrap();
        stored.0.extend(new);
    }
    stored
}

#[test]
fn tlog_tiles_has_the_same_proofs() {
    let entries = entries(300);
    let (leaves, stored) = (Leaves(hashes(&entries)), stored(&entries));
    for size in [1_u64, 2, 3, 7, 8, 9, 255, 256, 257, 299, 300] {
        let root = tlog_tiles::tree_hash(size, &stored).unwrap();
        assert_eq!(root.0, *root_of(prefix(&leaves.0, size)).as_bytes());
        for index in (0..size).step_by(7) {
            let theirs = tlog_tiles::prove_record(size, index, &stored).unwrap();
            let ours = prove_inclusion(&leaves, index, size).unwrap();
            assert_eq!(
                theirs
                    .iter()
                    .map(|hash| Hash::new(hash.0))
                    .collect::<Vec<_>>(),
                ours
            );
        }
        for old in (1..=size).step_by(5) {
            let theirs = tlog_tiles::prove_tree(size, old, &stored).unwrap();
            let ours = prove_consistency(&leaves, old, size).unwrap();
            assert_eq!(
                theirs
                    .iter()
                    .map(|hash| Hash::new(hash.0))
                    .collect::<Vec<_>>(),
                ours
            );
        }
    }
}

/// Their path, `tile/8/<L>/…`, in today's form, which has no height.
fn their_tiles(old: u64, new: u64, stored: &Stored) -> BTreeMap<String, Vec<u8>> {
    let tiles = tlog_tiles::Tile::new_tiles(8, old, new);
    let file = |tile: tlog_tiles::Tile| {
        let path = tile.path().replacen("tile/8/", "tile/", 1);
        (path, tile.read_data(stored).unwrap())
    };
    tiles.into_iter().map(file).collect()
}

#[test]
fn tlog_tiles_writes_the_same_tiles() {
    let entries = entries(1400);
    let (leaves, stored) = (hashes(&entries), stored(&entries));
    let sizes = [
        0_u64, 1, 2, 200, 255, 256, 257, 511, 512, 513, 1279, 1280, 1400,
    ];
    for old in sizes {
        for new in sizes.into_iter().filter(|new| *new > old) {
            let mut edge = RightEdge::new();
            edge.append(prefix(&leaves, old));
            let written = edge.append(&prefix(&leaves, new)[usize::try_from(old).unwrap()..]);
            let ours: BTreeMap<_, _> = written
                .iter()
                .map(|(id, tile)| (id.to_string(), tile.to_bytes()))
                .collect();
            assert_eq!(ours, their_tiles(old, new, &stored), "from {old} to {new}");
        }
    }
}

struct Key {
    public: VerifierKey,
    secret: ed25519_dalek::SigningKey,
}

impl NoteSigner for Key {
    type Error = Infallible;

    fn verifier_key(&self) -> &VerifierKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Infallible> {
        Ok(self.secret.sign(message).to_bytes().to_vec())
    }
}

fn key() -> Key {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[0x5a; 32]);
    let name = "log.example/a".parse().unwrap();
    let public = VerifierKey::new(
        name,
        SignatureType::Ed25519,
        secret.verifying_key().as_bytes(),
    );
    Key {
        public: public.unwrap(),
        secret,
    }
}

#[test]
fn signed_note_opens_our_notes_and_tlog_tiles_reads_our_checkpoints() {
    let key = key();
    let checkpoint = Checkpoint::new("log.example/a", 7, root_of(&hashes(&entries(7)))).unwrap();
    let bytes = checkpoint.sign(&key).unwrap().to_string().into_bytes();
    let verifier = StandardVerifier::new(&key.public.to_string()).unwrap();
    let theirs = Note::from_bytes(&bytes).unwrap();
    let (verified, _) = theirs
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!(theirs.to_bytes(), bytes);
    let parsed = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((parsed.origin(), parsed.size()), ("log.example/a", 7));
    assert_eq!(parsed.hash().0, *checkpoint.root().as_bytes());
    let log = TrustedLog::new("log.example/a", vec![key.public]).unwrap();
    assert_eq!(log.open(&bytes).unwrap().checkpoint(), &checkpoint);
}

proptest! {
    /// What we accept as a note, `signed_note` accepts and writes the same.
    #[test]
    fn signed_note_accepts_what_we_accept(text in "(a|\n|é){0,9}\n", tail in "(\n)?— [a-z+ ]{1,3} [A-Za-z0-9+/]{8}(\n){0,2}") {
        let bytes = format!("{text}{tail}").into_bytes();
        if let Ok(note) = SignedNote::parse(&bytes) {
            prop_assert_eq!(note.to_string().into_bytes(), bytes.clone());
            prop_assert_eq!(Note::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        }
    }

    /// `tlog_tiles` makes, we verify; damaged, both refuse.
    #[test]
    fn proofs_are_judged_alike(size in 1..90_u64, index in 0..90_u64, old in 1..90_u64, damage in 0..200_usize) {
        let entries = entries(size);
        let (index, old) = (index % size, old % size + 1);
        let (leaves, stored) = (hashes(&entries), stored(&entries));
        let root = root_of(&leaves);
        let leaf = leaves[usize::try_from(index).unwrap()];
        let old_root = root_of(prefix(&leaves, old));
        let mut inclusion = tlog_tiles::prove_record(size, index, &stored).unwrap();
        let mut consistency = tlog_tiles::prove_tree(size, old, &stored).unwrap();
        damage_proof(&mut inclusion, damage);
        damage_proof(&mut consistency, damage);
        let theirs = |hash: Hash| tlog_tiles::Hash(*hash.as_bytes());
        let ours = |proof: &[tlog_tiles::Hash]| proof.iter().map(|hash| Hash::new(hash.0)).collect::<Vec<_>>();
        prop_assert_eq!(
            verify_inclusion(leaf, index, size, &ours(&inclusion), root).is_ok(),
            tlog_tiles::check_record(&inclusion, size, theirs(root), index, theirs(leaf)).is_ok()
        );
        prop_assert_eq!(
            verify_consistency(old, old_root, size, root, &ours(&consistency)).is_ok(),
            tlog_tiles::check_tree(&consistency, size, theirs(root), old, theirs(old_root)).is_ok()
        );
    }
}

/// Leaves the proof whole in half the cases; else flips a bit, drops a hash or adds one.
fn damage_proof(proof: &mut Vec<tlog_tiles::Hash>, damage: usize) {
    match damage {
        0..100 => {}
        100..120 => drop(proof.pop()),
        120..140 => proof.push(tlog_tiles::Hash([7; 32])),
        _ => {
            let hashes = proof.len().max(1);
            if let Some(hash) = proof.get_mut(damage % hashes) {
                hash.0[damage % 32] ^= 1;
            }
        }
    }
}

#[test]
fn a_tile_is_named_as_it_was_written() {
    for (id, tile) in RightEdge::new().append(&hashes(&entries(600))) {
        let read = Tile::from_bytes(&tile.to_bytes(), id.width()).unwrap();
        assert_eq!((read, id.to_string().parse::<TileId>()), (tile, Ok(id)));
    }
}
