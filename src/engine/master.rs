//! The stage of mastership: proving, journalling, forwarding.
//!
//! What is ordered of the share next, the first that is due:
//!
//! 0. the reserve given up, if a proof failed for want of space;
//! 1. the slots, once older leases are over;
//! 2. a proof: at its time, or earlier for a cursor that moved or a segment that is needed;
//! 3. an append, in turn with what follows;
//! 4. the uplink's socket;
//! 5. refused records into the declined store; what follows from a replay's verdict; else the
//!    next batch, if the uplink is free and the cursor durable;
//! 6. the configuration, or what its secret files say now;
//! 7. the nodes' records, and the end of one that is not needed any more;
//! 8. the reserve file;
//! 9. the sweep of forwarded segments, and of old claims;
//! 10. the count of the declined store.

use super::forward::Presence;
use super::ident::{Lane, ShareClass};
use super::mandate::Mandate;
use super::notes::{Alert, Note, TermNote};
use super::planted::Rule;
use super::share::{
    LockSeen, NodesRead, ProofVerdict, Proven, ShareError, ShareFault, ShareOrder, Survey,
};
use super::sizing::Sizing;
use super::slot::{LaneMark, ReleaseReason};
use super::{Asked, Effect, Engine, Now, Out, ProofScope, Stage};
use crate::limits::{RESIGN_WAIT_MS_MAX, RESIGN_WAIT_MS_MIN, SEGMENT_HIDDEN_MS_MAX, SLOTS};

impl Engine {
    /// What a master does whether or not the share answers.
    pub(super) fn watch_term(&mut self, now: Now, out: &mut Out<'_>) {
        let Some(mandate) = &self.mandate else { return };
        let (term, lease_end_ms) = (mandate.term(), mandate.lease_end_ms());
        if lease_end_ms > 0 && now.ms >= lease_end_ms && !self.tenure.lease_over_told {
            self.tenure.lease_over_told = true;
            out(Effect::Note(Note::Term { term, what: TermNote::LeaseOver }));
            self.kill_uplink(out);
        }
        self.watch_request(now, out);
        self.watch_declining(now, out);
        if let Some(wish) = self.roster.wish(term).cloned()
            && wish.to.as_ref() != Some(&self.host.node)
        {
            self.resign(now, ReleaseReason::Switchover, wish.to, true, out);
            return;
        }
        self.watch_room(now, out);
        self.watch_uplink(now, out);
        self.tell_lost(out);
    }

    /// Says what was lost with segments that are damaged to their end, or gone.
    fn tell_lost(&mut self, out: &mut Out<'_>) {
        for lane in Lane::ALL {
            if let Some(records) = self.journal.take_lost(lane) {
                let (stretches, bytes) = (0, 0);
                out(Effect::Note(Note::GroupDamaged { lane, stretches, bytes, records }));
                out(Effect::Alert(Alert::GroupDamaged { stretches, bytes, records }));
            }
        }
    }

    /// Says how full the journal is, and lets the oldest go.
    fn watch_room(&mut self, now: Now, out: &mut Out<'_>) {
        if let Some(told) = self.room.news() {
            let (bytes, bytes_max) = (self.room.bytes(), self.room.bytes_max());
            out(Effect::Note(Note::JournalFill { told, bytes, bytes_max }));
            out(Effect::Alert(Alert::JournalFill { told, bytes, bytes_max }));
        }
        let fenced = self.mandate.as_ref().is_some_and(|mandate| mandate.may_forward(now.ms));
        // Not under a batch that is being read or sent: its verdict would take the cursor back.
        let reading = self.keeper.asked.is_some_and(|(asked, _)| asked.reads_at_cursor());
        let busy = reading || self.forward.is_busy() || self.tenure.refused.is_some();
        let free = !busy && !self.tenure.cursor_ahead;
        if self.room.wants_drop() && fenced && free && self.journal.drop_oldest() {
            *self.forward.sizing(Lane::Readings) = Sizing::new(Lane::Readings);
            self.tenure.cursor_ahead = true;
        }
    }

