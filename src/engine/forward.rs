//! The uplink's books: whether it is there, what it is sending, when it may try again.
//!
//! | presence | means | next |
//! |---|---|---|
//! | Absent | no uplink process | Started, once there is something to send and a lease |
//! | Started | forked; the keeper is to be given its socket | Attaching |
//! | Attaching | the keeper was told | Ready, by the uplink's own word |
//! | Ready | takes orders, one at a time | |
//! | Dying | killed, not yet reaped; counts as present | Absent |
//!
//! # Invariants
//!
//! - F1: one request at a time; the next starts only after the verdict of the last, and after
//!   the cursor that follows from it is durable.
//! - F2: a request is ordered only under a lease of a fenced term.
//! - F3: while the slot names a lock, the uplink has a copy of its descriptor.
//! - F4: registration and heartbeats of things never go before the first batch, unless there
//!   is nothing to send for a while.
//! - F5: a request without a verdict is outcome unknown: the same again, same identities.
//! - F6: what was refused for good is in the declined store before the cursor passes it; what
//!   that says of us or the URL pauses everything, 1 min doubling to 1 h. Meanwhile the files
//!   that credentials stand in are read again now and then: a change ends the pause.
//! - F7: alerts go first, but one that fails never holds up readings: its lane waits by itself.

use heapless::Vec;

use super::cloud::{CloudOutcome, CloudRequest, Reason, Verdict};
use super::ident::{Lane, Ranges, RecordRange, Term};
use super::planted::{LeftOut, Rule};
use super::replay::{self, Replay};
use super::settings::Settings;
use super::share::Fetched;
use super::sizing::{Sizing, Step};
use super::status::CloudStatus;
use crate::limits::{
    BACKOFF_MS_MAX, BACKOFF_MS_MIN, PAUSE_MS_MAX, PAUSE_MS_MIN, REGISTER_WAIT_MS, REREAD_EVERY_MS,
    RETRY_AFTER_MS_MAX, THINGS_MAX,
};

/// Whether there is an uplink.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Presence {
    /// None.
    Absent,
    /// Forked.
    Started,
    /// The keeper was told of it.
    Attaching,
    /// Takes orders.
    Ready,
    /// Killed, not yet reaped.
    Dying,
}

/// A batch that the keeper passed to the uplink.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Batch {
    /// Its lane.
    pub lane: Lane,
    /// When it was read.
    pub fetched_ms: u64,
    /// What was read.
    pub fetched: Fetched,
}

/// What is being sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Job {
    /// Records.
    Batch(Batch),
    /// Records out of the declined store; `replay` knows which.
    Replay,
    /// A thing's registration.
    Register(u16),
    /// A thing's heartbeat.
    Alive(u16),
}

/// How we stand with the cloud, by the last request that was settled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Standing {
    /// Nothing failed since it last accepted something.
    Good,
    /// The last failure was none of ours, or nobody could tell.
    Unreachable,
    /// The last failure was its refusal of us.
    Refused,
}

/// What a verdict means for the queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Settled {
    /// The batch is done with: the cursor moves.
    Delivered(Batch),
    /// The same again, or a part of it.
    Again,
    /// The first records of the batch are to be declined; none: the uplink only pauses.
    Refused {
        /// Their lane.
        lane: Lane,
        /// How many.
        records: u32,
    },
    /// It was accepted, and no cursor moves: a thing's request, or a batch tried ahead.
    Accepted,
    /// The cloud will not have a thing, which is left alone for a while.
    ThingRefused,
    /// The cloud takes readings and no alerts: these wait by themselves.
    AlertsPutOff,
}

const LATE: &str = "no answer in time";

/// The alert lane's own wait (F7).
#[derive(Clone, Copy, Default, Hash, Debug)]
struct AlertsWait {
    not_before_ms: u64,
    doublings: u32,
}

