//! A site of real engines, and everything that may happen to it next.
//!
//! - Nothing takes time but what [`Action::Pass`] lets pass: until the next moment at which an
//!   engine or a lease has a deadline. While a step or a request waits to be done, that is a delay.
//! - A delay, and everything that goes wrong, takes one of the deviations that a search allows.
//! - What is done at once, and what an engine says at its deadline, is no choice.

use edge_agent::engine::cloud::{CloudOrder, CloudOutcome, Reason, Verdict};
use edge_agent::engine::ident::{Lane, NodeName, Role, ShareClass, Term};
use edge_agent::engine::planted::LeftOut;
use edge_agent::engine::settings::{Host, Settings};
use edge_agent::engine::share::{LockSeen, ProofVerdict, ShareOrder, ShareOutcome};
use edge_agent::engine::{Effect, Engine, Event, Now};

use crate::share::{Keeper, Life, RECORD_BYTES, Share, Step, Work, slot_of, steps_of};

/// Engines' ticks at one moment, at most.
const TICKS_MAX: u32 = 20;

/// What may happen next; the number is a node's place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Action {
    /// The keeper does its next step.
    Step(usize),
    /// The same, and the lock is granted though another has it.
    GrantTwice(usize),
    /// The uplink begins its request.
    Begin(usize),
    /// Time goes by.
    Pass,
    /// All processes of a node stop,
    Freeze(usize),
    /// and go on.
    Thaw(usize),
    /// They are killed,
    Kill(usize),
    /// and what was being written arrives later;
    KillLate(usize),
    /// they are started again.
    Start(usize),
    /// A slot that was written long ago arrives.
    Land,
    /// The server forgets who holds the lock.
    ForgetLock,
    /// An operator asks this node for a switchover,
    Switchover(usize),
    /// or stops it.
    Stop(usize),
}

/// The uplink: it begins nothing after the lease's end.
#[derive(Clone, Hash, Default, Debug)]
struct Uplink {
    order: Option<CloudOrder>,
}

/// What a node's processes have to say to its engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Word {
    KeeperStarted,
    UplinkReady,
    UplinkGone,
    CallerGone,
    Gathered,
}

#[derive(Clone, Hash)]
struct Node {
    life: Life,
    up: bool,
    frozen: bool,
    engine: Engine,
    keeper: Option<Keeper>,
    uplink: Option<Uplink>,
    words: Vec<Word>,
    lease_end_ms: u64,
    /// When the last good proof of this life began.
    proof_ms: Option<u64>,
}

/// A site at a moment.
#[derive(Clone, Hash)]
pub(crate) struct Site {
    pub(crate) now_ms: u64,
    nodes: Vec<Node>,
    pub(crate) share: Share,
    /// How many more things may go wrong.
    pub(crate) deviations: u8,
    /// The highest term of a request so far.
    begun: Term,
    /// Who wrote the slots of each term.
    writers: Vec<(Term, Life)>,
    settings: Settings,
    left_out: LeftOut,
    /// The promise that is broken.
    pub(crate) broken: Option<String>,
}

impl Site {
    /// So many nodes on an empty share, none of them up.
    pub(crate) fn new(nodes: usize, class: ShareClass, left_out: LeftOut) -> Self {
        let mut settings = Settings {
            configured: true,
            poll_ms: 500,
            heartbeat_ms: 1_000,
            fence_ms: 3_000,
            seize_ms: 4_000,
            sync_ms: 0,
            batch_age_ms_max: 0,
            alerts: None,
            ..Settings::default()
        };
        settings.alive_every_ms.push(1_000).expect("room for one thing");
        let mut site = Self {
            now_ms: 1_000_000,
            nodes: Vec::new(),
            share: Share::new(class, left_out),
            deviations: 0,
            begun: 0,
            writers: Vec::new(),
            settings,
            left_out,
            broken: None,
        };
        site.nodes = (0..nodes).map(|place| site.node((place, 0))).collect();
        site
    }

    fn node(&self, life: Life) -> Node {
        let host = Host {
            node: NodeName::parse(&format!("gw-{}", life.0)).expect("a name"),
            nonce: 1 + life.0 as u64 + 10 * u64::from(life.1),
            advertise: heapless::String::new(),
            version: heapless::String::new(),
            alone: false,
            run_dir_ours: true,
            left_out: self.left_out,
        };
        Node {
            life,
            up: false,
            frozen: false,
            engine: Engine::new(host),
            keeper: None,
            uplink: None,
            words: Vec::new(),
            lease_end_ms: 0,
            proof_ms: None,
        }
    }

