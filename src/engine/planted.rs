//! Rules that a test may leave out of an engine, to see that its checkers notice.
//!
//! A release build leaves none out: there [`LeftOut`] holds nothing and says no to everything.
//! With debug assertions, `Host::left_out` names one rule at most. Where a rule is left out, the
//! engine asks here; nowhere else is anything known of tests.
//!
//! It is not for settings: no configuration and no command line reaches it.

/// A rule of the engine. Those of the first part are marked † in the product's contract: leaving
/// one out breaks a promise.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// A slot says which lock file its master holds, or none.
    LockedSaid,
    /// A slot says whether its master was itself free to forward.
    FencedSaid,
    /// A slot says how far its master's cursors are.
    CursorSaid,
    /// A slot says which segments its term has.
    SegmentsSaid,
    /// A standby leaves the lock alone while the newest slot is active and names none.
    UnlockedLeftAlone,
    /// Where locks are doubtful, a granted lock counts after three heartbeats of silence.
    SilenceWhereDoubtful,
    /// A lock that was granted beside a living master is left alone from then on.
    DistrustedLeftAlone,
    /// A number that was found taken is remembered.
    TakenRemembered,
    /// Forwarding at once asks for the term exactly one below.
    OneBelow,
    /// Forwarding at once by the lock alone is for local shares only.
    LocalOnly,
    /// Older leases are waited for with a quarter more.
    FiveQuarters,
    /// They are waited for from when our own slot was durable.
    SinceDurable,
    /// Older terms' cursors and segments are read only after that.
    CursorsReadLate,
    /// A proof writes the lock's byte only if it holds the lock.
    ByteUnderLock,

    /// Only who created the claim's file has the number.
    ClaimedExclusively,
    /// Silence without the lock is enough in the end.
    SilenceSeizes,
    /// M1: a lease runs from the start of its proof.
    LeaseFromStart,
    /// M4: a lost lock ends the lease.
    LeaseEndsWithLock,
    /// B2: records are acknowledged under a lease only.
    AcknowledgedUnderLease,
    /// B3: the cursor passes a record only by a verdict that says so.
    VerdictAwaited,
    /// B4: only what lies before the durable cursor is swept.
    SweptBehindDurable,
    /// Only a fenced master sweeps.
    SweptWhenFenced,
    /// B5: nothing is written to a segment after a write failed.
    ClosedAfterFailure,
    /// F1: the next request starts only once the cursor is durable.
    DurableCursorFirst,
    /// F6: a pause for wrong credentials comes to an end.
    PauseEnds,
    /// B3: the end of a segment that was still written to when it was read is no end.
    EndOfClosedOnly,
    /// A listing counts once a share shows all names.
    NamesShownFirst,
    /// What could not be read is looked at again.
    LooksAgain,
    /// Who resigned because the lock file was replaced opens the data directory afresh.
    OpensAfresh,
    /// A batch has no more records than the settings say.
    RecordsBounded,
    /// A batch has no more bytes than the settings say.
    BytesBounded,
    /// N4: a share that stalls is told.
    StallTold,
    /// The engine wants to be called only when something is due.
    SleepsUntilDue,
}

/// The rule that is left out, if any.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct LeftOut(#[cfg(debug_assertions)] Option<Rule>);

impl LeftOut {
    /// Leaves this rule out.
    #[cfg(debug_assertions)]
    pub const fn just(rule: Rule) -> Self {
        Self(Some(rule))
    }

    /// Whether this rule is left out.
    #[cfg(debug_assertions)]
    pub fn has(self, rule: Rule) -> bool {
        self.0 == Some(rule)
    }

    /// Whether this rule is left out: no.
    #[cfg(not(debug_assertions))]
    pub const fn has(self, _: Rule) -> bool {
        false
    }
}
