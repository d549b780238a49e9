//! The stage of resigning, and the end of the process.
//!
//! | step | orderly (stop, switchover) | else |
//! |---|---|---|
//! | 1 | stop collecting; write what is gathered; let the request in flight end, 5 s at most | stop collecting |
//! | 2 | kill the uplink | kill the uplink |
//! | 3 | once it is reaped: write the released slot, give up the lock | the same |
//! | 4 | stand by, or write a last record and exit | stand by, after a wait |

use super::election::Ground;
use super::forward::Presence;
use super::ident::NodeName;
use super::notes::{Note, TermNote};
use super::share::ShareOrder;
use super::slot::ReleaseReason;
use super::{Asked, Effect, Ending, Engine, Now, Out, Stage};
use crate::limits::{RESIGN_WAIT_MS_MAX, STOP_MS_MAX, STOP_REQUEST_MS_MAX, SUCCESSOR_POLLS};

impl Engine {
    /// SIGTERM: a master resigns first, a standby leaves a last record.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping_since_ms.get_or_insert(now.ms);
    }

    /// Begins to end our term.
    pub(super) fn resign(
        &mut self,
        now: Now,
        reason: ReleaseReason,
        successor: Option<NodeName>,
        orderly: bool,
        out: &mut Out<'_>,
    ) {
        let Some(mandate) = &self.mandate else { return };
        out(Effect::Note(Note::Term {
            term: mandate.term(),
            what: TermNote::Resigning { reason },
        }));
        out(Effect::StopCollecting);
        self.stage = Stage::Resigning;
        self.ending = Some(Ending { reason, successor, since_ms: now.ms, orderly, reopens: false });
        if !orderly {
            self.kill_uplink(out);
        }
    }

    /// Step 2, as soon as step 1 is over.
    pub(super) fn wind_up(&mut self, now: Now, out: &mut Out<'_>) {
        self.watch_request(now, out);
        let present = !matches!(self.forward.presence, Presence::Absent | Presence::Dying);
        if present && self.is_wound_up(now.ms) {
            self.kill_uplink(out);
        }
    }

    /// Whether nothing is waited for any more.
    fn is_wound_up(&self, now_ms: u64) -> bool {
        let Some(ending) = &self.ending else { return true };
        let leased = self.mandate.as_ref().is_some_and(|mandate| mandate.has_lease(now_ms));
        let waited = now_ms >= ending.since_ms + u64::from(STOP_REQUEST_MS_MAX);
        let sending = self.forward.is_busy() || self.replay.is_settling();
        let idle = !self.journal.is_writing() && !sending;
        !ending.orderly || idle || waited || !leased
    }

    pub(super) fn order_resigning(&mut self, now: Now, out: &mut Out<'_>) {
        if self.is_wound_up(now.ms) {
            if self.forward.presence == Presence::Absent {
                self.order_release(now, out);
            }
            return;
        }
        if self.proof_due_ms() <= now.ms {
            self.order_proof(now, out);
        } else if !self.order_settling(now, out) {
            self.order_append(now, true, out);
        }
    }

    pub(super) fn resigning_due_ms(&self, now_ms: u64, idle: bool) -> u64 {
        let Some(ending) = &self.ending else { return u64::MAX };
        if self.is_wound_up(now_ms) {
            // Its time may have come since the last event.
            return match self.forward.presence {
                Presence::Started | Presence::Attaching | Presence::Ready => now_ms,
                Presence::Absent if idle => now_ms,
                Presence::Absent | Presence::Dying => u64::MAX,
            };
        }
        let mut due_ms = ending.since_ms + u64::from(STOP_REQUEST_MS_MAX);
        due_ms = due_ms.min(self.forward.deadline_ms());
        if let Some(mandate) = &self.mandate {
            due_ms = due_ms.min(mandate.lease_end_ms());
            if idle {
                due_ms = due_ms
                    .min(self.proof_due_ms())
                    .min(self.append_due_ms())
                    .min(self.settling_due_ms(now_ms));
            }
        }
        due_ms
    }

    fn order_release(&mut self, now: Now, out: &mut Out<'_>) {
        let marks = self.journal.last_marks();
        let ending = self.ending.clone();
        let slot = match (&mut self.mandate, ending) {
            (Some(mandate), Some(ending)) => {
                let slot = mandate.release(ending.reason, ending.successor, marks, now.wall_ms);
                self.sight.note_slot(now.ms, &slot);
                Some(slot)
            }
            _ => None,
        };
        self.ask(now, Asked::Release, ShareOrder::Release(slot), out);
    }

    /// Step 4.
    pub(super) fn released(&mut self, now: Now, marked: bool, out: &mut Out<'_>) {
        let Some(mandate) = self.mandate.take() else { return };
        self.faults.end_term();
        let ending = self.ending.take();
        let reason = ending.as_ref().map_or(ReleaseReason::Lost, |ending| ending.reason);
        out(Effect::OutcomeUnknown);
        self.leave_store(out);
        let what = if marked { TermNote::Released } else { TermNote::NotReleased };
        out(Effect::Note(Note::Term { term: mandate.term(), what }));
        self.sight.forget_lock();
        self.ground = Ground::First;
        let reopens = ending.is_some_and(|ending| ending.reopens);
        self.stage = if reopens { Stage::Closed } else { Stage::Standby };
        let poll_ms = u64::from(self.settings.poll_ms);
        let wait_ms = match reason {
            ReleaseReason::Stopped | ReleaseReason::Lost => poll_ms,
            // Others first.
            ReleaseReason::Switchover => poll_ms * u64::from(SUCCESSOR_POLLS),
            ReleaseReason::Unable => {
                let wait_ms = self.resign_wait_ms;
                self.resign_wait_ms = (wait_ms * 2).min(RESIGN_WAIT_MS_MAX);
                self.stage = Stage::Closed;
                u64::from(wait_ms)
            }
        };
        self.poll_due_ms = now.ms + wait_ms;
        self.record_due_ms = now.ms;
    }

    /// Leaves once nothing of ours is left on the share, or time is up.
    pub(super) fn end_if_stopped(&mut self, now: Now, out: &mut Out<'_>) {
        let Some(since_ms) = self.stopping_since_ms else { return };
        if self.stage == Stage::Master {
            self.resign(now, ReleaseReason::Stopped, None, true, out);
            self.advance(now, out);
            return;
        }
        let left = match self.stage {
            Stage::Closed | Stage::Loading => true,
            // The record of a name that is not ours is another's.
            Stage::Standby => (self.record_left || !self.has_name()) && self.keeper.asked.is_none(),
            Stage::Claiming | Stage::Master | Stage::Resigning | Stage::Ended => false,
        };
        if self.stage != Stage::Ended && (left || now.ms >= since_ms + u64::from(STOP_MS_MAX)) {
            self.stage = Stage::Ended;
            out(Effect::Exit);
        }
    }
}
