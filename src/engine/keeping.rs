//! The keeper process: started, watched, lost; and its outcomes, sorted by what was asked.

use super::asked::Asked;
use super::faults::Work;
use super::notes::Note;
use super::planted::Rule;
use super::share::{NodesSeen, ProofVerdict, ShareError, ShareOutcome};
use super::{Effect, Engine, Now, Out, Stage};
use crate::limits::{CHILD_WAIT_MS_MAX, CHILD_WAIT_MS_MIN, STALL_MS};

/// The keeper process and what it was asked.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct Keeper {
    pub(super) present: bool,
    pub(super) start_ms: u64,
    pub(super) wait_ms: u32,
    pub(super) asked: Option<(Asked, u64)>,
    pub(super) stalled: bool,
}

impl Engine {
    /// Sorts an outcome by what was asked.
    pub(super) fn share_answered(&mut self, now: Now, outcome: &ShareOutcome, out: &mut Out<'_>) {
        let Some((asked, start_ms)) = self.keeper.asked.take() else { return };
        self.keeper.wait_ms = CHILD_WAIT_MS_MIN;
        if self.keeper.stalled {
            self.keeper.stalled = false;
            out(Effect::Note(Note::ShareBack { after_ms: now.ms - start_ms }));
        }
        if let ShareOutcome::Failed(error) = outcome {
            self.share_failed(now, asked, error, out);
            return;
        }
        self.note_success(asked, outcome, out);
        match (asked, outcome) {
            (Asked::Open, ShareOutcome::Opened { site, class, free_bytes, mount }) => {
                self.free_bytes = *free_bytes;
                self.opened(*site, *class, mount, out);
            }
            (Asked::Poll { all }, ShareOutcome::Polled(polled)) => {
                self.polled(now, all, polled, out);
            }
            (Asked::Claim { term }, ShareOutcome::Claimed { created }) => {
                self.claim_answered(now, term, *created, out);
            }
            (Asked::Announce, ShareOutcome::Surveyed(survey)) => {
                self.announced(now, start_ms, survey, out);
            }
            (Asked::Survey, ShareOutcome::Surveyed(survey)) => self.surveyed(now, survey, out),
            (Asked::Prove { create, marks, scope }, ShareOutcome::Proven(proven)) => {
                if scope.wrote_slot && proven.verdict == ProofVerdict::Proven {
                    self.named(&marks, create);
                }
                self.proof_answered(now, start_ms, scope, *proven, out);
            }
            (Asked::Append { lane }, ShareOutcome::Done) => self.appended(now, lane, out),
            (Asked::Fetch { lane }, ShareOutcome::Fetched(seen)) => {
                self.fetched(now, start_ms, lane, seen, out);
            }
            (Asked::Decline { lane }, ShareOutcome::Declined(done)) => {
                self.declined(now, lane, done, out);
            }
            (Asked::Store(asked), ShareOutcome::Store(outcome)) => {
                self.store_answered(now, asked, outcome, out);
            }
            (Asked::Nodes { last, own, others, .. }, ShareOutcome::Nodes(seen)) => {
                self.record_left = last;
                if own {
                    self.judge_name(now, seen, out);
                }
                if others {
                    self.nodes_seen(now, start_ms, seen, out);
                }
            }
            (Asked::Forget, ShareOutcome::Done) => self.forgotten(out),
            (Asked::Newest { lane, term }, ShareOutcome::Newest { segment }) => {
                self.journal.listed(lane, term, *segment);
            }
            (Asked::Sweep { lane, before }, ShareOutcome::Swept { journal_bytes }) => {
                self.journal.swept(lane, before);
                self.room.counted(lane, *journal_bytes);
            }
            (Asked::Reserve(_), ShareOutcome::Reserve(seen)) => {
                self.reserve_answered(now, *seen, out);
            }
            (Asked::Release, ShareOutcome::Done) => self.released(now, true, out),
            // What was loaded came as `Configured` before; `Attach` is answered by the uplink.
            (Asked::Load | Asked::Reread | Asked::Attach | Asked::Tidy, _) => {}
            (asked, outcome) => panic!("N1: the keeper answered {outcome:?} to {asked:?}"),
        }
    }

