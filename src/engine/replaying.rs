//! What a master does about the declined store: replays, purges, counts.
//!
//! The books are `replay` and `store`; here both meet the uplink and the term.

use super::cloud::{CloudOrder, CloudRequest};
use super::forward::Job;
use super::ident::Lane;
use super::journal::Read;
use super::notes::{Alert, Note};
use super::share::{ShareError, ShareOrder};
use super::status::DeclinedStatus;
use super::store::{Replayed, StoreAsked, StoreNote, StoreOrder, StoreOutcome, StoreRefusal};
use super::{Asked, Effect, Engine, Now, Out, Stage};
use crate::limits::{DECLINED_RECOUNT_MS, DECLINED_RETRY_MS};

impl Engine {
    /// Whether the declined store may be replayed or purged here and now (R1).
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn judge_store(&self, now_ms: u64) -> Result<(), StoreRefusal> {
        if !self.is_master(now_ms) {
            Err(StoreRefusal::Elsewhere)
        } else if !self.settings.configured {
            Err(StoreRefusal::NotConfigured)
        } else if !self.is_store_ours(now_ms) {
            Err(StoreRefusal::NotFenced)
        } else {
            Ok(())
        }
    }

    /// The same for a replay: one at a time.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn judge_replay(&self, now_ms: u64) -> Result<(), StoreRefusal> {
        self.judge_store(now_ms)?;
        if self.replay.is_on() || self.store.is_purging() {
            return Err(StoreRefusal::UnderWay);
        }
        Ok(())
    }

    fn is_store_ours(&self, now_ms: u64) -> bool {
        self.tenure.fenced_told && self.mandate.as_ref().is_some_and(|own| own.may_forward(now_ms))
    }

    /// An operator wants a replay. A pause for wrong credentials ends: they may be right now.
    pub(super) fn begin_replay(&mut self, now: Now, out: &mut Out<'_>) {
        if self.judge_replay(now.ms).is_ok() {
            self.replay.begin();
            self.forward.end_pause();
            out(Effect::Note(Note::Store(StoreNote::ReplayBegan)));
        }
    }

    /// An operator wants the store empty.
    pub(super) fn begin_purge(&mut self, now: Now, out: &mut Out<'_>) {
        if self.judge_store(now.ms).is_ok() {
            self.replay.stop(format_args!("the store is being purged"));
            self.tell_replay(out);
            self.store.purge();
        }
    }

    /// Our term is over: so is what was done about the store in it.
    pub(super) fn leave_store(&mut self, out: &mut Out<'_>) {
        self.replay.stop(format_args!("this node's term ended"));
        self.tell_replay(out);
        self.store.begin();
    }

    /// Says so if a replay has ended.
    pub(super) fn tell_replay(&mut self, out: &mut Out<'_>) {
        if let Some(note) = self.replay.news() {
            out(Effect::Note(Note::Store(note)));
        }
    }

    /// What makes the last verdict on a replay durable, or empties the store.
    pub(super) fn order_settling(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        if !self.is_store_ours(now.ms) {
            return false;
        }
        if self.store.purge_due_ms() <= now.ms {
            self.ask_store(now, StoreAsked::Purge, StoreOrder::Purge, out);
            return true;
        }
        if self.replay.settling_due_ms() > now.ms {
            return false;
        }
        let bytes_max = self.settings.declined_bytes_max;
        let Some(order) = self.replay.settle(now.wall_ms, bytes_max) else { return false };
        let asked = match order {
            StoreOrder::PutBack(_) => StoreAsked::PutBack,
            StoreOrder::Forget { .. }
            | StoreOrder::Replay(_)
            | StoreOrder::Purge
            | StoreOrder::Count => StoreAsked::Forget,
        };
        self.ask_store(now, asked, order, out);
        true
    }

    /// The next batch: of the journal, or of a replay (R4).
    pub(super) fn order_batch(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        let alerts = self.batch_due_ms(Lane::Alerts) <= now.ms
            && self.journal.next_read(Lane::Alerts) != Read::Nothing;
        if self.replay.has_turn && !alerts && self.order_replay(now, out) {
            return true;
        }
        if self.order_fetch(now, out) {
            self.replay.has_turn = true;
            return true;
        }
        self.order_replay(now, out)
    }

    fn order_replay(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        if self.replay.due_ms() > now.ms || self.store.is_purging() {
            return false;
        }
        self.replay.has_turn = false;
        let request = self.forward.next_request();
        let fetch = self.replay.fetch(request, &self.settings);
        self.ask_store(now, StoreAsked::Replay, StoreOrder::Replay(fetch), out);
        true
    }

    /// Counts what is in the store, when nothing else is due.
    pub(super) fn order_count(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        if !self.is_store_ours(now.ms) || self.store.count_due_ms() > now.ms {
            return false;
        }
        self.store.counting();
        self.ask_store(now, StoreAsked::Count, StoreOrder::Count, out);
        true
    }

    fn ask_store(&mut self, now: Now, asked: StoreAsked, order: StoreOrder, out: &mut Out<'_>) {
        self.ask(now, Asked::Store(asked), ShareOrder::Store(order), out);
    }

    pub(super) fn store_answered(
        &mut self,
        now: Now,
        asked: StoreAsked,
        outcome: &StoreOutcome,
        out: &mut Out<'_>,
    ) {
        match (asked, outcome) {
            (StoreAsked::Replay, StoreOutcome::Replayed(seen)) => self.replayed(now, seen, out),
            (StoreAsked::Forget, StoreOutcome::Forgotten) => self.settled_replay(out),
            (StoreAsked::PutBack, StoreOutcome::PutBack { dropped }) => {
                if *dropped > 0 {
                    let records = *dropped;
                    out(Effect::Note(Note::Store(StoreNote::Dropping { records })));
                    out(Effect::Alert(Alert::DeclinedDropping { records }));
                }
                self.settled_replay(out);
            }
            (StoreAsked::Purge, StoreOutcome::Purged { records }) => {
                out(Effect::Note(Note::Store(self.store.purged(*records))));
            }
            (StoreAsked::Count, StoreOutcome::Counted(count)) => self.store.counted(now.ms, *count),
            (asked, outcome) => panic!("N1: the keeper answered {outcome:?} to {asked:?}"),
        }
    }

    fn replayed(&mut self, now: Now, seen: &Replayed, out: &mut Out<'_>) {
        if !self.replay.fetched(seen) {
            self.forward.resume_pause();
            self.tell_replay(out);
            return;
        }
        // The uplink may have died, or the lease run out, meanwhile: then it is read again.
        let ours = seen.request == self.forward.request();
        if self.stage != Stage::Master || !ours || !self.is_ready_to_send(now.ms) {
            return;
        }
        let Some(mandate) = &self.mandate else { return };
        let what = CloudRequest::Batch { lane: seen.lane, ranges: seen.ranges.clone() };
        let order = CloudOrder { request: seen.request, term: mandate.term(), what };
        self.forward.begin_job(now.ms, Job::Replay, &self.settings);
        out(Effect::Cloud(order));
    }

    fn settled_replay(&mut self, out: &mut Out<'_>) {
        self.replay.settled();
        self.store.note_change();
        self.tell_replay(out);
    }

    pub(super) fn store_failed(
        &mut self,
        now: Now,
        asked: StoreAsked,
        error: &ShareError,
        out: &mut Out<'_>,
    ) {
        let later_ms = now.ms + u64::from(DECLINED_RETRY_MS);
        match asked {
            StoreAsked::Replay | StoreAsked::Forget | StoreAsked::PutBack => {
                self.replay.failed(later_ms, error);
                self.tell_replay(out);
            }
            StoreAsked::Purge => {
                if let Some(note) = self.store.purge_failed(later_ms, error) {
                    out(Effect::Note(Note::Store(note)));
                }
            }
            StoreAsked::Count => {
                self.store.count_failed(now.ms + u64::from(DECLINED_RECOUNT_MS));
            }
        }
    }

    /// When the keeper is to be asked about the store, batches of a replay left aside.
    pub(super) fn store_due_ms(&self, now_ms: u64) -> u64 {
        if !self.is_store_ours(now_ms) {
            return u64::MAX;
        }
        self.settling_due_ms(now_ms).min(self.store.count_due_ms())
    }

    pub(super) fn settling_due_ms(&self, now_ms: u64) -> u64 {
        if !self.is_store_ours(now_ms) {
            return u64::MAX;
        }
        self.replay.settling_due_ms().min(self.store.purge_due_ms())
    }

    /// The declined store, as a fenced master knows it.
    pub(super) fn declined_status(&self) -> Option<DeclinedStatus> {
        let known = self.stage == Stage::Master && self.tenure.fenced_told;
        let count = self.store.count();
        known.then(|| DeclinedStatus {
            records: count.records,
            bytes: count.bytes,
            complete: count.complete,
            replay: self.replay.status(),
            purge: self.store.status(),
        })
    }
}
