//! The worked vectors: a log of three leaves with every file, and the roots of larger trees.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of a test fail it by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use translog::checkpoint::TrustedLog;
use translog::note::{SignedNote, VerifierKey};
use translog::policy::Policy;
use translog::proof::{
    HashReader, TileHashes, TileReader, prove_consistency, prove_inclusion, verify_consistency,
    verify_inclusion,
};
use translog::receipt::TlogProof;
use translog::tile::{
    BundleId, RightEdge, Tile, TileId, Width, bundles_between, decode_entries, encode_entries,
};
use translog::tree::{EMPTY_ROOT, Frontier, Hash, leaf_hash, node_hash, root_of};

const LEAVES: [&str; 3] = ["alpha", "beta", "gamma"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/translog")
}

fn file(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

/// The rest of the line that begins with `label`.
fn vector(label: &str) -> String {
    let text = fs::read_to_string(folder().join("tlog-vectors.txt")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(label))
        .unwrap();
    line.trim().to_owned()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

fn hash_from_hex(text: &str) -> Hash {
    Hash::try_from(from_hex(text).as_slice()).unwrap()
}

/// The hashes of a line such as `inclusion 0 in 3: ['…', '…']`.
fn proof_vector(label: &str) -> Vec<Hash> {
    let line = vector(label);
    let words = line
        .split(['[', ']', '\'', ',', ' '])
        .filter(|word| !word.is_empty());
    words.map(|word| word.parse().unwrap()).collect()
}

struct Folder;

impl TileReader for Folder {
    type Error = std::io::Error;

    fn tile(&self, id: TileId) -> Result<Tile, Self::Error> {
        let path = folder().join("log3").join(id.to_string());
        Ok(Tile::from_bytes(&fs::read(path)?, id.width()).unwrap())
    }
}

fn leaf_hashes() -> Vec<Hash> {
    LEAVES
        .iter()
        .map(|leaf| leaf_hash(leaf.as_bytes()))
        .collect()
}

fn log_key() -> VerifierKey {
    vector("log vkey").parse().unwrap()
}

fn policy() -> Policy {
    let text = format!(
        "log {}\nwitness w1 {}\nquorum w1\n",
        vector("log vkey"),
        vector("wit vkey")
    );
    Policy::parse(text.as_bytes()).unwrap()
}

#[test]
fn hashes_and_roots_of_three_leaves() {
    assert_eq!(EMPTY_ROOT, vector("empty root b64").parse().unwrap());
    let hashes = leaf_hashes();
    for (leaf, hash) in LEAVES.iter().zip(&hashes) {
        let position = LEAVES.iter().position(|other| other == leaf).unwrap();
        let line = vector(&format!("leaf{position} b'{leaf}' hash"));
        let (hex, base64) = line.split_once(' ').unwrap();
        assert_eq!(
            (*hash, *hash),
            (hash_from_hex(hex), base64.parse().unwrap())
        );
    }
    assert_eq!(
        node_hash(hashes[0], hashes[1]),
        hash_from_hex(&vector("n01"))
    );
    for size in 1..=3 {
        let line = vector(&format!("root{size}"));
        let (hex, base64) = line.split_once(' ').unwrap();
        assert_eq!(root_of(&hashes[..size]), hash_from_hex(hex));
        assert_eq!(root_of(&hashes[..size]).to_string(), base64);
    }
}

#[test]
fn files_of_three_leaves() {
    let id = BundleId::in_log(0, 3).unwrap();
    let bundle = encode_entries(&LEAVES).unwrap();
    assert_eq!(bundle, file(&format!("log3/{id}")));
    assert_eq!(
        decode_entries(&bundle, id.width()).unwrap(),
        LEAVES.map(str::as_bytes)
    );
    let written = RightEdge::new().append(&leaf_hashes());
    let [(id, tile)] = written.as_slice() else {
        panic!("one tile")
    };
    assert_eq!(id.to_string(), "tile/0/000.p/3");
    assert_eq!(tile.to_bytes(), file(&format!("log3/{id}")));
}

#[test]
fn proofs_of_three_leaves() {
    let hashes = leaf_hashes();
    let reader = TileHashes::new(&Folder, 3);
    for (index, leaf) in (0..3).zip(&hashes) {
        let expected = proof_vector(&format!("inclusion {index} in 3:"));
        assert_eq!(prove_inclusion(&reader, index, 3).unwrap(), expected);
        verify_inclusion(*leaf, index, 3, &expected, root_of(&hashes)).unwrap();
    }
    for old in 1..3_usize {
        let expected = proof_vector(&format!("consistency {old} ->3:"));
        let old_size = u64::try_from(old).unwrap();
        assert_eq!(prove_consistency(&reader, old_size, 3).unwrap(), expected);
        let (old_root, new_root) = (root_of(&hashes[..old]), root_of(&hashes));
        verify_consistency(old_size, old_root, 3, new_root, &expected).unwrap();
    }
}

#[test]
fn the_checkpoint_opens_and_reads_back_the_same() {
    let bytes = file("log3/checkpoint");
    let log = TrustedLog::new("log.example/bindings", vec![log_key()]).unwrap();
    let opened = log.open(&bytes).unwrap();
    assert_eq!(
        (opened.checkpoint().size(), opened.checkpoint().root()),
        (3, root_of(&leaf_hashes()))
    );
    assert_eq!(opened.note().to_string().into_bytes(), bytes);
    let witnessed = policy().open(&bytes).unwrap();
    assert_eq!(witnessed.cosigned().len(), 1);
    assert_eq!(witnessed.cosigned()[0].timestamp, 1_700_000_000);
}

#[test]
fn any_flipped_bit_of_the_checkpoint_is_refused() {
    let bytes = file("log3/checkpoint");
    let policy = policy();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            assert!(policy.open(&damaged).is_err(), "byte {position} bit {bit}");
        }
    }
}

