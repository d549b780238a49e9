//! Our own term: what its slot says, how long its lease runs, when it may forward.
//!
//! | step | what is known after it |
//! |---|---|
//! | claimed | the number is ours; nobody else can write its slot |
//! | announced | the slot is durable and no slot is higher: we collect; the wait for older leases begins |
//! | proven | a lease runs from the proof's start for `fence_ms` |
//! | surveyed | older terms have ended or run out of lease, and their cursors are read |
//! | fenced | the slot says so, durably: we forward while a lease runs |
//!
//! # Invariants
//!
//! - M1: a lease runs from the *start* of the operation that proved it.
//! - M2: `fenced` is never set before every older term was released, is known to be dead, or
//!   has had 5/4 of the largest `fence_ms` and 200 ms since our slot was durable.
//! - M3: at once only behind a term exactly one below ours that was itself fenced; on its
//!   lock alone only where the share is local, and only by the very lock file that it named.
//! - M4: the slot never names a lock that we do not hold.
//! - M5: at least every quarter of `fence_ms`, and whenever the lease had run out, a proof looks
//!   at all slots: numbers may be burnt, and the next master's be far above ours.

use super::ident::{Cursor, Lane, ShareClass, Term};
use super::planted::{LeftOut, Rule};
use super::settings::{Host, Settings};
use super::share::{LockSeen, Proof, ProofLock, Survey};
use super::slot::{LaneMark, ReleaseReason, Slot, SlotState};
use crate::limits::{ALONE_SLOT_MS, FENCE_MARGIN_MS};

/// A term of ours, from its claim to its release.
#[derive(Clone, Hash, Debug)]
pub struct Mandate {
    slot: Slot,
    alone: bool,
    left_out: LeftOut,
    lease_end_ms: u64,
    lock_lost_ms: Option<u64>,
    forward_from_ms: u64,
    surveyed: bool,
    proof_due_ms: u64,
    looked_ms: u64,
    /// The slot as it last became durable, and when.
    durable: Option<(Slot, u64)>,
}

impl Mandate {
    /// A term that was just claimed, with the lock file that we hold (0: none).
    pub fn claimed(
        term: Term,
        host: &Host,
        settings: &Settings,
        class: ShareClass,
        locked: u64,
        wall_ms: u64,
    ) -> Self {
        let slot = Slot {
            term,
            node: host.node.clone(),
            nonce: host.nonce,
            heartbeat: 1,
            state: SlotState::Claiming,
            locked,
            fenced: false,
            class,
            heartbeat_ms: settings.heartbeat_ms,
            fence_ms: settings.fence_ms,
            lanes: [LaneMark::default(); 2],
            started_wall_ms: wall_ms,
            ended_wall_ms: 0,
        };
        Self {
            slot,
            alone: host.alone,
            left_out: host.left_out,
            lease_end_ms: 0,
            lock_lost_ms: None,
            forward_from_ms: u64::MAX,
            surveyed: false,
            proof_due_ms: 0,
            looked_ms: 0,
            durable: None,
        }
    }

    /// Our slot is durable, by an operation that began at `start_ms`, and all slots were read
    /// afresh: a higher term means to give up, and is returned.
    pub fn announced(&mut self, start_ms: u64, now_ms: u64, survey: &Survey) -> Result<(), Term> {
        if let Some(newest) = survey.newest.as_ref().filter(|newest| newest.term > self.slot.term) {
            return Err(newest.term);
        }
        let fence_ms = u64::from(survey.fence_ms_max.max(self.slot.fence_ms));
        self.surveyed = self.may_forward_at_once(survey.before.as_ref());
        self.forward_from_ms = if self.surveyed {
            now_ms
        } else {
            self.older_leases_end_ms(start_ms, now_ms, fence_ms)
        };
        self.slot.fenced = self.surveyed;
        self.slot.state = SlotState::Active;
        self.proof_due_ms = now_ms;
        Ok(())
    }

    /// When every older term has run out of lease (M2).
    fn older_leases_end_ms(&self, start_ms: u64, now_ms: u64, fence_ms: u64) -> u64 {
        let quarters = if self.left_out.has(Rule::FiveQuarters) { 4 } else { 5 };
        let since_ms = if self.left_out.has(Rule::SinceDurable) { start_ms } else { now_ms };
        since_ms + fence_ms * quarters / 4 + u64::from(FENCE_MARGIN_MS)
    }

    /// Older leases have run out and the slots were read again after that (M2).
    pub fn surveyed(&mut self, now_ms: u64) {
        assert!(now_ms >= self.forward_from_ms, "M2: surveyed before older leases ran out");
        self.surveyed = true;
        self.slot.fenced = true;
        self.proof_due_ms = now_ms;
    }

