//! A scratch site: a data directory and agents on it, each a real process.
//!
//! Only processes that were started here are ever signalled. While a site stands, a thread
//! looks at every process of it and notes any that has more than one thread.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Reply, ask_unix};
use super::receiver::Receiver;
use super::{ACCESS_KEY, ALERT_THING, HOST_THING, SECRET_KEY, THING};
use super::{binary, guard, processes};

/// How long a status is waited for: an agent that takes longer is broken.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// What `edge.json` says; times in ms.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `ha.poll_ms`
    pub poll: u32,
    /// `ha.heartbeat_ms`
    pub heartbeat: u32,
    /// `ha.fence_ms`
    pub fence: u32,
    /// `ha.seize_ms`
    pub seize: u32,
    /// `journal.sync_ms`
    pub sync: u32,
    /// `journal.bytes_max`
    pub journal_bytes: u64,
    /// `cloud.timeout_ms`
    pub timeout: u32,
    /// `cloud.batch_records_max`
    pub batch_records: u32,
    /// `cloud.batch_age_ms_max`
    pub batch_age: u32,
    /// Sources of the second thing.
    pub sources: Vec<Value>,
}

impl Default for Plan {
    /// Quick elections; seizure far away, so that a slow machine does not bring it on.
    fn default() -> Self {
        Self {
            poll: 100,
            heartbeat: 200,
            fence: 1_500,
            seize: 20_000,
            sync: 50,
            journal_bytes: 1 << 30,
            timeout: 5_000,
            batch_records: 500,
            batch_age: 200,
            sources: Vec::new(),
        }
    }
}

/// Which process of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The agent itself.
    Agent,
    /// Its child on the share.
    Keeper,
    /// Its child on the network.
    Uplink,
    /// Its child on files and devices.
    Collector,
    /// Its child that tells the cloud of its own distress.
    Caller,
}

impl Part {
    /// Its name as `/proc` shows it; an agent's is not asked for.
    pub const fn process_name(self) -> &'static str {
        match self {
            Self::Agent => "edge-agent",
            Self::Keeper => "edge-keeper",
            Self::Uplink => "edge-uplink",
            Self::Collector => "edge-collector",
            Self::Caller => "edge-distress",
        }
    }
}

/// Who says that it is master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Master {
    /// Its name.
    pub node: String,
    /// Its term.
    pub term: u32,
    /// Whether it is free to forward.
    pub fenced: bool,
}

/// Where a node runs.
#[derive(Clone, Debug)]
pub struct Place {
    /// What stands before the agent's own command line; nothing: it runs here.
    pub enter: Vec<String>,
    /// Where it finds the data directory.
    pub data: PathBuf,
}

struct Node {
    child: Child,
    frozen: bool,
}

#[derive(Default)]
struct Watch {
    roots: Mutex<Vec<u32>>,
    faults: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// The site; dropped, it takes its processes and its folder along.
pub struct Site {
    /// How often conditions are looked at while they are waited for.
    pub look_every: Duration,
    scratch: PathBuf,
    binary: PathBuf,
    home: Place,
    places: BTreeMap<String, Place>,
    nodes: BTreeMap<String, Node>,
    watch: Arc<Watch>,
    watcher: Option<JoinHandle<()>>,
}

impl Site {
    /// Makes a data directory by `init` and configures it for `receiver`.
    pub fn new(binary: &Path, receiver: &Receiver, plan: &Plan) -> Self {
        let mut site = Self::bare(binary);
        site.home.data = site.scratch.join("data");
        site.furnish(receiver, plan);
        site
    }

    /// A site whose home, where `init` runs, is elsewhere; [`Site::furnish`] comes next.
    pub fn at(binary: &Path, home: Place) -> Self {
        let mut site = Self::bare(binary);
        site.home = home;
        site
    }

    fn bare(binary: &Path) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("edge-agent-{}-{number}", std::process::id());
        let scratch = std::env::temp_dir().join(name);
        fs::create_dir_all(&scratch).expect("site: cannot make its scratch folder");
        let watch = Arc::new(Watch::default());
        let watching = Arc::clone(&watch);
        let watcher = Some(thread::spawn(move || watching.run()));
        let home = Place { enter: Vec::new(), data: PathBuf::new() };
        let (places, nodes) = (BTreeMap::new(), BTreeMap::new());
        let (binary, look_every) = (binary.to_owned(), Duration::from_millis(20));
        Self { look_every, scratch, binary, home, places, nodes, watch, watcher }
    }

