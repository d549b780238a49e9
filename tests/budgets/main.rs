//! Takeover, memory, processor time and throughput, printed beside their budgets; nothing is asserted.
//!
//! `cargo run --release --example budgets [-- ROUNDS [IDLE_SECONDS [BACKLOG_MB [LOAD_SECONDS]]]]`, by
//! default 5 rounds, 20 s, 1000 MB and 10 s; 0 leaves the backlog or the load out. The budgets are
//! those of a static musl build: `EDGE_BINARY=PROGRAM` measures another; which is said above the table.

mod backlog;
mod cycle;
mod sink;
#[path = "../support/mod.rs"]
mod support;
mod throughput;

use std::path::Path;
use std::thread;
use std::time::Duration;

use support::figures::{self, median_and_worst, ms};
use support::processes::{self, Memory};
use support::producer::Producer;
use support::receiver::{Behaviour, Receiver};
use support::site::{Part, Plan, Site};
use support::{binary, now_ns};

const NODES: [&str; 2] = ["a", "b"];
/// What flows during the takeovers.
const READINGS_PER_SECOND: u64 = 500;

struct Bench {
    site: Site,
    receiver: Receiver,
    /// The cloud hangs up between two measurements, so that the backlog stays.
    keeps_backlog: bool,
}

/// Times in ms, one of each a round.
#[derive(Default)]
struct Times {
    until_master: Vec<f64>,
    until_request: Vec<f64>,
}

struct Row {
    figure: String,
    measured: String,
    budget: &'static str,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| arguments.next().map_or(default, |n| n.unwrap_or(default));
    let (rounds, idle_seconds) = (number(5), number(20).max(1));
    let (backlog_mb, load_seconds) = (number(1_000), number(10));
    let binary = binary::beside_example();
    let receiver = Receiver::start();
    // the product's own times; readings, where there are any, are sent at once
    let plan = Plan {
        poll: 500,
        heartbeat: 1_000,
        fence: 5_000,
        seize: 60_000,
        sync: 200,
        timeout: 10_000,
        // the whole backlog is to be kept
        journal_bytes: 2_000_000 * backlog_mb.max(1_000),
        ..Plan::default()
    };
    let site = Site::new(&binary, &receiver, &plan);
    let mut bench = Bench { site, receiver, keeps_backlog: false };
    print_machine(&binary, bench.site.scratch());
    bench.begin();
    let mut rows = bench.measure_idle(idle_seconds);
    // enough for a batch to wait whenever the master ends
    let producer = Producer::start(bench.site.sockets(&NODES), READINGS_PER_SECOND);
    let kill = |bench: &mut Bench, rounds| {
        let kill = |site: &mut Site, node: &str| site.kill(node, Part::Agent);
        bench.measure_takeovers(rounds, kill, Site::start)
    };
    let killed = kill(&mut bench, rounds);
    let stop = |site: &mut Site, node: &str| {
        site.stop(node);
    };
    let stopped = bench.measure_takeovers(rounds, stop, Site::start);
    rows.extend(takeover_rows(&killed, &stopped));
    rows.extend(measure_freezes(&binary, rounds));
    if backlog_mb > 0 {
        let without = bench.measure_costs(rounds, kill);
        drop(producer);
        println!("backlog: {}", bench.fill(backlog_mb * 1_000_000));
        bench.keeps_backlog = true;
        let with = bench.measure_costs(rounds, kill);
        rows.extend(backlog::rows(&without, &with, bench.watch_memory()));
    }
    drop(bench);
    if load_seconds > 0 {
        rows.extend(throughput::measure(&binary, load_seconds));
        rows.extend(cycle::measure(&binary));
    }
    print_table(&rows, rounds, idle_seconds);
    println!("load average at the end: {}", figures::load_average());
}

fn print_machine(binary: &Path, scratch: &Path) {
    let size = std::fs::metadata(binary).map_or(0, |file| file.len());
    let syncs = median_and_worst(&figures::sync_times_ms(scratch, 50)).unwrap_or_default();
    // a program of glibc names its loader
    let text = std::fs::read(binary).unwrap_or_default();
    let is_dynamic = text.windows(9).any(|word| word == b"/ld-linux");
    let kind = if is_dynamic { "dynamic, glibc" } else { "static" };
    println!("binary: {} kB, {kind}, {}", size / 1_000, std::env::consts::ARCH);
    println!("data directory: {}", scratch.display());
    println!("load average: {}", figures::load_average());
    println!(
        "write and fdatasync of 4 KiB: median {:.2} ms, worst of 50 {:.2} ms",
        syncs.0, syncs.1
    );
}

/// A master that stands still, and one that follows it after 3 s of silence.
fn measure_freezes(binary: &Path, rounds: u64) -> Vec<Row> {
    let plan = Plan { seize: 3_000, fence: 1_500, heartbeat: 500, poll: 500, ..Plan::default() };
    let receiver = Receiver::start();
    let site = Site::new(binary, &receiver, &plan);
    let mut bench = Bench { site, receiver, keeps_backlog: false };
    bench.begin();
    let producer = Producer::start(bench.site.sockets(&NODES), READINGS_PER_SECOND);
    let times = bench.measure_takeovers(rounds, Site::freeze, Site::thaw);
    drop(producer);
    let budget = "seize_ms and a few polls, then 5/4 of fence_ms";
    vec![
        Row::of_times("frozen, seize_ms 3000, until master", &times.until_master, budget),
        Row::of_times("frozen, until the first request", &times.until_request, "1975 ms later"),
    ]
}

