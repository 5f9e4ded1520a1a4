//! CRC-32 as in IEEE 802.3, bit by bit: a table of 1 KB is more than a small chip wants to give.

const POLYNOMIAL_REFLECTED: u32 = 0xEDB8_8320;

/// CRC-32 of a slice.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc))
    })
}

const fn shift(crc: u32) -> u32 {
    if crc & 1 == 1 {
        (crc >> 1) ^ POLYNOMIAL_REFLECTED
    } else {
        crc >> 1
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(super::crc32(b""), 0);
    }
}
