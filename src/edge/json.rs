//! Reads JSON that others wrote, in bounded memory, and makes it compact ASCII.
//!
//! [`Scanner`] is pulled through a text once, from front to back. It neither recurses nor
//! allocates, so the configuration and the intake can give it anything at all.
//!
//! ```text
//! let mut scanner = Scanner::new(text);
//! scanner.open(Kind::Object)?;                    // `{`
//! while let Some(key) = scanner.next_key()? {     // `"key":`, or `}` and None
//!     if key.is("events") {
//!         scanner.open(Kind::Array)?;             // `[`
//!         while scanner.next_item()? {            // to the next item, or `]` and false
//!             let event = scanner.value()?;       // any whole value
//!             event.write_compact(&mut out);
//!         }
//!     } else {
//!         scanner.value()?;
//!     }
//! }
//! scanner.finish()?;                              // nothing but white space follows
//! ```
//!
//! A value whose members are pulled one by one is had as a whole too: [`Scanner::mark`]
//! before it, [`Scanner::since`] after it.
//!
//! # Invariants
//!
//! - N1: what was passed over is RFC 8259, nested [`JSON_DEPTH_MAX`] deep at the most, in
//!   UTF-8, its `\u` surrogates paired, its numbers within the range of an `f64`.
//! - N2: what [`Value::write_compact`] writes is ASCII without white space outside strings
//!   and without bytes below a space, so without line breaks. Numbers and escapes stay as
//!   they were written.
//!
//! Not for building documents, and duplicate keys are its caller's to refuse: it knows no
//! other keys than the one it stands at.

mod text;

use core::fmt;

pub use text::{Chars, Text, without_pairs, write_text};
use text::{escaped_unit, raw_length, write_raw};

use crate::limits::JSON_DEPTH_MAX;

/// What was expected where, in a text that is not as it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Bytes before the fault.
    pub offset: usize,
    /// Its line, from 1.
    pub line: u32,
    /// Its character in that line, from 1.
    pub column: u32,
    /// What should stand there.
    pub expected: &'static str,
}

impl Fault {
    /// A fault `offset` bytes into `text`.
    pub fn new(text: &[u8], offset: usize, expected: &'static str) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let breaks = before.split(|&byte| byte == b'\n').skip(1).count();
        let begins_character = |byte: &&u8| **byte & 0xc0 != 0x80;
        let characters = before[line_start..].iter().filter(begins_character).count();
        let from_one = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
        Self { offset, line: from_one(breaks), column: from_one(characters), expected }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, expected, .. } = self;
        write!(out, "line {line}, column {column}: expected {expected}")
    }
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    Text,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Flag,
    /// `null`
    Null,
}

/// Where a value begins: see [`Scanner::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: usize,
    changes: usize,
}

/// Passes over a text once.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    /// The text up to where this scanner goes.
    seen: &'a [u8],
    at: usize,
    /// Containers that are open, and which of them are objects (the lowest bit: the innermost).
    depth: usize,
    objects: u32,
    /// The innermost container has had no member yet.
    fresh: bool,
    /// Stretches passed over that compact form has otherwise: white space, non-ASCII strings.
    changes: usize,
}

const _: () = assert!(JSON_DEPTH_MAX <= u32::BITS as usize);
const TOO_DEEP: &str = "nesting at most 16 deep";
const _: () = assert!(JSON_DEPTH_MAX == 16);

impl<'a> Scanner<'a> {
    /// Stands before the first byte of `text`.
    pub fn new(text: &'a [u8]) -> Self {
        Self::within(text, 0, text.len())
    }

    /// Sees the bytes from `start` to `end` of `text` alone; faults count from the text's
    /// own beginning. For NDJSON, whose lines are texts of their own.
    pub fn within(text: &'a [u8], start: usize, end: usize) -> Self {
        let seen = &text[..end.min(text.len())];
        let at = start.min(seen.len());
        Self { text, seen, at, depth: 0, objects: 0, fresh: false, changes: 0 }
    }

