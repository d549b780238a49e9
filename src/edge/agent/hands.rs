//! The engine's effects, performed: children, orders, the lease, what is gathered.
//!
//! 1. Nothing here blocks: an effect that has to wait for anything becomes an event later.
//! 2. At most one keeper and one uplink are known; each stays known until it is reaped.
//! 3. The agent holds a descriptor of an uplink's socket only from its fork to its `Attach`.
//! 4. What is gathered grows only right before the engine is told: an `Append` takes all that
//!    is gathered, and the engine says how much that is.
//! 5. An alert raised while the clock is not set is gathered once it is, with the time of when
//!    it was raised.

use std::os::fd::{AsFd, OwnedFd};

use heapless::{Deque, Vec as List};

use super::super::alerts::{self, Sender, Unstamped};
use super::super::channel::Link;
use super::super::children::{self, Child};
use super::super::cloud::CloudSetup;
use super::super::collector;
use super::super::config::Config;
use super::super::console::Console;
use super::super::gather::{Full, Gather};
use super::super::keeper::{self, KeeperOrder, Place};
use super::super::tally::Tally;
use super::super::uplink;
use crate::engine::cloud::CloudOrder;
use crate::engine::ident::{Lane, NodeName, SiteId, Term};
use crate::engine::notes::{Alert, Level, Note};
use crate::engine::segment::GroupOf;
use crate::engine::share::ShareOrder;
use crate::engine::{Effect, Event};
use crate::limits::COLLECTORS_ABANDONED_MAX;
use crate::sys::clock::{boottime_ms, wall_ms};
use crate::sys::lease::Lease;
use crate::sys::process::{self, Exit, Pid};
use crate::sys::signals::Signal;
use crate::sys::socket;

/// Events that effects bring about at once: starts that failed or succeeded, alerts gathered.
const SOON_MAX: usize = 64;

/// What becomes an event as soon as the engine is free.
#[derive(Clone, Copy, Debug)]
pub(super) enum Soon {
    KeeperStarted,
    KeeperGone,
    UplinkGone,
    CallerGone,
    Gathered(Lane),
}

/// A child process, until it is reaped and its last answers were taken.
pub(super) struct Process {
    pub(super) pid: Pid,
    /// We had no more use for it.
    is_killed: bool,
    /// Its pid may be another's by now: it is not killed any more.
    is_reaped: bool,
    /// `None` once it is of no more use.
    pub(super) link: Option<Link>,
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { pid: child.pid, is_killed: false, is_reaped: false, link: Some(child.link) }
    }
}

/// What acts for the engine.
pub(super) struct Hands {
    pub(super) node: NodeName,
    pub(super) place: Place,
    pub(super) config: Option<Config>,
    /// What an uplink is started with.
    pub(super) setup: Option<CloudSetup>,
    pub(super) site: Option<SiteId>,
    pub(super) keeper: Option<Process>,
    pub(super) uplink: Option<Process>,
    pub(super) collector: Option<Process>,
    /// The process of a node's own distress.
    pub(super) caller: Option<Process>,
    /// Collectors that were killed and are not yet reaped.
    pub(super) abandoned: List<Pid, COLLECTORS_ABANDONED_MAX>,
    pub(super) console: Console,
    pub(super) gathers: [Gather; 2],
    /// The term that is collected for; `None`: nothing is.
    pub(super) collecting: Option<Term>,
    pub(super) soon: Deque<Soon, SOON_MAX>,
    pub(super) exiting: bool,
    pub(super) tally: Tally,
    /// The lane whose groups are with the keeper.
    flying: Option<Lane>,
    lease: Lease,
    uplink_socket: Option<OwnedFd>,
    /// Alerts that are still to be gathered (4): the engine was at work when it raised them.
    alerts: Vec<u8>,
    /// Alerts that wait for a clock that is set, and when they were raised (5).
    unstamped: Unstamped,
    is_clock_set: bool,
    number: u32,
}

impl Hands {
    pub(super) fn new(node: NodeName, place: Place, console: Console, lease: Lease) -> Self {
        Self {
            node,
            place,
            config: None,
            setup: None,
            site: None,
            keeper: None,
            uplink: None,
            collector: None,
            caller: None,
            abandoned: List::new(),
            console,
            gathers: [Gather::default(), Gather::default()],
            collecting: None,
            soon: Deque::new(),
            exiting: false,
            tally: Tally::default(),
            flying: None,
            lease,
            uplink_socket: None,
            alerts: Vec::new(),
            unstamped: Unstamped::default(),
            is_clock_set: true,
            number: 0,
        }
    }

