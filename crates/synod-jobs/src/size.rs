//! Numbers of bytes as people write them: `512M`, `4G`, `1048576`.

/// The least memory that a command line can give a job. A task's buffers are never smaller than 64 KiB, so
/// with less a budget would be a promise that is not kept.
pub const LEAST_MEMORY_BYTES: u64 = 1 << 20;

/// A number of bytes: `1048576`, `1024K`, `1M`; K, M, G and T are powers of 1024.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: 512M or 4G are");
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_uppercase().trim_end_matches("IB") {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// The memory of a job: a size, [`LEAST_MEMORY_BYTES`] at least.
pub fn parse_memory(text: &str) -> Result<u64, String> {
    match parse(text)? {
        bytes @ LEAST_MEMORY_BYTES.. => Ok(bytes),
        _ => Err(format!("`{text}` is too little memory: 1M is the least")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("7", 7), ("2K", 2 << 10), ("512M", 512 << 20), ("1GiB", 1 << 30)] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "M", "-1", "1X", "99999999999T"] {
            assert!(parse(wrong).is_err() && parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn memory_has_a_least_size() {
        assert_eq!([parse_memory("1M"), parse_memory("1024k")], [Ok(1 << 20), Ok(1 << 20)]);
        for little in ["0", "1", "1023K", "1048575"] {
            let said = parse_memory(little).unwrap_err();
            assert!(said.contains("1M is the least"), "{said}");
        }
    }
}
