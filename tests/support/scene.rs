//! A site, its cloud and load on both, and what must hold of them in the end.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::ledger::Request;
use super::producer::{Producer, Sent};
use super::receiver::{Behaviour, Receiver};
use super::site::Site;
use super::trace;

/// Whether the long form of the tests is asked for.
pub fn is_long() -> bool {
    std::env::var_os("EDGE_LONG").is_some_and(|value| value == "1")
}

/// Whose turn it is among the tests of a process; only held.
#[allow(dead_code, reason = "what counts is how long it lives")]
pub enum Turn {
    /// See [`Turn::alone`].
    Alone(RwLockWriteGuard<'static, ()>),
    /// See [`Turn::beside`].
    Beside(RwLockReadGuard<'static, ()>),
}

static TURN: RwLock<()> = RwLock::new(());

impl Turn {
    /// Of a test that keeps two processors busy.
    pub fn alone() -> Self {
        Self::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of a test that mostly waits: others of its kind go on beside it.
    pub fn beside() -> Self {
        Self::Beside(TURN.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A site and its cloud.
pub struct Scene {
    /// The site.
    pub site: Site,
    /// Its cloud.
    pub receiver: Receiver,
    /// How long anything is waited for, in seconds.
    pub patience: u64,
    load: u64,
    _turn: Turn,
}

impl Scene {
    /// Of a site and its cloud, with so many readings a second.
    pub fn of(site: Site, receiver: Receiver, load: u64, turn: Turn) -> Self {
        Self { site, receiver, patience: 60, load, _turn: turn }
    }

    /// Starts nodes, the first of them to be master, and waits until all have their places.
    pub fn start(&mut self, nodes: &[&str]) {
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

    /// Puts readings to whoever of these nodes is master.
    pub fn produce(&self, nodes: &[&str]) -> Producer {
        Producer::start(self.site.sockets(nodes), self.load)
    }

    /// Two nodes, one of them this master: waits until the other stands by, the load is up and
    /// batches arrive. Gives the standby.
    pub fn ready_for_blow(
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
    pub fn wait_load(&self, producer: &Producer) {
        let enough = producer.acknowledged() + self.load;
        self.site.wait("a second's worth of readings to be acknowledged", self.patience, |_| {
            (producer.acknowledged() >= enough).then_some(())
        });
    }

    /// In every other round answers take their time, so that what is done next most likely
    /// happens between a delivery and its answer.
    pub fn vary_answers(&self, round: usize) {
        let slow = Behaviour::Delay(Duration::from_millis(120));
        self.receiver.behave(if round.is_multiple_of(2) { slow } else { Behaviour::Answer(200) });
    }

    /// How many requests have come so far.
    pub fn mark(&self) -> usize {
        self.receiver.ledger().requests.len()
    }

    /// Waits until a whole batch of readings that were never seen before comes after `mark`.
    pub fn wait_delivery_since(&self, mark: usize) {
        let seen = self.receiver.wait(Duration::from_secs(self.patience), |ledger| {
            let mut later = ledger.requests.iter().skip(mark);
            let is_new = |r: &Request| r.repeated == 0 && r.status == 200;
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
    pub fn finish(&self, producer: Producer) -> Sent {
        let sent = producer.stop();
        assert!(!sent.acknowledged.is_empty(), "nothing was acknowledged: {:?}", sent.refusals);
        self.wait_all_delivered(&sent);
        self.judge();
        sent
    }

    /// Waits until all that was acknowledged has been delivered.
    pub fn wait_all_delivered(&self, sent: &Sent) {
        let mut next = 0;
        let all = self.receiver.wait(Duration::from_secs(self.patience), |ledger| {
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

    /// Judges what has been seen so far, losses aside.
    pub fn judge(&self) {
        let ledger = self.receiver.ledger();
        assert!(ledger.faults.is_empty(), "{:#?}\n{}", ledger.faults, self.site.report());
        assert_eq!(ledger.order_fault(), None, "{}", self.site.report());
        let threads = self.site.thread_faults();
        assert!(threads.is_empty(), "processes with threads: {threads:?}");
    }
}

/// P1: of two requests none of a lower term starts after the first of a higher one.
pub fn check_traces(site: &Site, nodes: &[&str]) {
    assert_eq!(trace::order_fault(site, nodes), None, "{}", site.report());
}