    /// Whether the slots are to be read again now, older leases having run out.
    pub fn wants_survey(&self, now_ms: u64) -> bool {
        !self.surveyed && now_ms >= self.forward_from_ms
    }

    /// The next proof. `create`: segments to be made first, by lane.
    pub fn proof(
        &mut self,
        now_ms: u64,
        lanes: [LaneMark; 2],
        create: [u32; 2],
        may_try: bool,
    ) -> Proof {
        self.slot.lanes = lanes.map(|lane| self.said(lane));
        let write_slot = !self.alone || self.is_slot_due(now_ms);
        if write_slot {
            self.slot.heartbeat += 1;
        }
        self.proof_due_ms = now_ms + u64::from(self.slot.heartbeat_ms);
        let held = self.slot.locked != 0 && self.lock_lost_ms.is_none();
        let lock = match (held || self.left_out.has(Rule::ByteUnderLock), may_try) {
            (true, _) => ProofLock::Write,
            (false, true) => ProofLock::Try,
            (false, false) => ProofLock::Leave,
        };
        // A newcomer waits 5/4 of `fence_ms`: a lease that is given within a quarter of it after
        // all slots were seen ends before that (M5).
        let looked_ms = self.looked_ms + u64::from(self.slot.fence_ms) / 4;
        let all = now_ms >= looked_ms || !self.has_lease(now_ms);
        Proof { slot: self.slot.clone(), write_slot, all, lock, create }
    }

    /// A proof that began at `start_ms` succeeded (M1).
    pub fn proven(&mut self, start_ms: u64, wrote_slot: bool, saw_all: bool) {
        self.lease_end_ms = start_ms + u64::from(self.slot.fence_ms);
        if wrote_slot {
            self.durable = Some((self.slot.clone(), start_ms));
        }
        if saw_all {
            self.looked_ms = start_ms;
        }
    }

    /// The lock is gone. Until it is had again the slot names none, and no lease runs (M4).
    pub fn lose_lock(&mut self, now_ms: u64) {
        self.lock_lost_ms.get_or_insert(now_ms);
        self.slot.locked = 0;
        self.lease_end_ms = 0;
        self.proof_due_ms = now_ms;
    }

    /// A try for the lock came to this, and no uplink is left that lacks its copy.
    pub fn note_lock(&mut self, now_ms: u64, lock: LockSeen) {
        if let LockSeen::Held { inode } = lock {
            self.slot.locked = inode;
            self.lock_lost_ms = None;
            self.proof_due_ms = now_ms;
        }
    }

    /// Since when the lock that we had is lost, in ms.
    pub fn lock_lost_ms(&self) -> Option<u64> {
        self.lock_lost_ms
    }

    /// Brings the next proof forward: there is something to make durable.
    pub fn hurry(&mut self, now_ms: u64) {
        self.proof_due_ms = self.proof_due_ms.min(now_ms);
    }

    /// When the next proof is due.
    pub fn proof_due_ms(&self) -> u64 {
        self.proof_due_ms
    }

    /// When older leases have run out and the slots are still to be read, else never.
    pub fn survey_due_ms(&self) -> u64 {
        if self.surveyed { u64::MAX } else { self.forward_from_ms }
    }

    /// The end of the lease; 0: none.
    pub fn lease_end_ms(&self) -> u64 {
        self.lease_end_ms
    }

    /// Whether a lease runs.
    pub fn has_lease(&self, now_ms: u64) -> bool {
        now_ms < self.lease_end_ms
    }

    /// Whether we may forward: fenced, durably so, and under a lease.
    pub fn may_forward(&self, now_ms: u64) -> bool {
        let durable = self.durable.as_ref().is_some_and(|(slot, _)| slot.fenced);
        durable && self.has_lease(now_ms)
    }

    /// The term.
    pub fn term(&self) -> Term {
        self.slot.term
    }

    /// The slot as it was last ordered to be written.
    pub fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The slot to announce, with the cursors that the claim begins with.
    pub fn announcement(&mut self, cursors: [Cursor; 2]) -> Slot {
        for (mark, cursor) in self.slot.lanes.iter_mut().zip(cursors) {
            mark.cursor = cursor;
        }
        self.slot.clone()
    }

    /// The last slot of this term.
    pub fn release(
        &mut self,
        reason: ReleaseReason,
        successor: Option<super::ident::NodeName>,
        lanes: [LaneMark; 2],
        wall_ms: u64,
    ) -> Slot {
        self.slot.heartbeat += 1;
        self.slot.lanes = lanes.map(|lane| self.said(lane));
        self.slot.state = SlotState::Released { reason, successor };
        self.slot.ended_wall_ms = wall_ms;
        self.slot.clone()
    }

