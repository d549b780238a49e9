//! The names and numbers by which everything is known: sites, nodes, terms, records.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use crate::limits::{NODE_NAME_MAX, RECORD_RANGES_MAX};

/// An election's number. It only grows; 0 means "none yet".
pub type Term = u32;

/// A site's random id, made once with its data directory; 32 hex digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct SiteId(pub [u8; 16]);

impl SiteId {
    /// Reads 32 hex digits, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            *byte = u8::try_from(high * 16 + low).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A node's name: `[a-z0-9-]`, 1 to 32 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Hash)]
pub struct NodeName(String<NODE_NAME_MAX>);

impl NodeName {
    /// Takes a valid name; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || !text.bytes().all(fits) {
            return None;
        }
        String::try_from(text).ok().map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The two queues of the journal: an alert never waits behind a backlog of readings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Lane {
    /// Readings of things.
    Readings,
    /// HA alerts.
    Alerts,
}

impl Lane {
    /// Both lanes, in the order of their indexes.
    pub const ALL: [Self; 2] = [Self::Readings, Self::Alerts];

    /// Where this lane stands in an array of two.
    pub const fn index(self) -> usize {
        match self {
            Self::Readings => 0,
            Self::Alerts => 1,
        }
    }

    /// Its folder under `journal/`, and its name in `X-Edge-Records`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Readings => "readings",
            Self::Alerts => "alerts",
        }
    }
}

/// The next record to forward: everything before it, in order of (term, seq), is done with.
///
/// `segment` and `offset` say where its group begins, or where the next one will.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Term of the record; 0: before everything.
    pub term: Term,
    /// Number of the segment, from 1.
    pub segment: u32,
    /// Offset of the group in its segment, in bytes.
    pub offset: u32,
    /// Seq of the record, from 1.
    pub seq: u64,
}

impl Cursor {
    /// Whether this cursor stands further on than `other`.
    pub fn is_past(&self, other: &Self) -> bool {
        (self.term, self.seq, self.segment, self.offset)
            > (other.term, other.seq, other.segment, other.offset)
    }
}

/// How far a granted lock speaks for the previous holder's end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShareClass {
    /// A file system of this host alone.
    Local,
    /// NFS version 4: the server ends a silent holder's lock after its lease.
    Nfs4,
    /// Everything else.
    Doubtful,
}

impl ShareClass {
    /// As status and records name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Nfs4 => "nfs4",
            Self::Doubtful => "doubtful",
        }
    }
}

/// What a node is doing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Polling, ready to take over.
    #[default]
    Standby,
    /// Has a free hand and is writing its slot.
    Claiming,
    /// Collects, and forwards under a lease.
    Master,
    /// Ending its term.
    Resigning,
    /// Stopped on purpose; only ever seen in a node's record.
    Stopped,
}

impl Role {
    /// As status and records name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Claiming => "claiming",
            Self::Master => "master",
            Self::Resigning => "resigning",
            Self::Stopped => "stopped",
        }
    }
}

/// Consecutive records of one term and lane, as `X-Edge-Records` names them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RecordRange {
    /// Term that journalled them.
    pub term: Term,
    /// Their lane.
    pub lane: Lane,
    /// Seq of the first.
    pub first_seq: u64,
    /// Seq of the last.
    pub last_seq: u64,
}

impl fmt::Display for RecordRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { term, lane, first_seq, last_seq } = self;
        write!(out, "{term}/{}/{first_seq}-{last_seq}", lane.name())
    }
}

/// Which records a batch is made of, as `X-Edge-Records` names them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Ranges(Vec<RecordRange, RECORD_RANGES_MAX>);

impl Ranges {
    /// One run of records.
    pub fn of(range: RecordRange) -> Self {
        let mut ranges = Self::default();
        // There is room for one.
        let _ = ranges.0.push(range);
        ranges
    }

    /// Adds a record behind the others; `false`: it would take a range more than there may be.
    pub fn add(&mut self, term: Term, lane: Lane, seq: u64) -> bool {
        if let Some(last) = self.0.last_mut()
            && (last.term, last.lane) == (term, lane)
            && last.last_seq.checked_add(1) == Some(seq)
        {
            last.last_seq = seq;
            return true;
        }
        self.0.push(RecordRange { term, lane, first_seq: seq, last_seq: seq }).is_ok()
    }

    /// Whether a record is among them.
    pub fn has(&self, term: Term, lane: Lane, seq: u64) -> bool {
        let holds = |range: &RecordRange| (range.first_seq..=range.last_seq).contains(&seq);
        self.iter().any(|range| (range.term, range.lane) == (term, lane) && holds(range))
    }

    /// Each of them, in the order in which their records stand in the batch.
    pub fn iter(&self) -> impl Iterator<Item = &RecordRange> {
        self.0.iter()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.iter().enumerate() {
            if place > 0 {
                out.write_str(",")?;
            }
            write!(out, "{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_what_has_no_gap_and_have_an_end() {
        let mut ranges = Ranges::default();
        for (term, seq) in [(3, 5), (3, 6), (4, 7), (3, 9)] {
            assert!(ranges.add(term, Lane::Readings, seq));
        }
        let mut text = String::<64>::new();
        fmt::write(&mut text, format_args!("{ranges}")).expect("it fits");
        assert_eq!(text, "3/readings/5-6,4/readings/7-7,3/readings/9-9");
        assert!(ranges.has(3, Lane::Readings, 6) && !ranges.has(3, Lane::Readings, 7));
        assert!(!ranges.has(3, Lane::Alerts, 6));
        for seq in 0..13 {
            assert!(ranges.add(5, Lane::Readings, seq * 2), "{seq}");
        }
        assert!(!ranges.add(5, Lane::Readings, 100), "16 at most");
        assert!(ranges.add(5, Lane::Readings, 25), "one that joins the last still goes");
    }

    #[test]
    fn a_site_id_reads_back_as_it_was_written() {
        let id = SiteId([0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        let mut text = String::<32>::new();
        fmt::write(&mut text, format_args!("{id}")).expect("32 digits fit");
        assert_eq!(text, "ab0102030405060708090a0b0c0d0eff");
        assert_eq!(SiteId::parse(&text), Some(id));
        assert_eq!(SiteId::parse("ab01"), None);
        assert_eq!(SiteId::parse(&"zz".repeat(16)), None);
    }

    #[test]
    fn names_are_lower_case_letters_digits_and_hyphens() {
        for good in ["a", "gw-1", "0", &"x".repeat(32)] {
            assert!(NodeName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "GW", "a b", "ä", "a_b", &"x".repeat(33)] {
            assert!(NodeName::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_later_term_is_past_any_seq_of_an_earlier_one() {
        let early = Cursor { term: 1, segment: 9, offset: 64, seq: 1_000 };
        let late = Cursor { term: 2, segment: 1, offset: 64, seq: 1 };
        assert!(late.is_past(&early));
        assert!(!early.is_past(&late));
        assert!(!late.is_past(&late));
    }
}
