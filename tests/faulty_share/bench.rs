//! A site whose nodes each have a mount of their own of one faulty share.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::gate::Side;
use crate::share::Share;
use crate::support::producer::Producer;
use crate::support::receiver::Receiver;
use crate::support::scene::{Scene, Turn, check_traces, is_long};
use crate::support::site::{Master, Part, Place, Plan, Site};
use crate::support::{binary, trace};

/// The nodes, by the mounts that they have.
pub(crate) const NODES: [&str; 2] = ["a", "b"];
/// The load: readings a second.
const LOAD: u64 = 200;
/// How long anything is waited for, in seconds: a listing of the journal waits for a minute.
pub(crate) const PATIENCE: u64 = 120;
/// Longer than a lease, and whatever was on its way.
pub(crate) const LEASE_OVER: Duration = Duration::from_secs(2);
/// How long what ended may take to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// Quick times, and seizure near enough to be waited for.
pub(crate) fn plan() -> Plan {
    Plan { fence: 1_500, seize: 4_000, timeout: 2_000, ..Plan::default() }
}

/// A span of the fast lane, or the one that the long form has, in seconds.
pub(crate) fn seconds(fast: u64, long: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { fast })
}

/// The site, its cloud, its share.
pub(crate) struct Bench {
    // the agents end before the share does
    /// The site and its cloud.
    pub(crate) scene: Scene,
    /// What its nodes have mounted.
    pub(crate) share: Share,
    producer: Option<Producer>,
}

impl Bench {
    /// A configured site without nodes.
    pub(crate) fn new(plan: &Plan) -> Self {
        let share = Share::mount().expect("the share can be mounted: that was tried first");
        let receiver = Receiver::start();
        let binary = &binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
        let here = |data: PathBuf| Place { enter: Vec::new(), data };
        let mut site = Site::at(binary, here(share.folder()));
        site.look_every = Duration::from_millis(50);
        site.furnish(&receiver, plan);
        for (node, side) in NODES.into_iter().zip(Side::ALL) {
            site.put(node, here(share.point(side).to_owned()));
        }
        let mut scene = Scene::of(site, receiver, LOAD, Turn::beside());
        scene.patience = PATIENCE;
        Self { scene, share, producer: None }
    }

    /// A site with a master, a standby and load.
    pub(crate) fn started(plan: &Plan) -> (Self, Master) {
        let mut bench = Self::new(plan);
        bench.scene.start(&NODES);
        bench.produce();
        let master = bench.steady();
        (bench, master)
    }

    /// The site.
    pub(crate) fn site(&self) -> &Site {
        &self.scene.site
    }

    /// Puts load on the nodes.
    pub(crate) fn produce(&mut self) {
        self.producer = Some(self.scene.produce(&NODES));
    }

    /// Waits until readings are acknowledged.
    pub(crate) fn wait_load(&self) {
        self.scene.wait_load(self.producer.as_ref().expect("there is load"));
    }

    /// Waits until nothing is acknowledged any more.
    pub(crate) fn wait_no_load(&self) {
        let producer = self.producer.as_ref().expect("there is load");
        let mut before = (producer.acknowledged(), Instant::now());
        self.site().wait("readings to be refused", PATIENCE, |_| {
            if producer.acknowledged() > before.0 {
                before = (producer.acknowledged(), Instant::now());
            }
            (before.1.elapsed() > Duration::from_secs(2)).then_some(())
        });
    }

    /// Waits until nothing is held back any more.
    pub(crate) fn wait_landed(&self) {
        self.site().wait("what is held back to be done", PATIENCE, |_| {
            self.share.held().is_empty().then_some(())
        });
    }

    /// Waits until one node forwards, all others that run stand by, and new readings arrive.
    pub(crate) fn steady(&self) -> Master {
        let master = self.site().wait("one master, all others standing by", PATIENCE, |site| {
            let running = site.running();
            let roles: Vec<_> = running.iter().filter_map(|node| site.role(node)).collect();
            let standbys = roles.iter().filter(|role| *role == "standby").count();
            let masters = site.masters();
            let whole = masters.len() == 1 && standbys + 1 == running.len();
            masters.into_iter().next().filter(|master| whole && master.fenced)
        });
        self.wait_load();
        self.scene.wait_delivery_since(self.scene.mark());
        master
    }

