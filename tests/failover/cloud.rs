//! An endpoint that accepts connections and never answers: deadlines are kept, the console
//! answers throughout, nothing is lost.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::binary;
use crate::support::figures::ms;
use crate::support::http::{ask_tcp, ask_unix, free_port};
use crate::support::receiver::Behaviour;
use crate::support::site::Plan;
use crate::{Scene, rounds};

const NODES: [&str; 2] = ["a", "b"];
const TIMEOUT_MS: u32 = 2_000;
/// What a console may take to answer.
const ANSWER: Duration = Duration::from_millis(50);

#[test]
fn a_black_hole_costs_neither_readings_nor_the_console() {
    let plan = Plan { timeout: TIMEOUT_MS, ..Plan::default() };
    let mut scene = Scene::new(&plan);
    let port = free_port();
    scene.site.start_with("a", &["--console", &format!("127.0.0.1:{port}")]);
    scene.site.wait_fenced(0);
    scene.site.start("b");
    scene.site.wait_standby("b");
    let producer = scene.produce(&NODES);
    scene.wait_delivery_since(scene.mark());
    let mut slowest = Vec::new();
    for round in 0..rounds(10) {
        // nothing said at all, then a request taken and not answered, by turns
        let hole = if round % 2 == 0 { Behaviour::BlackHole } else { Behaviour::Silent };
        scene.receiver.behave(hole);
        let acknowledged = producer.acknowledged();
        slowest.extend(watch_console(&scene, port, Duration::from_secs(6)));
        assert!(
            producer.acknowledged() > acknowledged,
            "nothing was acknowledged while the cloud was away\n{}",
            scene.site.report()
        );
        scene.receiver.behave(Behaviour::Answer(200));
        scene.wait_delivery_since(scene.mark());
    }
    check_deadlines(&scene);
    check_answers(slowest);
    assert_eq!(scene.site.masters().len(), 1);
    scene.finish(producer);
}

/// Asks both consoles again and again; the times that answers took.
fn watch_console(scene: &Scene, port: u16, time: Duration) -> Vec<Duration> {
    let socket = scene.site.socket("a");
    let limit = Duration::from_secs(5);
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let reply = ask_unix(&socket, "GET", "/status.json", b"", limit);
        times.push(start.elapsed());
        let reply = reply.unwrap_or_else(|error| panic!("unix: {error}\n{}", scene.site.report()));
        assert_eq!(reply.status, 200);
        let start = Instant::now();
        let reply = ask_tcp(port, "GET", "/healthz", "", b"", limit);
        times.push(start.elapsed());
        let reply = reply.unwrap_or_else(|error| panic!("tcp: {error}\n{}", scene.site.report()));
        assert_eq!(reply.status, 200);
        thread::sleep(Duration::from_millis(20));
    }
    times
}

/// Each connection ends by the deadline, and there is one at a time.
fn check_deadlines(scene: &Scene) {
    let held = scene.receiver.held();
    assert!(held.len() >= 3, "only {} requests were tried", held.len());
    // a busy machine may be late, an overlooked deadline is later
    let limit = f64::from(TIMEOUT_MS) + 1_500.0;
    for pair in held.windows(2) {
        let closed_ns = pair[0].closed_ns.expect("an earlier connection is closed");
        let took = ms(closed_ns - pair[0].accepted_ns);
        assert!(took < limit, "a request without an answer stayed for {took} ms");
        assert!(
            pair[1].accepted_ns + 200_000_000 > closed_ns,
            "two requests were under way at once"
        );
    }
}

/// All but a few answers come in time; the few are this machine's scheduling, and short.
fn check_answers(mut times: Vec<Duration>) {
    times.sort_unstable();
    let late = times.iter().filter(|time| **time >= ANSWER).count();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("console: {} answers, median {median:?}, worst {worst:?}, {late} late", times.len());
    if binary::is_another() {
        return;
    }
    assert!(late * 50 <= times.len(), "{late} of {} answers took {ANSWER:?}", times.len());
    assert!(worst < Duration::from_secs(1), "an answer took {worst:?}");
}