/// The uplink's books.
#[derive(Clone, Hash, Debug)]
pub struct Forward {
    left_out: LeftOut,
    /// Whether it is there.
    pub presence: Presence,
    job: Option<Job>,
    deadline_ms: u64,
    idle_since_ms: u64,
    request: u32,
    standing: Standing,
    /// Since the last success.
    failures: u32,
    /// How often the back-off's span has doubled.
    doublings: u32,
    wait_until_ms: u64,
    pause_ms: u32,
    alerts_wait: AlertsWait,
    /// A pause that an operator ended, until something is sent.
    ended_pause: Option<(u64, u32)>,
    /// The last batch of readings was accepted.
    takes_readings: bool,
    reread_due_ms: u64,
    sizing: [Sizing; 2],
    status: u16,
    reason: Reason,
    random: u64,
    delivered_once: bool,
    began_ms: u64,
    registered: usize,
    /// No thing is registered or kept alive before this.
    things_not_before_ms: u64,
    alive_due_ms: Vec<u64, THINGS_MAX>,
}

impl Forward {
    /// Books without an uplink. `seed`: for jitter only.
    pub fn new(seed: u64, left_out: LeftOut) -> Self {
        Self {
            left_out,
            presence: Presence::Absent,
            job: None,
            deadline_ms: 0,
            idle_since_ms: 0,
            request: 0,
            standing: Standing::Good,
            failures: 0,
            doublings: 0,
            wait_until_ms: 0,
            pause_ms: 0,
            alerts_wait: AlertsWait::default(),
            ended_pause: None,
            takes_readings: false,
            reread_due_ms: 0,
            sizing: Lane::ALL.map(Sizing::new),
            status: 0,
            reason: Reason::new(),
            random: seed | 1,
            delivered_once: false,
            began_ms: 0,
            registered: 0,
            things_not_before_ms: 0,
            alive_due_ms: Vec::new(),
        }
    }

    /// A term of ours begins.
    pub fn begin(&mut self, now_ms: u64, settings: &Settings) {
        self.began_ms = now_ms;
        self.delivered_once = false;
        self.take_things(settings);
        self.sizing = Lane::ALL.map(Sizing::new);
        self.succeed();
    }

    /// The size of a lane's batches.
    pub fn sizing(&mut self, lane: Lane) -> &mut Sizing {
        &mut self.sizing[lane.index()]
    }

    /// Older terms are over: forwarding can begin.
    pub fn free_to_forward(&mut self, now_ms: u64) {
        self.began_ms = now_ms;
    }

    /// Forgets back-off and pause: the configuration changed, or a request was accepted.
    pub fn try_at_once(&mut self) {
        self.alerts_wait = AlertsWait::default();
        self.forget_wait();
    }

    fn forget_wait(&mut self) {
        self.doublings = 0;
        self.wait_until_ms = 0;
        self.pause_ms = 0;
    }

