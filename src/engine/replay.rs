//! A replay: the declined store's records are sent again, because an operator wants it.
//!
//! | state | event | next |
//! |---|---|---|
//! | off | an operator's wish | due |
//! | due | its turn; the uplink is ready, the cursor durable | reading |
//! | reading | a batch was passed to the uplink | sending; due if the uplink is gone |
//! | reading | nothing is left before the end | off |
//! | sending | Accepted | settling: forget the batch; the size doubles |
//! | sending | `BadContent`, `TooLarge`, the eighth 500 in a row: two records or more | due: half the size |
//! | sending | the same: a single record | settling: put it back with its new reason |
//! | sending | `BadCredentials` | off: its entries stay, the uplink pauses |
//! | sending | Retry, Unknown, the uplink is gone | due: the same again, after the back-off |
//! | sending | no answer in time, the second in a row | due: half the size |
//! | settling | durable | due; off if nothing is left before the end |
//! | any | a purge, the end of our term, five failures of the store in a row | off |
//!
//! Reading and sending are no states of these books: the outstanding order and the uplink's job
//! are. So a batch that went down with its uplink is due again by itself.
//!
//! # Invariants
//!
//! - R1: only a fenced master under a lease reads, forgets, puts back or purges.
//! - R2: an entry is forgotten only once its record was accepted, or stands at the store's end
//!   again; and durably so before the next request of any kind. A crash repeats one batch.
//! - R3: a replay ends where the store ended when it began: what it puts back it does not try
//!   again.
//! - R4: it takes turns with batches of readings, and alerts of the journal go before both. The
//!   first turn is its own: with wrong credentials it ends there, and nothing was declined.
//! - R5: when single records are refused one after another and none is accepted in between, it
//!   is not the records: it ends; and so it does when nothing comes of it for long, since each try
//!   takes a turn from the records of the journal. What it put back stands behind what it has not
//!   tried.

use core::fmt::{self, Write as _};

use super::cloud::{CloudOutcome, Reason, Verdict};
use super::settings::Settings;
use super::status::ReplayStatus;
use super::store::{Position, PutBack, ReplayFetch, Replayed, StoreNote, StoreOrder, TRIES_MAX};
use crate::limits::{REPLAY_REFUSED_MAX, REPLAY_UNANSWERED_MAX, SERVER_ERRORS_MAX, TIMEOUTS_MAX};

/// The batch that was read last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Batch {
    count: u32,
    through: Position,
    left: bool,
}

/// What is to be durable before anything else is sent (R2).
#[derive(Clone, Hash, Debug)]
enum Settling {
    Forget,
    PutBack { status: u16, reason: Reason },
}

/// A replay under way.
#[derive(Clone, Hash, Debug)]
struct Run {
    end: Option<Position>,
    /// At most so many records in a batch, whatever is configured.
    records_limit: u32,
    batch: Option<Batch>,
    settling: Option<Settling>,
    server_errors: u32,
    timeouts: u32,
    refused_row: u32,
    /// Tries in a row that came to nothing.
    unanswered: u32,
    /// Failures of the store in a row, and when it is asked again.
    failures: u32,
    not_before_ms: u64,
}

/// What is to be done about a verdict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Accepted.
    Done,
    /// The same again, or a part of it, at once.
    Part,
    /// The same again, or a part of it, after a back-off.
    Again,
    /// The uplink pauses.
    Pause,
}

/// The books of replays.
#[derive(Clone, Hash, Debug, Default)]
pub struct Replay {
    run: Option<Run>,
    /// Whether the next batch is a replay's (R4).
    pub has_turn: bool,
    number: u32,
    /// Of the replay under way, or of the last one.
    delivered: u64,
    refused: u64,
    reason: Reason,
    /// It ended, and nobody was told.
    is_news: bool,
}

impl Replay {
    /// An operator wants one.
    pub fn begin(&mut self) {
        self.run = Some(Run {
            end: None,
            records_limit: u32::MAX,
            batch: None,
            settling: None,
            server_errors: 0,
            timeouts: 0,
            refused_row: 0,
            unanswered: 0,
            failures: 0,
            not_before_ms: 0,
        });
        self.has_turn = true;
        self.number = self.number.wrapping_add(1);
        (self.delivered, self.refused) = (0, 0);
        self.reason.clear();
    }

    /// Ends it before its end.
    pub fn stop(&mut self, why: fmt::Arguments<'_>) {
        if self.run.take().is_some() {
            self.reason = clipped(why);
            self.is_news = true;
        }
    }

    /// Whether one is under way.
    pub fn is_on(&self) -> bool {
        self.run.is_some()
    }