    /// Makes the data directory by `init`, and configures it for `receiver`.
    pub fn furnish(&self, receiver: &Receiver, plan: &Plan) {
        let mut init = self.command("init");
        init.arg("--datadirpath").arg(self.data());
        let made = init.output().expect("site: cannot run the agent");
        assert!(made.status.success(), "init: {made:?}");
        fs::write(self.data().join("ca.pem"), receiver.ca_pem()).expect("site: cannot write");
        let config = configuration(&receiver.url(), plan).to_string();
        fs::write(self.data().join("edge.json"), config).expect("site: cannot write");
    }

    /// From now on this node runs there.
    pub fn put(&mut self, node: &str, place: Place) {
        self.places.insert(node.to_owned(), place);
    }

    fn place(&self, node: &str) -> &Place {
        self.places.get(node).unwrap_or(&self.home)
    }

    /// Changes `edge.json`; a node that runs takes it on [`Self::reload`].
    pub fn edit_config(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.data().join("edge.json");
        let text = fs::read_to_string(&path).expect("site: cannot read edge.json");
        let mut config = serde_json::from_str(&text).expect("we wrote it");
        edit(&mut config);
        fs::write(path, config.to_string()).expect("site: cannot write edge.json");
    }

    /// Has a node read its configuration again (SIGHUP).
    pub fn reload(&self, node: &str) {
        processes::signal("HUP", &[self.pid(node)]);
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.home.data.clone()
    }

    /// The folder that holds everything of this site.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The Unix socket of a node.
    pub fn socket(&self, node: &str) -> PathBuf {
        self.run_dir(node).join("agent.sock")
    }

    /// The Unix sockets of some nodes.
    pub fn sockets(&self, nodes: &[&str]) -> Vec<PathBuf> {
        nodes.iter().map(|node| self.socket(node)).collect()
    }

    /// Where a node's uplinks write down each request before they connect (debug builds).
    pub fn trace(&self, node: &str) -> PathBuf {
        self.scratch.join(format!("{node}.trace"))
    }

    fn run_dir(&self, node: &str) -> PathBuf {
        self.scratch.join(format!("run-{node}"))
    }

    /// A command of the agent, free of whatever the environment says to agents.
    pub fn command(&self, name: &str) -> Command {
        self.command_in(&self.home, name)
    }

    /// A command of the agent, where this node runs.
    pub fn command_at(&self, node: &str, name: &str) -> Command {
        self.command_in(self.place(node), name)
    }