    /// No request of this lane starts before this, whatever else may (F7).
    pub fn lane_not_before_ms(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Alerts => self.alerts_wait.not_before_ms,
            Lane::Readings => 0,
        }
    }

    /// Forgets a pause for wrong credentials, if there is one, until [`Self::resume_pause`].
    pub fn end_pause(&mut self) {
        if self.standing == Standing::Refused {
            self.ended_pause = Some((self.wait_until_ms, self.pause_ms));
            self.try_at_once();
        }
    }

    /// Nothing was sent since the pause was ended: there was no reason to.
    pub fn resume_pause(&mut self) {
        if let Some((wait_until_ms, pause_ms)) = self.ended_pause.take() {
            (self.wait_until_ms, self.pause_ms) = (wait_until_ms, pause_ms);
        }
    }

    /// The number for the next request.
    pub fn next_request(&mut self) -> u32 {
        self.request = self.request.wrapping_add(1);
        self.request
    }

    /// The number of the newest request.
    pub fn request(&self) -> u32 {
        self.request
    }

    /// Whether a request is in flight.
    pub fn is_busy(&self) -> bool {
        self.job.is_some()
    }

    /// Whether it carries records of a replay.
    pub fn is_replaying(&self) -> bool {
        self.job == Some(Job::Replay)
    }

    /// When the request in flight is late; never if there is none.
    pub fn deadline_ms(&self) -> u64 {
        if self.job.is_some() { self.deadline_ms } else { u64::MAX }
    }

    /// Since when the uplink has had nothing to send.
    pub fn idle_since_ms(&self) -> u64 {
        self.idle_since_ms
    }

    /// No request starts before this.
    pub fn wait_until_ms(&self) -> u64 {
        self.wait_until_ms
    }

    /// The uplink says that it is ready.
    pub fn ready(&mut self, now_ms: u64) {
        self.presence = Presence::Ready;
        self.idle_since_ms = now_ms;
    }

    /// A job is ordered.
    pub fn begin_job(&mut self, now_ms: u64, job: Job, settings: &Settings) {
        assert!(self.job.is_none(), "F1: one request at a time");
        self.ended_pause = None;
        self.job = Some(job);
        self.deadline_ms = now_ms + u64::from(settings.timeout_ms);
    }

    /// The next registration or heartbeat of a thing, if one is due (F4).
    pub fn thing_due(&self, now_ms: u64) -> Option<CloudRequest> {
        if self.thing_due_ms() > now_ms {
            return None;
        }
        if self.registered < self.alive_due_ms.len() {
            let thing = u16::try_from(self.registered).ok()?;
            return Some(CloudRequest::Register { thing });
        }
        let thing = self.alive_due_ms.iter().position(|due_ms| *due_ms <= now_ms)?;
        Some(CloudRequest::Alive { thing: u16::try_from(thing).ok()? })
    }

    /// When the next registration or heartbeat is due; `u64::MAX`: never.
    pub fn thing_due_ms(&self) -> u64 {
        let next_ms = if self.registered < self.alive_due_ms.len() {
            0
        } else {
            self.alive_due_ms.iter().copied().min().unwrap_or(u64::MAX)
        };
        let patience_ms = self.began_ms + u64::from(REGISTER_WAIT_MS);
        let due_ms = if self.delivered_once { next_ms } else { next_ms.max(patience_ms) };
        due_ms.max(self.things_not_before_ms)
    }

    /// Takes the things of a configuration: all are registered anew.
    pub fn take_things(&mut self, settings: &Settings) {
        self.registered = 0;
        if let Some(Job::Register(thing)) = self.job {
            // of one before: its verdict says no more than that of a heartbeat
            self.job = Some(Job::Alive(thing));
        }
        self.things_not_before_ms = 0;
        self.alive_due_ms.clear();
        for _ in &settings.alive_every_ms {
            // Both lists have the same capacity.
            let _ = self.alive_due_ms.push(0);
        }
    }

    /// A verdict came. `None`: it is for no request in flight.
    pub fn settle(
        &mut self,
        now_ms: u64,
        outcome: &CloudOutcome,
        settings: &Settings,
        replay: &mut Replay,
    ) -> Option<Settled> {
        if outcome.request != self.request {
            return None;
        }
        let job = self.job.take()?;
        self.idle_since_ms = now_ms;
        self.status = outcome.status;
        self.reason.clone_from(&outcome.reason);
        Some(match job {
            Job::Batch(batch) => self.settle_batch(now_ms, batch, outcome),
            Job::Replay => self.settle_replay(now_ms, replay, outcome),
            Job::Register(thing) => {
                let settled = self.settle_thing(now_ms, thing, outcome, settings);
                if matches!(settled, Settled::Accepted | Settled::ThingRefused) {
                    self.registered = usize::from(thing) + 1;
                }
                settled
            }
            Job::Alive(thing) => self.settle_thing(now_ms, thing, outcome, settings),
        })
    }

    fn settle_batch(&mut self, now_ms: u64, batch: Batch, outcome: &CloudOutcome) -> Settled {
        let sizing = &mut self.sizing[batch.lane.index()];
        match sizing.judge(&batch.fetched, outcome.verdict, outcome.status) {
            Step::Done => {
                self.succeed();
                self.delivered_once = true;
                match batch.lane {
                    Lane::Alerts => self.alerts_wait = AlertsWait::default(),
                    Lane::Readings => self.takes_readings = true,
                }
                Settled::Delivered(batch)
            }
            Step::Again if batch.lane == Lane::Alerts => {
                self.put_alerts_off(now_ms, false, outcome.retry_after_ms)
            }
            Step::Pause { records: 0 } if batch.lane == Lane::Alerts => {
                self.put_alerts_off(now_ms, true, None)
            }
            Step::Ahead => {
                self.succeed();
                Settled::Accepted
            }
            Step::Part => Settled::Again,
            Step::Again => {
                self.back_off(now_ms, outcome.retry_after_ms);
                Settled::Again
            }
            Step::Decline { records } => Settled::Refused { lane: batch.lane, records },
            Step::Pause { records } => {
                self.pause(now_ms);
                Settled::Refused { lane: batch.lane, records }
            }
        }
    }

    /// An alert was not accepted: readings go on, and what becomes of them says whether it is
    /// the cloud that fails, or only its address for alerts (F7).
    fn put_alerts_off(
        &mut self,
        now_ms: u64,
        is_refusal: bool,
        retry_after_ms: Option<u32>,
    ) -> Settled {
        let (least_ms, most_ms) = if is_refusal {
            (PAUSE_MS_MIN, PAUSE_MS_MAX)
        } else {
            (BACKOFF_MS_MIN, BACKOFF_MS_MAX)
        };
        let doublings = self.alerts_wait.doublings;
        let span_ms = least_ms.saturating_mul(1 << doublings.min(16)).min(most_ms);
        let wait_ms = if is_refusal { span_ms.into() } else { self.draw(span_ms.into()) };
        let asked_ms = u64::from(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX));
        self.alerts_wait = AlertsWait {
            not_before_ms: now_ms + wait_ms.max(asked_ms).max(1),
            doublings: doublings.saturating_add(1),
        };
        if self.takes_readings {
            return Settled::AlertsPutOff;
        }
        self.failures = self.failures.saturating_add(1);
        if is_refusal {
            self.standing = Standing::Refused;
            self.put_reread_off(now_ms);
            return Settled::Refused { lane: Lane::Alerts, records: 0 };
        }
        self.standing = Standing::Unreachable;
        Settled::Again
    }

    fn settle_replay(
        &mut self,
        now_ms: u64,
        replay: &mut Replay,
        outcome: &CloudOutcome,
    ) -> Settled {
        match replay.judge(outcome) {
            replay::Step::Done => {
                self.succeed();
                Settled::Accepted
            }
            replay::Step::Part => Settled::Again,
            replay::Step::Again => {
                self.back_off(now_ms, outcome.retry_after_ms);
                Settled::Again
            }
            replay::Step::Pause => {
                self.pause(now_ms);
                Settled::Refused { lane: Lane::Readings, records: 0 }
            }
        }
    }

    /// A thing that the cloud will not have is left alone until its next heartbeat, and where it
    /// fails with things, all are for a while: neither is a reason to hold up records that it
    /// takes.
    fn settle_thing(
        &mut self,
        now_ms: u64,
        thing: u16,
        outcome: &CloudOutcome,
        settings: &Settings,
    ) -> Settled {
        let takes_records = self.standing == Standing::Good && self.delivered_once;
        match outcome.verdict {
            Verdict::Accepted => {
                self.succeed();
                self.keep_alive(now_ms, thing, settings);
                Settled::Accepted
            }
            Verdict::BadCredentials if !takes_records => {
                self.pause(now_ms);
                Settled::Refused { lane: Lane::Readings, records: 0 }
            }
            Verdict::BadContent | Verdict::TooLarge | Verdict::BadCredentials => {
                self.keep_alive(now_ms, thing, settings);
                Settled::ThingRefused
            }
            Verdict::Retry if takes_records && outcome.status == 500 => {
                self.things_not_before_ms = now_ms + u64::from(BACKOFF_MS_MAX);
                Settled::Again
            }
            Verdict::Retry | Verdict::Unknown => {
                self.back_off(now_ms, outcome.retry_after_ms);
                Settled::Again
            }
        }
    }

    fn succeed(&mut self) {
        if self.standing != Standing::Good {
            // what held up alerts may have been the same
            self.alerts_wait = AlertsWait::default();
        }
        self.forget_wait();
        self.standing = Standing::Good;
        self.failures = 0;
        self.status = 0;
        self.reason.clear();
    }

    /// We or the URL are wrong: nothing is sent for a while (F6).
    pub fn pause(&mut self, now_ms: u64) {
        self.standing = Standing::Refused;
        self.takes_readings = false;
        self.failures = self.failures.saturating_add(1);
        self.pause_ms = (self.pause_ms * 2).clamp(PAUSE_MS_MIN, PAUSE_MS_MAX);
        self.wait_until_ms = now_ms + u64::from(self.pause_ms);
        if self.left_out.has(Rule::PauseEnds) {
            self.wait_until_ms = u64::MAX;
        }
        self.put_reread_off(now_ms);
    }

    /// When the files that credentials stand in are to be read again; `u64::MAX`: not at all.
    pub fn reread_due_ms(&self) -> u64 {
        let paused = self.standing == Standing::Refused
            && self.reread_due_ms < self.wait_until_ms.max(self.alerts_wait.not_before_ms);
        if paused { self.reread_due_ms } else { u64::MAX }
    }

    /// They are being read.
    pub fn put_reread_off(&mut self, now_ms: u64) {
        self.reread_due_ms = now_ms + u64::from(REREAD_EVERY_MS);
    }

    /// No answer came in time: the same again, a part of it if that happens twice (F5).
    pub fn time_out(&mut self, now_ms: u64) {
        if let Some(Job::Batch(batch)) = self.job {
            self.sizing(batch.lane).time_out(&batch.fetched);
            if batch.lane == Lane::Alerts {
                self.job = None;
                self.status = 0;
                self.reason = Reason::try_from(LATE).unwrap_or_default();
                self.put_alerts_off(now_ms, false, None);
                return;
            }
        }
        self.fail(now_ms, LATE);
    }

    /// The uplink is gone: what it was sending, if anything, is sent again (F5).
    pub fn fail(&mut self, now_ms: u64, reason: &str) {
        self.job = None;
        self.status = 0;
        self.reason = Reason::try_from(reason).unwrap_or_default();
        self.back_off(now_ms, None);
    }

    /// Drops what is in flight without blaming the cloud: our own term ends.
    pub fn drop_job(&mut self) {
        self.job = None;
    }

    /// Whether requests fail, and not because the cloud refuses us.
    pub fn is_unreachable(&self) -> bool {
        self.standing == Standing::Unreachable
    }

    /// Requests that failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The cloud at a glance.
    pub fn status(&self, now_ms: u64, forwarding: bool) -> CloudStatus {
        let wait_ms = self.wait_until_ms.saturating_sub(now_ms);
        let state = match (forwarding, self.job.is_some(), wait_ms > 0) {
            (false, ..) => "off",
            (true, true, _) => "sending",
            (true, false, true) if self.standing == Standing::Refused => "paused",
            (true, false, true) => "waiting",
            (true, false, false) => "idle",
        };
        CloudStatus {
            state,
            failures: self.failures,
            status: self.status,
            reason: self.reason.clone(),
            wait_ms,
        }
    }

    fn keep_alive(&mut self, now_ms: u64, thing: u16, settings: &Settings) {
        let place = usize::from(thing);
        let every_ms = settings.alive_every_ms.get(place);
        if let (Some(due_ms), Some(every_ms)) = (self.alive_due_ms.get_mut(place), every_ms) {
            *due_ms = now_ms + u64::from(*every_ms);
        }
    }

    /// Full jitter: anywhere between the least and a span that doubles, or as the cloud asked.
    fn back_off(&mut self, now_ms: u64, retry_after_ms: Option<u32>) {
        let span_ms =
            BACKOFF_MS_MIN.saturating_mul(1 << self.doublings.min(16)).min(BACKOFF_MS_MAX);
        self.standing = Standing::Unreachable;
        self.takes_readings = false;
        self.failures = self.failures.saturating_add(1);
        self.doublings = self.doublings.saturating_add(1);
        let jitter_ms = self.draw(u64::from(span_ms));
        let asked_ms = u64::from(retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX));
        self.wait_until_ms = now_ms + jitter_ms.max(asked_ms).max(1);
    }

    /// A number below `bound` (xorshift64: jitter needs no more).
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }
}

/// The records of a batch, as a request names them.
pub fn ranges_of(batch: &Batch, from_term: Term) -> Ranges {
    let last_seq = batch.fetched.first_seq + u64::from(batch.fetched.count) - 1;
    let first_seq = batch.fetched.first_seq;
    Ranges::of(RecordRange { term: from_term, lane: batch.lane, first_seq, last_seq })
}

#[cfg(test)]
mod tests;