    /// The mount of a node.
    pub(crate) fn side_of(node: &str) -> Side {
        if node == NODES[0] { Side::A } else { Side::B }
    }

    /// The other node.
    pub(crate) fn other(node: &str) -> &'static str {
        if node == NODES[0] { NODES[1] } else { NODES[0] }
    }

    /// How many requests a node has begun so far.
    pub(crate) fn begun(&self, node: &str) -> usize {
        trace::of(self.site(), node).len()
    }

    /// Waits until a node's status names a condition.
    pub(crate) fn wait_condition(&self, node: &str, condition: &str) {
        self.site().wait(&format!("condition {condition} of {node}"), PATIENCE, |site| {
            let status = site.status(node)?;
            let named = status["conditions"].as_array()?;
            named.iter().any(|name| name == condition).then_some(())
        });
    }

    /// Lets so much time pass, in which each of these nodes' consoles answers and none of them
    /// begins a request.
    pub(crate) fn watch_silence(&self, nodes: &[&str], time: Duration) {
        let begun = |node: &&str| self.begun(node);
        let before: Vec<_> = nodes.iter().map(begun).collect();
        let end = Instant::now() + time;
        while Instant::now() < end {
            for node in nodes {
                let answers = self.site().ask(node, "GET", "/healthz");
                assert!(answers.is_ok(), "{node}: {answers:?}\n{}", self.site().report());
            }
            thread::sleep(Duration::from_millis(200));
        }
        let after: Vec<_> = nodes.iter().map(begun).collect();
        assert_eq!(before, after, "requests begun by {nodes:?}\n{}", self.site().report());
    }

    /// Kills a node's agent. What waits for the share is let go, as if its host were lost.
    pub(crate) fn lose(&mut self, node: &str) {
        self.scene.site.kill(node, Part::Agent);
        self.share.bury(Self::side_of(node));
    }

    /// At most so many batches were delivered again since `mark`.
    pub(crate) fn check_repeats(&self, mark: usize, most: usize) {
        let repeated = self.scene.receiver.ledger().batches_repeated_since(mark);
        let report = || format!("{}{}", self.scene.receiver.ledger().tail(), self.site().report());
        assert!(repeated <= most, "{repeated} batches came again (L7)\n{}", report());
    }

    /// This node is master of this term as before, and no other.
    pub(crate) fn check_master(&self, master: &Master) {
        let masters = self.site().masters();
        assert_eq!(masters, std::slice::from_ref(master), "{}", self.site().report());
    }

    /// How many terms were begun since this one.
    pub(crate) fn terms_since(&self, term: u32) -> usize {
        let newest = self.site().wait_fenced(0).term;
        usize::try_from(newest - term).expect("terms are few")
    }

    /// At most one batch for each term that was begun since this one.
    pub(crate) fn check_repeats_of_terms(&self, mark: usize, since: u32) {
        self.check_repeats(mark, self.terms_since(since).max(1));
    }

    /// Heals, waits until one node is master, and judges: nothing lost, no rule of the ledger
    /// broken, no request of an older term after one of a newer.
    pub(crate) fn finish(&mut self) -> Master {
        self.share.heal_all();
        let master = self.steady();
        let producer = self.producer.take().expect("there is load");
        self.scene.finish(producer);
        check_traces(self.site(), &NODES);
        let masters = self.site().masters();
        assert_eq!(masters.len(), 1, "{masters:?}\n{}", self.site().report());
        master
    }
}

/// Waits until no process and no mount of this one is left.
pub(crate) fn check_nothing_left() {
    let own = std::process::id();
    let (site, share) = (format!("/edge-agent-{own}-"), format!("/edge-share-{own}-"));
    let left = || {
        let mut left: Vec<_> = running_for(&site).map(|pid| format!("process {pid}")).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains(&share)).map(str::to_owned));
        left
    };
    let end = Instant::now() + GONE_LIMIT;
    while Instant::now() < end {
        if left().is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert!(left().is_empty(), "left behind: {:?}", left());
}

/// Processes whose environment names this folder.
fn running_for(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(move |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(folder)
    })
}
