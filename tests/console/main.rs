//! What people and machines see of a live site: the page in a real browser, metrics in a real
//! Prometheus, and a console that many clients crowd.
//!
//! Needs Debian's `chromium`, `chromium-driver` and `prometheus`; what is missing is left out
//! (`support::left_out`). Nothing listens but on this host.

mod browser;
mod crowd;
mod page;
mod prometheus;

#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::guard;
use support::http::free_port;
use support::left_out::leave_out;
use support::receiver::Receiver;
use support::site::{Plan, Site};

/// The nodes of every site here.
const NODES: [&str; 2] = ["gw-1", "gw-2"];

/// A site whose consoles listen, each at a port of its own.
struct Seen {
    site: Site,
    receiver: Receiver,
    ports: [u16; 2],
}

impl Seen {
    fn new(plan: &Plan) -> Self {
        let receiver = Receiver::start();
        let binary = support::binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
        let site = Site::new(&binary, &receiver, plan);
        Self { site, receiver, ports: NODES.map(|_| free_port()) }
    }

    fn url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node])
    }

    fn start(&mut self, node: usize) {
        let (url, address) = (self.url(node), format!("127.0.0.1:{}", self.ports[node]));
        self.site.start_with(NODES[node], &["--console", &address, "--advertise", &url]);
    }

    /// The first is master, the second stands by.
    fn start_both(&mut self) {
        self.start(0);
        self.site.wait_fenced(0);
        self.start(1);
        self.site.wait_standby(NODES[1]);
    }
}

/// A program that runs beside the site; it ends with this.
struct Beside(Child);

impl Beside {
    /// Its output goes to a file.
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::create(log).expect("console: a log is made");
        let errors = log.try_clone().expect("console: a descriptor is copied");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.expect("console: the program starts");
        guard::started(child.id());
        Self(child)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        guard::ended(self.0.id());
    }
}

/// Whether all these programs are here; says what is left out otherwise.
fn have(programs: &[&str], what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here =
        |program: &&&str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    let missing: Vec<_> = programs.iter().filter(|program| !is_here(program)).collect();
    if !missing.is_empty() {
        leave_out(&format!("{what}: not installed: {missing:?}"));
    }
    missing.is_empty()
}
