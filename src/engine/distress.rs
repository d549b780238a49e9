//! A node's own distress: what it tells the cloud itself, whatever its role.
//!
//! Two ways lead to people, and each condition has one of them:
//!
//! | way | what goes there |
//! |---|---|
//! | the alert lane of the master's journal | what concerns the site, or is of use only while it is forwarded: `notes::Alert` |
//! | directly, from memory, best effort | what a node suffers itself, and what would keep a journal from carrying it: [`Condition`] |
//!
//! So a master tells nothing twice: what is named here is never put into the journal.
//!
//! A call goes out by a process of its own that holds nothing of the share and carries no term
//! (`X-Edge-Term: none`): it may start beside an uplink that is dying. `telling` says when.
//!
//! # Invariants
//!
//! - A1: one call at a time, and none before the last one's process was reaped.
//! - A2: a call lives until its deadline, not under a lease.
//! - A3: nothing is called before a configuration was taken that names a thing for alerts, nor
//!   by a node that is stopping.
//! - A4: what waits is bounded: one call for each condition.
//! - A5: the same call sent again (no answer came) is the same to the byte but for its term.

use core::fmt::{self, Write as _};

use heapless::String;

use super::cloud::{CloudOutcome, Reason, Verdict};
use super::ident::Term;
use super::notes::{Level, Note};
use super::settings::Settings;
use super::telling::{Patience, Phase, Telling};
use super::{Effect, Engine, Now, Out, Stage};
use crate::limits::{
    DISTRESS_BACKOFF_MS_MAX, DISTRESS_BACKOFF_MS_MIN, DISTRESS_HOLD_MS, DISTRESS_NAME_HOLD_MS,
    REPLACED_SHOWN_MS, TELL_EVERY_MS, WALL_MS_MIN,
};

/// What a node tells of itself. Another condition is another variant here, and a row each in
/// [`Condition::ALL`], its name, its level and `Engine::evidence`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Condition {
    /// The data directory is not there, or not the one expected.
    ShareMissing,
    /// An operation on the share gets no answer.
    ShareStalled,
    /// The share lock was granted while its holder lived.
    LocksDoNotExclude,
    /// The share is mounted so that its locks are worthless.
    UnsafeMount,
    /// `edge.lock` or `edge.terms` was deleted or replaced under a master.
    LockFileReplaced,
    /// The configuration that was read last was refused; the one before is in force.
    ConfigRefused,
    /// The share has no room for what must be written.
    NoSpace,
    /// Another agent lives under our name, and we wait.
    NameTaken,
}

impl Condition {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ShareMissing,
        Self::ShareStalled,
        Self::LocksDoNotExclude,
        Self::UnsafeMount,
        Self::LockFileReplaced,
        Self::ConfigRefused,
        Self::NoSpace,
        Self::NameTaken,
    ];

    /// Its name, in the status and in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShareMissing => "share-missing",
            Self::ShareStalled => "share-stalled",
            Self::LocksDoNotExclude => "locks-do-not-exclude",
            Self::UnsafeMount => "unsafe-mount",
            Self::LockFileReplaced => "lock-file-replaced",
            Self::ConfigRefused => "config-refused",
            Self::NoSpace => "no-space",
            Self::NameTaken => "name-taken",
        }
    }

    /// Its level while it holds.
    pub const fn level(self) -> Level {
        match self {
            Self::ShareMissing
            | Self::ShareStalled
            | Self::ConfigRefused
            | Self::NoSpace
            | Self::NameTaken => Level::Error,
            Self::LocksDoNotExclude | Self::UnsafeMount | Self::LockFileReplaced => Level::Critical,
        }
    }

    /// What mends it, for people.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::ShareMissing => "see that the share is mounted and is the right one",
            Self::ShareStalled => "see the file server and the network to it",
            Self::LocksDoNotExclude => {
                "mount the share so that locks exclude (see check), then send this node SIGHUP"
            }
            Self::UnsafeMount => "mount the share with other options, then restart this node",
            Self::LockFileReplaced => {
                "keep backup, sync and clean-up jobs away from the data directory"
            }
            Self::ConfigRefused => "mend edge.json, then send this node SIGHUP",
            Self::NoSpace => "free space on the share, or raise its quota",
            Self::NameTaken => "give one of the two another name (--node, EDGE_NODE)",
        }
    }

    /// How long it must have lasted.
    const fn patience(self) -> Patience {
        let hold_ms = match self {
            Self::ShareMissing | Self::ShareStalled | Self::LockFileReplaced | Self::NoSpace => {
                DISTRESS_HOLD_MS
            }
            Self::NameTaken => DISTRESS_NAME_HOLD_MS,
            // none of them passes by itself
            Self::LocksDoNotExclude | Self::UnsafeMount | Self::ConfigRefused => 0,
        };
        Patience { hold_ms, every_ms: TELL_EVERY_MS }
    }

    /// Whether its beginning and its end have lines of their own in the log, told elsewhere.
    const fn is_told_elsewhere(self, phase: Phase) -> bool {
        match self {
            Self::ShareMissing | Self::ShareStalled | Self::NameTaken => true,
            Self::LocksDoNotExclude
            | Self::UnsafeMount
            | Self::LockFileReplaced
            | Self::ConfigRefused => {
                matches!(phase, Phase::Raise)
            }
            Self::NoSpace => false,
        }
    }
}

