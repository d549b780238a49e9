//! A cloud, or a link, that takes its time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::answers::Answer;
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::site::Plan;
use crate::support::slow_link::SlowLink;
use crate::{NODE, Scene, is_long, tries};

#[test]
fn two_time_outs_in_a_row_halve_the_batch_and_success_doubles_it() {
    let scene = Scene::start(&Plan { timeout: 1_000, ..Plan::default() });
    scene.receiver.rule(|asked| match asked.records.len() {
        0..=100 => Answer::Status(200),
        _ => Answer::Silence,
    });
    let mark = scene.mark();
    let sent = scene.post(400);
    for count in 1..=4 {
        scene.wait_tries(mark, count);
        scene.wait_reason("no answer in time");
        // not for the back-off's whole time
        scene.site.reload(NODE);
    }
    // the silent ones count as delivered: what arrived is not what is known to have
    scene.wait_status("all to be accepted", |status| status["journal"][0]["waiting"] == 0);
    scene.wait_delivered(sent);
    let sizes = tries(&scene.receiver.ledger(), mark);
    assert_eq!(sizes[..5], [400, 400, 200, 200, 100], "{sizes:?}");
    scene.recover();
    let first = scene.mark();
    for _ in 0..8 {
        let more = scene.post(400);
        scene.wait_delivered(more);
    }
    let sizes = tries(&scene.receiver.ledger(), first);
    assert!(sizes.contains(&400), "it grows again: {sizes:?}");
    assert_eq!(scene.declined().len(), 0);
    scene.judge();
}

/// The URL of a link to this receiver.
fn through(link: &SlowLink) -> Value {
    json!(format!("https://localhost:{}", link.port()))
}

/// A scene whose receiver is reached by a link of 100 kbit/s, and some kB of readings.
fn deliver_slowly(timeout_ms: u32, kilobytes: u64, limit: Duration) {
    let receiver = Receiver::start();
    let link = SlowLink::start(receiver.port(), 12_500);
    let plan = Plan { timeout: timeout_ms, ..Plan::default() };
    let scene = Scene::start_at(receiver, &plan, |config| {
        config["cloud"]["url"] = through(&link);
    });
    let mark = scene.mark();
    let start = Instant::now();
    // 200 bytes each
    let padding = |_| 130;
    let first = scene.coming(1).start;
    for _ in 0..kilobytes / 20 {
        scene.post_padded(100, padding);
    }
    let all = first..scene.coming(1).start;
    let done = scene.receiver.wait(limit, |l| all.clone().all(|n| l.has(n)).then_some(()));
    let ledger = scene.receiver.ledger();
    let sizes = tries(&ledger, mark);
    assert!(done.is_some(), "{limit:?} were not enough: {sizes:?}\n{}", scene.site.report());
    let bytes = kilobytes * 1_000;
    println!(
        "slow link: {bytes} bytes in {:?}, time-out {timeout_ms} ms, {} records repeated, batches {sizes:?}",
        start.elapsed(),
        ledger.repeated_records
    );
    drop(ledger);
    assert_eq!(scene.declined().len(), 0);
    scene.receiver.behave(Behaviour::Answer(200));
    scene.judge();
}

#[test]
fn a_link_of_100_kbit_a_second_delivers_at_the_defaults() {
    deliver_slowly(10_000, 200, Duration::from_secs(90));
}

/// Batches of 64 KiB take 5.2 s on this link: they never fit, and halves do.
#[test]
fn a_link_that_is_too_slow_for_whole_batches_delivers_smaller_ones() {
    if is_long() {
        deliver_slowly(4_000, 1_000, Duration::from_secs(400));
    } else {
        deliver_slowly(4_000, 100, Duration::from_secs(90));
    }
}
