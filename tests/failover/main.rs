//! Real processes on a real data directory, killed, frozen and cheated; a TLS receiver that
//! checks every request.
//!
//! The fast run does two rounds of each; `EDGE_LONG=1` as many as each test names.
//! `EDGE_KEEP=1` keeps the scratch folders; those of failed tests stay anyway.
//!
//! Times are waited for with generous limits, never asserted to be short: this runs on busy
//! machines. What takeovers cost is measured by the benchmark.

mod alerts;
mod checkers;
mod cloud;
mod commands;
mod console;
mod declined;
mod distress;
mod first_look;
mod freeze;
mod frugal;
mod handover;
mod journal;
mod kills;
mod load;
mod lockfile;
mod names;
mod sources;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use support::producer::{Producer, Sent};
use support::receiver::{Behaviour, Receiver};
use support::site::{Plan, Site};
use support::trace;

/// The load that every test is under: readings a second.
const LOAD: u64 = 2_000;

/// How many rounds to do: `long` only if asked for.
fn rounds(long: usize) -> usize {
    if std::env::var_os("EDGE_LONG").is_some_and(|value| value == "1") { long } else { 2 }
}

/// Whose turn it is; only held.
#[allow(dead_code, reason = "what counts is how long it lives")]
enum Turn {
    Alone(RwLockWriteGuard<'static, ()>),
    Beside(RwLockReadGuard<'static, ()>),
}

static TURN: RwLock<()> = RwLock::new(());

impl Turn {
    /// Of a test that keeps two processors busy.
    fn alone() -> Self {
        Self::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of a test that mostly waits: others of its kind go on beside it.
    fn beside() -> Self {
        Self::Beside(TURN.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A site and its cloud.
struct Scene {
    site: Site,
    receiver: Receiver,
    _turn: Turn,
}

impl Scene {
    /// The only one, as long as it lives.
    fn new(plan: &Plan) -> Self {
        Self::in_turn(Turn::alone(), plan)
    }

    /// One of several that mostly wait.
    fn beside(plan: &Plan) -> Self {
        Self::in_turn(Turn::beside(), plan)
    }

    fn in_turn(turn: Turn, plan: &Plan) -> Self {
        let receiver = Receiver::start();
        let binary = Path::new(env!("CARGO_BIN_EXE_edge-agent"));
        Self { site: Site::new(binary, &receiver, plan), receiver, _turn: turn }
    }

    /// Starts nodes, the first of them to be master, and waits until all have their places.
    fn start(&mut self, nodes: &[&str]) {
        let (first, others) = nodes.split_first().expect("at least one node");
        self.site.start(first);
        self.site.wait_fenced(0);
        for node in others {
            self.site.start(node);
        }
        for node in others {
            self.site.wait_standby(node);
        }
    }

    fn produce(&self, nodes: &[&str]) -> Producer {
        Producer::start(self.site.sockets(nodes), LOAD)
    }

    /// Two nodes, one of them this master: waits until the other stands by, the load is up and
    /// batches arrive. Gives the standby.
    fn ready_for_blow(
        &self,
        nodes: &[&'static str; 2],
        master: &str,
        producer: &Producer,
        round: usize,
    ) -> &'static str {
        let standby = nodes.iter().find(|node| **node != master).expect("two nodes");
        self.site.wait_standby(standby);
        self.vary_answers(round);
        self.wait_load(producer);
        self.wait_delivery_since(self.mark());
        standby
    }

    /// Waits until the producer was acknowledged a second's worth more.
    fn wait_load(&self, producer: &Producer) {
        let enough = producer.acknowledged() + LOAD;
        self.site.wait("a second's worth of readings to be acknowledged", 60, |_| {
            (producer.acknowledged() >= enough).then_some(())
        });
    }

    /// In every other round answers take their time, so that what is done next most likely
    /// happens between a delivery and its answer.
    fn vary_answers(&self, round: usize) {
        let slow = Behaviour::Delay(Duration::from_millis(120));
        self.receiver.behave(if round.is_multiple_of(2) { slow } else { Behaviour::Answer(200) });
    }

    /// How many requests have come so far.
    fn mark(&self) -> usize {
        self.receiver.ledger().requests.len()
    }

    /// Waits until a whole batch of readings that were never seen before comes after `mark`.
    fn wait_delivery_since(&self, mark: usize) {
        let seen = self.receiver.wait(Duration::from_secs(60), |ledger| {
            let mut later = ledger.requests.iter().skip(mark);
            let is_new = |r: &support::ledger::Request| r.repeated == 0 && r.status == 200;
            later
                .any(|r| r.count > 0 && r.records.contains("/readings/") && is_new(r))
                .then_some(())
        });
        assert!(
            seen.is_some(),
            "no new readings came\n{}{}",
            self.receiver.ledger().tail(),
            self.site.report()
        );
    }

    /// Ends the producer and judges: nothing lost, no rule of the ledger broken, no request of
    /// an older term after one of a newer, no process with a second thread.
    fn finish(&self, producer: Producer) -> Sent {
        let sent = producer.stop();
        assert!(!sent.acknowledged.is_empty(), "nothing was acknowledged: {:?}", sent.refusals);
        self.wait_all_delivered(&sent);
        self.judge();
        sent
    }

    fn wait_all_delivered(&self, sent: &Sent) {
        let mut next = 0;
        let all = self.receiver.wait(Duration::from_secs(60), |ledger| {
            let found = |number: &&u64| ledger.has(**number);
            next += sent.acknowledged[next..].iter().take_while(found).count();
            (next == sent.acknowledged.len()).then_some(())
        });
        let ledger = self.receiver.ledger();
        let missing = ledger.missing(&sent.acknowledged);
        assert!(
            all.is_some() && missing.is_empty(),
            "{} of {} acknowledged readings were lost (L6), the first: {:?}\nrefusals: {:?}\n{}{}",
            missing.len(),
            sent.acknowledged.len(),
            &missing[..missing.len().min(10)],
            sent.refusals,
            ledger.tail(),
            self.site.report()
        );
    }

    fn judge(&self) {
        let ledger = self.receiver.ledger();
        assert!(ledger.faults.is_empty(), "{:#?}\n{}", ledger.faults, self.site.report());
        assert_eq!(ledger.order_fault(), None, "{}", self.site.report());
        let threads = self.site.thread_faults();
        assert!(threads.is_empty(), "processes with threads: {threads:?}");
    }
}

/// P1: of two requests none of a lower term starts after the first of a higher one.
fn check_traces(site: &Site, nodes: &[&str]) {
    assert_eq!(trace::order_fault(site, nodes), None, "{}", site.report());
}