    fn now(&self) -> Now {
        Now { ms: self.now_ms, wall_ms: 1_800_000_000_000 + self.now_ms }
    }

    // --- what may happen --------------------------------------------------------------------

    /// Everything that may happen next.
    pub(crate) fn choices(&self) -> Vec<Action> {
        let mut all = Vec::new();
        let mut waits = false;
        for (place, node) in self.nodes.iter().enumerate() {
            if !node.up {
                all.push(Action::Start(place));
                continue;
            }
            if node.frozen {
                all.push(Action::Thaw(place));
                continue;
            }
            let step = node.next_step();
            if step.is_some() {
                all.push(Action::Step(place));
            }
            if node.order().is_some() {
                all.push(Action::Begin(place));
            }
            waits |= step.is_some() || node.order().is_some();
            if self.deviations > 0 {
                self.faults_of(place, node, step, &mut all);
            }
        }
        if !self.share.late.is_empty() {
            all.push(Action::Land);
        }
        let forgets = self.share.class != ShareClass::Local && !self.share.holders.is_empty();
        if forgets && self.deviations > 0 {
            all.push(Action::ForgetLock);
        }
        if (!waits || self.deviations > 0) && self.next_ms().is_some() {
            all.push(Action::Pass);
        }
        all
    }

    fn faults_of(&self, place: usize, node: &Node, step: Option<Step>, all: &mut Vec<Action>) {
        all.extend([Action::Freeze(place), Action::Kill(place), Action::Stop(place)]);
        let role = node.engine.status(self.now_ms).role;
        if role == Role::Master {
            all.push(Action::Switchover(place));
        }
        let local = self.share.class == ShareClass::Local;
        if step == Some(Step::Write) && !local {
            all.push(Action::KillLate(place));
        }
        let tries = matches!(step, Some(Step::Lock | Step::Byte));
        if tries && !local && self.share.is_busy(node.life) {
            all.push(Action::GrantTwice(place));
        }
    }

    /// Whether it takes a deviation.
    fn costs(&self, action: Action) -> bool {
        match action {
            Action::Step(_)
            | Action::Begin(_)
            | Action::Thaw(_)
            | Action::Start(_)
            | Action::Land => false,
            Action::Pass => self.waits(),
            Action::GrantTwice(_)
            | Action::Freeze(_)
            | Action::Kill(_)
            | Action::KillLate(_)
            | Action::ForgetLock
            | Action::Switchover(_)
            | Action::Stop(_) => true,
        }
    }

    fn waits(&self) -> bool {
        let runs = |node: &&Node| node.up && !node.frozen;
        self.nodes.iter().filter(runs).any(|it| it.next_step().is_some() || it.order().is_some())
    }

    /// The next moment at which anything is due.
    fn next_ms(&self) -> Option<u64> {
        let runs = |node: &&Node| node.up && !node.frozen;
        let deadlines = self.nodes.iter().filter(runs).map(|it| it.engine.deadline_ms(self.now_ms));
        // who is stopped has leases and others' patience run out meanwhile
        let leases = self.nodes.iter().map(|node| node.lease_end_ms);
        let next = deadlines.chain(leases).filter(|at_ms| *at_ms > self.now_ms).min();
        next.filter(|at_ms| *at_ms < u64::MAX)
    }

    // --- what happens -----------------------------------------------------------------------

    /// It happens.
    pub(crate) fn take(&mut self, action: Action) {
        self.deviations -= u8::from(self.costs(action));
        match action {
            Action::Step(place) => self.step(place, false),
            Action::GrantTwice(place) => self.step(place, true),
            Action::Begin(place) => self.begin(place),
            Action::Pass => {
                self.now_ms = self.next_ms().expect("something is due");
                (0..self.nodes.len()).for_each(|place| self.tick(place));
            }
            Action::Freeze(place) => self.nodes[place].frozen = true,
            Action::Thaw(place) => {
                self.nodes[place].frozen = false;
                self.tick(place);
            }
            Action::Kill(place) => self.kill(place),
            Action::KillLate(place) => {
                let work = self.nodes[place].keeper.as_ref().and_then(|it| it.work.as_ref());
                let slot = work.and_then(|work| slot_of(&work.order)).cloned();
                self.share.late.extend(slot);
                self.kill(place);
            }
            Action::Start(place) => {
                let (place, run) = self.nodes[place].life;
                self.nodes[place] = self.node((place, run + 1));
                self.nodes[place].up = true;
                self.tick(place);
            }
            Action::Land => {
                let slot = self.share.late.remove(0);
                self.share.write(&slot);
            }
            Action::ForgetLock => self.share.holders.clear(),
            Action::Switchover(place) => self.tell(place, Event::Switchover { to: None }),
            Action::Stop(place) => self.tell(place, Event::Stop),
        }
    }

