//! What a backlog costs: starts and takeovers with and without one, and memory while it is sent.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::figures::ms;
use crate::support::http::ask_unix;
use crate::support::processes::{self, Memory};
use crate::support::receiver::Behaviour;
use crate::support::{THING, now_ns};
use crate::{Bench, NODES, Row, Times};

/// Bytes of one post: what the intake takes at most, less a head.
const POST_BYTES: usize = 250 << 10;
/// Posts under way at once.
const PRODUCERS: u64 = 4;
/// How long memory is watched while the backlog is sent.
const WATCH: Duration = Duration::from_secs(10);
/// No fill takes longer.
const FILL_LIMIT: Duration = Duration::from_secs(900);

/// Starts and takeovers of one state of the journal.
pub(crate) struct Costs {
    starts: Times,
    takeovers: Times,
}

impl Bench {
    /// Starts a lone node and kills a master, some times each.
    pub(crate) fn measure_costs(
        &mut self,
        rounds: u64,
        kill: impl Fn(&mut Self, u64) -> Times,
    ) -> Costs {
        let starts = self.measure_starts(rounds);
        Costs { starts, takeovers: kill(self, rounds) }
    }

    /// Stops every node, then starts one: until it is master, and until its first request.
    fn measure_starts(&mut self, rounds: u64) -> Times {
        let mut times = Times::default();
        for _ in 0..rounds {
            let term = self.receiver.ledger().newest_term();
            for node in self.site.running() {
                self.site.stop(&node);
            }
            self.receiver.behave(Behaviour::Answer(200));
            let socket = self.site.socket(NODES[0]);
            let watcher = thread::spawn(move || crate::watch_role(&socket));
            let since_ns = now_ns();
            self.site.start(NODES[0]);
            let master_ns = watcher.join().expect("the watcher does not panic");
            let first = self.receiver.wait(Duration::from_secs(60), |ledger| {
                ledger.first_of_term(ledger.newest_term().max(term + 1)).cloned()
            });
            let Some(first) = first else { panic!("no request\n{}", self.site.report()) };
            times.until_master.push(ms(master_ns.saturating_sub(since_ns)));
            times.until_request.push(ms(first.accepted_ns.saturating_sub(since_ns)));
            self.hold_backlog();
        }
        self.site.start(NODES[1]);
        self.site.wait_standby(NODES[1]);
        times
    }

    /// Posts readings while the cloud hangs up, until the journal holds so many bytes; the
    /// bytes of the journal, and the rate at which they came.
    pub(crate) fn fill(&mut self, bytes: u64) -> String {
        self.receiver.behave(Behaviour::HangUp);
        let master = self.site.wait_fenced(0);
        let socket = self.site.socket(&master.node);
        let journal = self.site.data().join("journal/readings");
        let (stop, posted) = (AtomicBool::new(false), AtomicU64::new(0));
        let start = Instant::now();
        thread::scope(|scope| {
            for producer in 0..PRODUCERS {
                let (stop, posted, socket) = (&stop, &posted, &socket);
                scope.spawn(move || post(socket, producer, stop, posted));
            }
            while size_of(&journal) < bytes && start.elapsed() < FILL_LIMIT {
                thread::sleep(Duration::from_millis(200));
            }
            stop.store(true, Ordering::Release);
        });
        let seconds = start.elapsed().as_secs().max(1);
        let rate = posted.load(Ordering::Acquire) / seconds;
        format!("{} MB, posted at {rate} readings/s", size_of(&journal) / 1_000_000)
    }

    /// The master's memory while it sends: the most that was seen, and how many batches went.
    pub(crate) fn watch_memory(&mut self) -> (Memory, u64) {
        self.receiver.behave(Behaviour::Answer(200));
        let master = self.site.wait_fenced(0).node;
        let requests = self.receiver.ledger().requests.len();
        let end = Instant::now() + WATCH;
        let mut most = Memory::default();
        while Instant::now() < end {
            let seen = processes::memory(&self.site.tree(&master));
            most = Memory { pss: most.pss.max(seen.pss), private: most.private.max(seen.private) };
            thread::sleep(Duration::from_millis(100));
        }
        let sent = self.receiver.ledger().requests.len() - requests;
        (most, sent as u64)
    }
}

/// Posts numbered readings again and again; one that is refused comes again later.
fn post(socket: &Path, producer: u64, stop: &AtomicBool, posted: &AtomicU64) {
    let mut number = producer << 40;
    while !stop.load(Ordering::Acquire) {
        let mut body = String::with_capacity(POST_BYTES + 256);
        let mut count = 0;
        while body.len() < POST_BYTES {
            let line = format!(
                "{{\"timestamp\":1750000000000,\"thing_key\":\"{THING}\",\"data\":{{\"m\":{number}}}}}\n"
            );
            body.push_str(&line);
            number += 1;
            count += 1;
        }
        let limit = Duration::from_secs(20);
        match ask_unix(socket, "POST", "/readings", body.as_bytes(), limit) {
            Ok(reply) if reply.status == 204 => {
                posted.fetch_add(count, Ordering::AcqRel);
            }
            Ok(_) | Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// Both states side by side.
pub(crate) fn rows(without: &Costs, with: &Costs, memory: (Memory, u64)) -> Vec<Row> {
    let mut rows = Vec::new();
    for (figure, costs) in [
        ("start until master", [&without.starts.until_master, &with.starts.until_master]),
        (
            "start until the first request",
            [&without.starts.until_request, &with.starts.until_request],
        ),
        ("kill -9 until master", [&without.takeovers.until_master, &with.takeovers.until_master]),
        (
            "kill -9 until the first request",
            [&without.takeovers.until_request, &with.takeovers.until_request],
        ),
    ] {
        rows.push(Row::of_times(figure, costs[0], "without a backlog"));
        rows.push(Row::of_times(figure, costs[1], "with it: the same"));
    }
    let (Memory { pss, private }, batches) = memory;
    let measured = format!("PSS {pss} kB, private {private} kB, {batches} batches");
    rows.push(Row::new("master sending it, most memory", measured, "PSS 6000 kB"));
    rows
}