    fn command_in(&self, place: &Place, name: &str) -> Command {
        let mut line = place.enter.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let mut command = Command::new(line.next().expect("the binary at least"));
        command.args(line);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("EDGE_") {
                command.env_remove(key);
            }
        }
        command.arg(name).stdin(Stdio::null());
        command
    }

    /// Runs a command at the agent of this node, where it runs.
    pub fn run_at(&self, node: &str, name: &str, arguments: &[&str]) -> Output {
        let mut command = self.command_at(node, name);
        command.arg("--run-dir").arg(self.run_dir(node)).args(arguments);
        command.output().expect("site: cannot run the agent")
    }

    /// Starts a node without a TCP console.
    pub fn start(&mut self, node: &str) {
        self.start_with(node, &["--console", "off"]);
    }

    /// Starts a node, with arguments.
    pub fn start_with(&mut self, node: &str, arguments: &[&str]) {
        self.start_in(node, arguments, &[]);
    }

    /// Starts a node, with arguments and variables.
    pub fn start_in(&mut self, node: &str, arguments: &[&str], variables: &[(&str, &str)]) {
        let command = self.run_command(node, node, arguments, variables);
        self.spawn(node, command);
    }

    /// Starts a node that calls itself `name`, in the run directory of `node`.
    pub fn start_as(&mut self, node: &str, name: &str, arguments: &[&str]) {
        let command = self.run_command(node, name, arguments, &[]);
        self.spawn(node, command);
    }

    /// The same with mounts of its own, which `script` makes. Only root can.
    pub fn start_with_mounts(&mut self, node: &str, name: &str, script: &str) {
        let inner = self.run_command(node, name, &["--console", "off"], &[]);
        let mut command = Command::new("unshare");
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        command.args(["--mount", "sh", "-c", &script]).arg(inner.get_program());
        command.args(inner.get_args()).stdin(Stdio::null());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        self.spawn(node, command);
    }

    fn run_command(
        &self,
        node: &str,
        name: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Command {
        let place = self.place(node);
        let mut command = self.command_in(place, "run");
        command.arg("--datadirpath").arg(&place.data).arg("--run-dir").arg(self.run_dir(node));
        command.args(["--node", name, "--log-level", "debug"]).args(arguments);
        command.env("EDGE_TRACE_CONNECT", self.trace(node)).envs(variables.iter().copied());
        command
    }

    fn spawn(&mut self, node: &str, mut command: Command) {
        assert!(!self.nodes.contains_key(node), "{node} runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log(node));
        let log = log.expect("site: cannot open a log");
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("site: cannot start the agent");
        guard::started(child.id());
        lock(&self.watch.roots).push(child.id());
        self.nodes.insert(node.to_owned(), Node { child, frozen: false });
    }

    /// The lines of a node's log that hold this text.
    pub fn log_lines(&self, node: &str, text: &str) -> Vec<String> {
        let log = fs::read(self.log(node)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// How often a text stands in a node's log.
    pub fn said(&self, node: &str, text: &str) -> usize {
        fs::read_to_string(self.log(node)).unwrap_or_default().matches(text).count()
    }

    fn log(&self, node: &str) -> PathBuf {
        self.scratch.join(format!("{node}.log"))
    }

    /// The process of a running node.
    pub fn pid(&self, node: &str) -> u32 {
        self.nodes.get(node).expect("only running nodes are asked for").child.id()
    }

    /// All processes of a running node, the agent first.
    pub fn tree(&self, node: &str) -> Vec<u32> {
        processes::tree(self.pid(node)).iter().map(|process| process.pid).collect()
    }

    /// The number of one part of a running node.
    pub fn part(&self, node: &str, part: Part) -> Option<u32> {
        let root = self.pid(node);
        if part == Part::Agent {
            return Some(root);
        }
        let tree = processes::tree(root);
        tree.iter().find(|process| process.name == part.process_name()).map(|found| found.pid)
    }

    /// Ends one part with SIGKILL, as soon as it is there. A killed agent is reaped and may be
    /// started again.
    pub fn kill(&mut self, node: &str, part: Part) {
        let what = format!("{part:?} of {node}");
        let pid = self.wait(&what, 10, |site| site.part(node, part));
        processes::signal("KILL", &[pid]);
        if part == Part::Agent {
            let mut gone = self.nodes.remove(node).expect("it runs");
            self.forget(pid);
            drop(gone.child.wait());
        }
    }

    fn forget(&self, pid: u32) {
        guard::ended(pid);
        lock(&self.watch.roots).retain(|root| *root != pid);
    }

    /// Stops every process of a node in its tracks.
    pub fn freeze(&mut self, node: &str) {
        processes::signal("STOP", &self.tree(node));
        self.nodes.get_mut(node).expect("it runs").frozen = true;
    }

    /// Lets them go on.
    pub fn thaw(&mut self, node: &str) {
        processes::signal("CONT", &self.tree(node));
        self.nodes.get_mut(node).expect("it runs").frozen = false;
    }

    /// Asks a node to end (SIGTERM) and waits until it has.
    pub fn stop(&mut self, node: &str) -> (ExitStatus, Duration) {
        let start = Instant::now();
        processes::signal("TERM", &[self.pid(node)]);
        let end = start + Duration::from_secs(20);
        loop {
            let running = self.nodes.get_mut(node).expect("it runs");
            if let Some(status) = running.child.try_wait().expect("site: cannot wait") {
                let pid = running.child.id();
                self.forget(pid);
                self.nodes.remove(node);
                return (status, start.elapsed());
            }
            assert!(Instant::now() < end, "{node} did not end\n{}", self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The nodes that run and are not frozen.
    pub fn running(&self) -> Vec<String> {
        let awake = self.nodes.iter().filter(|(_, node)| !node.frozen);
        awake.map(|(name, _)| name.clone()).collect()
    }

    /// Asks a node's Unix socket.
    pub fn ask(&self, node: &str, method: &str, target: &str) -> std::io::Result<Reply> {
        ask_unix(&self.socket(node), method, target, b"", STATUS_LIMIT)
    }

    /// Posts to a node's Unix socket.
    pub fn post(&self, node: &str, target: &str, body: &str) -> std::io::Result<Reply> {
        ask_unix(&self.socket(node), "POST", target, body.as_bytes(), STATUS_LIMIT)
    }

    /// A node's status; `None`: it does not answer (yet).
    pub fn status(&self, node: &str) -> Option<Value> {
        self.ask(node, "GET", "/status.json").ok()?.json()
    }

    /// A node's role, as it says itself.
    pub fn role(&self, node: &str) -> Option<String> {
        self.status(node)?["role"].as_str().map(str::to_owned)
    }

    /// What this node says of itself, if it says that it is master.
    pub fn mastership(&self, node: &str) -> Option<Master> {
        let status = self.status(node)?;
        let term = u32::try_from(status["term"].as_u64()?).ok()?;
        let fenced = status["fenced"] == true && status["lease_ms"].as_u64() > Some(0);
        let is_master = status["role"] == "master";
        is_master.then(|| Master { node: node.to_owned(), term, fenced })
    }

    /// Everyone who says that it is master.
    pub fn masters(&self) -> Vec<Master> {
        self.running().iter().filter_map(|node| self.mastership(node)).collect()
    }

    /// Waits for a master of a term above this one, free to forward.
    pub fn wait_fenced(&self, above: u32) -> Master {
        // longer than `seize_ms`: without a lock to be had a first master waits so long
        self.wait(&format!("a fenced master above term {above}"), 90, |site| {
            site.masters().into_iter().find(|master| master.fenced && master.term > above)
        })
    }

    /// Waits until a node is standby and sees the share.
    pub fn wait_standby(&self, node: &str) {
        self.wait(&format!("{node} to be standby"), 60, |site| {
            let status = site.status(node)?;
            (status["role"] == "standby" && status["master"]["term"].as_u64() > Some(0))
                .then_some(())
        });
    }

    /// Waits until `seen` finds what it looks for.
    pub fn wait<T>(&self, what: &str, seconds: u64, mut seen: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(found) = seen(self) {
                return found;
            }
            assert!(
                Instant::now() < end,
                "waited {seconds} s in vain for {what}\n{}",
                self.report()
            );
            thread::sleep(self.look_every);
        }
    }

    /// Whatever process had more than one thread.
    pub fn thread_faults(&self) -> Vec<String> {
        lock(&self.watch.faults).clone()
    }

    /// What helps to see why a test failed: each node's status and the end of its log.
    pub fn report(&self) -> String {
        let mut text = format!("in {}\n", self.scratch.display());
        let Ok(entries) = fs::read_dir(&self.scratch) else { return text };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let node = |name: String| name.strip_suffix(".log").map(str::to_owned);
        let mut nodes: Vec<_> = names.filter_map(node).collect();
        nodes.sort();
        for node in &nodes {
            let status = match self.nodes.get(node) {
                None => "not running".to_owned(),
                Some(node) if node.frozen => "frozen".to_owned(),
                Some(_) => self.status(node).map_or("no answer".to_owned(), |s| s.to_string()),
            };
            let content = fs::read(self.log(node)).unwrap_or_default();
            let content = String::from_utf8_lossy(&content);
            let is_noise =
                |line: &&str| line.contains(" DEBUG rustls") || line.contains(" DEBUG console");
            let lines: Vec<_> = content.lines().filter(|line| !is_noise(line)).collect();
            let tail = lines[lines.len().saturating_sub(25)..].join("\n    ");
            for part in ["  ", node, ": ", &status, "\n    ", &tail, "\n"] {
                text.push_str(part);
            }
        }
        text
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.watch.stop.store(true, Ordering::Release);
        for node in self.nodes.values_mut() {
            // its children asked to die with it, frozen or not
            drop(node.child.kill());
            drop(node.child.wait());
            guard::ended(node.child.id());
        }
        if let Some(watcher) = self.watcher.take() {
            drop(watcher.join());
        }
        if !thread::panicking() && std::env::var_os("EDGE_KEEP").is_none() {
            drop(fs::remove_dir_all(&self.scratch));
        }
    }
}

impl Watch {
    fn run(&self) {
        if binary::is_another() {
            return;
        }
        while !self.stop.load(Ordering::Acquire) {
            let roots = lock(&self.roots).clone();
            for process in roots.iter().flat_map(|root| processes::tree(*root)) {
                if let Some(count) = processes::threads(process.pid).filter(|count| *count != 1) {
                    let text = format!("{} ({}): {count} threads", process.name, process.pid);
                    lock(&self.faults).push(text);
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A configuration that forwards there.
pub fn configuration(url: &str, plan: &Plan) -> Value {
    json!({
        "version": 1,
        "site": "scratch",
        "cloud": {
            "kind": "datonis",
            "url": url,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
            "ca_file": "ca.pem",
            "timeout_ms": plan.timeout,
            "batch_records_max": plan.batch_records,
            "batch_age_ms_max": plan.batch_age,
        },
        "alerts": { "thing_key": ALERT_THING, "level_min": "info" },
        "ha": {
            "poll_ms": plan.poll,
            "heartbeat_ms": plan.heartbeat,
            "fence_ms": plan.fence,
            "seize_ms": plan.seize,
        },
        "journal": { "sync_ms": plan.sync, "bytes_max": plan.journal_bytes },
        "things": [
            { "thing_key": THING, "name": "Compressor" },
            { "thing_key": HOST_THING, "name": "Gateway", "sources": plan.sources },
        ],
    })
}
