//! What a master sends: starting and ending the uplink, batches, things, and verdicts.
//!
//! The uplink's books are `forward`, the sizes of batches and the meaning of refusals
//! `sizing`; here both meet the journal and the term.

use super::cloud::{CloudOrder, CloudOutcome, CloudRequest, Verdict};
use super::forward::{Batch, Job, Presence, Settled, ranges_of};
use super::ident::Lane;
use super::journal::Read;
use super::notes::{Alert, Note};
use super::planted::Rule;
use super::share::{Decline, Declined, Fetch, Fetched, ShareOrder};
use super::store::StoreNote;
use super::tenure::Refused;
use super::{Asked, Effect, Engine, Now, Out, Stage};
use crate::limits::{DECLINING_MS, UPLINK_IDLE_MS};

/// The alert lane goes first.
const LANES_BY_RANK: [Lane; 2] = [Lane::Alerts, Lane::Readings];

impl Engine {
    /// A request past its deadline ends with its uplink; its outcome is unknown.
    pub(super) fn watch_request(&mut self, now: Now, out: &mut Out<'_>) {
        if now.ms < self.forward.deadline_ms() {
            return;
        }
        let after_ms = u64::from(self.settings.timeout_ms);
        if !self.forward.is_unreachable() {
            out(Effect::Note(Note::RequestLate { after_ms }));
        }
        if self.forward.is_replaying() {
            self.replay.time_out();
        }
        self.forward.time_out(now.ms);
        self.kill_uplink(out);
    }

    /// Starts an uplink that is needed, ends one that is not, lets one send for a thing.
    pub(super) fn watch_uplink(&mut self, now: Now, out: &mut Out<'_>) {
        match self.forward.presence {
            Presence::Absent => {
                if self.wants_uplink(now) {
                    self.start_uplink(out);
                }
            }
            Presence::Started | Presence::Attaching | Presence::Ready
                if self.uplink_is_stale && !self.forward.is_busy() =>
            {
                self.kill_uplink(out);
            }
            // Also while it waits: it could not be ended later than its time without a loop that
            // never sleeps.
            Presence::Ready if now.ms >= self.uplink_idle_ms() => self.kill_uplink(out),
            Presence::Ready if self.is_ready_to_send(now.ms) && self.lane_due_ms() > now.ms => {
                if let Some(what) = self.forward.thing_due(now.ms) {
                    self.send_for_thing(now, what, out);
                }
            }
            Presence::Started | Presence::Attaching | Presence::Ready | Presence::Dying => {}
        }
    }

    /// When an uplink that is ready has had nothing to do for too long; never if it is at work.
    pub(super) fn uplink_idle_ms(&self) -> u64 {
        if self.forward.presence != Presence::Ready || self.forward.is_busy() {
            return u64::MAX;
        }
        self.forward.idle_since_ms() + u64::from(UPLINK_IDLE_MS)
    }

    fn start_uplink(&mut self, out: &mut Out<'_>) {
        let Some(mandate) = &self.mandate else { return };
        self.forward.presence = Presence::Started;
        out(Effect::Lease { end_ms: mandate.lease_end_ms() });
        out(Effect::StartUplink);
    }

    fn wants_uplink(&mut self, now: Now) -> bool {
        if !self.may_send(now.ms)
            || self.tenure.lock_pending
            || now.ms < self.forward.wait_until_ms()
        {
            return false;
        }
        // `next_read` first steps over terms that left nothing.
        let records = LANES_BY_RANK.into_iter().any(|lane| {
            self.batch_due_ms(lane) <= now.ms && self.journal.next_read(lane) != Read::Nothing
        });
        let replay = self.replay.due_ms() <= now.ms;
        records || replay || self.forward.thing_due(now.ms).is_some()
    }

    /// Whether anything may be sent at all.
    fn may_send(&self, now_ms: u64) -> bool {
        let fenced = self.mandate.as_ref().is_some_and(|mandate| mandate.may_forward(now_ms));
        fenced && self.tenure.fenced_told && self.settings.configured
    }

    /// F1, F2: whether the next request could start now.
    pub(super) fn is_ready_to_send(&self, now_ms: u64) -> bool {
        let hasty = self.host.left_out.has(Rule::DurableCursorFirst);
        self.forward.presence == Presence::Ready
            && !self.forward.is_busy()
            && (!self.tenure.cursor_ahead || hasty)
            && !self.uplink_is_stale
            && self.tenure.refused.is_none()
            && !self.replay.is_settling()
            && now_ms >= self.forward.wait_until_ms()
            && self.may_send(now_ms)
    }

