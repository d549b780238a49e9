//! What this agent has done since it started: counters that only grow, over all terms of ours.
//!
//! The engine's books begin anew with each term; a monitoring system wants sums. What was counted
//! in a term is added as it grows, and asked for after every event, so nothing of a term is missed
//! when the next begins.

use crate::engine::cloud::Verdict;
use crate::engine::ident::{Lane, Term};
use crate::engine::status::LaneStatus;

/// Counters since the start of the agent.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Terms of ours in which something was journalled for.
    pub terms: u64,
    /// By lane.
    pub lanes: [LaneTally; 2],
    /// Requests that had an outcome, by [`VERDICTS`].
    pub requests: [u64; VERDICTS.len()],
    /// How long those took together.
    pub request_ms: u64,
    /// Operations on the share that had an outcome.
    pub operations: u64,
    /// Those of them that failed.
    pub operations_failed: u64,
    /// How long they took together.
    pub operation_ms: u64,
    /// The longest of them.
    pub operation_ms_max: u64,
    ordered_ms: Option<u64>,
    asked_ms: Option<u64>,
}

/// A lane's records.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneTally {
    /// Made durable.
    pub journalled: u64,
    /// Accepted by the cloud.
    pub delivered: u64,
    /// Refused by the cloud.
    pub declined: u64,
    /// Given up because the journal was full.
    pub dropped: u64,
    /// Stretches of the journal that were damaged.
    pub damaged: u64,
    last: LaneStatus,
    term: Term,
}

/// Outcomes of requests, as metrics name them.
pub const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Accepted, "accepted"),
    (Verdict::BadContent, "bad_content"),
    (Verdict::BadCredentials, "bad_credentials"),
    (Verdict::TooLarge, "too_large"),
    (Verdict::Retry, "retry"),
    (Verdict::Unknown, "unknown"),
];

impl Tally {
    /// Adds what was counted since the last look at a lane of this term.
    pub fn look(&mut self, lane: Lane, term: Term, now: LaneStatus) {
        let tally = &mut self.lanes[lane.index()];
        if tally.term != term {
            (tally.term, tally.last) = (term, LaneStatus::default());
            self.terms += u64::from(lane == Lane::Readings && term > 0);
        }
        let last = std::mem::replace(&mut tally.last, now);
        tally.journalled += now.journalled.saturating_sub(last.journalled);
        tally.delivered += now.delivered.saturating_sub(last.delivered);
        tally.declined += now.declined.saturating_sub(last.declined);
        tally.dropped += now.dropped.saturating_sub(last.dropped);
        tally.damaged += now.damaged.saturating_sub(last.damaged);
    }

    /// The keeper was given an order.
    pub fn ordered(&mut self, now_ms: u64) {
        self.ordered_ms = Some(now_ms);
    }

    /// The keeper has answered.
    pub fn answered(&mut self, now_ms: u64, is_failed: bool) {
        let Some(ordered_ms) = self.ordered_ms.take() else { return };
        let took_ms = now_ms.saturating_sub(ordered_ms);
        self.operations += 1;
        self.operations_failed += u64::from(is_failed);
        self.operation_ms += took_ms;
        self.operation_ms_max = self.operation_ms_max.max(took_ms);
    }

    /// The uplink was given a request.
    pub fn asked(&mut self, now_ms: u64) {
        self.asked_ms = Some(now_ms);
    }

    /// A request has an outcome.
    pub fn judged(&mut self, now_ms: u64, verdict: Verdict) {
        let Some(asked_ms) = self.asked_ms.take() else { return };
        self.request_ms += now_ms.saturating_sub(asked_ms);
        let place = VERDICTS.iter().position(|(other, _)| *other == verdict);
        self.requests[place.expect("VERDICTS has all")] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(journalled: u64, delivered: u64) -> LaneStatus {
        LaneStatus { journalled, delivered, declined: 1, ..LaneStatus::default() }
    }

    #[test]
    fn sums_go_on_where_a_term_begins_anew() {
        let mut tally = Tally::default();
        tally.look(Lane::Readings, 0, LaneStatus::default());
        for (term, journalled, delivered) in
            [(3, 0, 0), (3, 10, 4), (3, 12, 12), (5, 0, 2), (5, 7, 7)]
        {
            tally.look(Lane::Readings, term, lane(journalled, delivered));
        }
        let sums = tally.lanes[Lane::Readings.index()];
        assert_eq!((sums.journalled, sums.delivered, sums.declined), (19, 19, 2));
        assert_eq!(tally.terms, 2);
        assert_eq!(tally.lanes[Lane::Alerts.index()].journalled, 0);
    }

    #[test]
    fn only_what_was_asked_is_counted() {
        let mut tally = Tally::default();
        tally.answered(5, false);
        tally.judged(5, Verdict::Accepted);
        for (from_ms, to_ms, verdict) in [(10, 30, Verdict::Accepted), (40, 100, Verdict::Retry)] {
            tally.asked(from_ms);
            tally.judged(to_ms, verdict);
            tally.ordered(from_ms);
            tally.answered(to_ms, verdict == Verdict::Retry);
        }
        assert_eq!((tally.requests, tally.request_ms), ([1, 0, 0, 0, 1, 0], 80));
        assert_eq!((tally.operations, tally.operations_failed), (2, 1));
        assert_eq!((tally.operation_ms, tally.operation_ms_max), (80, 60));
    }
}
