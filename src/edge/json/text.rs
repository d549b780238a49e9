//! JSON strings: as they were written, as they read, and written anew in ASCII.

/// A string that a scanner passed over, escapes as they were written.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    pub(super) raw: &'a [u8],
    pub(super) is_escaped: bool,
}

impl<'a> Text<'a> {
    /// What stands between its quotation marks.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether it says `text`, however it is written.
    pub fn is(&self, text: &str) -> bool {
        if self.is_escaped { self.chars().eq(text.chars()) } else { self.raw == text.as_bytes() }
    }

    /// Its characters, escapes resolved.
    pub fn chars(&self) -> Chars<'a> {
        Chars { rest: core::str::from_utf8(self.raw).expect("N1: strings are UTF-8") }
    }
}

/// The characters of a [`Text`].
#[derive(Clone, Debug)]
pub struct Chars<'a> {
    rest: &'a str,
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let first = self.rest.chars().next()?;
        if first != '\\' {
            self.rest = &self.rest[first.len_utf8()..];
            return Some(first);
        }
        let (character, length) = unescape(self.rest.as_bytes()).expect("N1: escapes are whole");
        self.rest = &self.rest[length..];
        Some(character)
    }
}

/// Writes `text` as a JSON string in ASCII.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            ' '..='~' => out.push(u8::try_from(character).expect("it is ASCII")),
            _ => write_escaped(character, out),
        }
    }
    out.push(b'"');
}

/// A copy of a checked text with its escaped surrogate pairs written out as UTF-8, for
/// serde-json-core, which refuses them.
pub fn without_pairs(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        let length = match unescape(rest) {
            Some((character, 12)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                12
            }
            Some((_, length)) => {
                out.extend_from_slice(&rest[..length]);
                length
            }
            None => {
                out.push(byte);
                1
            }
        };
        rest = &rest[length..];
    }
    out
}

/// The UTF-16 unit of `\uXXXX` at the front of `text`.
pub(super) fn escaped_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, &digit| Some(unit * 16 + char::from(digit).to_digit(16)?))
}

/// The character of the escape at the front of `text`, and the escape's length in bytes.
fn unescape(text: &[u8]) -> Option<(char, usize)> {
    let character = match text.strip_prefix(b"\\")?.first()? {
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let unit = escaped_unit(text)?;
            if let Some(character) = char::from_u32(unit) {
                return Some((character, 6));
            }
            let low = escaped_unit(&text[6..])?.checked_sub(0xdc00)?;
            let high = unit.checked_sub(0xd800)?;
            return Some((char::from_u32(0x1_0000 + (high << 10 | low))?, 12));
        }
        &other => char::from(other),
    };
    Some((character, 2))
}

/// Bytes before the quotation mark that closes a checked string.
pub(super) fn raw_length(text: &[u8]) -> usize {
    let mut at = 0;
    while text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at
}

pub(super) fn write_raw(raw: &[u8], out: &mut Vec<u8>) {
    if raw.is_ascii() {
        out.extend_from_slice(raw);
        return;
    }
    for character in core::str::from_utf8(raw).expect("N1: strings are UTF-8").chars() {
        match u8::try_from(character) {
            Ok(byte) if byte.is_ascii() => out.push(byte),
            _ => write_escaped(character, out),
        }
    }
}

fn write_escaped(character: char, out: &mut Vec<u8>) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(b"0123456789abcdef"[usize::from(*unit >> shift & 15)]);
        }
    }
}
