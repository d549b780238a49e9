//! The journal's files: a header, then groups of records.
//!
//! # Format
//!
//! `journal/<lane>/<term>-<number>.seg`, term in eight digits, number in six.
//!
//! | bytes of a segment's header | what |
//! |---|---|
//! | 0..8 | magic `EDGESEGM` |
//! | 8..12 | format version |
//! | 12..28 | site id |
//! | 28..32 | term |
//! | 32..36 | lane: 0 readings, 1 alerts |
//! | 36..40 | number, from 1 |
//! | 40..44 | CRC-32C of bytes 0..40 |
//! | 44..64 | zero |
//!
//! | bytes of a group | what |
//! |---|---|
//! | 0..4 | magic `0xE9 G R P`: no JSON text of ours holds a byte above 127 |
//! | 4..8 | length of the records, in bytes |
//! | 8..16 | seq of the first record |
//! | 16..20 | count of records |
//! | 20..24 | length of the marks, in bytes (reserved for positions of sources: 0) |
//! | 24..28 | CRC-32C of term and lane as in the segment's header (its bytes 28..36), of bytes 0..24, the marks and the records |
//! | 28..32 | zero |
//! | 32.. | the marks, then the records, each a line of JSON ended by `\n` |
//!
//! # Invariants
//!
//! - J1: only the master of `term` writes a segment of that term.
//! - J2: the seqs of a lane and term count from 1 without a gap, through all segments.
//! - J3: a group is whole or not there: a reader that finds a bad CRC goes on at the next
//!   whole group, and what no whole group follows is a torn tail.

use super::codec::{CRC_32C, Reader, Writer};
use super::ident::{Lane, SiteId, Term};
use super::slot::FORMAT;
use crate::limits::GROUP_BYTES_MAX;

/// Bytes of a segment's header; the first group begins here.
pub const SEGMENT_HEADER_BYTES: usize = 64;
/// Where the first group begins.
pub const FIRST_OFFSET: u32 = 64;
const _: () = assert!(FIRST_OFFSET as usize == SEGMENT_HEADER_BYTES);
/// Bytes of a group's head.
pub const GROUP_HEAD_BYTES: usize = 32;
/// The first four bytes of a group.
pub const GROUP_MAGIC: [u8; 4] = [0xe9, b'G', b'R', b'P'];
const SEGMENT_MAGIC: [u8; 8] = *b"EDGESEGM";

/// Which segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentHeader {
    /// The site that it belongs to.
    pub site: SiteId,
    /// The term that wrote it.
    pub term: Term,
    /// Its lane.
    pub lane: Lane,
    /// Its number, from 1.
    pub number: u32,
}

impl SegmentHeader {
    /// Whose groups this segment holds.
    pub const fn groups(&self) -> GroupOf {
        GroupOf { term: self.term, lane: self.lane }
    }

    /// The bytes that begin a new segment.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let mut out = Writer::new(&mut bytes);
        out.raw(&SEGMENT_MAGIC);
        out.u32(FORMAT);
        out.raw(&self.site.0);
        out.u32(self.term);
        out.u32(lane_number(self.lane));
        out.u32(self.number);
        let sum = CRC_32C.checksum(&bytes[..40]);
        bytes[40..44].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if it is damaged or of a newer format.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(bytes);
        let magic: [u8; 8] = fields.raw();
        let format = fields.u32();
        let site = SiteId(fields.raw());
        let term = fields.u32();
        let lane = match fields.u32() {
            0 => Lane::Readings,
            1 => Lane::Alerts,
            _ => return None,
        };
        let number = fields.u32();
        let sum = fields.u32();
        let good = fields.is_whole()
            && magic == SEGMENT_MAGIC
            && format == FORMAT
            && sum == CRC_32C.checksum(&bytes[..40]);
        good.then_some(Self { site, term, lane, number })
    }
}

