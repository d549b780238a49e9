//! A producer of numbered readings that goes where the master is.
//!
//! A reading is posted once. 204: acknowledged, it must arrive. Anything else: its outcome
//! is unknown, and it is never posted again, so that a number that arrives under two
//! identities is always the site's fault.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::http::ask_unix;
use super::{THING, now_ns};

/// Readings of one post.
const POST_READINGS: u64 = 40;
/// Posts under way at once: below what the console takes.
const WORKERS: usize = 8;
/// How long an answer is waited for.
const POST_LIMIT: Duration = Duration::from_secs(3);

/// What became of the readings.
#[derive(Clone, Default, Debug)]
pub struct Sent {
    /// Numbers of those that were acknowledged.
    pub acknowledged: Vec<u64>,
    /// How many others were posted.
    pub unknown: u64,
    /// Answers and failures other than 204, and how often, for the message of a failed test.
    pub refusals: Vec<(String, u64)>,
}

struct Shared {
    nodes: Vec<PathBuf>,
    readings_per_second: u64,
    first: u64,
    started: Instant,
    stop: AtomicBool,
    /// Where the master was last found.
    current: AtomicUsize,
    posts: AtomicU64,
    acknowledged: AtomicU64,
    /// When each acknowledgement came, and from which node.
    times: Mutex<Vec<(u64, usize)>>,
    sent: Mutex<Sent>,
}

/// A running producer.
pub struct Producer {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Producer {
    /// Starts posting to whichever of these Unix sockets takes it.
    pub fn start(nodes: Vec<PathBuf>, readings_per_second: u64) -> Self {
        Self::start_at(nodes, readings_per_second, 0)
    }

    /// The same, with numbers from `first` on.
    pub fn start_at(nodes: Vec<PathBuf>, readings_per_second: u64, first: u64) -> Self {
        let shared = Arc::new(Shared {
            nodes,
            readings_per_second,
            first,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            current: AtomicUsize::new(0),
            posts: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            times: Mutex::default(),
            sent: Mutex::default(),
        });
        let work = || {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.work())
        };
        let workers = (0..WORKERS).map(|_| work()).collect();
        Self { shared, workers }
    }

    /// How many were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }

    /// When a node first acknowledged something after this moment.
    pub fn first_acknowledged_ns(&self, node: &Path, after_ns: u64) -> Option<u64> {
        let index = self.shared.nodes.iter().position(|socket| socket == node)?;
        let times = self.shared.times.lock().expect("no worker panics");
        times.iter().find(|(time, at)| *at == index && *time > after_ns).map(|(time, _)| *time)
    }

    /// Ends it, once every post under way has its outcome.
    pub fn stop(mut self) -> Sent {
        self.end();
        self.shared.sent.lock().expect("no worker panics").clone()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in self.workers.drain(..) {
            drop(worker.join());
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn work(&self) {
        while !self.stop.load(Ordering::Acquire) {
            let post = self.posts.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_micros(
                post * POST_READINGS * 1_000_000 / self.readings_per_second.max(1),
            );
            while self.started.elapsed() < due {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                let left = due.saturating_sub(self.started.elapsed());
                thread::sleep(left.min(Duration::from_millis(20)));
            }
            self.post(self.first + post * POST_READINGS);
        }
    }

    fn post(&self, first: u64) {
        let node = self.current.load(Ordering::Acquire);
        let socket = &self.nodes[node % self.nodes.len()];
        let reply = ask_unix(socket, "POST", "/readings", &readings(first), POST_LIMIT);
        let mut sent = self.sent.lock().expect("no worker panics");
        let reason = match reply {
            Ok(reply) if reply.status == 204 => {
                sent.acknowledged.extend(first..first + POST_READINGS);
                self.acknowledged.fetch_add(POST_READINGS, Ordering::AcqRel);
                let mut times = self.times.lock().expect("no worker panics");
                times.push((now_ns(), node % self.nodes.len()));
                return;
            }
            Ok(reply) => format!("{} {}", reply.status, reply.text()),
            Err(error) => error.kind().to_string(),
        };
        sent.unknown += POST_READINGS;
        match sent.refusals.iter_mut().find(|(text, _)| *text == reason) {
            Some((_, count)) => *count += 1,
            None => sent.refusals.push((reason, 1)),
        }
        drop(sent);
        let next = node.wrapping_add(1);
        let _ = self.current.compare_exchange(node, next, Ordering::AcqRel, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(10));
    }
}

/// One post: a line of JSON for each reading.
fn readings(first: u64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis());
    let mut text = String::new();
    for number in first..first + POST_READINGS {
        let line = format_args!(
            "{{\"timestamp\":{now},\"thing_key\":\"{THING}\",\"data\":{{\"n\":{number}}}}}\n"
        );
        text.write_fmt(line).expect("a string takes all");
    }
    text.into_bytes()
}
