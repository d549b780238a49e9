//! Who was master when, and how deep the journal was: for people, of what this node has seen.
//!
//! # Invariants
//!
//! - Y1: nothing is decided by it, and nothing is read for it but the slots of the newest terms, each
//!   time that the data directory is opened.
//! - Y2: for how long nobody was master is measured by our own clock, from the last change that was
//!   seen of one term's slot to the first sight of the next one's, if we looked all the while. Else
//!   the wall times in the slots tell, of different hosts perhaps, if the one before was released.
//! - Y3: its size is fixed.

use heapless::{Deque, Vec};

use crate::engine::ident::Term;
use crate::engine::slot::{Slot, SlotState};
use crate::engine::status::TermStatus;
use crate::limits::{DEPTH_EVERY_MS, DEPTHS_SHOWN_MAX, SIGHT_GAP_MS_MAX, TERMS_SHOWN_MAX};

/// What was seen of the site.
#[derive(Debug, Default)]
pub struct History {
    /// The newest first.
    terms: Vec<TermStatus, TERMS_SHOWN_MAX>,
    /// The newest term's slot, as it last changed.
    seen: Option<Seen>,
    /// The oldest first.
    depths: Deque<Option<u64>, DEPTHS_SHOWN_MAX>,
    depth_due_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    term: Term,
    heartbeat: u64,
    /// When it last changed before our eyes; `None`: it was there when we came.
    changed_ms: Option<u64>,
    looked_ms: u64,
}

