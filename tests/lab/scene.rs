//! A site on a real share: its hosts, its cloud, its load, and what is judged in the end.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::host::{Host, Link, server_place};
use crate::server::{Share, USER};
use crate::stalls::Stalls;
use crate::support::producer::Producer;
use crate::support::receiver::{CLOUD_NAME, Receiver};
use crate::support::site::{Master, Plan, Site};
use crate::support::{now_ns, trace};

/// The load: readings a second.
const LOAD: u64 = 200;
/// Longer than any takeover takes.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(180);
/// The nodes of most cells, each on a host of its own.
pub(crate) const NODES: [&str; 2] = ["a", "b"];
/// The node on the file server itself.
pub(crate) const SERVER: &str = "server";

/// What became of a cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Judged {
    /// All was well.
    Passed,
    /// All but its times.
    Late,
    /// Something was not.
    Failed,
}

impl Judged {
    /// Its word in rows and reports.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// How long it may take until the new master collects, and until its first request, in s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Until the first reading is acknowledged.
    pub(crate) collects: f64,
    /// Until the first request is made.
    pub(crate) request: f64,
}

/// A time, and how much of it the machine stood still, in s.
#[derive(Clone, Copy)]
struct Span {
    took: f64,
    stalled: f64,
}

impl Display for Span {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(to, "{:.1} s", self.took)?;
        if self.stalled >= 0.05 { write!(to, " ({:.1} s stalled)", self.stalled) } else { Ok(()) }
    }
}

/// A site under test.
pub(crate) struct Scene {
    /// What it is on.
    pub(crate) share: Share,
    /// The agents.
    pub(crate) site: Site,
    /// Their cloud.
    pub(crate) receiver: Receiver,
    producer: Option<Producer>,
    hosts: BTreeMap<&'static str, Host>,
    name: &'static str,
    /// The data directory's name on the share.
    pub(crate) folder: String,
    mark: usize,
    /// Until it collects, and until its first request.
    times: Option<(Span, Span)>,
    stalls: Stalls,
    failed: bool,
}

impl Scene {
    /// A configured site without nodes.
    pub(crate) fn new(share: Share, name: &'static str, number: usize) -> Self {
        let folder = format!("site{number}");
        let binary = Path::new("/edge-agent");
        let receiver = Receiver::start_as("10.8.0.1", CLOUD_NAME);
        let mut site = Site::at(binary, server_place(&folder));
        // emulated processors are slow
        site.look_every = Duration::from_millis(100);
        chown(site.scratch(), Some(USER), Some(USER)).expect("we are root");
        site.furnish(&receiver, &plan());
        site.put(SERVER, server_place(&folder));
        let hosts = NODES.into_iter().zip(2..);
        let hosts: BTreeMap<_, _> =
            hosts.map(|(node, last)| (node, Host::new(number, last))).collect();
        for (node, host) in &hosts {
            site.put(node, host.place(&folder));
        }
        let (producer, mark, times, failed) = (None, 0, None, false);
        let stalls = Stalls::watch();
        Self { share, site, receiver, producer, hosts, name, folder, mark, times, stalls, failed }
    }

    /// The host of a node.
    pub(crate) fn host(&self, node: &str) -> &Host {
        &self.hosts[node]
    }

    /// Mounts the share on both hosts as most cells want it.
    pub(crate) fn mount(&self) {
        for host in self.hosts.values() {
            host.mount(self.share, "");
        }
    }

    /// Puts readings to whoever of these nodes is master.
    pub(crate) fn produce(&mut self, nodes: &[&str]) {
        self.producer = Some(Producer::start(self.site.sockets(nodes), LOAD));
    }

    /// Starts the first node, then the others, puts load on them, and waits until all have
    /// their places and batches arrive. Gives the master.
    pub(crate) fn start(&mut self, nodes: &[&str]) -> Master {
        self.site.start(nodes[0]);
        let master = self.site.wait_fenced(0);
        for node in &nodes[1..] {
            self.site.start(node);
        }
        self.produce(nodes);
        self.settle(nodes, &master)
    }

