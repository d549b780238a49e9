//! Two gateways in containers of the image, on one bind mount, with addresses of their own; what
//! Docker does to containers is done to the master while readings flow.
//!
//! `tests/containers/run` builds the image and runs this. It prints a time line and how long each
//! takeover took, and ends with success only if nothing was lost, at most a batch was repeated by
//! each, and everything went as README.md says.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::figures::ms;
use support::http::{ask_tcp, ask_unix, free_port};
use support::now_ns;
use support::producer::Producer;
use support::receiver::{CLOUD_NAME, Receiver};
use support::site::{Plan, configuration};

const IMAGE: &str = "edge-agent";
/// Who the image runs as.
const OWNER: u32 = 8480;
const READINGS_PER_SECOND: u64 = 400;
const LIMIT: Duration = Duration::from_secs(5);

fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().expect("docker can be run")
}

/// What docker printed; it has to succeed.
fn done(arguments: &[&str]) -> String {
    let output = docker(arguments);
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().expect("mount can be run");
    assert!(output.status.success(), "mount {arguments:?}: {output:?}");
}

/// Waits until it is so, and says after how long.
fn within(seconds: u64, what: &str, mut seen: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !seen() {
        assert!(begin.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        thread::sleep(Duration::from_millis(20));
    }
    begin.elapsed()
}

/// A container.
struct Gateway {
    name: String,
    node: &'static str,
    port: u16,
    run_dir: PathBuf,
}

impl Gateway {
    fn status(&self) -> Option<Value> {
        let socket = self.run_dir.join("agent.sock");
        let reply = ask_unix(&socket, "GET", "/status.json", b"", LIMIT).ok()?;
        serde_json::from_str(&reply.text()).ok()
    }

    fn is_in_role(&self, role: &str) -> bool {
        self.status().is_some_and(|status| status["role"] == role)
    }

    fn address(&self) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        done(&["inspect", "--format", format, &self.name])
    }

    fn health(&self) -> String {
        done(&["inspect", "--format", "{{.State.Health.Status}}", &self.name])
    }
}

/// What one takeover took.
struct Takeover {
    what: &'static str,
    collects_ns: u64,
    requests_ns: u64,
    repeated: usize,
}

struct Scene {
    begin: Instant,
    folder: PathBuf,
    receiver: Receiver,
    gateways: [Gateway; 2],
    producer: Option<Producer>,
    takeovers: Vec<Takeover>,
}

