//! The engine: decides everything, and does nothing itself.
//!
//! Events go in through [`Engine::handle`], effects come out of it; time is a parameter, and
//! [`Engine::deadline_ms`] says when it wants to be called at the latest. No clock, file,
//! socket, environment, thread or heap is used here: a simulator can drive as many engines
//! as it likes.
//!
//! | stage | share order | leads to |
//! |---|---|---|
//! | Closed | Open | Loading; stays, trying once a second, while there is no data directory |
//! | Loading | Load | Standby, once the configuration was judged |
//! | Standby | Nodes, Poll, Release | Claiming, when `election` says so |
//! | Claiming | Claim, then Announce | Master; Standby if the number or a higher one is taken |
//! | Master | Prove, Append, Fetch, Decline, Store, Attach, Survey, Nodes, Forget, Sweep, Tidy | Resigning |
//! | Resigning | Append and Prove while it winds up, then Release | Standby or Ended |
//! | Ended | none | the process exits |
//!
//! # Invariants
//!
//! - N1: at most one share order and one cloud request are outstanding.
//! - N2: nothing is claimed, and no uplink is started, while one that was killed is not reaped.
//! - N3: losing the keeper ends the term; the lock is not tried for one `poll_ms`.
//! - N4: a stall is not a loss: past the lease nothing is forwarded, and the next proof decides.
//!
//! The parts: `election` (when to claim), `mandate` (our own term), `journal` (records'
//! books), `forward` (the uplink's books), `sizing` (batches and refusals),
//! `replay` and `store` (what was declined), `room` (a full journal), `naming` (our own name),
//! `roster` (other nodes), `skew` (their clocks), `notes` (what is said). `standby`, `master`,
//! `sending`, `replaying` and `resign` are this engine's stages, `snapshot` its status. `planted`
//! lets a test leave a rule out.

mod asked;
pub mod cloud;
pub mod codec;
pub mod distress;
pub mod election;
mod faults;
pub mod forward;
pub mod ident;
pub mod journal;
mod keeping;
pub mod mandate;
mod master;
pub mod naming;
pub mod node_notes;
pub mod notes;
pub mod planted;
pub mod replay;
mod replaying;
pub mod reserve;
mod resign;
pub mod room;
pub mod roster;
pub mod segment;
mod sending;
pub mod settings;
pub mod share;
pub mod sizing;
mod skew;
pub mod slot;
mod snapshot;
mod standby;
pub mod status;
pub mod store;
pub mod telling;
mod tenure;
#[cfg(test)]
mod tests;

use asked::{Asked, ProofScope};
use cloud::{CloudOrder, CloudOutcome};
use distress::{Call, Distress};
use election::{Ground, Sight};
use faults::Faults;
use forward::{Forward, Presence};
use ident::{Lane, NodeName, Role, ShareClass, SiteId, Term};
use journal::Journal;
use keeping::Keeper;
use mandate::Mandate;
use naming::Naming;
use notes::{Alert, Note};
use planted::Rule;
use replay::Replay;
use reserve::Reserve;
use room::Room;
use roster::Roster;
use settings::{Host, Settings, WhenFull};
use share::{MountJudgement, ShareOrder, ShareOutcome, Wish};
use slot::ReleaseReason;
use tenure::Tenure;

use crate::limits::{
    CHILD_WAIT_MS_MIN, JOURNAL_BYTES_MAX_DEFAULT, RESIGN_WAIT_MS_MIN, SIGHT_GAP_MS_MAX, STALL_MS,
};

