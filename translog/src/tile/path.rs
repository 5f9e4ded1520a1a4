//! Names of the static resources, in both directions.

use core::fmt;
use core::ops::Range;
use core::str::FromStr;

use crate::text::parse_decimal;
use crate::tree::MAX_TREE_SIZE;

/// Number of hashes in a tile, or of entries in a bundle: 1 to 255 if partial, 256 if full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Width(u16);

/// Place of a Merkle tree tile: `tile/<L>/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: u8,
    index: u64,
    width: Width,
}

/// Place of an entry bundle: `tile/entries/<N>[.p/<W>]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleId {
    index: u64,
    width: Width,
}

/// Anything that a log serves below its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `checkpoint`, the only one that changes.
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`.
    Tile(TileId),
    /// `tile/entries/<N>[.p/<W>]`.
    Entries(BundleId),
}

/// The path names no resource of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a checkpoint, tile or entry bundle")]
pub struct PathError;

impl Width {
    /// A full tile.
    pub const FULL: Self = Self(256);

    /// A width between 1 and 256, else `None`.
    #[must_use]
    pub const fn new(width: u16) -> Option<Self> {
        if width >= 1 && width <= Self::FULL.0 {
            Some(Self(width))
        } else {
            None
        }
    }

    /// The width as a count.
    #[must_use]
    pub fn hashes(self) -> usize {
        usize::from(self.0)
    }

    /// Whether nothing can be added any more.
    #[must_use]
    pub fn is_full(self) -> bool {
        self == Self::FULL
    }

    /// The width that so many hashes or entries make, if it is one.
    pub(crate) fn of(count: usize) -> Option<Self> {
        Self::new(u16::try_from(count).ok()?)
    }

    /// Width of the `index`-th group of 256 when there are `count` in all.
    fn in_row(index: u64, count: u64) -> Option<Self> {
        let before = index.checked_mul(Self::FULL.into())?;
        let rest = count.checked_sub(before)?.min(Self::FULL.into());
        Self::new(u16::try_from(rest).ok()?)
    }
}

impl From<Width> for u64 {
    fn from(width: Width) -> Self {
        width.0.into()
    }
}

impl fmt::Display for Width {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TileId {
    /// Levels of the binary tree that one tile level spans.
    pub const HEIGHT: u32 = 8;
    /// The highest level that the format can name.
    pub const MAX_LEVEL: u8 = 63;

    /// A tile anywhere, or `None` where the level is above [`TileId::MAX_LEVEL`].
    #[must_use]
    pub const fn new(level: u8, index: u64, width: Width) -> Option<Self> {
        if level <= Self::MAX_LEVEL {
            Some(Self {
                level,
                index,
                width,
            })
        } else {
            None
        }
    }

    /// The tile at this place as a tree of `size` leaves has it, or `None` if that tree has none.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(u32::from(level).saturating_mul(Self::HEIGHT))?;
        Self::new(level, index, Width::in_row(index, hashes)?)
    }

    /// The partial tiles at the right edge of a tree of `size` leaves, lowest level first.
    pub fn partial_in_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..=Self::MAX_LEVEL).filter_map(move |level| {
            let hashes = size.checked_shr(u32::from(level).saturating_mul(Self::HEIGHT))?;
            Self::in_tree(level, hashes / 256, size)
        })
    }

    /// Tile level: 0 holds leaf hashes, level L+1 the roots of the full tiles of level L.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.level
    }

    /// Position in its level, from 0.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Number of hashes.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }
}

impl BundleId {
    /// A bundle anywhere.
    #[must_use]
    pub const fn new(index: u64, width: Width) -> Self {
        Self { index, width }
    }

    /// The bundle at this index as a log of `size` entries has it, or `None` if it has none.
    #[must_use]
    pub fn in_log(index: u64, size: u64) -> Option<Self> {
        Some(Self {
            index,
            width: Width::in_row(index, size)?,
        })
    }

    /// Position, from 0.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }

    /// Number of entries.
    #[must_use]
    pub const fn width(self) -> Width {
        self.width
    }

    /// Log indices of the entries in the bundle.
    #[must_use]
    pub fn entries(self) -> Range<u64> {
        let start = self.index.saturating_mul(Width::FULL.into());
        start..start.saturating_add(self.width.into())
    }
}

/// The bundles that a log writes when it grows from `old_size` to `new_size`: those completed on
/// the way, then the new partial one. None, if it does not grow.
pub fn bundles_between(old_size: u64, new_size: u64) -> impl Iterator<Item = BundleId> {
    let indices = if old_size < new_size {
        old_size / 256..new_size.div_ceil(256)
    } else {
        0..0
    };
    indices.filter_map(move |index| BundleId::in_log(index, new_size))
}

impl Resource {
    /// Media type of the answer over HTTP.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Checkpoint => "text/plain; charset=utf-8",
            Self::Tile(_) | Self::Entries(_) => "application/octet-stream",
        }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tile/{}/", self.level)?;
        write_position(f, self.index, self.width)
    }
}

impl fmt::Display for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tile/entries/")?;
        write_position(f, self.index, self.width)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Tile(id) => id.fmt(f),
            Self::Entries(id) => id.fmt(f),
        }
    }
}

impl FromStr for Resource {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        let resource = parse(path).ok_or(PathError)?;
        // Whatever the parser forgave (a leading x000, say) does not survive this comparison.
        if resource.to_string() == path {
            Ok(resource)
        } else {
            Err(PathError)
        }
    }
}

impl FromStr for TileId {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        match path.parse()? {
            Resource::Tile(id) => Ok(id),
            Resource::Checkpoint | Resource::Entries(_) => Err(PathError),
        }
    }
}

impl FromStr for BundleId {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, PathError> {
        match path.parse()? {
            Resource::Entries(id) => Ok(id),
            Resource::Checkpoint | Resource::Tile(_) => Err(PathError),
        }
    }
}

/// `<N>[.p/<W>]`, N in groups of three digits of which all but the last begin with `x`.
fn write_position(f: &mut fmt::Formatter<'_>, index: u64, width: Width) -> fmt::Result {
    let digits = index.to_string();
    let padded = format!(
        "{digits:0>length$}",
        length = digits.len().next_multiple_of(3)
    );
    for (position, digit) in padded.chars().enumerate() {
        match (position, position % 3) {
            (0, _) => {}
            (_, 0) => f.write_str("/")?,
            _ => {}
        }
        if position % 3 == 0 && position.saturating_add(3) < padded.len() {
            f.write_str("x")?;
        }
        write!(f, "{digit}")?;
    }
    if width.is_full() {
        Ok(())
    } else {
        write!(f, ".p/{width}")
    }
}

fn parse(path: &str) -> Option<Resource> {
    if path == "checkpoint" {
        return Some(Resource::Checkpoint);
    }
    let (kind, position) = path.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = parse_position(position)?;
    if kind == "entries" {
        return Some(Resource::Entries(BundleId::new(index, width)));
    }
    let level = u8::try_from(parse_decimal(kind)?).ok()?;
    TileId::new(level, index, width).map(Resource::Tile)
}

fn parse_position(position: &str) -> Option<(u64, Width)> {
    let (groups, width) = match position.split_once(".p/") {
        Some((groups, width)) => (
            groups,
            Width::new(u16::try_from(parse_decimal(width)?).ok()?)?,
        ),
        None => (position, Width::FULL),
    };
    let index = groups.split('/').try_fold(0_u64, |index, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let value = if digits.len() == 3 {
            digits.parse::<u16>().ok()?
        } else {
            return None;
        };
        index.checked_mul(1000)?.checked_add(value.into())
    })?;
    // No index beyond those that a log can have, so that what follows cannot overflow.
    (index <= MAX_TREE_SIZE / 256).then_some((index, width))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tile(level: u8, index: u64, width: u16) -> TileId {
        TileId::new(level, index, Width::new(width).unwrap()).unwrap()
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (id, path) in [
            (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (tile(0, 1234, 5), "tile/0/x001/234.p/5"),
            (tile(63, 0, 1), "tile/63/000.p/1"),
            (tile(1, 999, 255), "tile/1/999.p/255"),
            (tile(1, 1000, 256), "tile/1/x001/000"),
        ] {
            assert_eq!(id.to_string(), path);
            assert_eq!(path.parse(), Ok(id));
        }
        let bundle = BundleId::new(273, Width::new(112).unwrap());
        assert_eq!("tile/entries/273.p/112".parse(), Ok(bundle));
        assert_eq!("checkpoint".parse(), Ok(Resource::Checkpoint));
    }

    #[test]
    fn other_spellings_are_refused() {
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/0/x000",
            "tile/0/x000/001",
            "tile/0/001/001",
            "tile/0/x001/x001",
            "tile/0/x001",
            "tile/0/+01",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/5/",
            "/tile/0/000",
            "tile/0/000/",
            "tile/8/0/000",
            "tile/entries/0",
            "tile/data/000",
            "checkpoint/",
            "tile/0/../000",
            "tile/0/xx01/000",
            "tile/0/000.p/+5",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/٠٠٠",
        ] {
            assert_eq!(path.parse::<Resource>(), Err(PathError), "{path}");
        }
    }

    #[test]
    fn a_tree_of_70000_has_the_tiles_of_the_specification() {
        let partial: Vec<_> = TileId::partial_in_tree(70_000).collect();
        assert_eq!(partial, [tile(0, 273, 112), tile(1, 1, 17), tile(2, 0, 1)]);
        assert_eq!(TileId::in_tree(0, 272, 70_000), Some(tile(0, 272, 256)));
        assert_eq!(TileId::in_tree(0, 274, 70_000), None);
        assert_eq!(
            TileId::partial_in_tree(256).collect::<Vec<_>>(),
            [tile(1, 0, 1)]
        );
        assert_eq!(TileId::partial_in_tree(0).count(), 0);
    }

    #[test]
    fn bundles_cover_what_is_new() {
        let ids = |old, new| {
            bundles_between(old, new)
                .map(|id| id.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(0, 3), ["tile/entries/000.p/3"]);
        assert_eq!(ids(255, 258), ["tile/entries/000", "tile/entries/001.p/2"]);
        assert_eq!(ids(256, 512), ["tile/entries/001"]);
        assert!(ids(7, 7).is_empty() && ids(9, 7).is_empty());
        assert_eq!(BundleId::in_log(1, 258).unwrap().entries(), 256..258);
    }

    proptest! {
        #[test]
        fn every_path_round_trips(level in 0..64_u8, index in 0..=MAX_TREE_SIZE / 256, width in 1..=256_u16) {
            let id = tile(level, index, width);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn arbitrary_text_never_panics(path in "(tile/)?[0-9a-z/.+]{0,40}|\\PC{0,40}") {
            if let Ok(resource) = path.parse::<Resource>() {
                prop_assert_eq!(resource.to_string(), path);
            }
        }
    }
}