    pub(super) fn order_master(&mut self, now: Now, out: &mut Out<'_>) {
        let Some(mandate) = &self.mandate else { return };
        if self.reserve.gives_up() {
            self.order_give_up(now, out);
        } else if mandate.wants_survey(now.ms) && now.ms >= self.tenure.proof_not_before_ms {
            self.ask(now, Asked::Survey, ShareOrder::Survey, out);
        } else if self.proof_due_ms() <= now.ms {
            self.order_proof(now, out);
        } else {
            // Appends and all else take turns: intake that never pauses starves nothing.
            let append_first = !self.tenure.append_was_last;
            self.tenure.append_was_last = (append_first && self.order_append(now, false, out))
                || (!self.order_other(now, out)
                    && !append_first
                    && self.order_append(now, false, out));
        }
    }

    /// What is due of a master beside proofs and appends; whether anything was.
    fn order_other(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        if self.forward.presence == Presence::Started {
            self.forward.presence = Presence::Attaching;
            self.ask(now, Asked::Attach, ShareOrder::Attach, out);
            return true;
        }
        if self.order_decline(now, out) || self.order_settling(now, out) {
            return true;
        }
        if self.is_ready_to_send(now.ms) && self.order_batch(now, out) {
            return true;
        }
        if self.reload {
            self.reload = false;
            self.ask(now, Asked::Load, ShareOrder::Load, out);
            return true;
        }
        if now.ms >= self.forward.reread_due_ms() {
            self.forward.put_reread_off(now.ms);
            self.ask(now, Asked::Reread, ShareOrder::Reread, out);
            return true;
        }
        if now.ms >= self.nodes_due_ms {
            self.order_nodes(now, NodesRead::Known, out);
            return true;
        }
        self.order_forget(now, out)
            || self.order_make(now, out)
            || self.order_sweep(now, out)
            || self.order_count(now, out)
    }

    /// When the next proof is due: earlier for a moved cursor or a segment that is needed,
    /// later while a lost lock's uplink lives, or after a failure.
    pub(super) fn proof_due_ms(&self) -> u64 {
        let Some(mandate) = &self.mandate else { return u64::MAX };
        if mandate.lock_lost_ms().is_some() && self.forward.presence != Presence::Absent {
            return u64::MAX;
        }
        let due_ms = match (self.tenure.cursor_ahead, self.journal.wants_segment()) {
            (true, _) => 0,
            (false, true) => self.append_not_before_ms(),
            (false, false) => u64::MAX,
        };
        due_ms.min(mandate.proof_due_ms()).max(self.tenure.proof_not_before_ms)
    }

    pub(super) fn order_proof(&mut self, now: Now, out: &mut Out<'_>) {
        // A segment that could not be made does not hold up the proof.
        let may_create = now.ms >= self.append_not_before_ms();
        let create = if may_create { self.journal.create() } else { [0, 0] };
        let marks = self.journal.marks(create);
        let may_try = !self.sight.is_lock_distrusted();
        let Some(mandate) = &mut self.mandate else { return };
        let proof = mandate.proof(now.ms, marks, create, may_try);
        let scope = ProofScope { wrote_slot: proof.write_slot, saw_all: proof.all };
        let asked = Asked::Prove { create, marks, scope };
        self.ask(now, asked, ShareOrder::Prove(proof), out);
    }