    /// Waits until the others stand by, the master holds the lock if the share has one, and batches
    /// arrive.
    pub(crate) fn settle(&mut self, nodes: &[&str], master: &Master) -> Master {
        for node in nodes.iter().filter(|node| **node != master.node) {
            self.site.wait_standby(node);
        }
        let has_lock = !self.share.is_unsafe();
        let settled = self.site.wait("a fenced master that holds the lock", 90, |site| {
            let locked = site.status(&master.node)?["share"]["locked"] == has_lock;
            site.mastership(&master.node).filter(|master| locked && master.fenced)
        });
        self.wait_flow();
        self.mark = self.receiver.ledger().requests.len();
        settled
    }

    /// Waits until three seconds' worth of new readings has arrived.
    pub(crate) fn wait_flow(&self) {
        let before = self.receiver.ledger().readings() as u64;
        let seen = self.receiver.wait(TAKEOVER_LIMIT, |ledger| {
            (ledger.readings() as u64 >= before + 3 * LOAD).then_some(())
        });
        assert!(seen.is_some(), "readings do not arrive\n{}", self.site.report());
    }

    /// Waits for the first request of a term above this one, for its master to be fenced and
    /// for its first acknowledgement; notes how long they took since `event_ns`.
    pub(crate) fn wait_takeover(&mut self, event_ns: u64, old: u32) -> Master {
        let first = self.receiver.wait(TAKEOVER_LIMIT, |ledger| {
            let newest = ledger.newest_term();
            (newest > old).then(|| ledger.first_of_term(newest).cloned())?
        });
        let first =
            first.unwrap_or_else(|| panic!("no request above term {old}\n{}", self.site.report()));
        let master = self.site.wait_fenced(old);
        let socket = self.site.socket(&master.node);
        let producer = self.producer.as_ref().expect("it was started");
        let acknowledged_ns = self.site.wait("an acknowledged reading", 60, |_| {
            producer.first_acknowledged_ns(&socket, event_ns)
        });
        self.note_times(event_ns, acknowledged_ns, first.accepted_ns);
        self.wait_flow();
        master
    }

    /// Waits until any node acknowledges and any request comes after `event_ns`; notes how
    /// long that took.
    pub(crate) fn wait_recovery(&mut self, nodes: &[&str], event_ns: u64) {
        let producer = self.producer.as_ref().expect("it was started");
        let sockets = self.site.sockets(nodes);
        let acknowledged_ns = self.site.wait("an acknowledged reading", 180, |_| {
            let of = |socket| producer.first_acknowledged_ns(socket, event_ns);
            sockets.iter().filter_map(|socket| of(socket)).min()
        });
        let first_ns = self.receiver.wait(TAKEOVER_LIMIT, |ledger| {
            let later = ledger.requests.iter().filter(|r| r.term.is_some());
            later.map(|request| request.accepted_ns).filter(|at_ns| *at_ns > event_ns).min()
        });
        let first_ns = first_ns.unwrap_or_else(|| panic!("no request\n{}", self.site.report()));
        self.note_times(event_ns, acknowledged_ns, first_ns);
        self.wait_flow();
    }

    fn note_times(&mut self, event_ns: u64, acknowledged_ns: u64, request_ns: u64) {
        let span = |end_ns: u64| {
            let seconds = |ns| Duration::from_nanos(ns).as_secs_f64();
            let stalled = seconds(self.stalls.between_ns(event_ns, end_ns));
            Span { took: seconds(end_ns.saturating_sub(event_ns)), stalled }
        };
        self.times = Some((span(acknowledged_ns), span(request_ns)));
    }

    /// How many requests a node has begun so far.
    pub(crate) fn begun(&self, node: &str) -> usize {
        trace::of(&self.site, node).len()
    }

    /// Cuts a node's host off.
    pub(crate) fn cut(&self, node: &str, links: &[Link]) {
        for link in links {
            self.host(node).cut(*link);
        }
    }

    /// Waits until this node alone is master, of this term or a later one, and the other
    /// stands by.
    pub(crate) fn check_one_master(&mut self, expected: &Master) {
        for node in NODES.iter().filter(|node| **node != expected.node) {
            self.site.wait_standby(node);
        }
        let masters = self.site.masters();
        let one = masters.len() == 1 && masters[0].term >= expected.term;
        self.check(one, &format!("one master at the end: {masters:?}"));
    }

