//! Sites under random faults: kills, freezes, stalls, late writes of the dead, clouds that
//! answer nothing, or will not have some records. A seed gives one history.
//!
//! Checked in every history: P1 (no request of a lower term starts after one of a higher), P2
//! (what was acknowledged is delivered once all is well again, if need be by a replay of what was
//! declined), one master in the end, and no slot written by anybody but its own master. In some,
//! two nodes go by one name.

use super::*;
use crate::engine::store::StoreOrder;

/// Where the places of dead holders of the lock begin.
const GHOSTS: usize = 100;

/// xorshift64: the same seed gives the same history.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// An order on its way: performed at `apply_ms`, answered at `answer_ms`.
struct Flight {
    order: Option<ShareOrder>,
    apply_ms: u64,
    answer_ms: u64,
    outcome: Option<ShareOutcome>,
}

#[derive(Default)]
struct Host {
    flight: Option<Flight>,
    /// Requests that the uplink was ordered to start, and when it gets to them.
    starting: Vec<(u64, CloudOrder)>,
    /// Answers on their way.
    answering: Vec<(u64, CloudOutcome)>,
    frozen_until_ms: u64,
    stalled_until_ms: u64,
    dead_until_ms: u64,
}

struct Chaos {
    site: Site,
    hosts: Vec<Host>,
    dice: Dice,
    /// Operations of dead keepers that still land.
    late: Vec<(u64, Term, ShareOrder)>,
    /// Locks of the dead, and when they come free.
    ghosts: Vec<(u64, usize)>,
    class: ShareClass,
    /// How many requests started, and the highest term among them.
    started: u64,
    highest: Term,
    accepted: BTreeSet<(Term, u64)>,
    /// By term, the last record that was acknowledged.
    acknowledged: BTreeMap<Term, u64>,
    quiet: bool,
    /// The cloud will not have every seventh record.
    picky: bool,
    incarnation: u64,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.below(2);
        }
        let nodes = usize::try_from(2 + dice.below(2)).expect("few");
        let class = [ShareClass::Local, ShareClass::Nfs4, ShareClass::Doubtful]
            [usize::try_from(dice.below(3)).expect("few")];
        let lies = class == ShareClass::Doubtful && dice.one_in(2);
        let mut site = Site::new(nodes);
        site.settings.seize_ms = 10_000;
        // Requests that need nothing of the share.
        site.settings.alive_every_ms.push(400).expect("room");
        site.settings.alerts = Some(notes::Level::Info);
        site.share.class = class;
        site.share.lies = lies;
        if dice.one_in(3) {
            site.share_name(0, 1);
            // Cloned cards.
            site.nodes[1].machine = usize::from(dice.one_in(2));
        }
        let hosts = (0..nodes).map(|_| Host::default()).collect();
        Self {
            site,
            hosts,
            dice,
            late: Vec::new(),
            ghosts: Vec::new(),
            class,
            started: 0,
            highest: 0,
            accepted: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            quiet: false,
            picky: false,
            incarnation: 0,
        }
    }

    fn run(mut self, faults_ms: u64) {
        let faults_end_ms = self.site.now_ms + faults_ms;
        while self.site.now_ms < faults_end_ms {
            self.fault();
            self.step();
        }
        for host in &mut self.hosts {
            (host.frozen_until_ms, host.stalled_until_ms) = (0, 0);
            host.dead_until_ms = host.dead_until_ms.min(self.site.now_ms);
        }
        self.site.cloud = Verdict::Accepted;
        self.picky = false;
        (self.site.share.room, self.site.share.full) = (None, false);
        let healed_end_ms = self.site.now_ms + 160_000;
        while self.site.now_ms < healed_end_ms {
            self.quiet = self.site.now_ms + 30_000 > healed_end_ms;
            if self.site.now_ms.is_multiple_of(10_000) {
                for place in 0..self.hosts.len() {
                    self.site.event(place, Event::Replay);
                }
            }
            self.step();
        }
        self.check_end();
    }

    /// One of the faults, now and then.
    fn fault(&mut self) {
        let place = usize::try_from(self.dice.below(self.hosts.len() as u64)).expect("few");
        let now_ms = self.site.now_ms;
        match self.dice.below(40_000) {
            0..4 => self.die(place),
            4..8 => self.hosts[place].frozen_until_ms = now_ms + self.dice.below(30_000),
            8..12 => self.hosts[place].stalled_until_ms = now_ms + self.dice.below(20_000),
            12..14 => self.site.cloud = Verdict::Unknown,
            14..20 => self.site.cloud = Verdict::Accepted,
            20..22 if self.is_up(place) => {
                self.site.event(place, Event::Switchover { to: None });
            }
            22..24 if self.is_up(place) => self.lose_keeper(place),
            24..26 if self.is_up(place) && self.site.nodes[place].uplink => {
                self.site.nodes[place].uplink = false;
                self.site.nodes[place].requests.clear();
                self.site.event(place, Event::UplinkGone);
            }
            26..28 => self.site.cloud = Verdict::BadCredentials,
            28..34 if self.is_up(place) => self.site.event(place, Event::Replay),
            34..38 => self.picky = !self.picky,
            38..40 if self.is_up(place) => self.site.event(place, Event::Reload),
            40..44 => (self.site.share.room, self.site.share.full) = (Some(0), true),
            44..52 => (self.site.share.room, self.site.share.full) = (None, false),
            _ => {}
        }
    }

    fn is_up(&self, place: usize) -> bool {
        let host = &self.hosts[place];
        let now_ms = self.site.now_ms;
        now_ms >= host.dead_until_ms && now_ms >= host.frozen_until_ms
    }

    /// What the keeper was doing may still land: at once, late, or never.
    fn cut_flight(&mut self, place: usize) {
        let Some(flight) = self.hosts[place].flight.take() else { return };
        let Some(order) = flight.order else { return };
        let writes = matches!(
            order,
            ShareOrder::Announce(_)
                | ShareOrder::Prove(_)
                | ShareOrder::Claim { .. }
                | ShareOrder::Decline(_)
                | ShareOrder::Store(StoreOrder::Forget { .. } | StoreOrder::PutBack(_))
        );
        let span_ms = if self.class == ShareClass::Local { 100 } else { 44_000 };
        if writes && self.dice.one_in(2) {
            let at_ms = self.site.now_ms + self.dice.below(span_ms);
            let term = self.site.nodes[place].engine.own_term();
            self.late.push((at_ms, term, order));
        }
    }

    /// The lock is free at once on a local share, later elsewhere.
    fn die(&mut self, place: usize) {
        if !self.is_up(place) {
            return;
        }
        self.cut_flight(place);
        let down_ms = 500 + self.dice.below(20_000);
        self.hosts[place] = Host { dead_until_ms: self.site.now_ms + down_ms, ..Host::default() };
        self.free_lock(place);
        self.incarnation += 1;
        self.site.restart(place, 100 * self.incarnation);
    }

    fn free_lock(&mut self, place: usize) {
        let held = self.site.share.holds(place);
        self.site.share.unlock(place);
        if held && self.class != ShareClass::Local && self.dice.one_in(2) {
            let ghost = place + GHOSTS;
            self.site.share.lock.insert(ghost);
            self.ghosts.push((self.site.now_ms + self.dice.below(30_000), ghost));
        }
    }

    fn lose_keeper(&mut self, place: usize) {
        self.cut_flight(place);
        self.hosts[place].starting.clear();
        self.site.nodes[place].orders.clear();
        self.site.share.unlock(place);
        self.site.event(place, Event::KeeperGone);
    }

    fn step(&mut self) {
        let now_ms = self.site.now_ms;
        let (due, late) = self.late.drain(..).partition(|(at_ms, ..)| *at_ms <= now_ms);
        self.late = late;
        for (_, term, order) in due as Vec<_> {
            self.site.share.land_late(term, order);
        }
        let now_ms = self.site.now_ms;
        for (_, ghost) in self.ghosts.extract_if(.., |(at_ms, _)| *at_ms <= now_ms) {
            self.site.share.unlock(ghost);
        }
        for place in 0..self.hosts.len() {
            if self.is_up(place) {
                self.turn(place);
            }
        }
        self.site.now_ms += 10;
    }

    fn turn(&mut self, place: usize) {
        self.guard(place);
        self.move_requests(place);
        self.move_share(place);
        self.collect(place);
        for step in 0.. {
            let engine = &self.site.nodes[place].engine;
            assert!(step < 100, "a busy loop in node {place}: {engine:#?}");
            let now_ms = self.site.now_ms;
            if self.site.nodes[place].engine.deadline_ms(now_ms) > now_ms {
                break;
            }
            self.site.event(place, Event::Tick);
            self.note_durable(place);
            if self.hosts[place].flight.is_none() {
                self.take_off(place);
            }
        }
        self.note_durable(place);
    }

    /// The timer in the uplink ends it with its lease, also after a freeze.
    fn guard(&mut self, place: usize) {
        let node = &self.site.nodes[place];
        let over = self.site.now_ms >= node.lease_end_ms;
        if node.uplink && over && !self.hosts[place].starting.is_empty() {
            self.hosts[place].starting.clear();
            self.hosts[place].answering.clear();
            self.site.nodes[place].uplink = false;
            self.site.nodes[place].requests.clear();
            self.site.event(place, Event::UplinkGone);
        }
    }

    fn move_requests(&mut self, place: usize) {
        let now_ms = self.site.now_ms;
        if self.site.nodes[place].calling && self.dice.one_in(50) {
            self.site.answer_call(place);
        }
        for order in std::mem::take(&mut self.site.nodes[place].requests) {
            let at_ms = now_ms + self.dice.below(40);
            self.hosts[place].starting.push((at_ms, order));
        }
        if !self.site.nodes[place].uplink {
            self.hosts[place].starting.clear();
            self.hosts[place].answering.clear();
        }
        if let Some((at_ms, order)) = self.hosts[place].starting.pop() {
            if at_ms > now_ms {
                self.hosts[place].starting.push((at_ms, order));
            } else {
                self.start(place, &order);
            }
        }
        if let Some((at_ms, outcome)) = self.hosts[place].answering.pop() {
            if at_ms > now_ms {
                self.hosts[place].answering.push((at_ms, outcome));
            } else {
                self.site.event(place, Event::Cloud(&outcome));
            }
        }
    }

    /// The moment before a connection is made.
    fn start(&mut self, place: usize, order: &CloudOrder) {
        let now_ms = self.site.now_ms;
        let highest = self.highest;
        assert!(order.term >= highest, "P1: term {} after {highest} at {now_ms}", order.term);
        self.started += 1;
        self.highest = order.term;
        let records = readings_of(&order.what);
        let is_bad = self.picky && records.iter().any(|(_, seq)| seq % 7 == 3);
        let (verdict, status) = match self.site.cloud {
            Verdict::Accepted if is_bad => (Verdict::BadContent, 400),
            Verdict::BadCredentials => (Verdict::BadCredentials, 401),
            verdict => (verdict, 0),
        };
        // Outcome unknown: the cloud may have taken it all the same.
        let taken = match verdict {
            Verdict::Accepted => true,
            Verdict::Unknown => self.dice.one_in(2),
            _ => false,
        };
        if taken {
            self.accepted.extend(records);
        }
        let outcome = CloudOutcome {
            request: order.request,
            verdict,
            status,
            retry_after_ms: None,
            reason: Reason::new(),
        };
        let at_ms = now_ms + self.dice.below(300);
        self.hosts[place].answering.push((at_ms, outcome));
    }

    fn move_share(&mut self, place: usize) {
        let now_ms = self.site.now_ms;
        if self.hosts[place].flight.is_none() {
            self.take_off(place);
        }
        if now_ms < self.hosts[place].stalled_until_ms {
            return;
        }
        let Some(mut flight) = self.hosts[place].flight.take() else { return };
        if now_ms >= flight.apply_ms
            && let Some(order) = flight.order.take()
        {
            flight.outcome = Some(self.perform(place, order));
        }
        match flight.outcome {
            Some(outcome) if now_ms >= flight.answer_ms => self.land(place, &outcome),
            outcome => self.hosts[place].flight = Some(Flight { outcome, ..flight }),
        }
    }

    fn take_off(&mut self, place: usize) {
        if self.site.nodes[place].orders.is_empty() {
            return;
        }
        let order = self.site.nodes[place].orders.remove(0);
        let apply_ms = self.site.now_ms + self.dice.below(30);
        let answer_ms = apply_ms + self.dice.below(30);
        self.hosts[place].flight =
            Some(Flight { order: Some(order), apply_ms, answer_ms, outcome: None });
    }

    fn perform(&mut self, place: usize, order: ShareOrder) -> ShareOutcome {
        if let ShareOrder::Load = order {
            let settings = self.site.settings.clone();
            self.site.event(place, Event::Configured(&settings));
        }
        let attach = matches!(order, ShareOrder::Attach);
        if std::env::var("CHAOS_TRACE").is_ok() {
            eprintln!("{} n{place} {order:?}", self.site.now_ms);
        }
        let outcome = self.site.share.perform(place, order, &mut self.site.nodes[place]);
        if attach {
            let locked = self.site.share.holds(place);
            self.site.event(place, Event::UplinkReady { locked });
        }
        outcome
    }

    fn land(&mut self, place: usize, outcome: &ShareOutcome) {
        self.site.event(place, Event::Share(outcome));
        self.note_durable(place);
    }

    /// A producer posts to whoever collects.
    fn collect(&mut self, place: usize) {
        if self.site.nodes[place].term > 0 && !self.quiet && self.dice.one_in(20) {
            let records = 1 + self.dice.below(30);
            self.site.push_at(place, records);
        }
    }

    fn note_durable(&mut self, place: usize) {
        let node = &self.site.nodes[place];
        let term = node.engine.mandate.as_ref().map_or(0, Mandate::term);
        if term > 0 {
            let last = self.acknowledged.entry(term).or_default();
            *last = node.durable.max(*last);
        }
    }

    fn check_end(&self) {
        let masters = self.site.nodes.iter().filter(|node| node.engine.role() == Role::Master);
        let roles: Vec<_> = self.site.nodes.iter().map(|node| node.engine.role()).collect();
        assert_eq!(masters.count(), 1, "one master in the end: {roles:?}");
        let named = |name: &NodeName| {
            let nodes = self.site.nodes.iter().map(|node| &node.engine);
            nodes.filter(|engine| engine.host.node == *name && engine.has_name()).count()
        };
        for node in &self.site.nodes {
            let name = &node.engine.host.node;
            assert_eq!(named(name), 1, "one node named {name} in the end: {roles:?}");
        }
        let all =
            self.acknowledged.iter().flat_map(|(term, last)| (1..=*last).map(|seq| (*term, seq)));
        let lost: Vec<_> = all.filter(|record| !self.accepted.contains(record)).take(5).collect();
        assert!(lost.is_empty(), "P2: acknowledged and never delivered: {lost:?}");
        assert!(!self.acknowledged.is_empty() && self.started > 10, "something happened");
        let left = self.site.share.declined.left();
        assert!(left.is_empty(), "declined and never replayed: {left:?}");
    }
}

#[test]
fn no_history_breaks_a_promise() {
    let first: u64 =
        std::env::var("CHAOS_FIRST_SEED").map_or(1, |text| text.parse().expect("a number"));
    let seeds: u64 =
        std::env::var("CHAOS_SEEDS").map_or(60, |text| text.parse().expect("a number"));
    for seed in first..first + seeds {
        let result = std::panic::catch_unwind(|| Chaos::new(seed).run(120_000));
        assert!(result.is_ok(), "replay with CHAOS_FIRST_SEED={seed} CHAOS_SEEDS=1");
    }
}