    fn kill(&mut self, place: usize) {
        let life = self.nodes[place].life;
        self.share.holders.remove(&life);
        self.nodes[place] = self.node(life);
    }

    /// An engine is called until nothing of it is due.
    fn tick(&mut self, place: usize) {
        for _ in 0..TICKS_MAX {
            let node = &self.nodes[place];
            let is_due = node.engine.deadline_ms(self.now_ms) <= self.now_ms;
            if !node.up || node.frozen || !is_due {
                return;
            }
            self.tell(place, Event::Tick);
        }
        self.broken = Some(format!("gw-{place} wants to be called again and again"));
    }

    /// Tells an engine, and does at once what needs no choice.
    fn tell(&mut self, place: usize, event: Event<'_>) {
        self.event(place, event);
        while self.nodes[place].up {
            if !self.nodes[place].words.is_empty() {
                let word = self.nodes[place].words.remove(0);
                let locked = self.nodes[place].keeper.as_ref().is_some_and(|keeper| keeper.grip);
                let event = match word {
                    Word::KeeperStarted => {
                        self.nodes[place].keeper = Some(Keeper::default());
                        Event::KeeperStarted
                    }
                    Word::UplinkReady => Event::UplinkReady { locked },
                    Word::UplinkGone => Event::UplinkGone,
                    Word::CallerGone => Event::CallerGone,
                    Word::Gathered => Event::Gathered {
                        lane: Lane::Readings,
                        bytes: RECORD_BYTES,
                        through_seq: 1,
                    },
                };
                self.event(place, event);
            } else if !self.do_at_once(place) {
                return;
            }
        }
    }

    /// Whether there was anything.
    fn do_at_once(&mut self, place: usize) -> bool {
        let node = &mut self.nodes[place];
        let Some(keeper) = &mut node.keeper else { return false };
        let Some(work) = keeper.work.take_if(|work| work.steps.is_empty()) else { return false };
        let outcome = self.share.at_once(node.life, keeper, &work.order);
        match work.order {
            ShareOrder::Load => {
                let settings = self.settings.clone();
                self.event(place, Event::Configured(&settings));
            }
            ShareOrder::Attach => self.nodes[place].words.push(Word::UplinkReady),
            _ => {}
        }
        self.event(place, Event::Share(&outcome));
        true
    }

    fn event(&mut self, place: usize, event: Event<'_>) {
        let now = self.now();
        let mut effects = Vec::new();
        self.nodes[place].engine.handle(now, event, &mut |effect| effects.push(effect));
        for effect in effects {
            self.perform(place, effect);
        }
    }