/// Whose records a group holds. Its CRC covers this, so that a group which strayed into another
/// term's segment is damage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupOf {
    /// The term.
    pub term: Term,
    /// The lane.
    pub lane: Lane,
}

impl GroupOf {
    fn sum(self, head: &[u8], payload: &[u8]) -> u32 {
        let mut digest = CRC_32C.digest();
        digest.update(&self.term.to_le_bytes());
        digest.update(&lane_number(self.lane).to_le_bytes());
        digest.update(head);
        digest.update(payload);
        digest.finalize()
    }
}

const fn lane_number(lane: Lane) -> u32 {
    match lane {
        Lane::Readings => 0,
        Lane::Alerts => 1,
    }
}

/// The head of a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct GroupHead {
    /// Bytes of the records.
    pub length: u32,
    /// Seq of the first record.
    pub first_seq: u64,
    /// How many records.
    pub count: u32,
    /// Bytes of the marks.
    pub marks: u32,
    /// CRC-32C of the head, the marks and the records.
    pub sum: u32,
}

impl GroupHead {
    /// Fills in the head of a group whose records stand behind it.
    pub fn seal(group: &mut [u8], of: GroupOf, first_seq: u64, count: u32) {
        let (head, records) = group.split_at_mut(GROUP_HEAD_BYTES);
        let length = u32::try_from(records.len()).expect("J: a group is at most 64 KiB");
        let mut out = Writer::new(&mut *head);
        out.raw(&GROUP_MAGIC);
        out.u32(length);
        out.u64(first_seq);
        out.u32(count);
        out.u32(0);
        let sum = of.sum(&head[..24], records);
        head[24..28].copy_from_slice(&sum.to_le_bytes());
        head[28..].fill(0);
    }

    /// Reads a head whose fields are possible; the records are not yet checked.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(bytes);
        let magic: [u8; 4] = fields.raw();
        let head = Self {
            length: fields.u32(),
            first_seq: fields.u64(),
            count: fields.u32(),
            marks: fields.u32(),
            sum: fields.u32(),
        };
        let possible = fields.is_whole()
            && magic == GROUP_MAGIC
            && head.payload_bytes() <= GROUP_BYTES_MAX
            && head.count > 0
            && head.first_seq > 0;
        possible.then_some(head)
    }

    /// Bytes of marks and records.
    pub fn payload_bytes(&self) -> usize {
        (self.length as usize).saturating_add(self.marks as usize)
    }

    /// Bytes of the whole group.
    pub fn group_bytes(&self) -> usize {
        GROUP_HEAD_BYTES + self.payload_bytes()
    }

    /// Whether this is the head of just these bytes (`head` is its own 32 bytes).
    pub fn matches(&self, of: GroupOf, head: &[u8], payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes() && self.sum == of.sum(&head[..24], payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_header_reads_back() {
        let header =
            SegmentHeader { site: SiteId([3; 16]), term: 7, lane: Lane::Alerts, number: 2 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        bytes[30] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
    }

    #[test]
    fn a_group_reads_back_and_every_damaged_bit_is_seen() {
        let mut group = vec![0; GROUP_HEAD_BYTES];
        group.extend_from_slice(b"{\"a\":1}\n{\"a\":2}\n");
        let of = GroupOf { term: 7, lane: Lane::Readings };
        GroupHead::seal(&mut group, of, 5, 2);
        let check = |bytes: &[u8]| {
            GroupHead::decode(bytes)
                .filter(|head| head.matches(of, bytes, &bytes[GROUP_HEAD_BYTES..]))
        };
        let head = check(&group).expect("a whole group");
        assert_eq!((head.first_seq, head.count, head.length), (5, 2, 16));
        let stray = GroupOf { term: 6, ..of };
        assert!(!head.matches(stray, &group, &group[GROUP_HEAD_BYTES..]), "another term's");
        for bit in (0..28 * 8).chain(GROUP_HEAD_BYTES * 8..group.len() * 8) {
            let mut damaged = group.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&damaged), None, "bit {bit}");
        }
    }
}