    /// When a batch of a lane is due.
    pub(super) fn batch_due_ms(&self, lane: Lane) -> u64 {
        let due_ms = self.journal.batch_due_ms(lane, &self.settings);
        due_ms.max(self.forward.lane_not_before_ms(lane))
    }

    fn lane_due_ms(&self) -> u64 {
        let due_ms = |lane| self.batch_due_ms(lane);
        due_ms(Lane::Readings).min(due_ms(Lane::Alerts))
    }

    fn send_for_thing(&mut self, now: Now, what: CloudRequest, out: &mut Out<'_>) {
        let job = match what {
            CloudRequest::Register { thing } => Job::Register(thing),
            CloudRequest::Alive { thing } => Job::Alive(thing),
            CloudRequest::Batch { .. } | CloudRequest::Alert => return,
        };
        let Some(mandate) = &self.mandate else { return };
        let term = mandate.term();
        let request = self.forward.next_request();
        self.forward.begin_job(now.ms, job, &self.settings);
        out(Effect::Cloud(CloudOrder { request, term, what }));
    }

    /// No listing shows all that older terms made before this.
    fn listing_from_ms(&self) -> u64 {
        if self.host.left_out.has(Rule::NamesShownFirst) {
            return 0;
        }
        self.tenure.listing_from_ms
    }