    pub(super) fn proof_answered(
        &mut self,
        now: Now,
        start_ms: u64,
        scope: ProofScope,
        proven: Proven,
        out: &mut Out<'_>,
    ) {
        let Some(mandate) = &mut self.mandate else { return };
        let term = mandate.term();
        match proven.verdict {
            ProofVerdict::Superseded { by } => {
                out(Effect::Note(Note::Term { term, what: TermNote::Superseded { by } }));
                self.sight.note_taken(by);
                self.all_due_ms = now.ms;
                self.resign(now, ReleaseReason::Lost, None, false, out);
            }
            ProofVerdict::Replaced => {
                let inode = mandate.slot().locked;
                self.distress.note_replaced(now.ms, term, inode);
                out(Effect::Note(Note::Term { term, what: TermNote::FileReplaced }));
                self.resign(now, ReleaseReason::Lost, None, false, out);
                let reopens = !self.host.left_out.has(Rule::OpensAfresh);
                if let Some(ending) = &mut self.ending {
                    ending.reopens = reopens;
                }
            }
            ProofVerdict::LockLost => {
                out(Effect::Note(Note::Term { term, what: TermNote::LockLost }));
                if self.host.left_out.has(Rule::LeaseEndsWithLock) {
                    return;
                }
                mandate.lose_lock(now.ms);
                self.kill_uplink(out);
            }
            ProofVerdict::Proven => self.proven(now, start_ms, scope, proven.lock, out),
        }
    }

    /// A slot with these marks is durable.
    pub(super) fn named(&mut self, marks: &[LaneMark; 2], create: [u32; 2]) {
        self.journal.named(marks, create);
        if create != [0, 0] {
            self.reserve.wrote();
        }
        self.tenure.cursor_ahead = self.tenure.cursor_ahead && self.journal.is_cursor_ahead();
    }

    /// Everything was ours and durable: the lease runs on, unless the lock is still lost.
    fn proven(
        &mut self,
        now: Now,
        start_ms: u64,
        scope: ProofScope,
        lock: LockSeen,
        out: &mut Out<'_>,
    ) {
        self.take_lock(now, lock, out);
        let Some(mandate) = &mut self.mandate else { return };
        if let Some(lost_ms) = mandate.lock_lost_ms() {
            if now.ms >= lost_ms + u64::from(self.settings.heartbeat_ms) {
                self.resign(now, ReleaseReason::Lost, None, false, out);
            }
            return;
        }
        let late = self.host.left_out.has(Rule::LeaseFromStart);
        let from_ms = if late { now.ms } else { start_ms };
        mandate.proven(from_ms, scope.wrote_slot, scope.saw_all);
        if self.tenure.lease_over_told && mandate.has_lease(now.ms) {
            self.tenure.lease_over_told = false;
            let term = mandate.term();
            out(Effect::Note(Note::Term { term, what: TermNote::LeaseBack }));
        }
        self.sight.note_slot(now.ms, mandate.slot());
        let (term, end_ms) = (mandate.term(), mandate.lease_end_ms());
        if mandate.may_forward(now.ms) && !self.tenure.fenced_told {
            self.tenure.fenced_told = true;
            let hidden_ms = if self.class == ShareClass::Local { 0 } else { SEGMENT_HIDDEN_MS_MAX };
            self.tenure.listing_from_ms = now.ms + u64::from(hidden_ms);
            self.resign_wait_ms = RESIGN_WAIT_MS_MIN;
            self.forward.free_to_forward(now.ms);
            out(Effect::Note(Note::Term {
                term,
                what: TermNote::Fenced { waited_ms: now.ms - self.claimed_ms },
            }));
        }
        if self.forward.presence != Presence::Dying {
            out(Effect::Lease { end_ms });
        }
        self.acknowledge(now, out);
    }

    /// A try for the lock succeeded: the slot says so once no uplink lacks its copy.
    fn take_lock(&mut self, now: Now, lock: LockSeen, out: &mut Out<'_>) {
        let Some(mandate) = &mut self.mandate else { return };
        let LockSeen::Held { .. } = lock else {
            self.tenure.lock_pending = false;
            return;
        };
        if mandate.slot().locked != 0 && mandate.lock_lost_ms().is_none() {
            return;
        }
        if self.forward.presence == Presence::Absent {
            self.tenure.lock_pending = false;
            mandate.note_lock(now.ms, lock);
            out(Effect::Note(Note::Term { term: mandate.term(), what: TermNote::LockRegained }));
        } else {
            // It goes once its request, if there is one, has its verdict.
            self.tenure.lock_pending = true;
            self.uplink_is_stale = true;
        }
    }

