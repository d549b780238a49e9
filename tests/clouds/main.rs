//! The whole agent against every behaviour of a cloud: real binary, real TLS, and a receiver
//! that does as a test says. What was delivered is read from the receiver's ledger, what was
//! declined from the declined store itself, alerts from what arrived at their endpoint, and
//! conditions from the agent's status.
//!
//! One node is enough here, and tests run side by side. `EDGE_LONG=1` waits out the times that
//! the fast run cuts short by SIGHUP; `EDGE_KEEP=1` keeps the scratch folders.

mod answers;
mod bandwidth;
mod certificates;
mod content;
mod credentials;
mod later;

#[path = "../support/mod.rs"]
mod support;

use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use edge_agent::edge::share::{self, Entry};
use serde_json::Value;

use support::ledger::Ledger;
use support::receiver::{Behaviour, Receiver};
use support::site::{Plan, Site};
use support::{THING, binary};

/// The one node.
const NODE: &str = "a";

/// What every scene goes by: readings wait for nothing.
fn plan() -> Plan {
    Plan { sync: 20, batch_age: 20, ..Plan::default() }
}

fn is_long() -> bool {
    std::env::var_os("EDGE_LONG").is_some_and(|value| value == "1")
}

/// A site of one node, and its cloud.
struct Scene {
    site: Site,
    receiver: Receiver,
    next: Cell<u64>,
    /// Things of the configuration, that of alerts included.
    things: usize,
}

impl Scene {
    /// Starts it, and waits until a reading was delivered and the things are registered, so that
    /// nothing but readings and alerts comes for two minutes.
    fn start(plan: &Plan) -> Self {
        Self::start_with(plan, |_| {})
    }

    /// The same, with a configuration of its own.
    fn start_with(plan: &Plan, edit: impl FnOnce(&mut Value)) -> Self {
        Self::start_at(Receiver::start(), plan, edit)
    }

    /// The same, with a cloud that is there already.
    fn start_at(receiver: Receiver, plan: &Plan, edit: impl FnOnce(&mut Value)) -> Self {
        Self::start_with_files(receiver, plan, edit, |_| {})
    }

    /// The same, with files beside the configuration.
    fn start_with_files(
        receiver: Receiver,
        plan: &Plan,
        edit: impl FnOnce(&mut Value),
        write: impl FnOnce(&Path),
    ) -> Self {
        let binary = &binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
        let mut site = Site::new(binary, &receiver, plan);
        let mut things = 0;
        site.edit_config(|config| {
            edit(config);
            let alerts = usize::from(config["alerts"]["thing_key"].is_string());
            things = alerts + config["things"].as_array().map_or(0, Vec::len);
        });
        write(&site.data());
        site.start(NODE);
        let scene = Self { site, receiver, next: Cell::new(0), things };
        scene.site.wait_fenced(0);
        let first = scene.post(1);
        scene.wait_delivered(first);
        scene.wait_registered(0);
        scene
    }

    /// The numbers that the next readings will have.
    fn coming(&self, count: u64) -> Range<u64> {
        self.next.get()..self.next.get() + count
    }

    /// Posts numbered readings at once; they are durable when this returns.
    fn post(&self, count: u64) -> Range<u64> {
        self.post_padded(count, |_| 0)
    }

    /// The same, each with so many bytes of padding.
    fn post_padded(&self, count: u64, padding: impl Fn(u64) -> usize) -> Range<u64> {
        let numbers = self.coming(count);
        self.next.set(numbers.end);
        let line = |n: u64| {
            let padding = "x".repeat(padding(n));
            format!("{{\"thing_key\":\"{THING}\",\"data\":{{\"n\":{n},\"p\":\"{padding}\"}}}}\n")
        };
        let body: String = numbers.clone().map(line).collect();
        let reply = self.site.post(NODE, "/readings", &body).expect("the agent answers");
        assert_eq!(reply.status, 204, "{}", reply.text());
        numbers
    }

    /// Waits for something in the ledger.
    fn wait(&self, what: &str, seen: impl Fn(&Ledger) -> bool) {
        let found = self.receiver.wait(Duration::from_secs(60), |l| seen(l).then_some(()));
        assert!(
            found.is_some(),
            "waited in vain for {what}\n{}{}",
            self.receiver.ledger().tail(),
            self.site.report()
        );
    }

