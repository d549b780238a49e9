//! Three nodes, one after the other killed, stopped and frozen, while readings flow.
//!
//! `cargo run --release --example demo` prints a time line and ends with success only if
//! every acknowledged reading arrived.

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;
use support::figures::{self, ms};
use support::producer::{Producer, Sent};
use support::receiver::Receiver;
use support::site::{Master, Part, Plan, Site};
use support::{binary, now_ns};

const NODES: [&str; 3] = ["alpha", "beta", "gamma"];
const READINGS_PER_SECOND: u64 = 1_000;

struct Demo {
    started: Instant,
    site: Site,
    receiver: Receiver,
    producer: Option<Producer>,
    takeovers: Vec<Takeover>,
}

struct Takeover {
    what: &'static str,
    until_acknowledged_ns: u64,
    until_request_ns: u64,
}

fn main() -> ExitCode {
    let binary = binary::beside_example();
    let receiver = Receiver::start();
    let plan = Plan {
        poll: 250,
        heartbeat: 500,
        fence: 1_500,
        seize: 3_000,
        sources: vec![
            json!({ "file": {
                "path": "/proc/loadavg", "field": 1, "metric": "load1", "every_ms": 250
            } }),
            json!({ "file": {
                "path": "/proc/uptime", "field": 1, "metric": "uptime", "every_ms": 250
            } }),
        ],
        ..Plan::default()
    };
    let started = Instant::now();
    let site = Site::new(&binary, &receiver, &plan);
    let mut demo = Demo { started, site, receiver, producer: None, takeovers: Vec::new() };
    demo.begin();
    demo.act();
    let sent = demo.producer.take().expect("it was started").stop();
    demo.judge(&sent)
}

impl Demo {
    fn say(&self, text: &str) {
        println!("{:7.2} s  {text}", self.started.elapsed().as_secs_f64());
    }

    fn begin(&mut self) {
        let folder = self.site.data();
        self.say(&format!("a data directory in {}", folder.display()));
        self.say(&format!("a receiver at {}, its CA made just now", self.receiver.url()));
        self.site.start(NODES[0]);
        let first = self.site.wait_fenced(0);
        self.say(&format!("{} starts first and is master of term {}", first.node, first.term));
        for node in &NODES[1..] {
            self.site.start(node);
            self.site.wait_standby(node);
            self.say(&format!("{node} joins and stands by"));
        }
        self.producer = Some(Producer::start(self.site.sockets(&NODES), READINGS_PER_SECOND));
        self.wait_flow();
        self.say(&format!("readings flow, {READINGS_PER_SECOND} a second and two from files"));
    }

    fn act(&mut self) {
        let first = self.site.wait_fenced(0);
        self.say(&format!("kill -9 {}", first.node));
        let at_ns = now_ns();
        self.site.kill(&first.node, Part::Agent);
        let second = self.note_takeover("kill -9", at_ns, first.term);

        self.say(&format!("stop {}, cleanly", second.node));
        let at_ns = now_ns();
        let (status, took) = self.site.stop(&second.node);
        assert!(status.success(), "{} ended with {status}", second.node);
        self.say(&format!("{} has ended after {}", second.node, figures::span(took)));
        let third = self.note_takeover("clean stop", at_ns, second.term);

        for node in [&first.node, &second.node] {
            self.site.start(node);
            self.site.wait_standby(node);
            self.say(&format!("{node} is back and stands by"));
        }
        self.wait_flow();

        self.say(&format!("freeze {} (SIGSTOP of all its processes)", third.node));
        let at_ns = now_ns();
        self.site.freeze(&third.node);
        let fourth = self.note_takeover("frozen", at_ns, third.term);
        self.site.thaw(&third.node);
        self.site.wait_standby(&third.node);
        self.say(&format!("{} goes on, sees term {}, stands by", third.node, fourth.term));
        self.wait_flow();
    }

    /// Waits until a second's worth of readings more has arrived.
    fn wait_flow(&self) {
        let before = self.receiver.ledger().readings() as u64;
        let more = |readings: usize| readings as u64 >= before + READINGS_PER_SECOND;
        let seen = self
            .receiver
            .wait(Duration::from_secs(20), |ledger| more(ledger.readings()).then_some(()));
        assert!(seen.is_some(), "readings do not arrive\n{}", self.site.report());
    }

    /// Waits for the first request of a newer term, then for its master to be settled.
    fn note_takeover(&mut self, what: &'static str, since_ns: u64, old: u32) -> Master {
        let first = self.receiver.wait(Duration::from_secs(30), |ledger| {
            let newest = ledger.newest_term();
            (newest > old).then(|| ledger.first_of_term(newest).cloned())?
        });
        let first =
            first.unwrap_or_else(|| panic!("no request above term {old}\n{}", self.site.report()));
        let master = self.site.wait_fenced(old);
        let producer = self.producer.as_ref().expect("it was started");
        let socket = self.site.socket(&master.node);
        let acknowledged_ns = self.site.wait("an acknowledged reading", 20, |_| {
            producer.first_acknowledged_ns(&socket, since_ns)
        });
        let takeover = Takeover {
            what,
            until_acknowledged_ns: acknowledged_ns - since_ns,
            until_request_ns: first.accepted_ns.saturating_sub(since_ns),
        };
        self.say(&format!(
            "{} is master of term {}: first reading acknowledged after {:.0} ms, \
             first request after {:.0} ms",
            master.node,
            master.term,
            ms(takeover.until_acknowledged_ns),
            ms(takeover.until_request_ns)
        ));
        self.takeovers.push(takeover);
        self.wait_flow();
        master
    }

    fn judge(&self, sent: &Sent) -> ExitCode {
        self.say("the producer has ended; waiting for what it was promised");
        let mut next = 0;
        self.receiver.wait(Duration::from_secs(15), |ledger| {
            let found = |number: &&u64| ledger.has(**number);
            next += sent.acknowledged[next..].iter().take_while(found).count();
            (next == sent.acknowledged.len()).then_some(())
        });
        let ledger = self.receiver.ledger();
        let lost = ledger.missing(&sent.acknowledged).len();
        let order = ledger.order_fault();
        println!("\n  takeover     acknowledges again   first request");
        for takeover in &self.takeovers {
            println!(
                "  {:<12} {:>15.0} ms {:>12.0} ms",
                takeover.what,
                ms(takeover.until_acknowledged_ns),
                ms(takeover.until_request_ns)
            );
        }
        println!("\n  sent      {:>8} readings, acknowledged", sent.acknowledged.len());
        println!("            {:>8} more without an answer (outcome unknown)", sent.unknown);
        println!(
            "  received  {:>8} records in {} requests, every signature checked",
            ledger.records(),
            ledger.requests.len()
        );
        println!("  alerts    {:>8}", ledger.alerts.len());
        println!("  repeated  {:>8} records, under their old identities", ledger.repeated_records);
        println!("  lost      {lost:>8}");
        for fault in ledger.faults.iter().chain(&order).chain(&self.site.thread_faults()) {
            println!("  fault: {fault}");
        }
        let good = lost == 0 && ledger.faults.is_empty() && order.is_none();
        println!("\n{}", if good { "nothing was lost" } else { "FAILED" });
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