    pub(super) fn order_fetch(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        for lane in LANES_BY_RANK {
            if self.batch_due_ms(lane) > now.ms {
                continue;
            }
            match self.journal.next_read(lane) {
                Read::Nothing => {}
                Read::List { .. } if now.ms < self.listing_from_ms() => {
                    self.journal.look_later(lane, self.listing_from_ms());
                }
                Read::List { term } => {
                    let order = ShareOrder::Newest { lane, term };
                    self.ask(now, Asked::Newest { lane, term }, order, out);
                    return true;
                }
                Read::Fetch { from, end } => {
                    let request = self.forward.next_request();
                    let sizing = self.forward.sizing(lane);
                    let left_out = self.host.left_out;
                    let mut records_max = sizing.records_max(self.settings.batch_records_max, from);
                    let from = sizing.from(from);
                    let mut bytes_max = self.settings.batch_bytes_max;
                    if left_out.has(Rule::RecordsBounded) {
                        records_max = u32::MAX;
                    }
                    if left_out.has(Rule::BytesBounded) {
                        bytes_max = u32::MAX;
                    }
                    let fetch = Fetch { request, lane, from, end, records_max, bytes_max };
                    self.ask(now, Asked::Fetch { lane }, ShareOrder::Fetch(fetch), out);
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn fetched(
        &mut self,
        now: Now,
        start_ms: u64,
        lane: Lane,
        seen: &Fetched,
        out: &mut Out<'_>,
    ) {
        let from = self.forward.sizing(lane).from(self.journal.status(lane).cursor);
        // The seqs of a term have no gap: what is not there was damaged.
        let told_seq = &mut self.tenure.gap_told_seq[lane.index()];
        let news = seen.count > 0 && *told_seq != seen.first_seq;
        let records = if news { seen.first_seq.saturating_sub(from.seq) } else { 0 };
        if records > 0 {
            *told_seq = seen.first_seq;
        }
        let skipping = self.journal.is_skipping(lane) && seen.count > 0;
        if skipping {
            self.journal.note_dropped(records);
        }
        let records = if skipping { 0 } else { records };
        if seen.damaged > 0 || records > 0 {
            let (stretches, bytes) = (seen.damaged, seen.damaged_bytes);
            out(Effect::Note(Note::GroupDamaged { lane, stretches, bytes, records }));
            out(Effect::Alert(Alert::GroupDamaged { stretches, bytes, records }));
        }
        if !seen.missing && self.journal.found(lane) {
            self.tenure.segment_missing_told = false;
        }
        if seen.count == 0 {
            if self.forward.sizing(lane).give_up_probe() {
                return;
            }
            let moved = self.journal.nothing_fetched(now.ms, lane, seen);
            if moved {
                self.forward.sizing(lane).forget_batch();
            }
            let (term, segment) = (from.term, from.segment);
            if moved && seen.missing {
                out(Effect::Note(Note::SegmentGone { lane, term, segment }));
                out(Effect::Alert(Alert::GroupDamaged { stretches: 1, bytes: 0, records: 0 }));
            }
            if !moved && !self.tenure.segment_missing_told {
                self.tenure.segment_missing_told = true;
                out(Effect::Note(Note::SegmentMissing { lane, term, segment }));
            }
            return;
        }
        // The uplink may have died, or the lease run out, meanwhile: then it is read again.
        let ours = seen.request == self.forward.request();
        if self.stage != Stage::Master || !ours || !self.is_ready_to_send(now.ms) {
            return;
        }
        let Some(mandate) = &self.mandate else { return };
        let any_end = self.host.left_out.has(Rule::EndOfClosedOnly);
        let at_end = seen.at_end && (any_end || self.journal.is_closed(lane, seen.next));
        let fetched = Fetched { at_end, ..*seen };
        let batch = Batch { lane, fetched_ms: start_ms, fetched };
        let what = CloudRequest::Batch { lane, ranges: ranges_of(&batch, from.term) };
        let order = CloudOrder { request: seen.request, term: mandate.term(), what };
        self.forward.begin_job(now.ms, Job::Batch(batch), &self.settings);
        out(Effect::Cloud(order));
    }

    pub(super) fn settle(&mut self, now: Now, outcome: &CloudOutcome, out: &mut Out<'_>) {
        let accepted;
        let mut outcome = outcome;
        if outcome.verdict == Verdict::Unknown && self.host.left_out.has(Rule::VerdictAwaited) {
            accepted = CloudOutcome { verdict: Verdict::Accepted, ..outcome.clone() };
            outcome = &accepted;
        }
        let (failures, was_unreachable) = (self.forward.failures(), self.forward.is_unreachable());
        let settled = self.forward.settle(now.ms, outcome, &self.settings, &mut self.replay);
        self.tell_replay(out);
        let Some(settled) = settled else { return };
        match settled {
            Settled::Again => {
                if !was_unreachable && self.forward.is_unreachable() {
                    let (status, reason) = (outcome.status, outcome.reason.clone());
                    out(Effect::Note(Note::CloudFailing { status, reason }));
                }
                return;
            }
            Settled::Refused { lane, records } => {
                self.refuse(now, lane, records, outcome, out);
                return;
            }
            Settled::ThingRefused => {
                if !core::mem::replace(&mut self.tenure.thing_refused_told, true) {
                    out(Effect::Note(Note::ThingRefused { reason: outcome.reason.clone() }));
                }
                return;
            }
            Settled::AlertsPutOff => {
                if !core::mem::replace(&mut self.tenure.alerts_put_off_told, true) {
                    out(Effect::Note(Note::AlertsPutOff { reason: outcome.reason.clone() }));
                }
                return;
            }
            Settled::Accepted => {}
            Settled::Delivered(batch) => {
                if batch.lane == Lane::Alerts {
                    self.tenure.alerts_put_off_told = false;
                }
                let next = self.forward.sizing(batch.lane).past(batch.fetched.next);
                // Past what was tried ahead, the end that was seen is not that of `next`.
                let at_end = batch.fetched.at_end && next == batch.fetched.next;
                let fetched = Fetched { next, at_end, ..batch.fetched };
                self.journal.done(batch.fetched_ms, batch.lane, &fetched);
                self.tenure.cursor_ahead = true;
            }
        }
        if failures > 0 && (was_unreachable || !self.tenure.declining.us) {
            out(Effect::Note(Note::CloudBack { after_requests: failures }));
        }
        if core::mem::take(&mut self.tenure.declining.us) {
            out(Effect::Note(Note::CloudAccepting));
            out(Effect::Alert(Alert::CloudAccepting));
        }
    }

    /// The end of what was begun by records that were refused for what they are.
    pub(super) fn watch_declining(&mut self, now: Now, out: &mut Out<'_>) {
        let Some(until_ms) = self.tenure.declining.records_until_ms else { return };
        if now.ms >= until_ms && self.forward.failures() == 0 {
            self.tenure.declining.records_until_ms = None;
            out(Effect::Note(Note::CloudAccepting));
            out(Effect::Alert(Alert::CloudAccepting));
        }
    }

    /// Records that the cloud will not have, for what they are or for what we are.
    fn refuse(
        &mut self,
        now: Now,
        lane: Lane,
        records: u32,
        outcome: &CloudOutcome,
        out: &mut Out<'_>,
    ) {
        let (status, reason) = (outcome.status, outcome.reason.clone());
        let known = if outcome.verdict == Verdict::BadCredentials {
            core::mem::replace(&mut self.tenure.declining.us, true)
        } else {
            let until_ms = now.ms + u64::from(DECLINING_MS);
            self.tenure.declining.records_until_ms.replace(until_ms).is_some()
        };
        if !known {
            out(Effect::Note(Note::CloudDeclining { status, reason: reason.clone() }));
            out(Effect::Alert(Alert::CloudDeclining { status, reason: reason.clone() }));
        }
        if records > 0 {
            let not_before_ms = now.ms;
            self.tenure.refused = Some(Refused { lane, records, status, reason, not_before_ms });
        }
    }

    /// Puts refused records into the declined store, before anything else is sent (F6).
    pub(super) fn order_decline(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        let leased = self.mandate.as_ref().is_some_and(|own| own.may_forward(now.ms));
        let Some(refused) =
            self.tenure.refused.clone().filter(|_| leased && !self.tenure.cursor_ahead)
        else {
            return false;
        };
        if now.ms < refused.not_before_ms {
            return false;
        }
        let Read::Fetch { from, end } = self.journal.next_read(refused.lane) else {
            self.tenure.refused = None;
            return false;
        };
        let order = Decline {
            lane: refused.lane,
            from,
            end,
            records: refused.records,
            status: refused.status,
            reason: refused.reason,
            wall_ms: now.wall_ms,
            bytes_max: self.settings.declined_bytes_max,
        };
        self.ask(now, Asked::Decline { lane: refused.lane }, ShareOrder::Decline(order), out);
        true
    }

    /// They are in the store: the cursor passes them.
    pub(super) fn declined(&mut self, now: Now, lane: Lane, done: &Declined, out: &mut Out<'_>) {
        self.tenure.refused = None;
        self.store.note_change();
        self.reserve.wrote();
        if done.dropped > 0 {
            let records = done.dropped;
            out(Effect::Note(Note::Store(StoreNote::Dropping { records })));
            out(Effect::Alert(Alert::DeclinedDropping { records }));
        }
        let from = self.journal.status(lane).cursor;
        if done.next == from {
            // Nothing of it could be read: the next fetch finds out why.
            return;
        }
        let last_seq = done.next.seq.saturating_sub(1);
        let sizing = self.forward.sizing(lane);
        let next = sizing.past(done.next);
        if sizing.declined(last_seq) {
            self.forward.pause(now.ms);
        }
        self.journal.declined(lane, next, done.next.seq.saturating_sub(from.seq));
        self.tenure.cursor_ahead = true;
    }

    pub(super) fn uplink_ready(&mut self, now: Now, locked: bool, out: &mut Out<'_>) {
        if self.forward.presence != Presence::Attaching {
            return;
        }
        self.forward.ready(now.ms);
        // F3.
        let needed = self.mandate.as_ref().is_some_and(|mandate| mandate.slot().locked != 0);
        if needed && !locked {
            self.kill_uplink(out);
        }
    }

    pub(super) fn lose_uplink(&mut self, now: Now, out: &mut Out<'_>) {
        let idle = self.forward.presence == Presence::Ready && !self.forward.is_busy();
        if self.forward.presence != Presence::Dying && !idle {
            out(Effect::Note(Note::UplinkGone));
            self.forward.fail(now.ms, "the uplink process ended");
        }
        self.forward.presence = Presence::Absent;
        self.uplink_is_stale = false;
        if self.tenure.lock_pending
            && let Some(mandate) = &mut self.mandate
        {
            mandate.hurry(now.ms);
        }
    }

    /// When an uplink is to be started, or the one that is there has something to send. Records
    /// for a ready one wait for the keeper, and things wait for records.
    pub(super) fn sending_due_ms(&self, now_ms: u64, idle: bool) -> u64 {
        let wait_until_ms = self.forward.wait_until_ms();
        let absent = self.forward.presence == Presence::Absent && !self.tenure.lock_pending;
        let ready = self.is_ready_to_send(now_ms.max(wait_until_ms));
        if !self.may_send(now_ms) || !(absent || ready) {
            return u64::MAX;
        }
        let lanes_ms = self.lane_due_ms().min(self.replay.due_ms());
        if ready && !idle && lanes_ms <= now_ms {
            return u64::MAX;
        }
        lanes_ms.min(self.forward.thing_due_ms()).max(wait_until_ms)
    }
}
