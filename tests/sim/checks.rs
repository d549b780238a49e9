//! The checkers: one file a promise, and some for what the promises rest on.
//!
//! Each is told what happens on the share, in the processes and at the cloud, as nobody within
//! the site can see it, and says what is wrong with it. None asks the engine what it thinks.

pub(crate) mod bounds;
pub(crate) mod claims;
pub(crate) mod failover;
pub(crate) mod healed;
pub(crate) mod journal;
pub(crate) mod kept;
pub(crate) mod lease;
pub(crate) mod order;
pub(crate) mod ownership;
pub(crate) mod repeats;
pub(crate) mod stalls;
pub(crate) mod steady;

/// What a checker holds up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Promise {
    /// P1: no request of a lower term starts after one of a higher term.
    Order,
    /// P2: nothing that was acknowledged is lost.
    Kept,
    /// P3: every delivery names its records; a crash repeats a batch at most.
    Repeats,
    /// P4: somebody collects again in time.
    Failover,
    /// P5: nothing stalls an agent, and a stall is told.
    Stalls,
    /// P6: nothing grows.
    Bounds,
    /// No term writes another's files.
    Ownership,
    /// Nothing starts after a lease's end.
    Lease,
    /// The journal's and the cursor's invariants.
    Journal,
    /// No claim over a master that lives, where locks lie.
    Claims,
    /// No change of roles while master and share are healthy.
    Steady,
    /// After healing: one master, an empty journal.
    Healed,
}

impl Promise {
    /// All of them.
    #[cfg(debug_assertions)]
    pub(crate) const ALL: [Self; 12] = [
        Self::Order,
        Self::Kept,
        Self::Repeats,
        Self::Failover,
        Self::Stalls,
        Self::Bounds,
        Self::Ownership,
        Self::Lease,
        Self::Journal,
        Self::Claims,
        Self::Steady,
        Self::Healed,
    ];
}

/// What is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) promise: Promise,
    pub(crate) text: String,
}

/// Nothing is wrong, or this.
pub(crate) type Checked = Result<(), Broken>;

/// A promise is kept if this holds.
pub(crate) fn hold(promise: Promise, holds: bool, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Broken { promise, text: text() }) }
}

/// All checkers.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) order: order::Order,
    pub(crate) kept: kept::Kept,
    pub(crate) repeats: repeats::Repeats,
    pub(crate) failover: failover::Failover,
    pub(crate) ownership: ownership::Ownership,
    pub(crate) lease: lease::Leases,
    pub(crate) journal: journal::Journals,
    pub(crate) claims: claims::Claims,
    pub(crate) steady: steady::Steady,
}
