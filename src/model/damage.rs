//! Recognises files that are not what their name says, so that the error can name the user's mistake instead of a
//! parser's position.

const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// How many bytes from the start of a file are inspected.
pub(crate) const START: usize = 4096;

pub(super) const CONVERT_PICKLE: &str = "a PyTorch pickle, which this library does not read; convert it with \
                                         training/convert.py";

/// What a file is by its first bytes; `None` if they do not tell.
pub(super) fn what_it_is(data: &[u8]) -> Option<String> {
    let start = &data[..data.len().min(START)];
    // The header size of a safetensors file may begin with any of these bytes, but then a brace follows.
    if start.get(4..9) == Some(b"\0\0\0\0{") {
        return None;
    }
    let holds = |text: &[u8]| start.windows(text.len()).any(|window| window == text);
    let known = if start.starts_with(LFS_POINTER) {
        "a Git LFS pointer, not the file itself: run `git lfs pull` in its folder, or download the file again"
    } else if start.starts_with(b"PK\x03\x04") && holds(b"data.pkl") || matches!(start, [0x80, 2..=5, ..]) {
        CONVERT_PICKLE
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(b"7z\xbc\xaf\x27\x1c") {
        "an archive: unpack it first"
    } else if start.starts_with(&[0x1f, 0x8b])
        || start.starts_with(b"\xfd7zXZ\0")
        || start.starts_with(b"BZh")
        || start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
    {
        "a compressed file: unpack it first"
    } else if start.starts_with(b"GGUF") {
        "a GGUF file, which this library does not read: get the model as safetensors"
    } else if start.starts_with(b"\x89HDF") {
        "an HDF5 file, which this library does not read: get the model as safetensors"
    } else if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        "UTF-16 text: save it as UTF-8"
    } else if start.len() >= 64 && start.iter().all(|byte| *byte == 0) {
        "it begins with zeros only: an unfinished download; download it again"
    } else {
        return markup(start);
    };
    Some(known.into())
}

/// Recognises the HTML or XML error pages that servers send instead of a file.
fn markup(start: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let page = ["<!doctype", "<html", "<head", "<!--", "<?xml"].iter().any(|tag| text.starts_with(tag));
    page.then(|| "a text (HTML or XML) page, not the file itself: the download failed; download the file again".into())
}

/// Recognises text by its start; `None` if it is not text.
fn as_text(data: &[u8]) -> Option<String> {
    let start = &data[..data.len().min(64)];
    let start = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The limit cut a character in half.
        Err(e) if start.len() - e.valid_up_to() < 4 && data.len() > 64 => {
            std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    let printable = start.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    let words: Vec<&str> = start.split_whitespace().collect();
    (printable && !words.is_empty())
        .then(|| format!("a text file (\"{}\"), not safetensors: was the download refused?", words.join(" ")))
}

/// What a file is that should be safetensors; `None` if its start does not tell.
pub(crate) fn instead_of_safetensors(start: &[u8]) -> Option<String> {
    what_it_is(start).or_else(|| as_text(start))
}

/// Why a text is not JSON, given the parser's error.
pub(super) fn not_json(text: &[u8], e: &serde_json::Error) -> String {
    if text.contains(&0) || std::str::from_utf8(text).is_err() {
        return "not UTF-8 text: save it as UTF-8".into();
    }
    if e.is_eof() {
        return format!("ends too early, like an unfinished download or save: {e}");
    }
    let line = text.split(|byte| *byte == b'\n').nth(e.line().saturating_sub(1)).unwrap_or_default();
    let rest = line.get(e.column().saturating_sub(1)..).unwrap_or_default();
    if [&b"//"[..], b"/*", b"#"].iter().any(|mark| rest.starts_with(mark)) {
        return format!("JSON has no comments: remove the one in line {}", e.line());
    }
    if rest.starts_with(b"'") {
        return format!("JSON needs double quotes: replace the single quotes in line {}", e.line());
    }
    format!("not JSON: {e}")
}

/// Finds the first Python value in `text` that JSON does not have, and its field.
pub(super) fn python_value(text: &str) -> Option<(String, String)> {
    const MARK: &str = "\u{1}";
    const VALUES: [&str; 6] = ["NaN", "Infinity", "-Infinity", "True", "False", "None"];
    let mut marked = String::new();
    let (mut rest, mut in_string) = (text, false);
    while let Some(c) = rest.chars().next() {
        let value = VALUES.iter().find(|value| !in_string && rest.starts_with(**value));
        let taken = match (value, c) {
            (Some(value), _) => {
                marked.push_str(&format!("\"\\u0001{value}\""));
                rest = &rest[value.len()..];
                continue;
            }
            (None, '\\') if in_string => rest.chars().take(2).map(char::len_utf8).sum(),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, c) => c.len_utf8(),
        };
        marked.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    fn find(value: &serde_json::Value, path: &str) -> Option<(String, String)> {
        let inside = |name: &str| if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        match value {
            serde_json::Value::String(text) => Some((path.to_string(), text.strip_prefix(MARK)?.to_string())),
            serde_json::Value::Array(list) => list.iter().find_map(|value| find(value, path)),
            serde_json::Value::Object(fields) => fields.iter().find_map(|(name, value)| find(value, &inside(name))),
            _ => None,
        }
    }
    find(&serde_json::from_str(&marked).ok()?, "")
}
