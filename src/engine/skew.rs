//! How far a node's wall clock is off ours: for people only, nothing is decided by it.
//!
//! A record carries its writer's wall clock. Between the look that still showed the one before
//! and the look that shows it, it was written: what that span explains is not skew.
//!
//! - S1: told once when it begins and once when it ends: it begins with two records in a row
//!   that are off by more than the bound, and ends with two that are off by half of it at most.
//!   One alone may have waited for a share that stalled.

use crate::limits::CLOCK_SKEW_MS;

/// Records in a row that begin or end it.
const RECORDS: u8 = 2;

/// What is known of a node's wall clock.
#[derive(Clone, Copy, Default, Hash, Debug)]
pub(super) struct Skew {
    ms: i64,
    strikes: u8,
    holds: bool,
}

impl Skew {
    /// Whether it is told to be off.
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// How far it was ahead of ours (negative: behind) when last seen, in ms.
    pub(super) fn ms(&self) -> i64 {
        self.ms
    }

    /// Takes in a record that was written at `written_wall_ms` by its writer's clock, at most
    /// `age_ms_max` before `wall_ms` by ours.
    pub(super) fn observe(&mut self, written_wall_ms: u64, wall_ms: u64, age_ms_max: u64) {
        // An older version's record does not say.
        if written_wall_ms == 0 {
            return;
        }
        let ms = off_ms(written_wall_ms, wall_ms, age_ms_max);
        let bound_ms = u64::from(CLOCK_SKEW_MS);
        let turns = if self.holds {
            ms.unsigned_abs() <= bound_ms / 2
        } else {
            ms.unsigned_abs() > bound_ms
        };
        self.ms = ms;
        self.strikes = if turns { self.strikes + 1 } else { 0 };
        if self.strikes >= RECORDS {
            self.holds = !self.holds;
            self.strikes = 0;
        }
    }
}

/// How far a moment lies outside of the span that ends now, in ms.
fn off_ms(written_wall_ms: u64, wall_ms: u64, age_ms_max: u64) -> i64 {
    let first_ms = wall_ms.saturating_sub(age_ms_max);
    let bounded = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if written_wall_ms > wall_ms {
        bounded(written_wall_ms - wall_ms)
    } else {
        -bounded(first_ms.saturating_sub(written_wall_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_age_explains_is_not_skew() {
        for (written, now, age, expected) in [
            (100_000, 100_000, 0, 0),
            (95_000, 100_000, 5_000, 0),
            (90_000, 100_000, 5_000, -5_000),
            (101_000, 100_000, 5_000, 1_000),
            (10, 100, u64::MAX, 0),
            (u64::MAX, 0, 0, i64::MAX),
            (0, u64::MAX, 0, -i64::MAX),
        ] {
            assert_eq!(off_ms(written, now, age), expected, "{written} {now} {age}");
        }
    }

    #[test]
    fn two_records_begin_and_two_end_it() {
        let mut skew = Skew::default();
        let mut now_ms: u64 = 1_000_000;
        let rows = [
            (31_000, false),
            (0, false),
            (-31_000, false),
            (-40_000, true),
            (-16_000, true),
            (-14_000, true),
            (-31_000, true),
            (15_000, true),
            (15_000, false),
            (29_000, false),
        ];
        for (row, (off_ms, holds)) in rows.into_iter().enumerate() {
            now_ms += 5_000;
            let written_ms = now_ms.saturating_add_signed(off_ms);
            skew.observe(written_ms, now_ms, 0);
            assert_eq!(skew.holds(), holds, "S1: row {row}");
        }
        skew.observe(0, now_ms, 0);
        assert_eq!(skew.ms(), 29_000, "a record that does not say changes nothing");
    }
}
