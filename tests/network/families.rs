//! A cloud of two addresses, one of which is of no use.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use crate::namespace::{HOLE_V4, HOLE_V6, REFUSING_V6, is_inside};
use crate::support::producer::Producer;
use crate::support::receiver::{CLOUD_NAME, Receiver};
use crate::support::site::Plan;
use crate::{site, wait_deliveries};

const TIMEOUT_MS: u32 = 4_000;
/// The resolver puts IPv4 first.
const V4_FIRST: &str = r"precedence ::ffff:0:0/96 100\n";
const READINGS_PER_SECOND: u64 = 500;

#[test]
fn ipv6_that_swallows_packets_holds_up_one_request_at_most() {
    let test = "families::ipv6_that_swallows_packets_holds_up_one_request_at_most";
    let hosts = format!(r"{HOLE_V6} {CLOUD_NAME}\n127.0.0.1 {CLOUD_NAME}\n");
    if is_inside(test, &hosts, "") {
        is_hole(HOLE_V6);
        delivers_to("127.0.0.1");
    }
}

#[test]
fn ipv4_that_swallows_packets_holds_up_one_request_at_most() {
    let test = "families::ipv4_that_swallows_packets_holds_up_one_request_at_most";
    let hosts = format!(r"{HOLE_V4} {CLOUD_NAME}\n::1 {CLOUD_NAME}\n");
    if is_inside(test, &hosts, V4_FIRST) {
        is_hole(HOLE_V4);
        delivers_to("::1");
    }
}

#[test]
fn ipv6_that_refuses_costs_nothing() {
    let test = "families::ipv6_that_refuses_costs_nothing";
    let hosts = format!(r"{REFUSING_V6} {CLOUD_NAME}\n127.0.0.1 {CLOUD_NAME}\n");
    if is_inside(test, &hosts, "") {
        delivers_to("127.0.0.1");
    }
}

/// What is sent there is neither answered nor refused.
fn is_hole(ip: &str) {
    let address = (ip.parse::<std::net::IpAddr>().expect("an address"), 443).into();
    let error = TcpStream::connect_timeout(&address, Duration::from_millis(300));
    assert_eq!(error.expect_err("a hole").kind(), ErrorKind::TimedOut);
}

/// A backlog is delivered to the receiver there, and then batch after batch, faster than if each
/// tried the other address first.
fn delivers_to(ip: &str) {
    let receiver = Receiver::start_at(ip);
    let plan = Plan { timeout: TIMEOUT_MS, ..Plan::default() };
    let url = receiver.url_by(CLOUD_NAME);
    let mut site = site(&receiver, &plan, |cloud| cloud["url"] = url.into());
    site.start("a");
    site.wait_fenced(0);
    let producer = Producer::start(site.sockets(&["a"]), READINGS_PER_SECOND);
    let deadline = Duration::from_millis(TIMEOUT_MS.into());
    wait_deliveries(&site, &receiver, 1, 5 * deadline);
    let batches = 12;
    wait_deliveries(&site, &receiver, batches, 3 * deadline);
    let sent = producer.stop();
    let delivered = receiver.wait(Duration::from_secs(30), |ledger| {
        ledger.missing(&sent.acknowledged).is_empty().then_some(())
    });
    assert!(delivered.is_some() && !sent.acknowledged.is_empty(), "{}", site.report());
    assert!(receiver.ledger().faults.is_empty(), "{:#?}", receiver.ledger().faults);
    assert!(site.thread_faults().is_empty(), "{:?}", site.thread_faults());
}