    /// Prints a check's outcome.
    pub(crate) fn check(&mut self, passes: bool, what: &str) {
        self.failed |= !passes;
        self.say(if passes { "PASS" } else { "FAIL" }, what);
    }

    /// Prints a line.
    pub(crate) fn say(&self, word: &str, what: &str) {
        println!("{word} {}/{}: {what}", self.share.name(), self.name);
    }

    fn none(&mut self, what: &str, fault: Option<&String>) {
        let text = fault.map_or(what.to_owned(), |fault| format!("{what}: {fault}"));
        self.check(fault.is_none(), &text);
    }

    /// Ends the load and judges.
    pub(crate) fn finish(mut self, bound: Option<Bound>) -> Judged {
        let sent = self.producer.take().expect("every cell has a load").stop();
        let mut next = 0;
        self.receiver.wait(Duration::from_secs(60), |ledger| {
            let found = |number: &&u64| ledger.has(**number);
            next += sent.acknowledged[next..].iter().take_while(found).count();
            (next == sent.acknowledged.len()).then_some(())
        });
        let (missing, faults, order, repeated) = {
            let ledger = self.receiver.ledger();
            let missing = ledger.missing(&sent.acknowledged).len();
            let faults = ledger.faults.first().cloned();
            (missing, faults, ledger.order_fault(), ledger.batches_repeated_since(self.mark))
        };
        let count = sent.acknowledged.len();
        self.check(count > 0 && missing == 0, &format!("{missing} of {count} lost (L6)"));
        self.none("what arrived is whole (L1 to L5)", faults.as_ref());
        self.check(repeated <= 1, &format!("{repeated} batches came again (L7)"));
        self.none("requests came in the order of their terms (L8)", order.as_ref());
        let trace = trace::order_fault(&self.site, &[NODES[0], NODES[1], SERVER]);
        self.none("no request of a lower term starts after a higher one's (P1)", trace.as_ref());
        self.none("no process has a second thread", self.site.thread_faults().first());
        let late = self.is_late(bound);
        let judged = match (self.failed, late) {
            (true, _) => Judged::Failed,
            (false, true) => Judged::Late,
            (false, false) => Judged::Passed,
        };
        let time = |span: Option<Span>| span.map_or("-".to_owned(), |span| span.to_string());
        println!(
            "ROW|{}|{}|{}|{}|{repeated}|{missing}|{}",
            self.share.name(),
            self.name,
            time(self.times.map(|times| times.0)),
            time(self.times.map(|times| times.1)),
            judged.word(),
        );
        if judged != Judged::Passed {
            println!("{}\n{}", self.site.report(), self.receiver.ledger().tail());
        }
        for host in self.hosts.values() {
            host.heal(Link::Storage);
            host.heal(Link::Management);
        }
        judged
    }

    fn is_late(&self, bound: Option<Bound>) -> bool {
        let (Some(bound), Some((collects, request))) = (bound, self.times) else { return false };
        let is_within = |span: Span, bound: f64| span.took - span.stalled <= bound;
        let within = is_within(collects, bound.collects) && is_within(request, bound.request);
        let text = format!(
            "collects after {collects} (at most {}), first request after {request} (at most {})",
            bound.collects, bound.request
        );
        self.say(if within { "PASS" } else { "LATE" }, &text);
        !within
    }
}

/// The product's own times; batches that do not wait long.
fn plan() -> Plan {
    Plan {
        poll: 500,
        heartbeat: 1_000,
        fence: 5_000,
        seize: 60_000,
        sync: 200,
        journal_bytes: 16 << 20,
        timeout: 10_000,
        batch_age: 1_000,
        ..Plan::default()
    }
}

/// A moment, in whole seconds.
pub(crate) fn pause(seconds: u64) {
    thread::sleep(Duration::from_secs(seconds));
}

/// Now, for [`Scene::wait_takeover`].
pub(crate) fn event() -> u64 {
    now_ns()
}
