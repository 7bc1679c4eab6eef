//! Lines of files and pipes, of a largest length.

use std::io::{BufRead, Read, Result};

/// Bytes of a line of a list, with its end.
pub const LONGEST: u64 = 1 << 20;

pub struct TooLong;

/// The next line, with its end, which the last one may lack; `None` if there is no more. Of one that is longer, `most` bytes are read.
pub fn next(input: &mut impl BufRead, most: u64) -> Result<Option<std::result::Result<Vec<u8>, TooLong>>> {
    let mut line = vec![];
    let read = input.take(most + 1).read_until(b'\n', &mut line)?;
    Ok(match read as u64 {
        0 => None,
        read if read > most => Some(Err(TooLong)),
        _ => Some(Ok(line)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_largest_length() {
        let mut input = &b"abc\nabcd\n\nabcd"[..];
        let mut next = || super::next(&mut input, 4).unwrap();
        assert!(matches!(next(), Some(Ok(line)) if line == b"abc\n"));
        assert!(matches!(next(), Some(Err(TooLong))));
        assert!(matches!(next(), Some(Ok(line)) if line == b"\n"));
        assert!(matches!(next(), Some(Ok(line)) if line == b"abcd"));
        assert!(next().is_none());
        // Nothing of an endless one is waited for.
        assert!(matches!(super::next(&mut std::io::BufReader::new(std::io::repeat(b'x')), 4), Ok(Some(Err(TooLong)))));
    }
}
