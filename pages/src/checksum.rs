//! The checksum of a page: CRC-64/XZ over what SQLite keeps in it and over its place in the file.

/// Bytes of a page. Other sizes are refused.
pub(crate) const PAGE: usize = 4096;
/// Bytes at the end of each page that SQLite leaves to the checksum.
pub(crate) const CHECKSUM: usize = 8;
/// Bytes of a page before its checksum.
const CONTENT: usize = PAGE - CHECKSUM;

/// A page as it stands in the file.
pub(crate) type Page = [u8; PAGE];

/// Puts the checksum of a page at this place into its last bytes.
pub(crate) fn seal(page: &mut Page, place: u64) {
    let (content, end) = page.split_at_mut(CONTENT);
    end.copy_from_slice(&checksum(content, place));
}

/// Whether the page was written to this place as it is.
pub(crate) fn holds(page: &Page, place: u64) -> bool {
    let (content, end) = page.split_at(CONTENT);
    end == checksum(content, place)
}

/// Every change of one bit, and of any run of up to 64 bits, gives another checksum; so does every other place.
fn checksum(content: &[u8], place: u64) -> [u8; CHECKSUM] {
    let mut digest = crc64fast::Digest::new();
    digest.write(content);
    digest.write(&place.to_le_bytes());
    digest.sum64().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        let mut page = [0; PAGE];
        for (at, byte) in page.iter_mut().enumerate() {
            *byte = u8::try_from(at * 31 % 251).unwrap();
        }
        page
    }

    #[test]
    fn every_flipped_bit_and_every_other_place_is_noticed() {
        let mut sealed = page();
        seal(&mut sealed, 8192);
        assert!(holds(&sealed, 8192));
        for bit in 0..PAGE * 8 {
            sealed[bit / 8] ^= 1 << (bit % 8);
            assert!(!holds(&sealed, 8192), "bit {bit}");
            sealed[bit / 8] ^= 1 << (bit % 8);
        }
        for place in (0..1000 * 4096).step_by(4096) {
            assert_eq!(holds(&sealed, place), place == 8192, "{place}");
        }
    }

    #[test]
    fn a_page_of_one_byte_value_is_none() {
        for value in 0..=u8::MAX {
            for place in [0, 4096, 1 << 30, 1 << 40] {
                assert!(!holds(&[value; PAGE], place), "{value} at {place}");
            }
        }
    }

    /// On disk for ever: the form must not change with the library.
    #[test]
    fn the_checksum_is_crc_64_xz() {
        assert_eq!(
            u64::from_le_bytes(checksum(b"1234", u64::from_le_bytes(*b"56789\0\0\0"))),
            crc_64_xz(b"123456789\0\0\0")
        );
        assert_eq!(crc_64_xz(b"123456789"), 0x995d_c9bb_df19_39fa);
    }

    /// Bit by bit, as the catalogue of parametrised CRC algorithms describes it.
    fn crc_64_xz(bytes: &[u8]) -> u64 {
        !bytes.iter().fold(u64::MAX, |crc, byte| {
            (0..8).fold(crc ^ u64::from(*byte), |crc, _bit| match crc & 1 {
                1 => (crc >> 1) ^ 0xc96c_5795_d787_0f42,
                _ => crc >> 1,
            })
        })
    }
}