    fn wait_delivered(&self, numbers: Range<u64>) {
        let what = format!("readings {numbers:?}");
        self.wait(&what, |ledger| numbers.clone().all(|n| ledger.has(n)));
    }

    /// Waits for so many requests with readings since `mark`; gives the newest.
    fn wait_tries(&self, mark: usize, count: usize) {
        let what = format!("{count} requests with readings");
        self.wait(&what, |ledger| tries(ledger, mark).len() >= count);
    }

    /// How many requests have come so far.
    fn mark(&self) -> usize {
        self.receiver.ledger().requests.len()
    }

    fn status(&self) -> Value {
        self.site.status(NODE).expect("the agent answers")
    }

    /// Waits for something in the status.
    fn wait_status(&self, what: &str, seen: impl Fn(&Value) -> bool) -> Value {
        self.site.wait(what, 60, |site| site.status(NODE).filter(|status| seen(status)))
    }

    /// Waits until `cloud.reason` holds this text.
    fn wait_reason(&self, text: &str) -> Value {
        let what = format!("the reason {text:?}");
        self.wait_status(&what, |s| s["cloud"]["reason"].as_str().is_some_and(|r| r.contains(text)))
    }

    /// Waits until so many readings were declined in all.
    fn wait_declined(&self, count: usize) -> Vec<Entry> {
        let what = format!("{count} declined readings");
        self.wait_status(&what, |s| s["journal"][0]["declined"] == count);
        let entries = self.declined();
        assert_eq!(entries.len(), count, "the store holds what is counted");
        entries
    }

    /// Everything in the declined store.
    fn declined(&self) -> Vec<Entry> {
        let entries = share::declined(&self.site.data()).expect("a data directory");
        entries.map(|entry| entry.expect("it can be read").1).collect()
    }

    fn has_condition(&self, name: &str) -> bool {
        has(&self.status(), name)
    }

    fn wait_condition(&self, name: &str, holds: bool) {
        let what = format!("condition {name}: {holds}");
        self.wait_status(&what, |status| has(status, name) == holds);
    }

    /// Waits until all things were registered since `mark`, and nothing is left to send.
    fn wait_registered(&self, mark: usize) {
        self.wait("the things to be registered", |ledger| {
            let of_things = ledger.requests.iter().skip(mark);
            of_things.filter(|r| r.path.ends_with("/register.json")).count() >= self.things
        });
        self.wait_status("all to be answered", |status| status["cloud"]["state"] == "idle");
    }

    /// All is well again: answers 200, whatever waits is tried at once (SIGHUP), and nothing is
    /// left to send when this returns.
    fn recover(&self) {
        let mark = self.mark();
        self.receiver.behave(Behaviour::Answer(200));
        self.site.reload(NODE);
        self.wait_registered(mark);
    }

    /// No rule of the ledger was broken, nothing is both delivered and declined, and no process
    /// had a second thread.
    fn judge(&self) {
        let declined = self.declined();
        let ledger = self.receiver.ledger();
        assert!(ledger.faults.is_empty(), "{:#?}\n{}", ledger.faults, self.site.report());
        assert_eq!(ledger.order_fault(), None);
        let both: Vec<_> = declined.iter().filter_map(number).filter(|n| ledger.has(*n)).collect();
        assert!(both.is_empty(), "delivered and declined: {both:?}");
        let threads = self.site.thread_faults();
        assert!(threads.is_empty(), "processes with threads: {threads:?}");
    }
}

/// The number of a declined reading.
fn number(entry: &Entry) -> Option<u64> {
    let record: Value = serde_json::from_slice(&entry.record).ok()?;
    record["data"]["n"].as_u64()
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().filter_map(number).collect()
}

fn has(status: &Value, condition: &str) -> bool {
    status["conditions"].as_array().is_some_and(|all| all.iter().any(|name| name == condition))
}

/// How many records each request with readings carried, from number `mark` on.
fn tries(ledger: &Ledger, mark: usize) -> Vec<usize> {
    let later = ledger.requests.iter().skip(mark);
    later.filter(|r| r.path.ends_with("/event.json")).map(|r| r.count).collect()
}
