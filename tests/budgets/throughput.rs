//! Readings a second from the agent's socket to a TLS receiver, durable; what they cost in
//! processor time, by process, and in bytes written to the share.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::sink::{Count, Sink};
use crate::support::figures::ratio;
use crate::support::http::ask_unix;
use crate::support::processes;
use crate::support::receiver::Receiver;
use crate::support::site::{Part, Plan, Site};
use crate::{NODES, Row};

/// Posts under way at once: enough for the next group to be there while one is synced.
const PRODUCERS: u64 = 4;
/// Readings of a post: 240 kB, near what a request may have.
pub(crate) const POST_READINGS: u16 = 3_600;
/// What was posted is delivered within this, or the machine is too slow to be measured.
const LIMIT: Duration = Duration::from_secs(300);

/// A configuration that is measured.
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) batch_records: u64,
    pub(crate) batch_bytes: u64,
    budget: &'static str,
}

pub(crate) const LOADS: [Load; 2] = [
    Load { name: "at the defaults", batch_records: 500, batch_bytes: 64 << 10, budget: "50000/s" },
    Load {
        name: "at 256 KiB",
        batch_records: 1_000_000,
        batch_bytes: 256 << 10,
        budget: "300000/s, aim 500000",
    },
];

/// What was used up to a moment.
#[derive(Clone, Copy, Default)]
struct Spent {
    agent_us: u64,
    keeper_us: u64,
    uplink_us: u64,
    written: u64,
}

/// The rows of both configurations.
pub(crate) fn measure(binary: &Path, seconds: u64) -> Vec<Row> {
    LOADS.iter().flat_map(|load| measure_load(binary, seconds, load)).collect()
}

fn measure_load(binary: &Path, seconds: u64, load: &Load) -> Vec<Row> {
    let (sink, receiver) = (Sink::start(), Receiver::start());
    let mut site = Site::new(binary, &receiver, &Plan { sync: 200, ..Plan::default() });
    sink.take_in(&site, load);
    site.start(NODES[0]);
    site.wait_fenced(0);
    post(&site.socket(NODES[0]), 0);
    site.wait("the first readings to arrive", 30, |_| (sink.count().records > 0).then_some(()));
    let (before, taken) = (spent(&site), sink.count());
    let start = Instant::now();
    let posted = produce(&site, seconds);
    let posting = start.elapsed();
    let Count { records, bytes, requests } = loop {
        let now = sink.count();
        if now.records >= taken.records + posted || start.elapsed() > LIMIT {
            break now;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let whole = start.elapsed();
    let after = spent(&site);
    let (records, bytes) = (records - taken.records, bytes - taken.bytes);
    let rate = |count: u64, time: Duration| ratio(count, 1) / time.as_secs_f64();
    let million = |from: u64, to: u64| ratio(to.saturating_sub(from), records);
    let (agent, keeper, uplink) = (
        million(before.agent_us, after.agent_us),
        million(before.keeper_us, after.keeper_us),
        million(before.uplink_us, after.uplink_us),
    );
    vec![
        Row {
            figure: format!("readings, {}", load.name),
            measured: format!(
                "{:.0}/s delivered, {:.0}/s taken",
                rate(records, whole),
                rate(posted, posting)
            ),
            budget: load.budget,
        },
        Row {
            figure: format!("processor per million, {}", load.name),
            measured: format!(
                "{:.2} s: agent {agent:.2}, keeper {keeper:.2}, uplink {uplink:.2}",
                agent + keeper + uplink
            ),
            budget: "1.0 s, aim 0.8, at 256 KiB",
        },
        Row {
            figure: format!("bytes written per byte, {}", load.name),
            measured: format!(
                "{:.2}; {} requests of {} kB",
                ratio(after.written.saturating_sub(before.written), bytes),
                requests - taken.requests,
                bytes / (requests - taken.requests).max(1) / 1_000
            ),
            budget: "1.1 at 256 KiB",
        },
    ]
}

/// Posts as fast as readings are acknowledged; how many were.
fn produce(site: &Site, seconds: u64) -> u64 {
    let socket = site.socket(NODES[0]);
    let (stop, posted) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for producer in 1..=PRODUCERS {
            let (stop, posted, socket) = (&stop, &posted, &socket);
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    posted.fetch_add(post(socket, producer), Ordering::AcqRel);
                }
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Release);
    });
    posted.into_inner()
}

/// Posts readings of 65 bytes; how many were acknowledged.
pub(crate) fn post(socket: &Path, producer: u64) -> u64 {
    let line = format!(
        "{{\"timestamp\":1790000000000,\"thing_key\":\"7t38b9db\",\"data\":{{\"m\":{producer}}}}}\n"
    );
    assert_eq!(line.len(), 66, "65 bytes and the end of the line");
    let body = line.repeat(POST_READINGS.into());
    match ask_unix(socket, "POST", "/readings", body.as_bytes(), Duration::from_secs(20)) {
        Ok(reply) if reply.status == 204 => POST_READINGS.into(),
        Ok(_) | Err(_) => {
            thread::sleep(Duration::from_millis(5));
            0
        }
    }
}

fn spent(site: &Site) -> Spent {
    let part = |part| site.part(NODES[0], part).unwrap_or(0);
    let keeper = part(Part::Keeper);
    let io = fs::read_to_string(format!("/proc/{keeper}/io")).unwrap_or_default();
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Spent {
        agent_us: processes::processor_us(&[part(Part::Agent)]),
        keeper_us: processes::processor_us(&[keeper]),
        uplink_us: processes::processor_us(&[part(Part::Uplink)]),
        written: written.and_then(|text| text.parse().ok()).unwrap_or(0),
    }
}