    /// Whether something is to be durable before anything is sent (R2).
    pub fn is_settling(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.settling.is_some())
    }

    /// When the next batch is due; never without a replay.
    pub fn due_ms(&self) -> u64 {
        let due = self.run.as_ref().filter(|run| run.settling.is_none());
        due.map_or(u64::MAX, |run| run.not_before_ms)
    }

    /// When what is to be durable is to be ordered; never if nothing is.
    pub fn settling_due_ms(&self) -> u64 {
        let settling = self.run.as_ref().filter(|run| run.settling.is_some());
        settling.map_or(u64::MAX, |run| run.not_before_ms)
    }

    /// The order for the next batch.
    pub fn fetch(&self, request: u32, settings: &Settings) -> ReplayFetch {
        let limit = self.run.as_ref().map_or(u32::MAX, |run| run.records_limit);
        ReplayFetch {
            request,
            end: self.run.as_ref().and_then(|run| run.end),
            records_max: settings.batch_records_max.min(limit).max(1),
            bytes_max: settings.batch_bytes_max,
        }
    }

    /// A batch was read; whether there is anything in it to be sent.
    pub fn fetched(&mut self, seen: &Replayed) -> bool {
        let Some(run) = &mut self.run else { return false };
        run.failures = 0;
        run.end.get_or_insert(seen.end);
        if seen.count == 0 {
            self.finish();
            return false;
        }
        run.batch = Some(Batch { count: seen.count, through: seen.through, left: seen.left });
        true
    }

    /// A verdict on the batch. One that is no more of a replay changes nothing here.
    pub fn judge(&mut self, outcome: &CloudOutcome) -> Step {
        let batch = self.run.as_ref().and_then(|run| run.batch);
        let Some((run, batch)) = self.run.as_mut().zip(batch) else {
            return match outcome.verdict {
                Verdict::Accepted => Step::Done,
                Verdict::BadCredentials => Step::Pause,
                Verdict::BadContent | Verdict::TooLarge => Step::Part,
                Verdict::Retry | Verdict::Unknown => Step::Again,
            };
        };
        run.timeouts = 0;
        run.server_errors = if outcome.status == 500 { run.server_errors + 1 } else { 0 };
        match outcome.verdict {
            Verdict::Accepted => {
                run.records_limit = run.records_limit.saturating_mul(2);
                run.refused_row = 0;
                run.unanswered = 0;
                run.settling = Some(Settling::Forget);
                Step::Done
            }
            Verdict::BadContent | Verdict::TooLarge => {
                run.refuse(batch, outcome);
                Step::Part
            }
            Verdict::BadCredentials => {
                let (status, reason) = (outcome.status, &outcome.reason);
                self.stop(format_args!("the cloud refuses us with {status}: {reason}"));
                Step::Pause
            }
            Verdict::Retry | Verdict::Unknown => {
                if run.server_errors >= SERVER_ERRORS_MAX {
                    run.refuse(batch, outcome);
                }
                run.unanswered += 1;
                if run.unanswered >= REPLAY_UNANSWERED_MAX {
                    let reason = &outcome.reason;
                    self.stop(format_args!("the cloud does not take it: {reason}"));
                }
                Step::Again
            }
        }
    }

    /// No answer came in time.
    pub fn time_out(&mut self) {
        let Some(run) = &mut self.run else { return };
        run.timeouts += 1;
        if run.timeouts >= TIMEOUTS_MAX {
            run.timeouts = 0;
            run.halve();
        }
        run.unanswered += 1;
        if run.unanswered >= REPLAY_UNANSWERED_MAX {
            self.stop(format_args!("the cloud does not answer"));
        }
    }

    /// The order that makes the verdict durable.
    pub fn settle(&self, wall_ms: u64, bytes_max: u64) -> Option<StoreOrder> {
        let run = self.run.as_ref()?;
        let through = run.batch?.through;
        Some(match run.settling.clone()? {
            Settling::Forget => StoreOrder::Forget { through },
            Settling::PutBack { status, reason } => {
                StoreOrder::PutBack(PutBack { through, status, reason, wall_ms, bytes_max })
            }
        })
    }

    /// It is durable.
    pub fn settled(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some((settling, batch)) = run.settling.take().zip(run.batch.take()) else { return };
        run.failures = 0;
        match settling {
            Settling::Forget => self.delivered += u64::from(batch.count),
            Settling::PutBack { .. } => {
                self.refused += 1;
                run.refused_row += 1;
            }
        }
        let is_hopeless = run.refused_row >= REPLAY_REFUSED_MAX;
        if !batch.left {
            self.finish();
        } else if is_hopeless {
            self.stop(format_args!("{REPLAY_REFUSED_MAX} records in a row were refused again"));
        }
    }

    /// The store could not be read or written.
    pub fn failed(&mut self, later_ms: u64, why: &dyn fmt::Display) {
        let Some(run) = &mut self.run else { return };
        run.failures += 1;
        run.not_before_ms = later_ms;
        if run.failures >= TRIES_MAX {
            self.stop(format_args!("{why}"));
        }
    }

    /// What is to be said once one has ended.
    pub fn news(&mut self) -> Option<StoreNote> {
        core::mem::take(&mut self.is_news).then(|| StoreNote::ReplayEnded {
            delivered: self.delivered,
            refused: self.refused,
            stopped: Some(self.reason.clone()).filter(|reason| !reason.is_empty()),
        })
    }

    /// The replay under way, or the last one.
    pub fn status(&self) -> ReplayStatus {
        ReplayStatus {
            number: self.number,
            running: self.is_on(),
            delivered: self.delivered,
            refused: self.refused,
            reason: self.reason.clone(),
        }
    }

    fn finish(&mut self) {
        self.run = None;
        self.is_news = true;
    }
}

impl Run {
    /// Halves a batch; a single record is put back.
    fn refuse(&mut self, batch: Batch, outcome: &CloudOutcome) {
        if batch.count > 1 {
            self.halve();
            return;
        }
        self.server_errors = 0;
        let (status, reason) = (outcome.status, outcome.reason.clone());
        self.settling = Some(Settling::PutBack { status, reason });
    }

    fn halve(&mut self) {
        let count = self.batch.map_or(u32::MAX, |batch| batch.count);
        self.records_limit = count.div_ceil(2).max(1);
    }
}

/// As much of a text as fits.
pub fn clipped(text: fmt::Arguments<'_>) -> Reason {
    struct Clip(Reason);
    impl fmt::Write for Clip {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let fits = text.chars().all(|letter| self.0.push(letter).is_ok());
            if fits { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut clip = Clip(Reason::new());
    // An error says that it is full.
    let _ = clip.write_fmt(text);
    clip.0
}

#[cfg(test)]
mod tests;
