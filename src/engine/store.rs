//! The declined store, as the keeper is asked about it: read, forgotten, put back, purged,
//! counted. And the books of the two that are short: purges and counts.
//!
//! What is refused, and why, is decided elsewhere (`sizing`); what is sent again by `replay`.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::cloud::Reason;
use super::ident::{Lane, Ranges, Term};
use super::notes::Level;
use super::replay::clipped;
use super::status::PurgeStatus;
use crate::limits::{DECLINED_COUNT_MS, DECLINED_LOOK_MS};

/// So many failures in a row end what is being done.
pub const TRIES_MAX: u32 = 5;

/// Where an entry stands, or the next one of a file will; a later one is greater.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct Position {
    /// Term that wrote the file.
    pub term: Term,
    /// The file's number in that term, from 1.
    pub number: u32,
    /// Offset of the entry in it, in bytes.
    pub offset: u32,
}

/// An operation on the declined store; only a fenced master orders it.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub enum StoreOrder {
    /// Read the oldest entries and pass their records to the uplink.
    Replay(ReplayFetch),
    /// Never read the entries up to and with this one again; durably.
    Forget {
        /// The last of them.
        through: Position,
    },
    /// Write an entry anew at the store's end, then forget it where it was.
    PutBack(PutBack),
    /// Delete all of it.
    Purge,
    /// List the files, and count the entries of at most one more.
    Count,
}

/// A wish for the next batch of a replay: records of one lane, in 16 ranges at most.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ReplayFetch {
    /// Number of the request that will carry the batch.
    pub request: u32,
    /// Nothing from here on is read; `None`: the store's end is to be found.
    pub end: Option<Position>,
    /// At most so many records, of alerts one,
    pub records_max: u32,
    /// and so many bytes, but at least one record.
    pub bytes_max: u32,
}

/// A record that was refused once more.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PutBack {
    /// Where its entry stands.
    pub through: Position,
    /// The HTTP status that refused it now.
    pub status: u16,
    /// The reason in plain words.
    pub reason: Reason,
    /// When, in ms since the Unix epoch.
    pub wall_ms: u64,
    /// The store's bound, in bytes: the oldest make room.
    pub bytes_max: u64,
}

/// What became of an operation on the declined store.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one outcome exists at a time; no heap in the engine")]
pub enum StoreOutcome {
    /// `Replay`.
    Replayed(Replayed),
    /// `Forget`: as ordered.
    Forgotten,
    /// `PutBack`: as ordered.
    PutBack {
        /// Older records that made room.
        dropped: u32,
    },
    /// `Purge`.
    Purged {
        /// Records that went.
        records: u64,
    },
    /// `Count`.
    Counted(StoreCount),
}

/// What was read for a replay and, if there is a record, passed to the uplink.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Replayed {
    /// The request's number.
    pub request: u32,
    /// The records' lane.
    pub lane: Lane,
    /// Their identities.
    pub ranges: Ranges,
    /// How many; 0: none is left.
    pub count: u32,
    /// Their bytes.
    pub bytes: u32,
    /// The last entry that is done with once these are.
    pub through: Position,
    /// Nothing from here on was read.
    pub end: Position,
    /// Whether there is another entry before `end`.
    pub left: bool,
}

/// What stands in the declined store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct StoreCount {
    /// Its files.
    pub files: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Their entries that are not forgotten, as far as they are counted.
    pub records: u64,
    /// Whether all are.
    pub complete: bool,
}

/// Which operation is outstanding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreAsked {
    /// `Replay`.
    Replay,
    /// `Forget`.
    Forget,
    /// `PutBack`.
    PutBack,
    /// `Purge`.
    Purge,
    /// `Count`.
    Count,
}

impl StoreAsked {
    /// Whether it changes nothing on the share.
    pub const fn reads(self) -> bool {
        match self {
            Self::Replay | Self::Count => true,
            Self::Forget | Self::PutBack | Self::Purge => false,
        }
    }

    /// As a person would call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replay | Self::Count => "reading the declined store",
            Self::Forget | Self::PutBack => "writing the declined store",
            Self::Purge => "deleting the declined store",
        }
    }
}

/// Why the declined store is left as it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StoreRefusal {
    /// This node is not master under a lease.
    Elsewhere,
    /// It is, and an older master's lease may still run.
    NotFenced,
    /// There is no configuration, and so no cloud.
    NotConfigured,
    /// A replay or a purge is under way.
    UnderWay,
}

/// A line for the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the text of each stands in `Display`")]
pub enum StoreNote {
    ReplayBegan,
    ReplayEnded { delivered: u64, refused: u64, stopped: Option<Reason> },
    Purged { records: u64 },
    NotPurged { reason: Reason },
    Dropping { records: u32 },
}

impl StoreNote {
    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::ReplayBegan | Self::ReplayEnded { stopped: None, .. } | Self::Purged { .. } => {
                Level::Info
            }
            Self::ReplayEnded { stopped: Some(_), .. } | Self::NotPurged { .. } => Level::Warning,
            Self::Dropping { .. } => Level::Error,
        }
    }
}