/// What happened.
#[derive(Clone, Hash, Debug)]
pub enum Event<'a> {
    /// Time went by.
    Tick,
    /// The keeper's answer to the order that is outstanding.
    Share(&'a ShareOutcome),
    /// A keeper process takes orders.
    KeeperStarted,
    /// The keeper process was reaped.
    KeeperGone,
    /// The uplink has its socket, and a copy of the lock's descriptor or none.
    UplinkReady {
        /// Whether it has the copy.
        locked: bool,
    },
    /// The uplink process was reaped.
    UplinkGone,
    /// A verdict.
    Cloud(&'a CloudOutcome),
    /// Gathered groups of a lane now hold so many bytes, up to this seq.
    Gathered {
        /// The lane.
        lane: Lane,
        /// Their bytes, heads included.
        bytes: u32,
        /// Seq of their last record.
        through_seq: u64,
    },
    /// A configuration was read: it was refused for this reason, or taken. This event comes
    /// right before `Configured`.
    Judged {
        /// Why it was refused; `None`: it was taken.
        refused: Option<&'a str>,
    },
    /// What came of the call that is being made.
    Call(&'a CloudOutcome),
    /// The process that made a call was reaped, or could not be started.
    CallerGone,
    /// The configuration was judged; a bad one comes as the settings in force before. This
    /// event comes before the outcome of the `Load` that it was read by; after a `Reread` it
    /// comes only if something changed.
    Configured(&'a Settings),
    /// SIGHUP.
    Reload,
    /// An operator asks for another master.
    Switchover {
        /// Whom; `None`: whoever is first.
        to: Option<NodeName>,
    },
    /// An operator wants the declined records sent again.
    Replay,
    /// An operator wants the declined store empty.
    Purge,
    /// SIGTERM.
    Stop,
}

/// What is to be done.
#[derive(Clone, Hash, Debug)]
#[allow(clippy::large_enum_variant, reason = "handed over at once, one by one; no heap here")]
pub enum Effect {
    /// Order the keeper. The groups of an `Append` are those that were gathered.
    Share(ShareOrder),
    /// Start a keeper.
    StartKeeper,
    /// Start an uplink; the next `Attach` passes its socket on.
    StartUplink,
    /// Kill the uplink; its end will be an event.
    KillUplink,
    /// Order the uplink.
    Cloud(CloudOrder),
    /// Start a process that makes this call, and holds nothing of the share.
    Call(Call),
    /// Kill it: its time is up.
    EndCall,
    /// The lease that uplinks live by ends then; 0: now.
    Lease {
        /// When, in ms of `CLOCK_BOOTTIME`.
        end_ms: u64,
    },
    /// Begin to collect: the seqs of this term count from 1.
    Collect {
        /// The term.
        term: Term,
    },
    /// Stop collecting; what is gathered may still be asked for.
    StopCollecting,
    /// Records up to this seq may be acknowledged.
    Durable {
        /// Their lane.
        lane: Lane,
        /// The last of them.
        through_seq: u64,
    },
    /// The outcome of all that is not yet acknowledged is unknown; drop what is gathered.
    OutcomeUnknown,
    /// Say so in the log.
    Note(Note),
    /// Tell the site's people, by the alert lane.
    Alert(Alert),
    /// The process ends, with exit code 0.
    Exit,
}

/// Takes effects, one by one.
pub type Out<'a> = dyn FnMut(Effect) + 'a;

/// The time of an event.
#[derive(Clone, Copy, Hash, Debug)]
pub struct Now {
    /// `CLOCK_BOOTTIME`, ms: all that is decided goes by it.
    pub ms: u64,
    /// Wall clock, ms since the Unix epoch: only for stamps that people read.
    pub wall_ms: u64,
}

/// Where the engine stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Closed,
    Loading,
    Standby,
    Claiming,
    Master,
    Resigning,
    Ended,
}

/// Why and how a term is being ended.
#[derive(Clone, Hash, Debug)]
struct Ending {
    reason: ReleaseReason,
    successor: Option<NodeName>,
    since_ms: u64,
    /// What is gathered and in flight is waited for.
    orderly: bool,
    /// A file was replaced: the data directory is opened afresh, which makes a missing lock file.
    reopens: bool,
}

/// One node's engine.
#[derive(Clone, Hash, Debug)]
pub struct Engine {
    host: Host,
    settings: Settings,
    stage: Stage,
    site: Option<SiteId>,
    class: ShareClass,
    /// What was last said of its mount.
    mount: MountJudgement,
    /// Free space when the share was opened, in bytes.
    free_bytes: u64,
    keeper: Keeper,
    sight: Sight,
    mandate: Option<Mandate>,
    tenure: Tenure,
    journal: Journal,
    forward: Forward,
    naming: Naming,
    roster: Roster,
    room: Room,
    /// Why and when our present or last term was claimed.
    ground: Ground,
    claimed_ms: u64,
    replay: Replay,
    store: store::Books,
    ending: Option<Ending>,
    stopping_since_ms: Option<u64>,
    record_left: bool,
    reload: bool,
    wish: Option<Wish>,
    beat: u32,
    /// Dues, in ms.
    poll_due_ms: u64,
    all_due_ms: u64,
    nodes_due_ms: u64,
    record_due_ms: u64,
    list_due_ms: u64,
    resign_wait_ms: u32,
    faults: Faults,
    /// The uplink knows an old configuration: it makes room for another once it is idle.
    uplink_is_stale: bool,
    distress: Distress,
    reserve: Reserve,
}

impl Engine {
    /// An engine that knows nothing yet. It asks for a keeper at the first event.
    pub fn new(host: Host) -> Self {
        let forward = Forward::new(host.nonce, host.left_out);
        let distress = Distress::new(host.nonce);
        Self {
            host,
            settings: Settings::default(),
            stage: Stage::Closed,
            site: None,
            class: ShareClass::Doubtful,
            mount: MountJudgement::default(),
            free_bytes: u64::MAX,
            keeper: Keeper {
                present: false,
                start_ms: 0,
                wait_ms: CHILD_WAIT_MS_MIN,
                asked: None,
                stalled: false,
            },
            sight: Sight::default(),
            mandate: None,
            tenure: Tenure::begin(0),
            journal: Journal::default(),
            forward,
            naming: Naming::default(),
            roster: Roster::default(),
            room: Room::new(JOURNAL_BYTES_MAX_DEFAULT, WhenFull::DropOldest),
            ground: Ground::First,
            claimed_ms: 0,
            replay: Replay::default(),
            store: store::Books::default(),
            ending: None,
            stopping_since_ms: None,
            record_left: false,
            reload: false,
            wish: None,
            beat: 0,
            poll_due_ms: 0,
            all_due_ms: 0,
            nodes_due_ms: 0,
            record_due_ms: 0,
            list_due_ms: 0,
            resign_wait_ms: RESIGN_WAIT_MS_MIN,
            faults: Faults::default(),
            uplink_is_stale: false,
            distress,
            reserve: Reserve::default(),
        }
    }

    /// Takes in an event, and gives out what is to be done about it.
    pub fn handle(&mut self, now: Now, event: Event<'_>, out: &mut Out<'_>) {
        match event {
            Event::Tick => {}
            Event::Share(outcome) => self.share_answered(now, outcome, out),
            Event::KeeperStarted => {
                self.keeper.present = true;
                self.keeper.asked = None;
            }
            Event::KeeperGone => self.lose_keeper(now, out),
            Event::UplinkReady { locked } => self.uplink_ready(now, locked, out),
            Event::UplinkGone => self.lose_uplink(now, out),
            Event::Cloud(outcome) => self.cloud_answered(now, outcome, out),
            Event::Gathered { lane, bytes, through_seq } => {
                self.journal.gathered(now.ms, lane, bytes, through_seq);
            }
            Event::Judged { refused } => self.distress.judged(refused),
            Event::Configured(settings) => self.configure(now, settings),
            Event::Call(outcome) => self.call_answered(now, outcome, out),
            Event::CallerGone => self.lose_caller(now),
            Event::Reload => {
                self.reload = true;
                self.sight.trust_lock();
            }
            Event::Switchover { to } => self.switch_over(now, to, out),
            Event::Replay => self.begin_replay(now, out),
            Event::Purge => self.begin_purge(now, out),
            Event::Stop => self.stop(now),
        }
        self.advance(now, out);
    }

    /// What this node is doing.
    pub fn role(&self) -> Role {
        match self.stage {
            Stage::Closed | Stage::Loading | Stage::Standby => Role::Standby,
            Stage::Claiming => Role::Claiming,
            Stage::Master => Role::Master,
            Stage::Resigning => Role::Resigning,
            Stage::Ended => Role::Stopped,
        }
    }

    /// Whether this node is master under a lease.
    pub fn is_master(&self, now_ms: u64) -> bool {
        let leased = self.mandate.as_ref().is_some_and(|mandate| mandate.has_lease(now_ms));
        self.stage == Stage::Master && leased
    }

    /// Whether there is room for more readings; none: they are refused (429), or dropped.
    pub fn has_room(&self) -> bool {
        !self.room.is_closed()
    }

    /// Never more than half of what was free when the share was opened.
    fn bound_room(&mut self) {
        let bytes_max = self.settings.journal_bytes_max.min(self.free_bytes / 2);
        self.room.bound(bytes_max, self.settings.when_full);
    }

    /// Does all that is due and possible now.
    fn advance(&mut self, now: Now, out: &mut Out<'_>) {
        if !self.keeper.present {
            self.start_keeper(now, out);
        }
        self.watch_keeper(now, out);
        match self.stage {
            Stage::Master => self.watch_term(now, out),
            Stage::Resigning => self.wind_up(now, out),
            Stage::Closed | Stage::Loading | Stage::Standby | Stage::Claiming | Stage::Ended => {}
        }
        if self.keeper.present && self.keeper.asked.is_none() {
            self.order_share(now, out);
        }
        self.end_if_stopped(now, out);
        self.watch_distress(now, out);
    }

    /// Orders what the stage wants of the share next, if anything.
    fn order_share(&mut self, now: Now, out: &mut Out<'_>) {
        match self.stage {
            Stage::Closed => self.order_open(now, out),
            Stage::Loading => self.ask(now, Asked::Load, ShareOrder::Load, out),
            Stage::Standby => self.order_standby(now, out),
            Stage::Claiming | Stage::Ended => {}
            Stage::Master => self.order_master(now, out),
            Stage::Resigning => self.order_resigning(now, out),
        }
    }

    /// Gives the keeper an order (N1).
    fn ask(&mut self, now: Now, asked: Asked, order: ShareOrder, out: &mut Out<'_>) {
        assert!(self.keeper.asked.is_none(), "N1: one share order at a time");
        self.keeper.asked = Some((asked, now.ms));
        out(Effect::Share(order));
    }

    /// Our term is over without a word on the share: what holds it is gone.
    fn drop_term(&mut self, out: &mut Out<'_>) {
        self.kill_uplink(out);
        self.leave_store(out);
        self.faults.end_term();
        self.mandate = None;
        self.ending = None;
        out(Effect::StopCollecting);
        out(Effect::OutcomeUnknown);
    }

    /// Kills the uplink, if there is one, and ends the lease that it lives by.
    fn kill_uplink(&mut self, out: &mut Out<'_>) {
        out(Effect::Lease { end_ms: 0 });
        self.forward.drop_job();
        match self.forward.presence {
            Presence::Started | Presence::Attaching | Presence::Ready => {
                self.forward.presence = Presence::Dying;
                out(Effect::KillUplink);
            }
            Presence::Absent | Presence::Dying => {}
        }
    }

    fn configure(&mut self, now: Now, settings: &Settings) {
        self.settings = settings.clone();
        self.bound_room();
        self.forward.take_things(settings);
        self.tenure.thing_refused_told = false;
        self.forward.try_at_once();
        self.recall();
        if self.stage == Stage::Loading {
            self.stage = Stage::Standby;
            self.poll_due_ms = self.poll_due_ms.max(now.ms);
        }
        // What an uplink knows of the configuration, it knows from its start.
        self.uplink_is_stale = self.forward.presence != Presence::Absent;
    }

    /// The longest gap between two observations that bounds silence.
    fn gap_ms_max(&self) -> u64 {
        u64::from(SIGHT_GAP_MS_MAX.max(3 * self.settings.poll_ms))
    }

    /// When the engine wants to be called at the latest, in ms of `CLOCK_BOOTTIME`.
    pub fn deadline_ms(&self, now_ms: u64) -> u64 {
        if self.host.left_out.has(Rule::SleepsUntilDue) {
            return now_ms;
        }
        let mut due_ms = u64::MAX;
        let mut at = |ms: u64| due_ms = due_ms.min(ms);
        at(self.distress_due_ms());
        if !self.keeper.present {
            at(self.keeper.start_ms);
        }
        if let Some((_, start_ms)) = self.keeper.asked
            && !self.keeper.stalled
        {
            at(start_ms + u64::from(STALL_MS));
        }
        if let Some(since_ms) = self.stopping_since_ms {
            at(since_ms + u64::from(crate::limits::STOP_MS_MAX));
        }
        let idle = self.keeper.present && self.keeper.asked.is_none();
        at(match self.stage {
            Stage::Closed if idle => self.poll_due_ms,
            Stage::Standby if idle => self.standby_due_ms(),
            Stage::Master => self.master_due_ms(now_ms, idle),
            Stage::Resigning => self.resigning_due_ms(now_ms, idle),
            Stage::Closed | Stage::Standby | Stage::Loading | Stage::Claiming | Stage::Ended => {
                u64::MAX
            }
        });
        due_ms
    }
}