/// What is said of it in the log.
#[derive(Clone, PartialEq, Hash, Debug)]
pub enum DistressNote {
    /// A condition began, or is over.
    Changed {
        /// Which.
        condition: Condition,
        /// Whether it began or is over.
        phase: Phase,
        /// How long it lasted, in ms.
        lasted_ms: u64,
    },
    /// The cloud was told.
    Called {
        /// Of what.
        condition: Condition,
        /// Whether it began or is over.
        phase: Phase,
    },
    /// It could not be.
    Failed {
        /// Why.
        reason: Reason,
    },
}

impl DistressNote {
    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Changed { condition, phase: Phase::Raise, .. } => condition.level(),
            Self::Changed { phase: Phase::Clear, .. } | Self::Called { .. } => Level::Info,
            Self::Failed { .. } => Level::Warning,
        }
    }
}

impl fmt::Display for DistressNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { condition, phase: Phase::Raise, .. } => {
                write!(out, "{}: {}", condition.name(), condition.remedy())
            }
            Self::Changed { condition, phase: Phase::Clear, lasted_ms } => {
                write!(out, "{}: over after {lasted_ms} ms", condition.name())
            }
            Self::Called { condition, phase } => {
                write!(out, "distress: told the cloud of {} ({})", condition.name(), phase.name())
            }
            Self::Failed { reason } => write!(out, "distress: not told: {reason}"),
        }
    }
}

/// What was seen, in words.
pub type Evidence = String<200>;

/// One call for help, or the word that help is no longer needed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    /// What is the matter.
    pub condition: Condition,
    /// Whether it began or is over.
    pub phase: Phase,
    /// When, in ms since the Unix epoch by our own clock.
    pub wall_ms: u64,
    /// How long it had lasted when this was first to be sent, in ms.
    pub lasted_ms: u64,
    /// What was seen.
    pub evidence: Evidence,
    /// The term that we are in, for people; 0: none.
    pub term: Term,
    /// The process ends then (A2), in ms of `CLOCK_BOOTTIME`.
    pub deadline_ms: u64,
}

#[derive(Clone, Hash, Debug, Default)]
struct Entry {
    telling: Telling,
    holds: bool,
    evidence: Evidence,
    /// Since when it holds, or when it ended: wall time, and how long it had lasted when its
    /// call was first to be sent.
    changed_wall_ms: u64,
    lasted_ms: Option<(Phase, u64)>,
}

/// The process that calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Caller {
    Absent,
    Calling {
        condition: Condition,
        phase: Phase,
        deadline_ms: u64,
    },
    /// Answered or killed, not yet reaped.
    Leaving,
}