    fn perform(&mut self, place: usize, effect: Effect) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[place];
        match effect {
            Effect::Share(order) => {
                if let Some(keeper) = &mut node.keeper {
                    let (steps, lock) = (steps_of(&order), LockSeen::Left);
                    keeper.work = Some(Work { order, steps, begun_ms: now_ms, lock });
                }
            }
            Effect::StartKeeper => node.words.push(Word::KeeperStarted),
            Effect::StartUplink => node.uplink = Some(Uplink::default()),
            Effect::KillUplink => {
                if node.uplink.take().is_some() {
                    node.words.push(Word::UplinkGone);
                }
            }
            Effect::Cloud(order) => {
                if let Some(uplink) = &mut node.uplink {
                    uplink.order = Some(order);
                }
            }
            Effect::Call(_) | Effect::EndCall => node.words.push(Word::CallerGone),
            Effect::Lease { end_ms } => node.lease_end_ms = end_ms,
            Effect::Exit => self.kill(place),
            // one reading a term, so that there is something to forward
            Effect::Collect { .. } => node.words.push(Word::Gathered),
            Effect::StopCollecting
            | Effect::Durable { .. }
            | Effect::OutcomeUnknown
            | Effect::Note(_)
            | Effect::Alert(_) => {}
        }
    }

    fn step(&mut self, place: usize, lies: bool) {
        let node = &mut self.nodes[place];
        let life = node.life;
        let Some(keeper) = &mut node.keeper else { return };
        let Some(mut work) = keeper.work.take() else { return };
        if work.steps.last() == Some(&Step::Write)
            && let Some(slot) = slot_of(&work.order)
        {
            match self.writers.iter().find(|(term, _)| *term == slot.term) {
                Some((term, other)) if *other != life => {
                    self.broken =
                        Some(format!("{other:?} and {life:?} write slots of term {term}"));
                }
                Some(_) => {}
                None => self.writers.push((slot.term, life)),
            }
        }
        let outcome = self.share.step(life, keeper, &mut work, lies);
        let begun_ms = work.begun_ms;
        match outcome {
            None => keeper.work = Some(work),
            Some(outcome) => {
                if let ShareOutcome::Proven(proven) = &outcome {
                    let good = proven.verdict == ProofVerdict::Proven;
                    node.proof_ms = good.then_some(begun_ms);
                }
                self.tell(place, Event::Share(&outcome));
                self.tick(place);
            }
        }
    }

    /// The moment before the connection is made: P1.
    fn begin(&mut self, place: usize) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[place];
        let order = node.uplink.as_mut().and_then(|uplink| uplink.order.take());
        let order = order.expect("a request waits");
        if now_ms >= node.lease_end_ms {
            node.uplink = None;
            self.tell(place, Event::UplinkGone);
            self.tick(place);
            return;
        }
        let lease_ms = u64::from(self.settings.fence_ms);
        if node.proof_ms.is_none_or(|proof_ms| now_ms >= proof_ms + lease_ms) {
            self.broken = Some(format!("gw-{place} begins a request without a fresh proof"));
        }
        if order.term < self.begun {
            let (term, begun) = (order.term, self.begun);
            self.broken = Some(format!("P1: a request of term {term} after one of term {begun}"));
        }
        self.begun = self.begun.max(order.term);
        let outcome = CloudOutcome {
            request: order.request,
            verdict: Verdict::Accepted,
            status: 200,
            retry_after_ms: None,
            reason: Reason::new(),
        };
        self.tell(place, Event::Cloud(&outcome));
        self.tick(place);
    }

    // --- what becomes of it -----------------------------------------------------------------

    /// Everything is well from now on, for so long; whether this came true before that.
    pub(crate) fn run_until(&mut self, limit_ms: u64, is_so: impl Fn(&Self) -> bool) -> bool {
        let end_ms = self.now_ms + limit_ms;
        self.deviations = 0;
        while self.now_ms < end_ms && self.broken.is_none() {
            if is_so(self) {
                return true;
            }
            let next = self.choices().into_iter().find(|action| !matches!(action, Action::Thaw(_)));
            let Some(next) = next else { return false };
            self.take(next);
        }
        false
    }

    /// It happens, and takes no deviation.
    pub(crate) fn take_free(&mut self, action: Action) {
        self.deviations = 1;
        self.take(action);
        self.deviations = 0;
    }

    /// Whether somebody is about to make a claim.
    pub(crate) fn is_claiming(&self) -> bool {
        self.nodes.iter().any(|node| node.next_step() == Some(Step::Claim))
    }

    /// Whether a node's last proof began a moment ago, and nothing is under way.
    pub(crate) fn has_just_proved(&self, place: usize) -> bool {
        let node = &self.nodes[place];
        node.proof_ms == Some(self.now_ms) && node.next_step().is_none()
    }

    /// Everybody is up and goes on.
    pub(crate) fn heal(&mut self) {
        for place in 0..self.nodes.len() {
            if self.nodes[place].up && self.nodes[place].frozen {
                self.take(Action::Thaw(place));
            }
        }
    }

    /// One node is master and free to forward, all others stand by.
    pub(crate) fn is_well(&self) -> bool {
        let all: Vec<_> = self.nodes.iter().map(|node| node.engine.status(self.now_ms)).collect();
        let masters = all.iter().filter(|it| it.role == Role::Master && it.fenced).count();
        let standbys = all.iter().filter(|it| it.role == Role::Standby).count();
        masters == 1 && standbys + 1 == all.len()
    }

    /// The master, if this node is one that is free to forward.
    pub(crate) fn is_fenced(&self, place: usize) -> bool {
        let status = self.nodes[place].engine.status(self.now_ms);
        status.role == Role::Master && status.fenced
    }

    /// A line for people.
    pub(crate) fn tell_state(&self) -> String {
        let each = self.nodes.iter().map(|node| {
            let status = node.engine.status(self.now_ms);
            let state = match (node.up, node.frozen) {
                (false, _) => "down".to_owned(),
                (true, true) => format!("frozen {:?} {}", status.role, status.term),
                (true, false) => format!("{:?} {}", status.role, status.term),
            };
            let work = node.next_step().map_or(String::new(), |step| format!(" ({step:?} next)"));
            format!("gw-{}: {state}{work}", node.life.0)
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Node {
    fn next_step(&self) -> Option<Step> {
        self.keeper.as_ref()?.work.as_ref()?.steps.last().copied()
    }

    fn order(&self) -> Option<&CloudOrder> {
        self.uplink.as_ref()?.order.as_ref()
    }
}