fn takeover_rows(killed: &Times, stopped: &Times) -> Vec<Row> {
    let limit = "median 300 ms, worst of 100 550 ms and ten syncs";
    vec![
        Row::of_times("kill -9 until master", &killed.until_master, ""),
        Row::of_times("kill -9 until the first request", &killed.until_request, limit),
        Row::of_times(
            "clean stop until master",
            &stopped.until_master,
            "one poll and ten round trips",
        ),
        Row::of_times("clean stop until the first request", &stopped.until_request, "the same"),
    ]
}

impl Row {
    fn new(figure: &str, measured: String, budget: &'static str) -> Self {
        Self { figure: figure.to_owned(), measured, budget }
    }

    fn of_times(figure: &str, times: &[f64], budget: &'static str) -> Self {
        let measured = match median_and_worst(times) {
            Some((median, worst)) => format!("median {median:.0} ms, worst {worst:.0} ms"),
            None => "not measured".to_owned(),
        };
        Self::new(figure, measured, budget)
    }
}

fn print_table(rows: &[Row], rounds: u64, idle_seconds: u64) {
    println!(
        "\n{rounds} takeovers of each kind at {READINGS_PER_SECOND} readings/s, idle for {idle_seconds} s"
    );
    println!("{:<36} {:<34} budget", "figure", "measured");
    for row in rows {
        println!("{:<36} {:<34} {}", row.figure, row.measured, row.budget);
    }
}

impl Bench {
    fn begin(&mut self) {
        self.site.start(NODES[0]);
        self.site.wait_fenced(0);
        self.site.start(NODES[1]);
        self.site.wait_standby(NODES[1]);
    }

    /// Memory and processor time of both nodes' processes while nothing happens.
    fn measure_idle(&self, seconds: u64) -> Vec<Row> {
        self.site.wait("the master to have sent something", 60, |_| {
            let sent = self.receiver.ledger().requests.iter().any(|r| r.status == 200);
            sent.then_some(())
        });
        // what came with the start has settled
        thread::sleep(Duration::from_secs(3));
        let uplink = self.site.part(NODES[0], Part::Uplink).is_some();
        let trees = NODES.map(|node| self.site.tree(node));
        let memory = [processes::memory(&trees[0]), processes::memory(&trees[1])];
        let before = [processes::processor_us(&trees[0]), processes::processor_us(&trees[1])];
        thread::sleep(Duration::from_secs(seconds));
        let after = [processes::processor_us(&trees[0]), processes::processor_us(&trees[1])];
        let processor = |index: usize| {
            let spent_us: u64 = after[index].saturating_sub(before[index]);
            format!("{:.1} ms per 60 s", ms(spent_us * 1_000 * 60 / seconds))
        };
        let size = |memory: Memory| format!("PSS {} kB, private {} kB", memory.pss, memory.private);
        let with = if uplink { "master, memory, with its uplink" } else { "master, memory" };
        vec![
            Row::new("standby, memory", size(memory[1]), "PSS 1200 kB, private 500 kB"),
            Row::new(with, size(memory[0]), "PSS 3000 kB"),
            Row::new("standby, idle processor time", processor(1), "15 ms per 60 s"),
            Row::new("master, idle processor time", processor(0), "60 ms per 60 s"),
        ]
    }

    fn hold_backlog(&self) {
        if self.keeps_backlog {
            self.receiver.behave(Behaviour::HangUp);
        }
    }

    /// Ends the master in some way, again and again; brought back, it becomes the next standby.
    fn measure_takeovers(
        &mut self,
        rounds: u64,
        end: impl Fn(&mut Site, &str),
        bring_back: impl Fn(&mut Site, &str),
    ) -> Times {
        let mut times = Times::default();
        for _ in 0..rounds {
            let master = self.site.wait_fenced(0);
            let standby = NODES.into_iter().find(|node| *node != master.node).expect("two nodes");
            self.site.wait_standby(standby);
            let socket = self.site.socket(standby);
            if self.keeps_backlog {
                self.receiver.behave(Behaviour::Answer(200));
            }
            // another moment of the standby's poll in each round
            thread::sleep(Duration::from_millis(now_ns() % 500));
            let watcher = thread::spawn(move || watch_role(&socket));
            let since_ns = now_ns();
            end(&mut self.site, &master.node);
            let master_ns = watcher.join().expect("the watcher does not panic");
            let first = self.receiver.wait(Duration::from_secs(30), |ledger| {
                ledger.first_of_term(ledger.newest_term().max(master.term + 1)).cloned()
            });
            let Some(first) = first else { panic!("no takeover\n{}", self.site.report()) };
            times.until_master.push(ms(master_ns.saturating_sub(since_ns)));
            times.until_request.push(ms(first.accepted_ns.saturating_sub(since_ns)));
            self.hold_backlog();
            bring_back(&mut self.site, &master.node);
        }
        times
    }
}

/// When the node behind this socket first said that it is master; it is asked every 3 ms.
fn watch_role(socket: &Path) -> u64 {
    let limit = Duration::from_secs(2);
    for _ in 0..20_000 {
        let reply = support::http::ask_unix(socket, "GET", "/status.json", b"", limit);
        let status = reply.ok().and_then(|reply| reply.json()).unwrap_or_default();
        if status["role"] == "master" {
            break;
        }
        thread::sleep(Duration::from_millis(3));
    }
    now_ns()
}