impl Scene {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("edge-containers-{}", std::process::id()));
        let gateways = ["gw-1", "gw-2"].map(|node| Gateway {
            name: format!("edge-{}-{node}", std::process::id()),
            node,
            port: free_port(),
            run_dir: folder.join(node),
        });
        for path in [folder.join("datonis-edge-data"), folder.join("gw-1"), folder.join("gw-2")] {
            fs::create_dir_all(&path).expect("a folder can be made");
            chown(&path, Some(OWNER), Some(OWNER)).expect("root can give it away");
        }
        let receiver = Receiver::start_as("0.0.0.0", CLOUD_NAME);
        let plan = Plan { heartbeat: 1_000, fence: 3_000, seize: 6_000, ..Plan::default() };
        let config = configuration(&receiver.url(), &plan).to_string();
        let data = folder.join("datonis-edge-data");
        for (name, content) in [("edge.json", config.as_str()), ("ca.pem", receiver.ca_pem())] {
            fs::write(data.join(name), content).expect("written");
            chown(data.join(name), Some(OWNER), Some(OWNER)).expect("root can give it away");
        }
        let (begin, takeovers) = (Instant::now(), Vec::new());
        Self { begin, folder, receiver, gateways, producer: None, takeovers }
    }

    fn say(&self, text: &str) {
        println!("{:7.2} s  {text}", self.begin.elapsed().as_secs_f64());
    }

    /// The line of README.md, and what this test needs to look in.
    fn run(&self, place: usize) {
        let gateway = &self.gateways[place];
        let data = self.folder.join("datonis-edge-data");
        let mount = format!("type=bind,source={},target=/opt/datonis-edge-data", data.display());
        let run_dir = format!("{}:/run/edge-agent", gateway.run_dir.display());
        let published = format!("127.0.0.1:{}:8480", gateway.port);
        let node = format!("EDGE_NODE={}", gateway.node);
        done(&[
            "run",
            "-d",
            "--name",
            &gateway.name,
            "--mount",
            &mount,
            "-p",
            &published,
            "-e",
            &node,
            "--add-host",
            &format!("{CLOUD_NAME}:host-gateway"),
            "-v",
            &run_dir,
            IMAGE,
        ]);
    }

    fn begin(&mut self) {
        self.run(0);
        within(20, "the first to be master", || self.gateways[0].is_in_role("master"));
        self.say("gw-1 is started first, and is master");
        self.run(1);
        within(20, "the second to stand by", || self.gateways[1].is_in_role("standby"));
        let addresses = self.gateways.each_ref().map(Gateway::address);
        assert_ne!(addresses[0], addresses[1]);
        self.say(&format!("gw-2 stands by; their addresses are {}", addresses.join(" and ")));
        let sockets = self.gateways.iter().map(|it| it.run_dir.join("agent.sock")).collect();
        self.producer = Some(Producer::start(sockets, READINGS_PER_SECOND));
        self.wait_flow();
        self.check_console();
        let both = || self.gateways.iter().all(|gateway| gateway.health() == "healthy");
        within(60, "both to be healthy", both);
        self.say("both are healthy");
    }

    /// Whoever reaches the port needs the token that was made.
    fn check_console(&self) {
        for gateway in &self.gateways {
            let path = gateway.run_dir.join("console.token");
            let token = fs::read_to_string(&path).expect("a token was made");
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let status = |headers: &str| {
                let reply = ask_tcp(gateway.port, "GET", "/status.json", headers, b"", LIMIT);
                reply.map(|reply| reply.status).unwrap_or_default()
            };
            assert_eq!(status(""), 401);
            let shown = format!("Authorization: Bearer {}\r\n", token.trim());
            assert_eq!(status(&shown), 200);
            for host in ["192.0.2.5:8480", "gw-1.plant:8480"] {
                assert_eq!(status(&format!("Host: {host}\r\n{shown}")), 200, "as {host} too");
            }
            let logs = docker(&["logs", &gateway.name]);
            let logs = String::from_utf8_lossy(&logs.stderr).into_owned();
            assert!(logs.contains("/run/edge-agent/console.token"), "the log names the file");
            assert!(!logs.contains(token.trim()), "and not the token");
        }
        self.say("the console wants the token that was made, and the log names its file");
    }

    fn master(&self) -> usize {
        let is_master = |gateway: &Gateway| gateway.is_in_role("master");
        self.gateways.iter().position(is_master).expect("somebody is master")
    }

    /// Waits until a second's worth of readings more has arrived.
    fn wait_flow(&self) {
        let before = self.receiver.ledger().readings() as u64;
        let more = |readings: usize| readings as u64 >= before + READINGS_PER_SECOND;
        let limit = Duration::from_secs(60);
        let seen = self.receiver.wait(limit, |ledger| more(ledger.readings()).then_some(()));
        assert!(seen.is_some(), "readings do not arrive");
    }

    /// Does something to the master; the other has to take over.
    fn take_over(&mut self, what: &'static str, act: impl FnOnce(&Gateway)) -> usize {
        let old = self.master();
        let other = &self.gateways[1 - old];
        within(20, "a standby", || other.is_in_role("standby"));
        let (before, mark) = {
            let ledger = self.receiver.ledger();
            (ledger.newest_term(), ledger.requests.len())
        };
        let at_ns = now_ns();
        act(&self.gateways[old]);
        let socket = other.run_dir.join("agent.sock");
        let producer = self.producer.as_ref().expect("it runs");
        let mut collects_ns = None;
        within(60, "readings to be taken again", || {
            collects_ns = producer.first_acknowledged_ns(&socket, at_ns);
            collects_ns.is_some()
        });
        let first_ns = self.receiver.wait(Duration::from_secs(60), |ledger| {
            let newest = ledger.newest_term();
            (newest > before).then(|| ledger.first_of_term(newest).map(|it| it.accepted_ns))?
        });
        let collects_ns = collects_ns.expect("it was waited for") - at_ns;
        let requests_ns = first_ns.expect("readings to be forwarded again").saturating_sub(at_ns);
        self.wait_flow();
        let repeated = self.receiver.ledger().batches_repeated_since(mark);
        self.say(&format!(
            "{what}: {} collects after {:.0} ms, first request after {:.0} ms",
            self.gateways[1 - old].node,
            ms(collects_ns),
            ms(requests_ns)
        ));
        self.takeovers.push(Takeover { what, collects_ns, requests_ns, repeated });
        old
    }

    fn act(&mut self) {
        let killed = self.take_over("docker kill", |gateway| {
            done(&["kill", &gateway.name]);
        });
        done(&["start", &self.gateways[killed].name]);

        let mut took = Duration::ZERO;
        let stopped = self.take_over("docker stop", |gateway| {
            let begin = Instant::now();
            done(&["stop", &gateway.name]);
            took = begin.elapsed();
        });
        let code =
            done(&["inspect", "--format", "{{.State.ExitCode}}", &self.gateways[stopped].name]);
        assert_eq!(code, "0", "a clean stop");
        assert!(took < Duration::from_secs(10), "docker would have killed it: {took:?}");
        done(&["start", &self.gateways[stopped].name]);

        let paused = self.take_over("docker pause", |gateway| {
            done(&["pause", &gateway.name]);
        });
        done(&["unpause", &self.gateways[paused].name]);
        within(20, "the paused one to stand by", || self.gateways[paused].is_in_role("standby"));

        self.cut();

        let old = self.take_over("upgrade", |gateway| {
            done(&["stop", &gateway.name]);
            done(&["rm", &gateway.name]);
        });
        self.run(old);
        within(20, "the upgraded one to stand by", || self.gateways[old].is_in_role("standby"));
        self.say("upgraded by stop and run: it stands by");
    }

    /// Without a way to the cloud the master stays master, and keeps what comes.
    fn cut(&self) {
        let master = self.master();
        let gateway = &self.gateways[master];
        done(&["network", "disconnect", "bridge", &gateway.name]);
        let producer = self.producer.as_ref().expect("it runs");
        let before = producer.acknowledged();
        thread::sleep(Duration::from_secs(8));
        assert!(producer.acknowledged() > before, "readings are taken all the same");
        assert_eq!(self.master(), master, "and nobody takes over");
        let waiting = gateway.status().expect("it answers")["journal"][0]["waiting"].clone();
        done(&["network", "connect", "bridge", &gateway.name]);
        self.say(&format!("cut off from the cloud for 8 s: still master, journal: {waiting}"));
        self.wait_flow();
    }

    /// README.md's way for a share that the host mounts after the container was started.
    fn mount_late(&self) {
        let (late, stored) = (self.folder.join("late"), self.folder.join("stored"));
        for path in [&late, &stored] {
            fs::create_dir_all(path).expect("a folder can be made");
            chown(path, Some(OWNER), Some(OWNER)).expect("root can give it away");
        }
        let (late, stored) = (late.display().to_string(), stored.display().to_string());
        mount(&["--bind", &late, &late]);
        mount(&["--make-shared", &late]);
        let data = "EDGE_DATADIRPATH=/opt/shared/datonis-edge-data";
        let place = format!("type=bind,source={stored},target=/opt/shared");
        let site = done(&["run", "--rm", "--mount", &place, "-e", data, IMAGE, "init"]);

        let name = &self.gateways[0].name;
        done(&["rm", "-f", name]);
        let place = format!("type=bind,source={late},target=/opt/shared,bind-propagation=rslave");
        let site = format!("EDGE_SITE={site}");
        done(&["run", "-d", "--name", name, "--mount", &place, "-e", data, "-e", &site, IMAGE]);
        let says = |wanted: &str| {
            let status = docker(&["exec", name, "edge-agent", "status", "--json"]);
            String::from_utf8_lossy(&status.stdout).contains(wanted)
        };
        within(20, "a container without its share to say so", || says("share-missing"));
        assert_eq!(fs::read_dir(&late).map_or(0, Iterator::count), 0, "no second site");
        mount(&["--bind", &stored, &late]);
        let took = within(60, "it to be master of the share that came late", || {
            says("\"role\":\"master\"")
        });
        self.say(&format!(
            "a share that was mounted late is found {:.1} s later",
            took.as_secs_f64()
        ));
    }

    fn judge(&mut self) -> bool {
        let sent = self.producer.take().expect("it runs").stop();
        self.receiver.wait(Duration::from_secs(90), |ledger| {
            ledger.missing(&sent.acknowledged).is_empty().then_some(())
        });
        let ledger = self.receiver.ledger();
        let lost = ledger.missing(&sent.acknowledged).len();
        println!("\n  takeover          collects   first request  repeated batches");
        for Takeover { what, collects_ns, requests_ns, repeated } in &self.takeovers {
            let (collects, requests) = (ms(*collects_ns), ms(*requests_ns));
            println!("  {what:<14} {collects:>8.0} ms   {requests:>10.0} ms  {repeated:>16}");
        }
        println!("\n  acknowledged {}, lost {lost}", sent.acknowledged.len());
        let order = ledger.order_fault();
        for fault in ledger.faults.iter().chain(&order) {
            println!("  fault: {fault}");
        }
        let few = self.takeovers.iter().all(|takeover| takeover.repeated <= 1);
        lost == 0 && few && ledger.faults.is_empty() && order.is_none()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.producer.take());
        for gateway in &self.gateways {
            if thread::panicking() {
                let logs = docker(&["logs", "--tail", "40", &gateway.name]);
                eprintln!("{}:\n{}", gateway.node, String::from_utf8_lossy(&logs.stderr));
            }
            docker(&["rm", "-f", &gateway.name]);
        }
        let late = self.folder.join("late");
        // the share, and the mount point
        for _ in 0..2 {
            let gone = Command::new("umount").args(["-q", "-l"]).arg(&late).status();
            drop(gone);
        }
        if !thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

fn main() -> ExitCode {
    let mut scene = Scene::new();
    scene.begin();
    scene.act();
    let is_well = scene.judge();
    scene.mount_late();
    if is_well {
        println!("\nnothing was lost");
        return ExitCode::SUCCESS;
    }
    println!("\nFAILED");
    ExitCode::FAILURE
}