/// The books of a node's distress.
#[derive(Clone, Hash, Debug)]
pub struct Distress {
    entries: [Entry; Condition::ALL.len()],
    caller: Caller,
    failures: u32,
    wait_until_ms: u64,
    random: u64,
    /// Why the configuration read last was refused; `None`: it was taken.
    refused: Option<Evidence>,
    replaced: Option<Replaced>,
}

/// A file of the share that a proof found gone or replaced.
#[derive(Clone, Hash, Debug)]
struct Replaced {
    evidence: Evidence,
    /// It is shown until then.
    until_ms: u64,
    /// The share was seen after that: it is not the whole of it that is gone.
    is_sure: bool,
}

impl Distress {
    /// Nothing is the matter. `seed`: for jitter only.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: Default::default(),
            caller: Caller::Absent,
            failures: 0,
            wait_until_ms: 0,
            random: seed | 1,
            refused: None,
            replaced: None,
        }
    }

    /// Whether a condition holds, as last seen.
    pub fn holds(&self, condition: Condition) -> bool {
        self.entries[condition as usize].holds
    }

    /// A configuration was read: why it was refused, or `None`.
    pub fn judged(&mut self, refused: Option<&str>) {
        self.refused = refused.map(|why| clipped(format_args!("{why}")));
    }

    /// The lock file that our term holds by this inode is gone or another.
    pub fn note_replaced(&mut self, now_ms: u64, term: Term, inode: u64) {
        let evidence = clipped(format_args!(
            "edge.lock (inode {inode}, held by term {term}) or edge.terms was deleted or replaced"
        ));
        let until_ms = now_ms + u64::from(REPLACED_SHOWN_MS);
        self.replaced = Some(Replaced { evidence, until_ms, is_sure: false });
    }

    /// The share answers: a file that was found gone is not gone with all of it.
    pub fn note_seen(&mut self) {
        if let Some(replaced) = &mut self.replaced {
            replaced.is_sure = true;
        }
    }

    /// That was long ago, or it turned out that the whole share is not there.
    fn forget_replaced(&mut self, now_ms: u64) {
        let missing = &self.entries[Condition::ShareMissing as usize].telling;
        let gone = missing.wish() == Some(Phase::Raise) || missing.is_raised();
        if self.replaced.as_ref().is_some_and(|one| gone || now_ms >= one.until_ms) {
            self.replaced = None;
        }
    }

    /// Takes in whether a condition holds, with what was seen; tells how long it lasted if
    /// this is its end, and 0 if it is its beginning.
    pub(super) fn see(
        &mut self,
        now: Now,
        condition: Condition,
        seen: Option<Evidence>,
    ) -> Option<u64> {
        let entry = &mut self.entries[condition as usize];
        let holds = seen.is_some();
        let changed = holds != entry.holds;
        entry.holds = holds;
        if changed {
            entry.changed_wall_ms = now.wall_ms;
            entry.lasted_ms = None;
        }
        if let Some(evidence) = seen.filter(|_| changed) {
            entry.evidence = evidence;
        }
        entry.telling.see(now.ms, holds, condition.patience());
        let phase = if holds { Phase::Raise } else { Phase::Clear };
        changed.then(|| if holds { 0 } else { entry.telling.lasted_ms(now.ms, phase) })
    }

    /// The next call, if one is to be made now (A1, A3).
    pub(super) fn next_call(&mut self, now: Now, term: Term, settings: &Settings) -> Option<Call> {
        let least = settings.alerts?;
        if self.caller != Caller::Absent || now.ms < self.wait_until_ms {
            return None;
        }
        let wanted = |condition: &Condition| condition.level() >= least;
        let wish = |condition| Some((condition, self.entries[condition as usize].telling.wish()?));
        // in turn, so that one that the cloud will not have holds up no other
        let turns =
            Condition::ALL.into_iter().cycle().skip(self.failures as usize % Condition::ALL.len());
        let mut turns = turns.take(Condition::ALL.len()).filter(wanted);
        let (condition, phase) = turns.find_map(wish)?;
        let deadline_ms = now.ms + u64::from(settings.timeout_ms);
        self.caller = Caller::Calling { condition, phase, deadline_ms };
        let entry = &mut self.entries[condition as usize];
        let lasted_ms = match entry.lasted_ms {
            Some((told, lasted_ms)) if told == phase => lasted_ms,
            Some(_) | None => entry.telling.lasted_ms(now.ms, phase),
        };
        entry.lasted_ms = Some((phase, lasted_ms));
        if entry.changed_wall_ms < WALL_MS_MIN {
            // the clock was not set then; by now it may be
            let ago_ms = now.ms.saturating_sub(entry.telling.moment_ms(phase));
            entry.changed_wall_ms = now.wall_ms.saturating_sub(ago_ms);
        }
        let (wall_ms, evidence) = (entry.changed_wall_ms, entry.evidence.clone());
        Some(Call { condition, phase, wall_ms, lasted_ms, evidence, term, deadline_ms })
    }

    /// A call was answered, or its process ended without a word: then its outcome is unknown.
    fn settle(&mut self, now_ms: u64, verdict: Verdict) -> Option<(Condition, Phase)> {
        let Caller::Calling { condition, phase, .. } = self.caller else { return None };
        self.caller = Caller::Leaving;
        let telling = &mut self.entries[condition as usize].telling;
        match verdict {
            Verdict::Accepted => {
                telling.told(now_ms, phase);
                self.failures = 0;
                self.wait_until_ms = 0;
                return Some((condition, phase));
            }
            Verdict::BadContent | Verdict::TooLarge => telling.give_up(now_ms, phase),
            Verdict::Unknown => telling.doubt(phase),
            Verdict::Retry | Verdict::BadCredentials => {}
        }
        self.back_off(now_ms);
        None
    }

    /// Full jitter above the least: anywhere up to a span that doubles.
    fn back_off(&mut self, now_ms: u64) {
        let span_ms = DISTRESS_BACKOFF_MS_MIN
            .saturating_mul(1 << self.failures.min(16))
            .min(DISTRESS_BACKOFF_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let jitter_ms = self.random % u64::from(span_ms);
        self.wait_until_ms = now_ms + u64::from(DISTRESS_BACKOFF_MS_MIN) / 2 + jitter_ms;
    }

    /// Another configuration: nothing is waited for that came of the old one.
    fn try_at_once(&mut self) {
        self.failures = 0;
        self.wait_until_ms = 0;
    }

    /// When there is something to do at the latest; `u64::MAX`: not by time alone.
    fn due_ms(&self, settings: &Settings) -> u64 {
        let own = |condition: Condition| {
            let telling = &self.entries[condition as usize].telling;
            let wish = telling.wish().filter(|_| self.is_next(condition, settings));
            let call_ms = wish.map_or(u64::MAX, |_| self.wait_until_ms);
            telling.due_ms(condition.patience()).min(call_ms)
        };
        let late_ms = match self.caller {
            Caller::Calling { deadline_ms, .. } => deadline_ms,
            Caller::Absent | Caller::Leaving => u64::MAX,
        };
        let shown_ms = self.replaced.as_ref().map_or(u64::MAX, |one| one.until_ms);
        Condition::ALL.into_iter().map(own).min().unwrap_or(u64::MAX).min(late_ms).min(shown_ms)
    }

    fn is_next(&self, condition: Condition, settings: &Settings) -> bool {
        let least = settings.alerts.filter(|least| condition.level() >= *least);
        self.caller == Caller::Absent && least.is_some()
    }
}