#[test]
fn the_receipt_verifies_and_reads_back_the_same() {
    let bytes = file("leaf2.tlog-proof");
    let receipt = TlogProof::parse(&bytes).unwrap();
    assert_eq!(receipt.to_string().into_bytes(), bytes);
    receipt.verify(leaf_hash(b"gamma"), &policy()).unwrap();
    receipt.verify(leaf_hash(b"beta"), &policy()).unwrap_err();
    let made = TlogProof::new(
        2,
        receipt.hashes().to_vec(),
        SignedNote::parse(&file("log3/checkpoint")).unwrap(),
    );
    assert_eq!(made.unwrap(), receipt);
}

/// Everything in memory: the files a log of `size` leaves, each its index as big-endian u64, serves.
struct Log {
    files: Vec<(String, Vec<u8>)>,
    tiles: std::collections::BTreeMap<TileId, Tile>,
    hashes: Vec<Hash>,
}

impl Log {
    /// Grown in batches of this many leaves; only the files of the final size are kept.
    fn grow(size: u64, batch: usize) -> Self {
        let entries: Vec<_> = (0..size).map(u64::to_be_bytes).collect();
        let hashes: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut edge = RightEdge::new();
        let mut tiles = std::collections::BTreeMap::new();
        let mut frontier = Frontier::new();
        for leaves in hashes.chunks(batch) {
            tiles.extend(edge.append(leaves));
            frontier.extend(leaves.iter().copied());
            assert_eq!(edge.frontier(), frontier);
        }
        tiles.retain(|id, _| TileId::in_tree(id.level(), id.index(), size) == Some(*id));
        let mut files: Vec<_> = tiles
            .iter()
            .map(|(id, tile)| (id.to_string(), tile.to_bytes()))
            .collect();
        for id in bundles_between(0, size) {
            let range = id.entries();
            let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
            files.push((id.to_string(), encode_entries(&entries[range]).unwrap()));
        }
        files.sort();
        Self {
            files,
            tiles,
            hashes,
        }
    }

    fn digest(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        for (path, data) in &self.files {
            digest.update(path);
            digest.update(data);
        }
        digest.finalize()[..16].to_vec()
    }
}

impl TileReader for Log {
    type Error = std::io::Error;

    fn tile(&self, id: TileId) -> Result<Tile, Self::Error> {
        self.tiles
            .get(&id)
            .cloned()
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

#[test]
fn files_and_roots_of_larger_trees() {
    for size in [256, 257, 70_000] {
        let line = vector(&format!("n={size} leaves=be64(i) root"));
        let root = hash_from_hex(line.split(' ').next().unwrap());
        let count: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
        let digest = from_hex(line.rsplit(' ').next().unwrap());
        for batch in [1, 64, 1000, 70_000] {
            let log = Log::grow(size, batch);
            assert_eq!(root_of(&log.hashes), root);
            assert_eq!(log.files.len(), count);
            assert_eq!(log.digest(), digest, "{size} leaves in batches of {batch}");
            for partial in line.split('\'').filter(|word| word.starts_with("tile/")) {
                assert!(
                    log.files.iter().any(|(path, _)| path == partial),
                    "{partial}"
                );
            }
        }
    }
}

#[test]
fn proofs_of_70000_leaves() {
    let log = Log::grow(70_000, 4096);
    let reader = TileHashes::new(&log, 70_000);
    let root = root_of(&log.hashes);
    for (index, length) in [(69_999_u64, 9), (0, 17)] {
        let proof = prove_inclusion(&reader, index, 70_000).unwrap();
        assert_eq!(proof.len(), length);
        let leaf = log.hashes[usize::try_from(index).unwrap()];
        verify_inclusion(leaf, index, 70_000, &proof, root).unwrap();
    }
    for (old, length) in [(65_536_usize, 1), (12_345, 18)] {
        let old_size = u64::try_from(old).unwrap();
        let proof = prove_consistency(&reader, old_size, 70_000).unwrap();
        assert_eq!(proof.len(), length);
        verify_consistency(old_size, root_of(&log.hashes[..old]), 70_000, root, &proof).unwrap();
    }
}

#[test]
fn the_edge_can_be_read_back_from_its_tiles() {
    let log = Log::grow(70_000, 4096);
    let edge = RightEdge::read(&log, 70_000).unwrap();
    assert_eq!(
        edge.frontier(),
        log.hashes.iter().copied().collect::<Frontier>()
    );
    let mut grown = RightEdge::new();
    grown.append(&log.hashes);
    assert_eq!(edge, grown);
}

#[test]
fn nothing_is_read_outside_the_tree() {
    let reader = TileHashes::new(&Folder, 3);
    for (level, index) in [
        (0, 3),
        (1, 1),
        (2, 0),
        (8, 0),
        (63, 0),
        (64, 0),
        (511, u64::MAX),
        (u32::MAX, 1),
    ] {
        assert!(
            reader.hash(translog::proof::Node { level, index }).is_err(),
            "{level}/{index}"
        );
    }
    prove_inclusion(&reader, 3, 3).unwrap_err();
    prove_inclusion(&reader, 0, u64::MAX).unwrap_err();
    prove_consistency(&reader, 3, 2).unwrap_err();
    assert!(Width::new(0).is_none() && Width::new(257).is_none());
}
