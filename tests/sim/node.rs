//! A node: its engine, its clock, its processes, and what holds them up.

use edge_agent::engine::cloud::CloudOrder;
use edge_agent::engine::ident::{NodeName, Term};
use edge_agent::engine::planted::LeftOut;
use edge_agent::engine::settings::Host;
use edge_agent::engine::share::{LockSeen, ShareOrder, ShareOutcome};
use edge_agent::engine::{Engine, Now};

use crate::disk::Write;
use crate::keeper::Step;

/// One run of a node's agent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Life {
    pub(crate) place: usize,
    pub(crate) number: u32,
}

impl Life {
    /// The random number of its process.
    pub(crate) fn nonce(self) -> u64 {
        1 + self.place as u64 + 100 * u64::from(self.number)
    }
}

/// A host's clocks. The boot clock runs at a rate of its own; the wall clock is anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// In millionths.
    rate: u64,
    begin_ms: u64,
    pub(crate) wall_ahead_ms: u64,
}

impl Clock {
    pub(crate) fn new(place: usize, drift: i64) -> Self {
        let rate = u64::try_from(1_000_000 + drift).expect("it runs forwards");
        Self { rate, begin_ms: 1_000_000 * (place as u64 + 1), wall_ahead_ms: 0 }
    }

    pub(crate) fn now(&self, true_ms: u64) -> Now {
        let wall_ms = 1_800_000_000_000 + true_ms + self.wall_ahead_ms;
        Now { ms: self.begin_ms + true_ms * self.rate / 1_000_000, wall_ms }
    }

    /// The first true ms at which this clock shows that time.
    pub(crate) fn true_ms(&self, local_ms: u64) -> u64 {
        local_ms.saturating_sub(self.begin_ms).saturating_mul(1_000_000).div_ceil(self.rate)
    }
}

/// An order that the keeper works at.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) number: u64,
    pub(crate) order: ShareOrder,
    /// What is left to do, the last first.
    pub(crate) steps: Vec<Step>,
    pub(crate) begun_ms: u64,
    pub(crate) lock: LockSeen,
    /// Written and not yet synced.
    pub(crate) unsynced: Vec<Write>,
    pub(crate) outcome: Option<ShareOutcome>,
}

/// The process on the share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper {
    /// Number and inode of the lock that it believes to hold.
    pub(crate) grip: Option<(u32, u64)>,
    pub(crate) operation: Option<Operation>,
    /// Term and heartbeat of the slot that it wrote last.
    pub(crate) last: Option<(Term, u64)>,
}

/// The process that talks to the cloud.
#[derive(Clone, Debug)]
pub(crate) struct Uplink {
    pub(crate) number: u64,
    /// The lock of which it holds a copy.
    pub(crate) grip: Option<u32>,
    /// Killed, and not yet reaped.
    pub(crate) dying: bool,
    pub(crate) order: Option<CloudOrder>,
    pub(crate) started: bool,
}

/// An uplink that outlives its agent for a moment.
#[derive(Clone, Debug)]
pub(crate) struct Orphan {
    pub(crate) life: Life,
    pub(crate) uplink: Uplink,
    /// By its host's clock.
    pub(crate) lease_end_ms: u64,
    /// In true ms.
    pub(crate) dies_ms: u64,
}

/// What the agent gathered of a lane.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) pushed: u64,
    /// Handed to the keeper so far, and those that are with it now.
    pub(crate) flown: u64,
    pub(crate) flying: u64,
}

/// A gateway.
pub(crate) struct Node {
    pub(crate) life: Life,
    pub(crate) engine: Engine,
    pub(crate) clock: Clock,
    pub(crate) up: bool,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) uplink: Option<Uplink>,
    pub(crate) lanes: [Gathered; 2],
    /// The term that it collects for.
    pub(crate) collecting: Option<Term>,
    /// The number that it claimed last in this life; 0: none.
    pub(crate) term: Term,
    /// The end of the lease that its uplink lives by, by its own clock.
    pub(crate) lease_end_ms: u64,
    /// Number of the call that it makes.
    pub(crate) calling: Option<u64>,
    pub(crate) exited: bool,
    /// When the engine is to be called, in true ms.
    pub(crate) wake_ms: u64,
    /// Until when something holds it up, in true ms.
    pub(crate) frozen_until_ms: u64,
    pub(crate) hung_until_ms: u64,
    pub(crate) unmounted_until_ms: u64,
    pub(crate) offline_until_ms: u64,
    /// Its last poll tried the lock: it has not seen that this excludes nobody.
    pub(crate) tries_lock: bool,
    /// The next operation fails.
    pub(crate) fails: Option<edge_agent::engine::share::ShareFault>,
    /// The stall that was told last began then.
    pub(crate) stall_told: bool,
}

impl Node {
    pub(crate) fn new(life: Life, clock: Clock, left_out: LeftOut) -> Self {
        Self {
            life,
            engine: Engine::new(host(life, left_out)),
            clock,
            up: true,
            keeper: None,
            uplink: None,
            lanes: [Gathered::default(); 2],
            collecting: None,
            term: 0,
            lease_end_ms: 0,
            calling: None,
            exited: false,
            wake_ms: 0,
            frozen_until_ms: 0,
            hung_until_ms: 0,
            unmounted_until_ms: 0,
            offline_until_ms: 0,
            fails: None,
            stall_told: false,
            tries_lock: false,
        }
    }

    /// Its processes are there and get their turns.
    pub(crate) fn runs(&self, now_ms: u64) -> bool {
        self.up && now_ms >= self.frozen_until_ms
    }

    /// It runs, and its share answers.
    pub(crate) fn is_well(&self, now_ms: u64) -> bool {
        self.runs(now_ms)
            && !self.exited
            && now_ms >= self.hung_until_ms
            && now_ms >= self.unmounted_until_ms
    }
}

fn host(life: Life, left_out: LeftOut) -> Host {
    Host {
        node: name(life.place),
        nonce: life.nonce(),
        advertise: heapless::String::new(),
        version: heapless::String::new(),
        alone: false,
        run_dir_ours: true,
        left_out,
    }
}

/// A node's name.
pub(crate) fn name(place: usize) -> NodeName {
    NodeName::parse(&format!("gw-{place}")).expect("a name")
}
