//! A site and its cloud, readings posted one after another, and what must hold at the end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::ask_unix;
use crate::support::processes::signal;
use crate::support::receiver::{REFUSED, Receiver};
use crate::support::site::{Master, Part, Plan, Site};
use crate::support::{SECRET_KEY, THING, binary};

/// The nodes of a scene.
pub(crate) const NODES: [&str; 2] = ["a", "b"];
/// Readings of one post.
const POST_READINGS: u64 = 20;
/// How long an answer to a post is waited for.
const POST_LIMIT: Duration = Duration::from_secs(3);
/// How long anything is waited for, in seconds.
pub(crate) const PATIENCE: u64 = 60;
/// A warning that comes more often than this in a scene was not said once.
const SAME_WARNING_MAX: usize = 12;

/// A site, its cloud, and the readings that were acknowledged.
pub(crate) struct Scene {
    pub(crate) site: Site,
    pub(crate) receiver: Receiver,
    next: Cell<u64>,
    acknowledged: RefCell<Vec<u64>>,
    /// Numbers of readings that a test took away itself.
    pub(crate) gone: RefCell<BTreeSet<u64>>,
    /// What other answers came, and how often.
    refusals: RefCell<BTreeMap<String, u64>>,
    keepers: RefCell<BTreeMap<String, u32>>,
}

impl Scene {
    /// A site whose secret key and token stand in files of their own.
    pub(crate) fn new(plan: &Plan) -> Self {
        let receiver = Receiver::start();
        receiver.guard();
        let binary = &binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
        let site = Site::new(binary, &receiver, plan);
        let data = site.data();
        let text = fs::read(data.join("edge.json")).expect("the site has a configuration");
        let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
        let cloud = config["cloud"].as_object_mut().expect("it names a cloud");
        cloud.remove("secret_key");
        cloud.insert("secret_key_file".to_owned(), json!("secret.key"));
        fs::write(data.join("edge.json"), config.to_string()).expect("room");
        fs::write(data.join("secret.key"), format!("{SECRET_KEY}\n")).expect("room");
        fs::write(data.join("console.token"), "a-token-of-many-letters-012345\n").expect("room");
        Self {
            site,
            receiver,
            next: Cell::new(0),
            acknowledged: RefCell::default(),
            gone: RefCell::default(),
            refusals: RefCell::default(),
            keepers: RefCell::default(),
        }
    }

    /// Starts the first node, waits until it forwards, then starts the other.
    pub(crate) fn start(&mut self) {
        self.site.start(NODES[0]);
        self.site.wait_fenced(0);
        self.site.start(NODES[1]);
        self.site.wait_standby(NODES[1]);
        self.note_keepers();
    }

    /// From now on a keeper that is another one is a fault.
    pub(crate) fn note_keepers(&self) {
        let running = self.site.running();
        let keeper = |node: &String| Some((node.clone(), self.site.part(node, Part::Keeper)?));
        *self.keepers.borrow_mut() = running.iter().filter_map(keeper).collect();
    }

    /// Ends every node that runs, cleanly.
    pub(crate) fn stop(&mut self) {
        self.check_processes();
        for node in self.site.running() {
            let (status, _) = self.site.stop(&node);
            assert!(status.success(), "{node}: {status}\n{}", self.report());
        }
        self.keepers.borrow_mut().clear();
    }

    /// Sends SIGHUP to every agent.
    pub(crate) fn reload(&self) {
        let pids: Vec<_> = self.site.running().iter().map(|node| self.site.pid(node)).collect();
        signal("HUP", &pids);
    }

    /// Posts some readings to a node; whether they were acknowledged.
    pub(crate) fn post_to(&self, node: &str) -> bool {
        self.post(node, "")
    }