    /// B2: what was synced may be acknowledged under a lease.
    fn acknowledge(&mut self, now: Now, out: &mut Out<'_>) {
        let leased = self.mandate.as_ref().is_some_and(|mandate| mandate.has_lease(now.ms));
        if !leased && !self.host.left_out.has(Rule::AcknowledgedUnderLease) {
            return;
        }
        for lane in Lane::ALL {
            if let Some(through_seq) = self.journal.acknowledge(lane) {
                out(Effect::Durable { lane, through_seq });
            }
        }
    }

    pub(super) fn order_append(&mut self, now: Now, at_once: bool, out: &mut Out<'_>) -> bool {
        if now.ms < self.append_not_before_ms() {
            return false;
        }
        let Some(append) = self.journal.append(now.ms, self.settings.sync_ms, at_once) else {
            return false;
        };
        self.ask(now, Asked::Append { lane: append.lane }, ShareOrder::Append(append), out);
        true
    }

    pub(super) fn appended(&mut self, now: Now, lane: Lane, out: &mut Out<'_>) {
        let bytes = self.journal.appended(now.ms, lane);
        self.room.grew(lane, bytes);
        self.reserve.wrote();
        self.tenure.append_wait_ms = RESIGN_WAIT_MS_MIN;
        self.acknowledge(now, out);
    }

    fn order_sweep(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        let unfenced = self.host.left_out.has(Rule::SweptWhenFenced);
        let may_sweep = |own: &&Mandate| own.may_forward(now.ms) || unfenced;
        let Some(mandate) = self.mandate.as_ref().filter(may_sweep) else {
            return false;
        };
        if let Some((lane, before)) = self.journal.sweep() {
            self.ask(now, Asked::Sweep { lane, before }, ShareOrder::Sweep { lane, before }, out);
            return true;
        }
        if self.tenure.tidied {
            return false;
        }
        self.tenure.tidied = true;
        let keep_from = mandate.term().saturating_sub(SLOTS);
        self.ask(now, Asked::Tidy, ShareOrder::Tidy { keep_from }, out);
        true
    }

    pub(super) fn surveyed(&mut self, now: Now, survey: &Survey, out: &mut Out<'_>) {
        let Some(mandate) = &mut self.mandate else { return };
        let term = mandate.term();
        if let Some(newest) = survey.newest.as_ref().filter(|newest| newest.term > term) {
            out(Effect::Note(Note::Term { term, what: TermNote::Superseded { by: newest.term } }));
            self.sight.note_slot(now.ms, newest);
            self.resign(now, ReleaseReason::Lost, None, false, out);
            return;
        }
        mandate.surveyed(now.ms);
        let cursors = mandate.furthest(survey);
        if self.host.left_out.has(Rule::CursorsReadLate) {
            return;
        }
        self.journal.take_over(cursors, &survey.marks);
    }

    pub(super) fn master_failed(
        &mut self,
        now: Now,
        asked: Asked,
        error: &ShareError,
        out: &mut Out<'_>,
    ) {
        let later_ms = now.ms + u64::from(self.settings.heartbeat_ms);
        match asked {
            Asked::Append { lane } => {
                self.journal.append_failed(lane);
                self.put_appends_off(now, error, out);
            }
            Asked::Fetch { lane } | Asked::Newest { lane, .. } => {
                self.journal.look_later(lane, later_ms);
            }
            Asked::Decline { .. } => {
                if let Some(refused) = &mut self.tenure.refused {
                    refused.not_before_ms = later_ms;
                }
            }
            Asked::Sweep { lane, before } => self.journal.swept(lane, before),
            Asked::Attach => self.kill_uplink(out),
            Asked::Prove { create, .. } if create != [0, 0] => {
                self.put_appends_off(now, error, out);
                if let Some(mandate) = &mut self.mandate {
                    mandate.hurry(now.ms);
                }
            }
            Asked::Prove { .. } | Asked::Survey => {
                self.tenure.proof_not_before_ms = later_ms;
                let leased = self.mandate.as_ref().is_some_and(|own| own.has_lease(now.ms));
                let no_space = error.fault == ShareFault::NoSpace;
                if self.stage == Stage::Master && !leased && !no_space {
                    self.resign(now, ReleaseReason::Unable, None, false, out);
                }
            }
            Asked::Open
            | Asked::Load
            | Asked::Reread
            | Asked::Poll { .. }
            | Asked::Claim { .. }
            | Asked::Announce
            | Asked::Nodes { .. }
            | Asked::Store(_)
            | Asked::Forget
            | Asked::Tidy
            | Asked::Reserve(_)
            | Asked::Release => {}
        }
    }

