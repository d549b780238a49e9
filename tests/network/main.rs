//! The way to the cloud: address families, proxies, and answers of every kind, met by the real
//! binary on a real network.
//!
//! What swallows packets is a network namespace of the test's own, which takes root; it is left
//! out elsewhere (`support::left_out`). tinyproxy is Debian's; what it cannot do wrong, a proxy of the
//! test's own does.

mod answers;
mod families;
mod namespace;
mod proxies;
mod proxy;

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use support::binary;
use support::receiver::Receiver;
use support::site::{Plan, Site};

/// A site for this receiver; `change` has the last word on its configuration.
fn site(receiver: &Receiver, plan: &Plan, change: impl FnOnce(&mut Value)) -> Site {
    let binary = &binary::under_test(env!("CARGO_BIN_EXE_edge-agent"));
    let site = Site::new(binary, receiver, plan);
    configure(&site, change);
    site
}

/// Changes what a site's `edge.json` says of the cloud.
fn configure(site: &Site, change: impl FnOnce(&mut Value)) {
    let path = site.data().join("edge.json");
    let text = fs::read(&path).expect("the configuration can be read");
    let mut config: Value = serde_json::from_slice(&text).expect("it is JSON");
    change(&mut config["cloud"]);
    fs::write(&path, config.to_string()).expect("it can be written");
}

/// Waits until so many requests with readings that were never seen before have come.
fn wait_deliveries(site: &Site, receiver: &Receiver, count: usize, limit: Duration) {
    let mark = receiver.ledger().requests.len();
    let seen = receiver.wait(limit, |ledger| {
        let later = ledger.requests.iter().skip(mark);
        let new = later.filter(|r| r.repeated == 0 && r.records.contains("/readings/"));
        (new.count() >= count).then_some(())
    });
    let report = || format!("{}{}", receiver.ledger().tail(), site.report());
    assert!(seen.is_some(), "{count} deliveries did not come within {limit:?}\n{}", report());
}

/// What `check` says, and its exit code.
fn check(site: &Site) -> (i32, String) {
    let output = site.command("check").arg("--datadirpath").arg(site.data()).output();
    text_of(&output.expect("the agent can be run"))
}

fn text_of(output: &Output) -> (i32, String) {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    (output.status.code().unwrap_or(-1), streams.concat())
}