impl Engine {
    /// Looks at what this node suffers, and calls if it is time to.
    pub(super) fn watch_distress(&mut self, now: Now, out: &mut Out<'_>) {
        self.distress.forget_replaced(now.ms);
        for condition in Condition::ALL {
            let seen = self.evidence(condition);
            let phase = if seen.is_some() { Phase::Raise } else { Phase::Clear };
            let changed = self.distress.see(now, condition, seen);
            if let Some(lasted_ms) = changed.filter(|_| !condition.is_told_elsewhere(phase)) {
                out(Effect::Note(Note::Distress(DistressNote::Changed {
                    condition,
                    phase,
                    lasted_ms,
                })));
            }
        }
        if let Caller::Calling { deadline_ms, .. } = self.distress.caller
            && now.ms >= deadline_ms
        {
            self.distress.settle(now.ms, Verdict::Unknown);
            out(Effect::EndCall);
        }
        if self.stage == Stage::Ended || self.stopping_since_ms.is_some() {
            return;
        }
        let term = self.mandate.as_ref().map_or(0, super::Mandate::term);
        if let Some(call) = self.distress.next_call(now, term, &self.settings) {
            out(Effect::Call(call));
        }
    }

    /// What shows that a condition holds; `None`: it does not.
    fn evidence(&self, condition: Condition) -> Option<Evidence> {
        match condition {
            Condition::ShareMissing => {
                let fault = self.faults.first().filter(|_| self.stage == Stage::Closed)?;
                Some(fault.text.clone())
            }
            Condition::ShareStalled => {
                let (asked, _) = self.keeper.asked.filter(|_| self.keeper.stalled)?;
                Some(clipped(format_args!("no answer to {}", asked.name())))
            }
            Condition::LocksDoNotExclude => {
                let slot = self.sight.newest().filter(|_| self.sight.was_lock_given_twice())?;
                Some(clipped(format_args!(
                    "the lock was granted while {}, master of term {}, went on writing its slot",
                    slot.node, slot.term
                )))
            }
            Condition::UnsafeMount => {
                let because = self.mount.unsafe_because.as_ref()?;
                Some(clipped(format_args!("{because}")))
            }
            Condition::LockFileReplaced => {
                let replaced = self.distress.replaced.as_ref().filter(|one| one.is_sure)?;
                Some(replaced.evidence.clone())
            }
            Condition::ConfigRefused => self.distress.refused.clone(),
            Condition::NoSpace => self.reserve.fault().cloned(),
            Condition::NameTaken => self.naming.is_taken().then(|| {
                clipped(format_args!("another agent goes by the name {}", self.host.node))
            }),
        }
    }