impl fmt::Display for StoreNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplayBegan => write!(out, "declined: sending again what the cloud refused"),
            Self::ReplayEnded { delivered, refused, stopped } => {
                write!(out, "declined: replayed {delivered} records, {refused} refused again")?;
                match stopped {
                    Some(reason) => write!(out, "; stopped: {reason}"),
                    None => Ok(()),
                }
            }
            Self::Purged { records } => write!(out, "declined: {records} records were deleted"),
            Self::NotPurged { reason } => write!(out, "declined: not deleted: {reason}"),
            Self::Dropping { records } => {
                write!(out, "declined: full: the oldest {records} records were dropped")
            }
        }
    }
}

/// Purges and counts.
#[derive(Clone, Hash, Debug, Default)]
pub struct Books {
    purges: u32,
    purging: bool,
    purged: u64,
    reason: Reason,
    failures: u32,
    purge_due_ms: u64,
    count: StoreCount,
    changed: bool,
    count_due_ms: u64,
}

impl Books {
    /// A term of ours begins: nothing is known.
    pub fn begin(&mut self) {
        *self = Self { purges: self.purges, changed: true, ..Self::default() };
    }

    /// Records came or went: they are counted again, once a second at most.
    pub fn note_change(&mut self) {
        self.changed = true;
    }

    /// An operator wants it empty.
    pub fn purge(&mut self) {
        self.purges = self.purges.wrapping_add(1);
        (self.purging, self.purged, self.failures) = (true, 0, 0);
        self.reason.clear();
    }

    /// Whether a purge is under way.
    pub fn is_purging(&self) -> bool {
        self.purging
    }

    /// When a purge is due; never if none is wanted.
    pub fn purge_due_ms(&self) -> u64 {
        if self.purging { self.purge_due_ms } else { u64::MAX }
    }

    /// When the store is to be counted; never if nothing changed.
    pub fn count_due_ms(&self) -> u64 {
        if self.changed || !self.count.complete { self.count_due_ms } else { u64::MAX }
    }

    /// It is being counted: what changes from now on is news.
    pub fn counting(&mut self) {
        self.changed = false;
    }

    /// It was counted.
    pub fn counted(&mut self, now_ms: u64, count: StoreCount) {
        self.count = count;
        let wait_ms = if count.complete { DECLINED_LOOK_MS } else { DECLINED_COUNT_MS };
        self.count_due_ms = now_ms + u64::from(wait_ms);
    }

    /// It could not be counted.
    pub fn count_failed(&mut self, later_ms: u64) {
        self.changed = true;
        self.count_due_ms = later_ms;
    }

    /// It is empty.
    pub fn purged(&mut self, records: u64) -> StoreNote {
        (self.purging, self.purged) = (false, records);
        self.changed = true;
        StoreNote::Purged { records }
    }

    /// It could not be emptied; the last failure ends the purge.
    pub fn purge_failed(&mut self, later_ms: u64, why: &dyn fmt::Display) -> Option<StoreNote> {
        self.failures += 1;
        self.purge_due_ms = later_ms;
        if self.failures < TRIES_MAX {
            return None;
        }
        self.purging = false;
        self.changed = true;
        self.reason = clipped(format_args!("{why}"));
        Some(StoreNote::NotPurged { reason: self.reason.clone() })
    }

    /// What was counted last.
    pub fn count(&self) -> StoreCount {
        self.count
    }

    /// The last purge.
    pub fn status(&self) -> PurgeStatus {
        PurgeStatus {
            number: self.purges,
            running: self.purging,
            records: self.purged,
            reason: self.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_counted_until_that_is_complete_and_again_after_changes() {
        let mut books = Books::default();
        books.begin();
        assert_eq!(books.count_due_ms(), 0);
        books.counting();
        books.counted(1_000, StoreCount { records: 5, ..StoreCount::default() });
        assert_eq!(books.count_due_ms(), 1_000 + u64::from(DECLINED_COUNT_MS));
        books.counting();
        books.counted(1_100, StoreCount { records: 9, complete: true, ..StoreCount::default() });
        assert_eq!(books.count_due_ms(), u64::MAX, "nothing changes: no look");
        books.note_change();
        assert_eq!(books.count_due_ms(), 1_100 + u64::from(DECLINED_LOOK_MS));
        books.counting();
        books.note_change();
        books.counted(3_000, StoreCount { complete: true, ..StoreCount::default() });
        assert_eq!(books.count_due_ms(), 3_000 + u64::from(DECLINED_LOOK_MS), "changed since");
        books.count_failed(9_000);
        assert_eq!(books.count_due_ms(), 9_000);
    }

    #[test]
    fn a_purge_is_tried_a_few_times_and_says_what_became_of_it() {
        let mut books = Books::default();
        assert_eq!(books.purge_due_ms(), u64::MAX);
        books.purge();
        for later_ms in 1..5 {
            assert_eq!(books.purge_failed(later_ms, &"no"), None);
            assert_eq!((books.is_purging(), books.purge_due_ms()), (true, later_ms));
        }
        let note = books.purge_failed(5, &"no").expect("the last try");
        assert_eq!((note.level(), books.is_purging()), (Level::Warning, false));
        assert_eq!(books.status().reason, "no");
        books.purge();
        assert_eq!(books.purged(7).level(), Level::Info);
        let status = books.status();
        assert_eq!((status.number, status.running, status.records), (2, false, 7));
        assert!(status.reason.is_empty());
    }
}
