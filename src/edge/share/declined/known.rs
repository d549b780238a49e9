//! Which records stand at the declined store's end: a record is not written there twice.

use crate::engine::ident::{Lane, Term};
use crate::limits::DECLINED_RUNS_MAX;

/// Records of one term and lane whose seqs have no gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    term: Term,
    lane: Lane,
    first: u64,
    last: u64,
}

/// Identities, as runs; the newest run stands last.
#[derive(Debug, Default)]
pub(super) struct Known {
    runs: Vec<Run>,
}

impl Known {
    /// Adds a record. The oldest runs make room.
    pub(super) fn add(&mut self, term: Term, lane: Lane, seq: u64) {
        self.join(Run { term, lane, first: seq, last: seq });
    }

    /// Adds what another one holds.
    pub(super) fn extend(&mut self, other: &Self) {
        for &run in &other.runs {
            self.join(run);
        }
    }

    /// Whether a record was added, and is not forgotten.
    pub(super) fn has(&self, term: Term, lane: Lane, seq: u64) -> bool {
        let holds = |run: &Run| (run.first..=run.last).contains(&seq);
        self.runs.iter().rev().any(|run| (run.term, run.lane) == (term, lane) && holds(run))
    }

    fn join(&mut self, run: Run) {
        if let Some(newest) = self.runs.last_mut()
            && (newest.term, newest.lane) == (run.term, run.lane)
            && newest.last.checked_add(1) == Some(run.first)
        {
            newest.last = run.last;
            return;
        }
        if self.runs.len() == DECLINED_RUNS_MAX {
            self.runs.drain(..DECLINED_RUNS_MAX / 4);
        }
        self.runs.push(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_and_tell_terms_and_lanes_apart() {
        let mut known = Known::default();
        for seq in [4, 5, 6, 9, u64::MAX] {
            known.add(2, Lane::Readings, seq);
        }
        known.add(3, Lane::Alerts, 7);
        assert_eq!(known.runs.len(), 4);
        let of = |seq| known.has(2, Lane::Readings, seq);
        assert_eq!([3, 4, 6, 7, 8, 9, 10].map(of), [false, true, true, false, false, true, false]);
        assert!(of(u64::MAX) && known.has(3, Lane::Alerts, 7));
        assert!(!known.has(3, Lane::Readings, 7) && !known.has(2, Lane::Alerts, 4));
    }

    #[test]
    fn the_oldest_runs_make_room() {
        let mut known = Known::default();
        for seq in 0..=DECLINED_RUNS_MAX as u64 {
            known.add(1, Lane::Readings, seq * 2);
        }
        assert!(known.runs.len() <= DECLINED_RUNS_MAX);
        assert!(known.has(1, Lane::Readings, DECLINED_RUNS_MAX as u64 * 2));
        assert!(!known.has(1, Lane::Readings, 0));
    }
}