    /// The cloud's answer to a call.
    pub(super) fn call_answered(&mut self, now: Now, outcome: &CloudOutcome, out: &mut Out<'_>) {
        let failures = self.distress.failures;
        match self.distress.settle(now.ms, outcome.verdict) {
            Some((condition, phase)) => {
                out(Effect::Note(Note::Distress(DistressNote::Called { condition, phase })));
            }
            None if failures == 0 => {
                let reason = outcome.reason.clone();
                out(Effect::Note(Note::Distress(DistressNote::Failed { reason })));
            }
            None => {}
        }
    }

    /// The calling process was reaped, or could not be started.
    pub(super) fn lose_caller(&mut self, now: Now) {
        self.distress.settle(now.ms, Verdict::Unknown);
        self.distress.caller = Caller::Absent;
    }

    /// A configuration was taken.
    pub(super) fn recall(&mut self) {
        self.distress.try_at_once();
    }

    /// When [`Engine::watch_distress`] has something to do.
    pub(super) fn distress_due_ms(&self) -> u64 {
        if self.stage == Stage::Ended || self.stopping_since_ms.is_some() {
            return u64::MAX;
        }
        self.distress.due_ms(&self.settings)
    }
}

/// Text that ends where evidence is full.
fn clipped(text: fmt::Arguments<'_>) -> Evidence {
    struct Clip(Evidence);

    impl fmt::Write for Clip {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            text.chars().try_for_each(|letter| self.0.push(letter).map_err(|_| fmt::Error))
        }
    }

    let mut clip = Clip(Evidence::new());
    // an error says that it is full: what fits stays
    let _full = clip.write_fmt(text);
    clip.0
}