    /// The same; the first of the readings has more in it.
    fn post(&self, node: &str, more: &str) -> bool {
        let first = self.next.get();
        self.next.set(first + POST_READINGS);
        let mut text = String::new();
        for number in first..first + POST_READINGS {
            let more = if number == first { more } else { "" };
            let line =
                format_args!("{{\"thing_key\":\"{THING}\",\"data\":{{\"n\":{number}{more}}}}}\n");
            text.write_fmt(line).expect("a string takes all");
        }
        let socket = self.site.socket(node);
        let reason = match ask_unix(&socket, "POST", "/readings", text.as_bytes(), POST_LIMIT) {
            Ok(reply) if reply.status == 204 => {
                self.acknowledged.borrow_mut().extend(first..first + POST_READINGS);
                return true;
            }
            Ok(reply) => {
                assert!([429, 503].contains(&reply.status), "{} {}", reply.status, reply.text());
                format!("{} {}", reply.status, reply.text())
            }
            Err(error) => error.kind().to_string(),
        };
        *self.refusals.borrow_mut().entry(reason).or_default() += 1;
        false
    }

    /// Posts until so many posts were acknowledged by whoever is master.
    pub(crate) fn feed(&self, posts: usize) {
        self.feed_with(posts, "");
    }

    /// The same with one post; the cloud will not have one of its readings.
    pub(crate) fn feed_refused(&self) {
        self.feed_with(1, &format!(",{REFUSED}:1"));
    }

    fn feed_with(&self, posts: usize, more: &str) {
        let end = Instant::now() + Duration::from_secs(PATIENCE);
        let mut taken = 0;
        while taken < posts {
            let before = taken;
            let nodes = self.site.running();
            taken += usize::from(nodes.iter().any(|node| self.post(node, more)));
            assert!(Instant::now() < end, "no reading is taken\n{}", self.report());
            if taken == before {
                thread::sleep(Duration::from_millis(50));
            }
        }
    }