    /// Each failure to write waits longer, so that new segments do not eat the last blocks. No
    /// space is never a reason to resign; anything else that lasts is.
    fn put_appends_off(&mut self, now: Now, error: &ShareError, out: &mut Out<'_>) {
        self.tenure.append_not_before_ms = now.ms + u64::from(self.tenure.append_wait_ms);
        let lasting = self.tenure.append_wait_ms >= RESIGN_WAIT_MS_MAX;
        self.tenure.append_wait_ms = (self.tenure.append_wait_ms * 2).min(RESIGN_WAIT_MS_MAX);
        if lasting && error.fault != ShareFault::NoSpace && self.stage == Stage::Master {
            self.resign(now, ReleaseReason::Unable, None, false, out);
        }
    }

    pub(super) fn judge_redundancy(&mut self, now: Now, out: &mut Out<'_>) {
        if self.host.alone || now.ms < self.tenure.redundancy_due_ms || !self.roster.is_settled() {
            return;
        }
        let lost = self.roster.live() == 0;
        if lost == self.tenure.redundancy_lost {
            return;
        }
        self.tenure.redundancy_lost = lost;
        if lost {
            out(Effect::Note(Note::RedundancyLost));
            out(Effect::Alert(Alert::RedundancyLost));
        } else {
            out(Effect::Note(Note::RedundancyRestored));
            out(Effect::Alert(Alert::RedundancyRestored));
        }
    }

    pub(super) fn master_due_ms(&self, now_ms: u64, idle: bool) -> u64 {
        let Some(mandate) = &self.mandate else { return u64::MAX };
        let mut due_ms = self.forward.deadline_ms();
        if mandate.lease_end_ms() > 0 && !self.tenure.lease_over_told {
            due_ms = due_ms.min(mandate.lease_end_ms());
        }
        due_ms = due_ms.min(self.sending_due_ms(now_ms, idle));
        due_ms = due_ms.min(self.uplink_idle_ms());
        if idle {
            let refused = self.tenure.refused.as_ref().filter(|_| mandate.may_forward(now_ms));
            due_ms = due_ms
                .min(refused.map_or(u64::MAX, |refused| refused.not_before_ms))
                .min(self.proof_due_ms())
                .min(mandate.survey_due_ms().max(self.tenure.proof_not_before_ms))
                .min(self.append_due_ms())
                .min(self.store_due_ms(now_ms))
                .min(self.forward.reread_due_ms())
                .min(self.nodes_due_ms)
                .min(self.reserve_due_ms(now_ms));
        }
        due_ms
    }

    /// No append, and no segment for one, before this: after a failure, or while the reserve
    /// is not there.
    fn append_not_before_ms(&self) -> u64 {
        if self.reserve.is_awaited() && !self.host.alone {
            u64::MAX
        } else {
            self.tenure.append_not_before_ms
        }
    }

    pub(super) fn append_due_ms(&self) -> u64 {
        if self.journal.wants_segment() {
            return u64::MAX;
        }
        self.journal.append_due_ms(self.settings.sync_ms).max(self.append_not_before_ms())
    }
}