    /// The furthest of a survey's cursors and those that our own slot began with.
    pub fn furthest(&self, survey: &Survey) -> [Cursor; 2] {
        Lane::ALL.map(|lane| {
            let ours = self.slot.lanes[lane.index()].cursor;
            let found = survey.cursors[lane.index()];
            if found.is_past(&ours) { found } else { ours }
        })
    }

    /// M3.
    fn may_forward_at_once(&self, before: Option<&Slot>) -> bool {
        if self.slot.term == 1 {
            return true;
        }
        let left_out = self.left_out;
        let below =
            |before: &&Slot| before.term + 1 == self.slot.term || left_out.has(Rule::OneBelow);
        let Some(before) = before.filter(below) else {
            return false;
        };
        let local = before.class == ShareClass::Local && self.slot.class == ShareClass::Local;
        let local = local || left_out.has(Rule::LocalOnly);
        let same_lock = before.locked != 0 && before.locked == self.slot.locked;
        let same_lock = same_lock || left_out.has(Rule::LockedSaid);
        let fenced = before.fenced || left_out.has(Rule::FencedSaid);
        fenced && (before.is_released() || (local && same_lock))
    }

    /// What our slot says of a lane.
    fn said(&self, mut lane: LaneMark) -> LaneMark {
        if self.left_out.has(Rule::CursorSaid) {
            lane.cursor = Cursor::default();
        }
        if self.left_out.has(Rule::SegmentsSaid) {
            (lane.newest_segment, lane.last_seq) = (0, 0);
        }
        lane
    }

