//! Times in clips: microseconds in the program, seconds for users. Rates.

/// More than a year is a mistake.
const LONGEST: f64 = 3.2e7;

pub fn microseconds(seconds: f64) -> Result<i64, String> {
    match (0.0..=LONGEST).contains(&seconds) {
        true => Ok((seconds * 1e6).round() as i64),
        false => Err(format!("{seconds} is not a time in a clip, expected 0 or more seconds")),
    }
}

/// Frames a second, as texts have it.
pub fn rate_text((numerator, denominator): (u32, u32)) -> String {
    format!("{numerator}/{denominator}")
}

pub fn seconds(microseconds: i64) -> f64 {
    microseconds as f64 / 1e6
}
