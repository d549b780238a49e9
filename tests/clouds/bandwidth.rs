//! A thin line to the cloud.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::receiver::Receiver;
use crate::support::site::Plan;
use crate::support::slow_link::SlowLink;
use crate::{Scene, is_long, plan, tries};

/// The URL of a link to this receiver.
fn through(link: &SlowLink) -> Value {
    json!(format!("https://localhost:{}", link.port()))
}

/// Delivers some kB of readings over a line of so many bytes a second.
fn deliver(bytes_per_second: u32, timeout_ms: u32, kilobytes: u64, limit: Duration) {
    let receiver = Receiver::start();
    let link = SlowLink::start(receiver.port(), bytes_per_second);
    let plan = Plan { timeout: timeout_ms, ..plan() };
    let scene = Scene::start_at(receiver, &plan, |config| {
        config["cloud"]["url"] = through(&link);
    });
    let mark = scene.mark();
    let start = Instant::now();
    let first = scene.coming(1).start;
    for _ in 0..kilobytes / 20 {
        // 200 bytes each
        scene.post_padded(100, |_| 130);
    }
    let all = first..scene.coming(1).start;
    scene.site.wait("the backlog to be accepted", limit.as_secs(), |_| {
        (scene.status()["journal"][0]["waiting"] == 0).then_some(())
    });
    scene.wait_delivered(all);
    let ledger = scene.receiver.ledger();
    println!(
        "{bytes_per_second} bytes/s, time-out {timeout_ms} ms: {kilobytes} kB in {:?}, \
         {} records repeated, batches of {:?}",
        start.elapsed(),
        ledger.repeated_records,
        tries(&ledger, mark)
    );
    drop(ledger);
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
}

/// At the defaults batches of 64 KiB fit within the time-out. On the other line they never do,
/// and halves do.
#[test]
fn a_thin_line_delivers_whole_batches_or_halves() {
    let minutes = Duration::from_secs(if is_long() { 400 } else { 90 });
    thread::scope(|scope| {
        if is_long() {
            scope.spawn(|| deliver(12_500, 10_000, 200, minutes));
            scope.spawn(|| deliver(12_500, 4_000, 1_000, minutes));
        } else {
            scope.spawn(|| deliver(12_500, 10_000, 120, minutes));
            scope.spawn(|| deliver(40_000, 1_500, 120, minutes));
        }
    });
}