impl History {
    /// Takes the slots that were found as the data directory was opened, the oldest first.
    pub fn learn(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.note(slot, None);
        }
    }

    /// Looks at the newest slot that is known now.
    pub fn watch(&mut self, now_ms: u64, slot: &Slot) {
        if slot.state == SlotState::Claiming {
            return;
        }
        let newest = self.terms.first().map_or(0, |term| term.term);
        let is_kept = |seen: &Seen| now_ms <= seen.looked_ms + u64::from(SIGHT_GAP_MS_MAX);
        let seen = self.seen.filter(is_kept);
        let last_ms = seen.filter(|seen| seen.term == newest).and_then(|seen| seen.changed_ms);
        self.note(slot, last_ms.map(|last_ms| now_ms.saturating_sub(last_ms)));
        let (term, heartbeat) = (slot.term, slot.heartbeat);
        let is_same = |seen: &Seen| (seen.term, seen.heartbeat) == (term, heartbeat);
        let changed_ms = match self.seen {
            None => None,
            Some(seen) if is_same(&seen) => seen.changed_ms,
            // what changed while we did not look did so some time or other
            Some(_) => seen.map(|_| now_ms),
        };
        self.seen = Some(Seen { term, heartbeat, changed_ms, looked_ms: now_ms });
    }

    /// Notes a term, or what became of it.
    fn note(&mut self, slot: &Slot, gap_ms: Option<u64>) {
        let reason = match &slot.state {
            SlotState::Claiming => return,
            SlotState::Active => "",
            SlotState::Released { reason, .. } => reason.name(),
        };
        if let Some(known) = self.terms.iter_mut().find(|known| known.term == slot.term) {
            known.state = slot.state.name();
            known.reason = reason;
            known.ended_wall_ms = slot.ended_wall_ms;
            return;
        }
        if self.terms.first().is_some_and(|newest| newest.term > slot.term) {
            return;
        }
        let ended_ms = self.terms.first().map(|before| before.ended_wall_ms);
        let by_walls_ms = ended_ms
            .filter(|ended_ms| *ended_ms > 0)
            .map(|ended_ms| slot.started_wall_ms.saturating_sub(ended_ms));
        if self.terms.is_full() {
            self.terms.pop();
        }
        let term = TermStatus {
            term: slot.term,
            node: slot.node.clone(),
            state: slot.state.name(),
            reason,
            started_wall_ms: slot.started_wall_ms,
            ended_wall_ms: slot.ended_wall_ms,
            gap_ms: gap_ms.or(by_walls_ms),
        };
        self.terms.insert(0, term).expect("Y3: room was made");
    }

    /// Notes the journal's depth in bytes, once a minute; `None`: another node is master. What
    /// was slept through is not known.
    pub fn note_depth(&mut self, now_ms: u64, bytes: Option<u64>) {
        let every_ms = u64::from(DEPTH_EVERY_MS);
        if self.depth_due_ms == 0 {
            self.depth_due_ms = now_ms + every_ms;
        }
        for _ in 0..DEPTHS_SHOWN_MAX {
            if now_ms < self.depth_due_ms {
                return;
            }
            let is_late = now_ms >= self.depth_due_ms + every_ms;
            if self.depths.is_full() {
                self.depths.pop_front();
            }
            let depth = bytes.filter(|_| !is_late);
            self.depths.push_back(depth).expect("Y3: room was made");
            self.depth_due_ms += every_ms;
        }
        self.depth_due_ms = now_ms + every_ms;
    }

    /// The terms, the newest first.
    pub fn terms(&self) -> &Vec<TermStatus, TERMS_SHOWN_MAX> {
        &self.terms
    }

    /// The depths, the oldest first.
    pub fn depths(&self) -> Vec<Option<u64>, DEPTHS_SHOWN_MAX> {
        self.depths.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ident::{NodeName, ShareClass};
    use crate::engine::slot::ReleaseReason;

    fn slot(term: Term, heartbeat: u64, state: SlotState) -> Slot {
        let is_released = matches!(state, SlotState::Released { .. });
        let started_wall_ms = 1_000_000 + u64::from(term) * 10_000;
        Slot {
            term,
            node: NodeName::parse(&format!("gw-{}", term % 2)).expect("valid"),
            nonce: 7,
            heartbeat,
            state,
            locked: 0,
            fenced: true,
            class: ShareClass::Local,
            heartbeat_ms: 1_000,
            fence_ms: 5_000,
            lanes: Default::default(),
            started_wall_ms,
            ended_wall_ms: if is_released { started_wall_ms + 9_000 } else { 0 },
        }
    }

    fn released(term: Term, heartbeat: u64) -> Slot {
        let reason = ReleaseReason::Switchover;
        slot(term, heartbeat, SlotState::Released { reason, successor: None })
    }

    fn gaps(history: &History) -> std::vec::Vec<(Term, Option<u64>)> {
        history.terms().iter().map(|term| (term.term, term.gap_ms)).collect()
    }

    #[test]
    fn a_gap_is_what_passed_between_the_last_and_the_first_sign() {
        let mut history = History::default();
        for (now_ms, slot) in [
            (1_000, slot(4, 1, SlotState::Active)),
            (2_000, slot(4, 2, SlotState::Active)),
            (4_500, slot(4, 2, SlotState::Active)),
            (7_000, slot(5, 1, SlotState::Claiming)),
            (7_500, slot(6, 2, SlotState::Active)),
            (8_000, released(6, 3)),
            (8_600, slot(7, 1, SlotState::Active)),
        ] {
            history.watch(now_ms, &slot);
        }
        assert_eq!(gaps(&history), [(7, Some(600)), (6, Some(5_500)), (4, None)], "Y2");
        let ended = &history.terms()[1];
        assert_eq!(
            (ended.state, ended.reason, ended.ended_wall_ms),
            ("released", "switchover", 1_069_000)
        );
        assert_eq!(history.terms()[2].state, "active", "it never said that it ended");
    }

    #[test]
    fn of_what_was_before_the_slots_tell() {
        let mut history = History::default();
        history.learn(&[released(1, 9), slot(2, 5, SlotState::Active), released(3, 7)]);
        history.watch(50_000, &released(3, 7));
        // a site that was stopped overnight: the wall times know it
        history.watch(50_500, &slot(4, 1, SlotState::Active));
        assert_eq!(
            gaps(&history),
            [(4, Some(1_000)), (3, None), (2, Some(1_000)), (1, None)],
            "Y2"
        );
        history.learn(&[released(4, 2), released(5, 9), slot(6, 9, SlotState::Active)]);
        let newest = &gaps(&history)[..3];
        assert_eq!(newest, [(6, Some(1_000)), (5, Some(1_000)), (4, Some(1_000))], "opened again");
        assert_eq!(history.terms()[2].state, "released");
    }

    #[test]
    fn our_own_outage_is_nobodys() {
        let mut history = History::default();
        history.watch(1_000, &slot(4, 1, SlotState::Active));
        history.watch(2_000, &slot(4, 2, SlotState::Active));
        history.watch(90_000, &slot(5, 1, SlotState::Active));
        history.watch(91_000, &slot(6, 1, SlotState::Active));
        assert_eq!(gaps(&history), [(6, None), (5, None), (4, None)], "Y2");
        history.watch(91_500, &slot(6, 2, SlotState::Active));
        history.watch(92_000, &slot(7, 1, SlotState::Active));
        assert_eq!(gaps(&history)[0], (7, Some(500)));
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut history = History::default();
        for term in 1..=40 {
            history.watch(u64::from(term), &slot(term, 1, SlotState::Active));
        }
        history.watch(99, &released(30, 2));
        history.watch(99, &slot(3, 2, SlotState::Active));
        let terms: std::vec::Vec<Term> = history.terms().iter().map(|term| term.term).collect();
        let expected: std::vec::Vec<Term> = (25..=40).rev().collect();
        assert_eq!(terms, expected, "Y3");
        assert_eq!(history.terms()[10].state, "released");
    }

    #[test]
    fn an_hour_of_depths_is_kept_and_gaps_stay_gaps() {
        let mut history = History::default();
        let minute_ms = u64::from(DEPTH_EVERY_MS);
        for minute in 0..=5 {
            history.note_depth(1 + minute * minute_ms, Some(minute));
        }
        history.note_depth(2 + 5 * minute_ms, Some(99));
        assert_eq!(history.depths(), [Some(1), Some(2), Some(3), Some(4), Some(5)]);
        history.note_depth(1 + 8 * minute_ms, Some(8));
        assert_eq!(history.depths()[5..], [None, None, Some(8)], "slept through");
        history.note_depth(1 + 9 * minute_ms, None);
        history.note_depth(1 + 90 * minute_ms, Some(90));
        assert_eq!(history.depths().len(), DEPTHS_SHOWN_MAX, "Y3");
        assert!(history.depths().iter().all(Option::is_none));
        history.note_depth(1 + 91 * minute_ms, Some(91));
        assert_eq!(history.depths().last(), Some(&Some(91)));
    }
}