    /// What was not done of it, failed.
    fn note_success(&mut self, asked: Asked, outcome: &ShareOutcome, out: &mut Out<'_>) {
        if let ShareOutcome::Nodes(NodesSeen { failed: Some(error), .. }) = outcome {
            self.note_failure(asked, error, out);
        } else if let Some(work) = Work::shown_by(asked)
            && self.faults.end(work)
        {
            out(Effect::Note(Note::ShareWorks { what: work.name() }));
        }
    }

    fn note_failure(&mut self, asked: Asked, error: &ShareError, out: &mut Out<'_>) {
        if self.faults.note(Work::of(asked), error) {
            out(Effect::Note(Note::ShareFailed(error.clone())));
        }
    }

    /// Policy for failed operations; what an error means stands in `ShareFault::class`.
    fn share_failed(&mut self, now: Now, asked: Asked, error: &ShareError, out: &mut Out<'_>) {
        self.note_failure(asked, error, out);
        self.reserve.failed(now.ms, asked, error);
        match asked {
            Asked::Open => self.open_failed(now),
            Asked::Load | Asked::Poll { .. } | Asked::Claim { .. } | Asked::Announce => {
                self.standby_failed(now, asked, error, out);
            }
            Asked::Release => self.released(now, false, out),
            Asked::Reserve(order) => self.reserve_failed(now, order, error),
            // The next try is due anyway.
            Asked::Reread | Asked::Forget => {}
            Asked::Nodes { last, .. } => {
                // A last record that cannot be written does not hold up the end.
                self.record_left = last;
                self.nodes_due_ms = now.ms + u64::from(self.settings.heartbeat_ms);
                self.list_due_ms = now.ms;
                self.look_failed(now, error);
            }
            Asked::Store(asked) => self.store_failed(now, asked, error, out),
            Asked::Prove { .. }
            | Asked::Append { .. }
            | Asked::Fetch { .. }
            | Asked::Decline { .. }
            | Asked::Survey
            | Asked::Attach
            | Asked::Newest { .. }
            | Asked::Sweep { .. }
            | Asked::Tidy => self.master_failed(now, asked, error, out),
        }
    }

    pub(super) fn start_keeper(&mut self, now: Now, out: &mut Out<'_>) {
        if self.stage != Stage::Ended && now.ms >= self.keeper.start_ms {
            // Until it says that it started, no second one is asked for.
            self.keeper.start_ms = u64::MAX;
            out(Effect::StartKeeper);
        }
    }

    /// Says so when the share is late with its answer (N4).
    pub(super) fn watch_keeper(&mut self, now: Now, out: &mut Out<'_>) {
        let Some((asked, start_ms)) = self.keeper.asked else { return };
        if !self.keeper.stalled && now.ms >= start_ms + u64::from(STALL_MS) {
            self.keeper.stalled = true;
            if self.host.left_out.has(Rule::StallTold) {
                return;
            }
            let (for_ms, order) = (now.ms - start_ms, asked.name());
            out(Effect::Note(Note::ShareStalled { for_ms, order }));
        }
    }

    /// N3.
    pub(super) fn lose_keeper(&mut self, now: Now, out: &mut Out<'_>) {
        out(Effect::Note(Note::KeeperGone));
        self.keeper.present = false;
        self.keeper.asked = None;
        self.keeper.stalled = false;
        let wait_ms = self.keeper.wait_ms;
        self.keeper.wait_ms = (wait_ms * 2).min(CHILD_WAIT_MS_MAX);
        self.keeper.start_ms = now.ms + u64::from(wait_ms);
        self.sight.break_off();
        self.roster.break_off();
        self.naming.break_off();
        self.poll_due_ms = now.ms + u64::from(self.settings.poll_ms);
        match self.stage {
            Stage::Master | Stage::Resigning | Stage::Claiming => self.drop_term(out),
            Stage::Closed | Stage::Loading | Stage::Standby | Stage::Ended => {}
        }
        if self.stage != Stage::Ended {
            self.stage = Stage::Closed;
        }
    }
}
