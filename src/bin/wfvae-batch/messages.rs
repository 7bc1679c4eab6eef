//! What the program tells on standard error.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. That nobody can read it ends no job, as `eprintln` would.
pub fn tell(text: impl Display) {
    let text: String = text.to_string().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