    /// What the next value is; it stays the next.
    pub fn kind(&mut self) -> Result<Kind, Fault> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Flag),
            Some(b'n') => Ok(Kind::Null),
            _ if self.at == 0 && self.rest().starts_with(b"\xef\xbb\xbf") => {
                Err(self.fault("a value, without a byte order mark before it"))
            }
            _ => Err(self.fault("a value")),
        }
    }

    /// Goes into the object or array that must come next.
    pub fn open(&mut self, kind: Kind) -> Result<(), Fault> {
        let found = self.kind()?;
        match kind {
            Kind::Object if found != kind => Err(self.fault("an object")),
            Kind::Array if found != kind => Err(self.fault("a list")),
            Kind::Object | Kind::Array => self.enter(kind),
            Kind::Text | Kind::Number | Kind::Flag | Kind::Null => {
                unreachable!("only objects and lists are opened")
            }
        }
    }

    /// The next key of the innermost object, its value coming next; `None`: the object ended.
    pub fn next_key(&mut self) -> Result<Option<Text<'a>>, Fault> {
        if !self.next_member(b'}', "`,` or `}`")? {
            return Ok(None);
        }
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.fault("a key in quotation marks"));
        }
        let key = self.text()?;
        self.skip_space();
        self.take(b':', "`:`")?;
        Ok(Some(key))
    }

    /// Whether the innermost list has another item, which then comes next; else it ended.
    pub fn next_item(&mut self) -> Result<bool, Fault> {
        self.next_member(b']', "`,` or `]`")
    }

    /// Passes over the next value, whatever it is.
    pub fn value(&mut self) -> Result<Value<'a>, Fault> {
        let mark = self.mark();
        let outside = self.depth;
        loop {
            self.begin_value()?;
            loop {
                if self.depth == outside {
                    return Ok(self.since(mark));
                }
                let is_object = self.objects & 1 == 1;
                let more = if is_object { self.next_key()?.is_some() } else { self.next_item()? };
                if more {
                    break;
                }
            }
        }
    }

    /// Bytes before whatever comes next, white space left aside.
    pub fn offset(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// Where the next value begins.
    pub fn mark(&mut self) -> Mark {
        self.skip_space();
        Mark { at: self.at, changes: self.changes }
    }

    /// The whole value that began at `mark` and was passed over since.
    pub fn since(&self, mark: Mark) -> Value<'a> {
        Value {
            whole: self.text,
            start: mark.at,
            end: self.at,
            is_compact: mark.changes == self.changes,
        }
    }

    /// Nothing but white space may follow.
    pub fn finish(&mut self) -> Result<(), Fault> {
        self.skip_space();
        if self.at < self.seen.len() { Err(self.fault("nothing more")) } else { Ok(()) }
    }

    /// A fault at the place where this scanner stands.
    #[cold]
    pub fn fault(&self, expected: &'static str) -> Fault {
        Fault::new(self.text, self.at, expected)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.seen.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.seen[self.at..]
    }

    /// Passes over bytes for as long as they are such; gives how many.
    #[inline]
    fn skip(&mut self, is_such: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        let mut at = start;
        while at < self.seen.len() && is_such(self.seen[at]) {
            at += 1;
        }
        self.at = at;
        at - start
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.peek() != Some(byte) {
            return Err(self.fault(expected));
        }
        self.at += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        let count = self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        self.changes += usize::from(count > 0);
    }

    fn enter(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.depth == JSON_DEPTH_MAX {
            return Err(self.fault(TOO_DEEP));
        }
        self.at += 1;
        self.depth += 1;
        self.objects = self.objects << 1 | u32::from(kind == Kind::Object);
        self.fresh = true;
        Ok(())
    }

    fn next_member(&mut self, close: u8, expected: &'static str) -> Result<bool, Fault> {
        self.skip_space();
        if self.peek() == Some(close) {
            self.at += 1;
            self.depth -= 1;
            self.objects >>= 1;
            self.fresh = false;
            return Ok(false);
        }
        if !self.fresh {
            self.take(b',', expected)?;
        }
        self.fresh = false;
        Ok(true)
    }

    /// Passes over a scalar, or goes into a container.
    fn begin_value(&mut self) -> Result<(), Fault> {
        match self.kind()? {
            kind @ (Kind::Object | Kind::Array) => self.enter(kind),
            Kind::Text => self.text().map(|_| ()),
            Kind::Number => self.number(),
            Kind::Flag if self.peek() == Some(b't') => self.word(b"true"),
            Kind::Flag => self.word(b"false"),
            Kind::Null => self.word(b"null"),
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.rest().starts_with(word) {
            return Err(self.fault("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<usize, Fault> {
        let count = self.skip(|byte| byte.is_ascii_digit());
        if count == 0 { Err(self.fault("a digit")) } else { Ok(count) }
    }

    /// RFC 8259 6, and within the range of an `f64`.
    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading = self.peek();
        let whole_digits = self.digits()?;
        if leading == Some(b'0') && whole_digits > 1 {
            self.at = start;
            return Err(self.fault("a number without leading zeros"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        // with 308 digits before the point and no exponent it cannot be too large
        if (has_exponent || whole_digits > 308) && !is_finite(&self.text[start..self.at]) {
            self.at = start;
            return Err(self.fault("a number below 1.8e308"));
        }
        Ok(())
    }

    fn text(&mut self) -> Result<Text<'a>, Fault> {
        self.at += 1;
        let start = self.at;
        let (mut is_ascii, mut is_escaped) = (true, false);
        loop {
            self.skip(|byte| (b' '..128).contains(&byte) && byte != b'"' && byte != b'\\');
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    self.escape()?;
                }
                Some(byte) if byte >= b' ' => {
                    is_ascii = false;
                    self.at += 1;
                }
                Some(_) => return Err(self.fault("an escape in place of a control character")),
                None => return Err(self.fault("a closing quotation mark")),
            }
        }
        let raw = &self.text[start..self.at];
        if !is_ascii {
            self.changes += 1;
            if let Err(fault) = core::str::from_utf8(raw) {
                self.at = start + fault.valid_up_to();
                return Err(self.fault("UTF-8"));
            }
        }
        self.at += 1;
        Ok(Text { raw, is_escaped })
    }

    /// RFC 8259 7; surrogates must come in pairs.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.rest().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return Err(self.fault("an escape: one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u")),
        }
        let Some(unit) = escaped_unit(self.rest()) else {
            return Err(self.fault("four hexadecimal digits behind \\u"));
        };
        let length = match unit {
            0xd800..=0xdbff => match escaped_unit(&self.rest()[6..]) {
                Some(0xdc00..=0xdfff) => 12,
                _ => return Err(self.fault("a pair of surrogates")),
            },
            0xdc00..=0xdfff => return Err(self.fault("a pair of surrogates")),
            _ => 6,
        };
        self.at += length;
        Ok(())
    }
}

