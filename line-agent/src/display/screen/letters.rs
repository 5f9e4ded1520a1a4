//! Letters five lines high, for words that are read from a distance.

/// Lines of a letter.
pub(super) const HEIGHT: usize = 5;

/// The letters of all words that a socket shows.
const LETTERS: [(char, [&str; HEIGHT]); 16] = [
    ('A', [" ### ", "#   #", "#####", "#   #", "#   #"]),
    ('B', ["#### ", "#   #", "#### ", "#   #", "#### "]),
    ('D', ["#### ", "#   #", "#   #", "#   #", "#### "]),
    ('E', ["#####", "#    ", "#### ", "#    ", "#####"]),
    ('F', ["#####", "#    ", "#### ", "#    ", "#    "]),
    ('H', ["#   #", "#   #", "#####", "#   #", "#   #"]),
    ('I', [" ### ", "  #  ", "  #  ", "  #  ", " ### "]),
    ('K', ["#   #", "#  # ", "###  ", "#  # ", "#   #"]),
    ('L', ["#    ", "#    ", "#    ", "#    ", "#####"]),
    ('O', [" ### ", "#   #", "#   #", "#   #", " ### "]),
    ('P', ["#### ", "#   #", "#### ", "#    ", "#    "]),
    ('R', ["#### ", "#   #", "#### ", "#  # ", "#   #"]),
    ('S', [" ####", "#    ", " ### ", "    #", "#### "]),
    ('T', ["#####", "  #  ", "  #  ", "  #  ", "  #  "]),
    ('W', ["#   #", "#   #", "# # #", "## ##", "#   #"]),
    ('Y', ["#   #", " # # ", "  #  ", "  #  ", "  #  "]),
];

/// Characters that a word takes in a line.
#[must_use]
pub(super) fn width(word: &str) -> u16 {
    u16::try_from(word.len() * 6).unwrap_or(u16::MAX)
}

/// A word in large letters; characters that have none are left out.
#[must_use]
pub(super) fn large(word: &str) -> [String; HEIGHT] {
    let letters: Vec<_> = word
        .chars()
        .filter_map(|c| LETTERS.iter().find(|(letter, _)| *letter == c))
        .collect();
    std::array::from_fn(|row| {
        let parts = letters.iter().map(|(_, rows)| rows.get(row));
        let parts: Vec<&str> = parts.flatten().copied().collect();
        parts.join(" ").replace('#', "█")
    })
}

#[cfg(test)]
mod tests {
    use super::super::state::Face;
    use super::*;

    #[test]
    fn every_word_of_a_socket_can_be_written_large() {
        for face in Face::ALL {
            let (_, word) = face.words();
            for row in large(word) {
                assert_eq!(row.chars().count(), word.len() * 6 - 1, "{word}");
            }
        }
    }
}
