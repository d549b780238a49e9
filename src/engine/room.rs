//! How full the journal is, and what gives way.
//!
//! | fill | `drop-oldest` | `refuse-newest` |
//! |---|---|---|
//! | below 4/5 of the bound | | |
//! | 4/5 | `journal-high` | `journal-high` |
//! | full | the oldest segment of readings goes, once it is not the newest too | intake is refused |
//! | full by a whole segment more | intake is refused | intake is refused |
//!
//! # Invariants
//!
//! - C1: each condition is told once when it begins, and once when all is well again: below
//!   3/5 of the bound, so that it does not flutter.
//! - C2: only readings give way, and only what a fenced master may delete.

use super::ident::Lane;
use super::notes::Level;
use super::settings::WhenFull;
use crate::limits::SEGMENT_BYTES_MAX;

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Told {
    /// Nothing.
    Fine,
    /// `journal-high`.
    High,
    /// `journal-dropping`: records are lost, or refused.
    Dropping,
}

impl Told {
    /// The condition that is told.
    pub const fn condition(self) -> &'static str {
        match self {
            Self::Fine => "journal-fine",
            Self::High => "journal-high",
            Self::Dropping => "journal-dropping",
        }
    }

    /// How much it matters.
    pub const fn level(self) -> Level {
        match self {
            Self::Fine => Level::Info,
            Self::High => Level::Warning,
            Self::Dropping => Level::Error,
        }
    }

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Fine => "there is room again",
            Self::High => "it is getting full",
            Self::Dropping => "full: readings are dropped or refused, as journal.when_full says",
        }
    }
}

/// The journal's fill.
#[derive(Clone, Copy, Hash, Debug)]
pub struct Room {
    bytes: [u64; 2],
    bytes_max: u64,
    when_full: WhenFull,
    told: Told,
}

impl Room {
    /// An empty journal.
    pub const fn new(bytes_max: u64, when_full: WhenFull) -> Self {
        Self { bytes: [0; 2], bytes_max, when_full, told: Told::Fine }
    }

    /// Another bound; what is there stays.
    pub fn bound(&mut self, bytes_max: u64, when_full: WhenFull) {
        (self.bytes_max, self.when_full) = (bytes_max, when_full);
    }

    /// A sweep counted what is left of a lane.
    pub fn counted(&mut self, lane: Lane, bytes: u64) {
        self.bytes[lane.index()] = bytes;
    }

    /// An append landed.
    pub fn grew(&mut self, lane: Lane, bytes: u32) {
        self.bytes[lane.index()] += u64::from(bytes);
    }

    /// Bytes of a lane.
    pub fn lane_bytes(&self, lane: Lane) -> u64 {
        self.bytes[lane.index()]
    }

    /// Bytes of both lanes.
    pub fn bytes(&self) -> u64 {
        self.bytes[0] + self.bytes[1]
    }

    /// The bound, in bytes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether no more readings are to be taken in.
    pub fn is_closed(&self) -> bool {
        let leeway = match self.when_full {
            WhenFull::DropOldest => u64::from(SEGMENT_BYTES_MAX),
            WhenFull::RefuseNewest => 0,
        };
        self.bytes() >= self.bytes_max.saturating_add(leeway)
    }

    /// Whether the oldest segment is to go.
    pub fn wants_drop(&self) -> bool {
        self.when_full == WhenFull::DropOldest && self.bytes() >= self.bytes_max
    }

    /// What is to be told now, if that is news (C1).
    pub fn news(&mut self) -> Option<Told> {
        let fifth = self.bytes_max / 5;
        let now = if self.bytes() >= self.bytes_max {
            Told::Dropping
        } else if self.bytes() < 3 * fifth {
            Told::Fine
        } else if self.bytes() >= 4 * fifth && self.told == Told::Fine {
            Told::High
        } else {
            self.told
        };
        if now == self.told {
            return None;
        }
        self.told = now;
        Some(now)
    }

    /// What was told last.
    pub fn told(&self) -> Told {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(when_full: WhenFull) -> Room {
        Room::new(10_000_000, when_full)
    }

    #[test]
    fn each_condition_is_told_once_and_does_not_flutter() {
        let mut room = room(WhenFull::DropOldest);
        let rows = [
            (1_000_000, None),
            (8_000_000, Some(Told::High)),
            (7_000_000, None),
            (8_500_000, None),
            (10_000_000, Some(Told::Dropping)),
            (9_000_000, None),
            (10_500_000, None),
            (5_000_000, Some(Told::Fine)),
            (5_500_000, None),
        ];
        for (bytes, told) in rows {
            room.counted(Lane::Readings, bytes);
            assert_eq!(room.news(), told, "C1, at {bytes}");
        }
    }

    #[test]
    fn a_full_journal_drops_or_refuses_as_configured() {
        let mut dropping = room(WhenFull::DropOldest);
        dropping.counted(Lane::Readings, 10_000_000);
        assert!(dropping.wants_drop() && !dropping.is_closed());
        dropping.grew(Lane::Alerts, SEGMENT_BYTES_MAX);
        assert!(dropping.is_closed(), "it cannot drop as fast as it fills");
        let mut refusing = room(WhenFull::RefuseNewest);
        refusing.counted(Lane::Readings, 10_000_000);
        assert!(!refusing.wants_drop() && refusing.is_closed());
    }
}