/// Whether `text` is one whole JSON value (N1).
pub fn check(text: &[u8]) -> Result<(), Fault> {
    let mut scanner = Scanner::new(text);
    scanner.value()?;
    scanner.finish()
}

/// A value that a scanner passed over.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    whole: &'a [u8],
    start: usize,
    end: usize,
    is_compact: bool,
}

impl<'a> Value<'a> {
    /// The value as it was written.
    pub fn bytes(&self) -> &'a [u8] {
        &self.whole[self.start..self.end]
    }

    /// Bytes before it in its text.
    pub fn offset(&self) -> usize {
        self.start
    }

    /// The string that it is, if it is one.
    pub fn text(&self) -> Option<Text<'a>> {
        let raw = self.bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(Text { raw, is_escaped: raw.contains(&b'\\') })
    }

    /// The whole number from 0 to `u64::MAX` that it is, if it is one without point or exponent.
    pub fn whole_number(&self) -> Option<u64> {
        let digits = self.bytes();
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        core::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// A number as near as `f64` comes to it, perhaps infinite; `None`: it is no number.
    pub fn number(&self) -> Option<f64> {
        let is_number = matches!(self.bytes().first(), Some(b'-' | b'0'..=b'9'));
        let text = core::str::from_utf8(self.bytes()).ok().filter(|_| is_number)?;
        text.parse().ok()
    }

    /// Whether it is `true` or `false`, if it is either.
    pub fn flag(&self) -> Option<bool> {
        match self.bytes() {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }

    /// Writes it as compact ASCII (N2).
    pub fn write_compact(&self, out: &mut Vec<u8>) {
        if self.is_compact {
            out.extend_from_slice(self.bytes());
            return;
        }
        let mut rest = self.bytes();
        while let Some((&byte, behind)) = rest.split_first() {
            rest = behind;
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'"' => {
                    let raw = &rest[..raw_length(rest)];
                    rest = &rest[raw.len() + 1..];
                    out.push(b'"');
                    write_raw(raw, out);
                    out.push(b'"');
                }
                _ => out.push(byte),
            }
        }
    }

    /// A fault at the place of this value.
    pub fn fault(&self, expected: &'static str) -> Fault {
        Fault::new(self.whole, self.start, expected)
    }
}

fn is_finite(number: &[u8]) -> bool {
    let number = core::str::from_utf8(number).expect("digits are ASCII");
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests;