    /// Number of the order that the keeper was given last.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Performs one effect.
    pub(super) fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Share(order) => self.order_keeper(order),
            Effect::StartKeeper => self.start_keeper(),
            Effect::StartUplink => self.start_uplink(),
            Effect::KillUplink => self.kill_uplink(),
            Effect::Cloud(order) => self.order_uplink(&order),
            Effect::Call(call) => self.call(&call),
            Effect::EndCall => self.end_call(),
            Effect::Lease { end_ms: 0 } => self.lease.clear(),
            Effect::Lease { end_ms } => self.lease.set(end_ms),
            Effect::Collect { term } => self.collect(term),
            Effect::StopCollecting => self.stop_collecting(),
            Effect::Durable { lane: Lane::Readings, through_seq } => {
                self.console.durable(through_seq);
            }
            // Nobody waits for an alert of our own.
            Effect::Durable { lane: Lane::Alerts, .. } => {}
            Effect::OutcomeUnknown => {
                self.console.outcome_unknown();
                self.gathers.iter_mut().for_each(Gather::clear);
                self.alerts.clear();
                self.unstamped = Unstamped::default();
            }
            Effect::Note(note) => say(&note),
            Effect::Alert(alert) => self.gather_alert(&alert),
            Effect::Exit => self.exiting = true,
        }
    }

    /// Takes whole records of readings; gives the seq of the last.
    pub(super) fn gather(&mut self, lane: Lane, lines: &[u8]) -> Result<u64, Full> {
        let through_seq = self.gathers[lane.index()].push(lines)?;
        self.later(Soon::Gathered(lane));
        Ok(through_seq)
    }

    /// What the engine is told of a lane's gathered groups, right now (4).
    pub(super) fn gathered(&mut self, lane: Lane) -> Event<'static> {
        let gather = &mut self.gathers[lane.index()];
        if lane == Lane::Alerts && !self.alerts.is_empty() {
            if gather.push(&self.alerts).is_err() {
                log::error!("alerts: no room for {} bytes more", self.alerts.len());
            }
            self.alerts.clear();
        }
        Event::Gathered { lane, bytes: gather.bytes(), through_seq: gather.through_seq() }
    }

    /// The keeper answered: what flew with that order has landed, if it was done.
    pub(super) fn land(&mut self, is_done: bool) {
        if let Some(lane) = self.flying.take().filter(|_| is_done) {
            self.gathers[lane.index()].landed();
        }
    }

    /// Kills a child whose channel is broken; its end is an event once it is reaped.
    pub(super) fn cut(child: Option<&mut Process>) {
        if let Some(child) = child {
            child.link = None;
            child.kill();
        }
    }

    /// A child was reaped: says how it ended, unless it was we who ended it.
    pub(super) fn bury(child: Option<&mut Process>, name: &str, exit: Exit) {
        if let Some(child) = child {
            child.is_reaped = true;
            let expected = child.is_killed && exit == Exit::Signal(Signal::Kill.number());
            let level = if expected { log::Level::Debug } else { log::Level::Warn };
            log::log!(target: "edge_agent", level, "{name}: gone ({exit})");
        }
    }

    /// The site that was opened is ours from now on, and no other: an empty mount point must
    /// not become a second one.
    pub(super) fn pin(&mut self, site: SiteId) {
        self.site = Some(site);
        self.place.expected_site = Some(site);
        self.place.may_create = false;
    }

    pub(super) fn later(&mut self, soon: Soon) {
        // Bounded by the effects of one event; gathered lanes repeat, and one telling is enough.
        let known = self.soon.iter().any(
            |other| matches!((other, soon), (Soon::Gathered(a), Soon::Gathered(b)) if *a == b),
        );
        if !known {
            assert!(self.soon.push_back(soon).is_ok(), "more than {SOON_MAX} events at once");
        }
    }

    fn start_keeper(&mut self) {
        let place = self.place.clone();
        match children::spawn("edge-keeper", &[], move |port| keeper::run(port, place)) {
            Ok(child) => {
                self.keeper = Some(child.into());
                self.later(Soon::KeeperStarted);
            }
            Err(error) => {
                log::error!("keeper: cannot be started: {error}");
                self.later(Soon::KeeperGone);
            }
        }
    }

    fn order_keeper(&mut self, order: ShareOrder) {
        self.number = self.number.wrapping_add(1);
        self.flying = None;
        self.tally.ordered(boottime_ms());
        let Some(link) = self.keeper.as_mut().and_then(|keeper| keeper.link.as_mut()) else {
            return;
        };
        let (body, socket): (&[u8], _) = match &order {
            ShareOrder::Append(append) => {
                self.flying = Some(append.lane);
                (self.gathers[append.lane.index()].take(), None)
            }
            ShareOrder::Attach => (&[], self.uplink_socket.take()),
            ShareOrder::Open
            | ShareOrder::Load
            | ShareOrder::Poll(_)
            | ShareOrder::Claim { .. }
            | ShareOrder::Announce(_)
            | ShareOrder::Prove(_)
            | ShareOrder::Fetch(_)
            | ShareOrder::Survey
            | ShareOrder::Nodes(_)
            | ShareOrder::Forget { .. }
            | ShareOrder::Newest { .. }
            | ShareOrder::Sweep { .. }
            | ShareOrder::Tidy { .. }
            | ShareOrder::Decline(_)
            | ShareOrder::Store(_)
            | ShareOrder::Reserve(_)
            | ShareOrder::Reread
            | ShareOrder::Release(_) => (&[], None),
        };
        let order = KeeperOrder { number: self.number, order };
        if let Err(error) = link.send(&order, body, socket.as_ref().map(AsFd::as_fd)) {
            log::error!("keeper: cannot be ordered: {error}");
            Self::cut(self.keeper.as_mut());
        }
    }

    fn start_uplink(&mut self) {
        match self.fork_uplink() {
            Ok(child) => self.uplink = Some(child.into()),
            Err(error) => {
                log::error!("uplink: cannot be started: {error}");
                self.later(Soon::UplinkGone);
            }
        }
    }

    fn fork_uplink(&mut self) -> std::io::Result<Child> {
        let setup = self.setup.as_ref().ok_or(std::io::ErrorKind::InvalidInput)?;
        let (ours, theirs) = socket::pair()?;
        let lease = &self.lease;
        let child = children::spawn("edge-uplink", &[theirs.as_fd()], |port| {
            if let Ok(socket) = theirs.try_clone() {
                uplink::run(port, Some(socket), lease, setup);
            }
        })?;
        self.uplink_socket = Some(ours);
        Ok(child)
    }

    fn kill_uplink(&mut self) {
        self.uplink_socket = None;
        match &mut self.uplink {
            Some(uplink) => {
                uplink.link = None;
                uplink.kill();
            }
            None => self.later(Soon::UplinkGone),
        }
    }

    fn order_uplink(&mut self, order: &CloudOrder) {
        self.tally.asked(boottime_ms());
        let link = self.uplink.as_mut().and_then(|uplink| uplink.link.as_mut());
        if let Some(Err(error)) = link.map(|link| link.send(order, &[], None)) {
            log::error!("uplink: cannot be ordered: {error}");
            Self::cut(self.uplink.as_mut());
        }
    }

    fn collect(&mut self, term: Term) {
        for lane in Lane::ALL {
            self.gathers[lane.index()].begin(GroupOf { term, lane });
        }
        self.collecting = Some(term);
        self.judge_intake();
    }

    fn stop_collecting(&mut self) {
        self.collecting = None;
        self.judge_intake();
        self.stop_collector();
    }

    /// Readings are taken in while they are collected and the configuration wants them.
    pub(super) fn judge_intake(&mut self) {
        let wanted = self.config.as_ref().is_some_and(|config| config.intake.enabled);
        self.console.set_intake(wanted && self.collecting.is_some());
    }

    /// Starts the collector; false: it cannot be.
    pub(super) fn start_collector(&mut self) -> bool {
        let Some(config) = &self.config else { return false };
        let folder = self.place.folder();
        let body = |port| collector::run(port, config, folder);
        match children::spawn("edge-collector", &[], body) {
            Ok(child) => self.collector = Some(child.into()),
            Err(error) => log::error!("collector: cannot be started: {error}"),
        }
        self.collector.is_some()
    }

    /// Ends the collector, if there is one, and tells which; it may take its time to end.
    pub(super) fn stop_collector(&mut self) -> Option<Pid> {
        let mut collector = self.collector.take()?;
        collector.kill();
        self.abandoned.push(collector.pid).expect("none is started while as many as fit remain");
        Some(collector.pid)
    }

    /// A child ended; whether it was an abandoned collector.
    pub(super) fn forget_abandoned(&mut self, pid: Pid) -> bool {
        let count = self.abandoned.len();
        self.abandoned.retain(|other| *other != pid);
        self.abandoned.len() < count
    }

    pub(super) fn gather_alert(&mut self, alert: &Alert) {
        if self.is_clock_set {
            self.gather_stamped(alert, wall_ms());
        } else if self.collecting.is_some() {
            self.unstamped.push(boottime_ms(), alert);
        }
    }

    /// The clock says so; `None`: it is not set. What waited for it is gathered (5).
    pub(super) fn stamp_alerts(&mut self, now_ms: u64, wall_ms: Option<u64>) {
        self.is_clock_set = wall_ms.is_some();
        let Some(wall_ms) = wall_ms else { return };
        for (raised_ms, alert) in self.unstamped.take(now_ms, wall_ms) {
            self.gather_stamped(&alert, raised_ms);
        }
    }

    fn gather_stamped(&mut self, alert: &Alert, wall_ms: u64) {
        let (Some(config), Some(term)) = (&self.config, self.collecting) else { return };
        let Some(thing_key) = &config.alerts.thing_key else { return };
        if alert.weight() < config.alerts.level_min.into() {
            return;
        }
        let site = config.site.as_str();
        let sender = Sender { thing_key: thing_key.as_str(), site, node: &self.node, term };
        alerts::write_line(alert, sender, wall_ms, &mut self.alerts);
        self.later(Soon::Gathered(Lane::Alerts));
    }
}

impl Process {
    fn kill(&mut self) {
        if self.is_reaped {
            return;
        }
        self.is_killed = true;
        if let Err(error) = process::kill(self.pid, Signal::Kill) {
            log::error!("process {}: cannot be killed: {error}", self.pid.0);
        }
    }
}

fn say(note: &Note) {
    let level = match note.level() {
        Level::Info => log::Level::Info,
        Level::Warning => log::Level::Warn,
        Level::Error | Level::Critical => log::Level::Error,
    };
    log::log!(target: "edge_agent", level, "{note}");
}