    /// A node alone writes its slot when there is something to say, or a minute has passed.
    fn is_slot_due(&self, now_ms: u64) -> bool {
        let Some((durable, written_ms)) = &self.durable else { return true };
        let said = Slot { heartbeat: self.slot.heartbeat, ..durable.clone() };
        said != self.slot || now_ms >= written_ms + u64::from(ALONE_SLOT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ident::NodeName;

    fn host(alone: bool) -> Host {
        Host {
            node: NodeName::parse("gw-2").expect("a name"),
            nonce: 2,
            advertise: heapless::String::new(),
            version: heapless::String::new(),
            alone,
            run_dir_ours: true,
            left_out: LeftOut::default(),
        }
    }

    fn claimed(term: Term, class: ShareClass, locked: u64) -> Mandate {
        Mandate::claimed(term, &host(false), &Settings::default(), class, locked, 0)
    }

    /// A survey in which our slot is the newest, behind this one.
    fn behind(before: Option<Slot>, ours: &Mandate, fence_ms_max: u32) -> Survey {
        Survey {
            newest: Some(ours.slot().clone()),
            before,
            fence_ms_max,
            cursors: [Cursor::default(); 2],
            marks: heapless::Vec::new(),
        }
    }

    #[test]
    fn it_forwards_at_once_only_behind_a_fenced_term_that_has_surely_ended() {
        let released = SlotState::Released { reason: ReleaseReason::Stopped, successor: None };
        let active = SlotState::Active;
        let (local, nfs4) = (ShareClass::Local, ShareClass::Nfs4);
        // (term before, its state, fenced, class, its lock; our class, our lock) → at once
        let rows = [
            (4, released.clone(), true, local, 7, local, 7, true),
            (4, released.clone(), true, nfs4, 7, nfs4, 0, true),
            (4, released.clone(), false, local, 7, local, 7, false),
            (3, released, true, local, 7, local, 7, false),
            (4, active.clone(), true, local, 7, local, 7, true),
            (4, active.clone(), true, local, 7, local, 8, false),
            (4, active.clone(), true, local, 0, local, 0, false),
            (4, active.clone(), false, local, 7, local, 7, false),
            (4, active.clone(), true, nfs4, 7, nfs4, 7, false),
            (4, active.clone(), true, nfs4, 7, local, 7, false),
            (4, SlotState::Claiming, false, local, 7, local, 7, false),
        ];
        for (row, (term, state, fenced, class, locked, ours, our_lock, at_once)) in
            rows.into_iter().enumerate()
        {
            let mut before = claimed(term, class, locked).slot;
            (before.state, before.fenced) = (state, fenced);
            let mut mandate = claimed(5, ours, our_lock);
            let survey = behind(Some(before), &mandate, 5_000);
            assert_eq!(mandate.announced(1_000, 1_000, &survey), Ok(()));
            assert_eq!(mandate.slot().fenced, at_once, "M3, row {row}");
        }
        let mut first = claimed(1, local, 7);
        let survey = behind(None, &first, 5_000);
        assert_eq!(first.announced(1_000, 1_000, &survey), Ok(()));
        assert!(first.slot().fenced, "nobody was before the first");
    }

    #[test]
    fn otherwise_it_waits_for_the_largest_lease_of_any_slot() {
        let mut mandate = claimed(5, ShareClass::Doubtful, 7);
        let survey = behind(None, &mandate, 8_000);
        assert_eq!(mandate.announced(1_000, 1_000, &survey), Ok(()));
        let due_ms = 1_000 + 10_000 + 200;
        assert!(!mandate.wants_survey(due_ms - 1) && mandate.wants_survey(due_ms), "M2");
        mandate.proven(due_ms - 10, true, true);
        assert!(!mandate.may_forward(due_ms));
        mandate.surveyed(due_ms);
        assert!(!mandate.may_forward(due_ms), "fenced, and not yet durably so");
        mandate.proven(due_ms, true, true);
        assert!(mandate.may_forward(due_ms));
    }

    #[test]
    #[should_panic(expected = "M2")]
    fn surveying_too_early_is_a_bug() {
        let mut mandate = claimed(5, ShareClass::Local, 7);
        let survey = behind(None, &mandate, 5_000);
        assert_eq!(mandate.announced(1_000, 1_000, &survey), Ok(()));
        mandate.surveyed(2_000);
    }

    #[test]
    fn a_higher_slot_means_to_give_up() {
        let mut mandate = claimed(5, ShareClass::Local, 7);
        let mut survey = behind(None, &mandate, 5_000);
        survey.newest = Some(claimed(6, ShareClass::Local, 0).slot);
        assert_eq!(mandate.announced(1_000, 1_000, &survey), Err(6));
    }

    #[test]
    fn a_lease_runs_from_the_start_of_its_proof_and_ends_with_the_lock() {
        let mut mandate = claimed(1, ShareClass::Local, 7);
        let survey = behind(None, &mandate, 5_000);
        assert_eq!(mandate.announced(0, 0, &survey), Ok(()));
        mandate.proven(1_000, true, true);
        assert!(mandate.has_lease(5_999) && !mandate.has_lease(6_000), "M1");
        mandate.lose_lock(2_000);
        assert!(!mandate.has_lease(2_000));
        assert_eq!(mandate.slot().locked, 0, "M4");
        let proof = mandate.proof(2_000, [LaneMark::default(); 2], [0, 0], true);
        assert_eq!(proof.lock, ProofLock::Try);
        mandate.note_lock(2_500, LockSeen::Held { inode: 9 });
        assert_eq!((mandate.slot().locked, mandate.lock_lost_ms()), (9, None));
    }

    #[test]
    fn a_node_alone_writes_its_slot_only_when_something_changed() {
        let mut mandate =
            Mandate::claimed(1, &host(true), &Settings::default(), ShareClass::Local, 7, 0);
        let survey = behind(None, &mandate, 5_000);
        assert_eq!(mandate.announced(1_000, 1_000, &survey), Ok(()));
        let lanes = [LaneMark::default(); 2];
        assert!(mandate.proof(1_000, lanes, [0, 0], true).write_slot, "the first");
        mandate.proven(1_000, true, true);
        assert!(!mandate.proof(2_000, lanes, [0, 0], true).write_slot);
        let moved = [LaneMark { newest_segment: 1, ..LaneMark::default() }; 2];
        assert!(mandate.proof(3_000, moved, [1, 1], true).write_slot, "something to say");
        assert!(mandate.proof(3_100, moved, [0, 0], true).write_slot, "it was not proven");
        mandate.proven(3_100, true, true);
        assert!(!mandate.proof(4_000, moved, [0, 0], true).write_slot);
        assert!(mandate.proof(63_100, moved, [0, 0], true).write_slot, "a minute has passed");
    }

    #[test]
    fn all_slots_are_looked_at_every_quarter_of_a_lease_and_after_its_end() {
        let mut mandate = claimed(1, ShareClass::Local, 7);
        let survey = behind(None, &mandate, 5_000);
        assert_eq!(mandate.announced(1_000, 1_000, &survey), Ok(()));
        let lanes = [LaneMark::default(); 2];
        assert!(mandate.proof(1_000, lanes, [0, 0], true).all);
        mandate.proven(1_000, true, true);
        assert!(!mandate.proof(2_000, lanes, [0, 0], true).all);
        mandate.proven(2_000, true, false);
        assert!(mandate.proof(2_250, lanes, [0, 0], true).all, "M5");
        assert!(mandate.proof(7_000, lanes, [0, 0], true).all, "M5: no lease");
    }
}
