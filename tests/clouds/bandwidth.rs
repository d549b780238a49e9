//! A thin line to the cloud.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::receiver::Receiver;
use crate::support::site::Plan;
use crate::support::slow_link::SlowLink;
use crate::{Scene, is_long, tries};

/// The URL of a link to this receiver.
fn through(link: &SlowLink) -> Value {
    json!(format!("https://localhost:{}", link.port()))
}

/// Delivers some kB of readings over a line of so many bytes a second.
fn deliver(bytes_per_second: u32, timeout_ms: u32, kilobytes: u64, limit: Duration) {
    let receiver = Receiver::start();
    let link = SlowLink::start(receiver.port(), bytes_per_second);
    let plan = Plan { timeout: timeout_ms, ..Plan::default() };
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

#[test]
fn a_line_of_100_kbit_a_second_delivers_at_the_defaults() {
    deliver(12_500, 10_000, 200, Duration::from_secs(90));
}

/// Batches of 64 KiB take longer than the time-out: they never fit, and halves do.
#[test]
fn a_line_that_is_too_slow_for_whole_batches_delivers_smaller_ones() {
    if is_long() {
        deliver(12_500, 4_000, 1_000, Duration::from_secs(400));
    } else {
        deliver(40_000, 1_500, 150, Duration::from_secs(90));
    }
}
