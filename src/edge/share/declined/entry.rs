//! One entry of the declined store: how it is written, and how it is found again.

use std::iter;

use super::files::FileOf;
use crate::edge::json::{Kind, Scanner, write_text};
use crate::engine::codec::{CRC_32C, Reader};
use crate::engine::ident::{Lane, Term};
use crate::limits::DECLINED_ENTRY_BYTES_MAX;

/// The first four bytes of an entry.
const MAGIC: [u8; 4] = [0xe9, b'D', b'C', b'L'];
const HEAD_BYTES: usize = 12;
/// What stands before the record. Quotes in the reason are escaped, so that it is found there
/// first.
const RECORD: &[u8] = b",\"record\":";

/// A record that the cloud refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Term that journalled it.
    pub term: Term,
    /// Its lane.
    pub lane: Lane,
    /// Its seq.
    pub seq: u64,
    /// The HTTP status that refused it.
    pub status: u16,
    /// Why, in plain words.
    pub reason: String,
    /// When, in ms since the Unix epoch.
    pub wall_ms: u64,
    /// Its JSON as it was journalled, without the `\n`.
    pub record: Vec<u8>,
}

/// What an entry says beside its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) term: Term,
    pub(super) lane: Lane,
    pub(super) seq: u64,
    pub(super) status: u16,
    pub(super) reason: &'a str,
    pub(super) wall_ms: u64,
}

/// Writes an entry that is not sealed yet.
pub(super) fn write(about: &About<'_>, record: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    let About { term, lane, seq, status, reason, wall_ms } = about;
    let lane = lane.name();
    let text = format!("{{\"term\":{term},\"lane\":\"{lane}\",\"seq\":{seq},\"status\":{status}");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b",\"reason\":");
    write_text(reason, out);
    out.extend_from_slice(format!(",\"time\":{wall_ms}").as_bytes());
    out.extend_from_slice(RECORD);
    out.extend_from_slice(record.strip_suffix(b"\n").unwrap_or(record));
    out.extend_from_slice(b"}\n");
}

/// Fills in the head of an entry that goes into this file.
pub(super) fn seal(entry: &mut [u8], of: FileOf) {
    let (head, line) = entry.split_at_mut(HEAD_BYTES);
    let length = u32::try_from(line.len()).expect("a record of a group and its reason");
    head[..4].copy_from_slice(&MAGIC);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = sum(of, &head[..8], line);
    head[8..].copy_from_slice(&sum.to_le_bytes());
}

fn sum(of: FileOf, head: &[u8], line: &[u8]) -> u32 {
    let mut digest = CRC_32C.digest();
    digest.update(&of.site.0);
    digest.update(&of.name.term.to_le_bytes());
    digest.update(&of.name.number.to_le_bytes());
    digest.update(head);
    digest.update(line);
    digest.finalize()
}

/// Finds the whole entries of a file.
#[derive(Debug)]
pub(super) struct Scan {
    of: FileOf,
    at: usize,
    /// Damaged stretches that a whole entry followed.
    pub(super) damaged: u32,
}

impl Scan {
    /// Begins at an offset of the file.
    pub(super) fn new(of: FileOf, at: usize) -> Self {
        Self { of, at, damaged: 0 }
    }

    /// The next whole entry, with its offset; `bytes` is the file. What no whole entry follows
    /// is a torn tail.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Option<(u32, Entry)> {
        let begin = self.at;
        let mut at = begin;
        loop {
            if let Some((entry, end)) = entry_at(self.of, bytes, at) {
                self.damaged += u32::from(at > begin);
                self.at = end;
                return Some((u32::try_from(at).expect("a file is small"), entry));
            }
            let rest = bytes.get(at + 1..)?;
            at += 1 + rest.iter().position(|&byte| byte == MAGIC[0])?;
        }
    }
}

/// Every whole entry of a file.
pub(super) fn entries(of: FileOf, bytes: &[u8]) -> impl Iterator<Item = (u32, Entry)> {
    let mut scan = Scan::new(of, super::files::HEADER_BYTES);
    iter::from_fn(move || scan.next(bytes))
}

/// The entry that begins at `at`, and where it ends.
fn entry_at(of: FileOf, bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let mut head = Reader::new(bytes.get(at..at + HEAD_BYTES)?);
    let magic: [u8; 4] = head.raw();
    let length = usize::try_from(head.u32()).ok()?;
    let expected = head.u32();
    if magic != MAGIC || length > DECLINED_ENTRY_BYTES_MAX - HEAD_BYTES {
        return None;
    }
    let begin = at + HEAD_BYTES;
    let line = bytes.get(begin..begin + length)?;
    if sum(of, &bytes[at..at + 8], line) != expected {
        return None;
    }
    Some((parse(line)?, begin + length))
}

/// Reads the line of an entry. A member that we do not know is passed over; the record is
/// taken as it is.
fn parse(json: &[u8]) -> Option<Entry> {
    let body = json.strip_suffix(b"}\n")?;
    let at = body.windows(RECORD.len()).position(|place| place == RECORD)?;
    let about = [&body[..at], b"}"].concat();
    let (mut term, mut lane, mut seq) = (None, None, None);
    let (mut status, mut reason, mut wall_ms) = (None, None, None);
    let mut scanner = Scanner::new(&about);
    scanner.open(Kind::Object).ok()?;
    while let Some(key) = scanner.next_key().ok()? {
        let value = scanner.value().ok()?;
        let number = value.whole_number();
        match key.raw() {
            b"term" => term = Term::try_from(number?).ok(),
            b"lane" => {
                let name = value.text()?;
                lane = Lane::ALL.into_iter().find(|lane| name.is(lane.name()));
            }
            b"seq" => seq = number,
            b"status" => status = u16::try_from(number?).ok(),
            b"reason" => reason = Some(value.text()?.chars().collect()),
            b"time" => wall_ms = number,
            _ => {}
        }
    }
    scanner.finish().ok()?;
    Some(Entry {
        term: term?,
        lane: lane?,
        seq: seq?,
        status: status?,
        reason: reason?,
        wall_ms: wall_ms?,
        record: body[at + RECORD.len()..].to_vec(),
    })
}