    /// What a node's status says that holds.
    pub(crate) fn conditions(&self, node: &str) -> Option<Vec<String>> {
        let status = self.site.status(node)?;
        let names = status["conditions"].as_array()?.iter();
        Some(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    /// Waits until some node says that this holds; gives its status.
    pub(crate) fn wait_condition(&self, name: &str) -> Value {
        self.site.wait(&format!("condition {name}"), PATIENCE, |site| {
            site.running().iter().find_map(|node| {
                let shown = self.conditions(node)?.iter().any(|condition| condition == name);
                site.status(node).filter(|_| shown)
            })
        })
    }

    /// Waits until every node says that this holds.
    pub(crate) fn wait_condition_everywhere(&self, name: &str) {
        self.site.wait(&format!("condition {name} on every node"), PATIENCE, |site| {
            let holds = |node: &String| {
                let conditions = self.conditions(node);
                conditions.is_some_and(|c| c.iter().any(|condition| condition == name))
            };
            site.running().iter().all(holds).then_some(())
        });
    }

    /// Waits until nothing holds anywhere but what is told for minutes after it is over, one node
    /// is master and all others stand by.
    pub(crate) fn wait_calm(&self) -> Master {
        self.site.wait("a site in which all is well", PATIENCE, |site| {
            let nodes = site.running();
            let is_calm = |conditions: Vec<String>| {
                let lingers =
                    |name: &String| matches!(&**name, "cloud-declining" | "lock-file-replaced");
                conditions.iter().all(lingers)
            };
            let calm = nodes.iter().all(|node| self.conditions(node).is_some_and(is_calm));
            let masters = site.masters();
            let roles: Vec<_> = nodes.iter().filter_map(|node| site.role(node)).collect();
            let standbys = roles.iter().filter(|role| *role == "standby").count();
            let whole = masters.len() == 1 && standbys + 1 == nodes.len();
            masters.into_iter().next().filter(|master| calm && whole && master.fenced)
        })
    }

    /// Waits for an alert with this condition.
    pub(crate) fn wait_alert(&self, condition: &str) -> Value {
        let limit = Duration::from_secs(PATIENCE);
        let seen = self
            .receiver
            .wait(limit, |ledger| ledger.alerts_of(condition).first().copied().cloned());
        seen.unwrap_or_else(|| panic!("no alert {condition}\n{}", self.report()))
    }

    /// Waits until every acknowledged reading was delivered, lies in the declined store or what
    /// was set aside there, or was taken away by the test itself.
    pub(crate) fn wait_delivered(&self) {
        let end = Instant::now() + Duration::from_secs(PATIENCE);
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} acknowledged readings are missing, the first: {:?}\n{}",
                missing.len(),
                &missing[..missing.len().min(10)],
                self.report()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The acknowledged readings that are in none of these places.
    pub(crate) fn missing(&self) -> Vec<u64> {
        let missing = self.receiver.ledger().missing(&self.acknowledged.borrow());
        if missing.is_empty() {
            return missing;
        }
        let mut kept = self.gone.borrow().clone();
        for entry in fs::read_dir(self.site.data().join("declined")).into_iter().flatten() {
            let bytes = entry.and_then(|entry| fs::read(entry.path())).unwrap_or_default();
            kept.extend(numbers_in(&bytes));
        }
        missing.into_iter().filter(|number| !kept.contains(number)).collect()
    }

    /// Ends the master; the other node takes over and goes on.
    pub(crate) fn hand_over(&mut self, before: &Master) {
        self.check_processes();
        let (status, _) = self.site.stop(&before.node);
        assert!(status.success(), "{}: {status}\n{}", before.node, self.report());
        self.keepers.borrow_mut().remove(&before.node);
        self.site.wait_fenced(before.term);
        self.feed(2);
        self.wait_delivered();
    }

    /// Nothing lost, no rule of the ledger broken, no second thread, no process that ended, no
    /// panic, nothing said over and over.
    pub(crate) fn judge(&self) {
        self.wait_delivered();
        self.check_processes();
        let ledger = self.receiver.ledger();
        assert!(ledger.faults.is_empty(), "{:#?}\n{}", ledger.faults, self.report());
        assert_eq!(ledger.order_fault(), None, "{}", self.report());
        let threads = self.site.thread_faults();
        assert!(threads.is_empty(), "processes with threads: {threads:?}");
        for node in NODES {
            self.check_log(node);
        }
    }

    fn check_processes(&self) {
        let running = self.site.running();
        let keepers = self.keepers.borrow();
        for (node, keeper) in keepers.iter().filter(|(node, _)| running.contains(node)) {
            let now = self.site.part(node, Part::Keeper);
            assert_eq!(now, Some(*keeper), "the keeper of {node} ended\n{}", self.report());
        }
    }

    /// A node's log so far.
    pub(crate) fn log(&self, node: &str) -> String {
        let bytes = fs::read(self.site.scratch().join(format!("{node}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn check_log(&self, node: &str) {
        let log = self.log(node);
        assert!(!log.contains("panicked"), "{node} panicked\n{}", self.report());
        let mut warnings = BTreeMap::<&str, usize>::new();
        for line in log.lines() {
            let Some((_, text)) = line.split_once(' ') else { continue };
            if text.starts_with("WARN ") || text.starts_with("ERROR ") {
                *warnings.entry(text).or_default() += 1;
            }
        }
        for (text, count) in warnings {
            assert!(count <= SAME_WARNING_MAX, "{node} said {count} times: {text}");
        }
    }

    /// What helps to see why a test failed: each node's status and the end of its log.
    pub(crate) fn report(&self) -> String {
        let scratch = self.site.scratch().display().to_string();
        let mut text = format!("in {scratch}\nrefusals: {:?}\n", self.refusals.borrow());
        text.push_str(&self.receiver.ledger().tail());
        for node in NODES {
            let status = self.site.running().contains(&node.to_owned());
            let status = status.then(|| self.site.status(node)).flatten();
            let status = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
            let log = self.log(node);
            let lines: Vec<_> = log.lines().filter(|line| !line.contains("Z DEBUG ")).collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n    ");
            for part in ["  ", node, ": ", &status, "\n    ", &tail, "\n"] {
                text.push_str(part);
            }
        }
        text
    }
}

/// The numbers of readings whose text stands in these bytes.
pub(crate) fn numbers_in(bytes: &[u8]) -> BTreeSet<u64> {
    const MARK: &[u8] = b"\"n\":";
    let after = |at: usize| &bytes[at + MARK.len()..];
    let starts = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(MARK));
    let digits = starts.map(|at| {
        let digits = after(at).iter().take_while(|byte| byte.is_ascii_digit());
        digits.map(|digit| char::from(*digit)).collect::<String>()
    });
    digits.filter_map(|digits| digits.parse().ok()).collect()
}
