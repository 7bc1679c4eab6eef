//! Times in clips: microseconds in the program, seconds for users. Rates.

/// More than a year is a mistake.
const LONGEST: f64 = 3.2e7;

pub fn microseconds(seconds: f64) -> Result<i64, String> {
    match (0.0..=LONGEST).contains(&seconds) {
        true => Ok((seconds * 1e6).round() as i64),
        false => Err(format!("{seconds} is not a time in a clip, expected 0 to {LONGEST} seconds")),
    }
}

/// Frames a second, as texts have it.
pub fn rate_text((numerator, denominator): (u32, u32)) -> String {
    format!("{numerator}/{denominator}")
}

pub fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_largest_value() {
        assert_eq!(microseconds(LONGEST), Ok(32_000_000_000_000));
        assert!(microseconds(LONGEST + 1.0).unwrap_err().contains("expected 0 to 32000000 seconds"));
        assert!(microseconds(-1.0).is_err() && microseconds(f64::NAN).is_err());
    }
}
