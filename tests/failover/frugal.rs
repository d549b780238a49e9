//! Nobody works when there is nothing to do, and a standby asks the system for no memory after
//! its start, whatever its console is asked. (That no process ever has a second thread is
//! watched throughout every test.)

use std::fs;
use std::thread;
use std::time::Duration;

use crate::Scene;
use crate::support::http::{ask_tcp, free_port};
use crate::support::processes::processor_us;
use crate::support::site::Plan;

#[test]
fn idle_nodes_sleep_and_a_standbys_agent_allocates_nothing() {
    if !cfg!(debug_assertions) {
        println!("skipped: only debug builds count");
        return;
    }
    let mut scene = Scene::new(&Plan::default());
    scene.start(&["a"]);
    fs::write(scene.site.data().join("console.token"), "s3cret").expect("it can be written");
    let port = free_port();
    scene.site.start_with("b", &["--console", &format!("127.0.0.1:{port}")]);
    scene.site.wait_standby("b");
    // a node's record, a survey of all slots and the registration of things have come by
    thread::sleep(Duration::from_secs(13));
    check_idleness(&scene);
    let producer = scene.produce(&["a"]);
    ask_everything(&scene, port);
    let before = allocations(&scene);
    for _ in 0..60 {
        ask_everything(&scene, port);
    }
    thread::sleep(Duration::from_secs(12));
    ask_everything(&scene, port);
    assert_eq!(allocations(&scene), before, "{}", scene.site.report());
    scene.finish(producer);
}

/// Far above what is needed, far below a loop that does not sleep.
fn check_idleness(scene: &Scene) {
    let pids: Vec<_> = ["a", "b"].iter().flat_map(|node| scene.site.tree(node)).collect();
    let time = Duration::from_secs(3);
    let before_us = processor_us(&pids);
    thread::sleep(time);
    let spent = Duration::from_micros(processor_us(&pids) - before_us);
    println!("idle for {time:?}: {spent:?} of processor time");
    assert!(spent < time / 4, "two idle nodes took {spent:?}\n{}", scene.site.report());
}

fn ask_everything(scene: &Scene, port: u16) {
    for (method, target, expected) in [
        ("GET", "/status.json", 200),
        ("GET", "/healthz", 200),
        ("GET", "/master", 503),
        ("GET", "/nowhere", 404),
        ("PUT", "/status.json", 405),
        ("POST", "/readings", 503),
    ] {
        let reply = scene.site.ask("b", method, target).expect("the standby answers");
        assert_eq!(reply.status, expected, "{method} {target}: {}", reply.text());
    }
    for (target, headers, expected) in [
        ("/status.json", "", 401),
        ("/status.json", "Authorization: Bearer s3cret\r\n", 200),
        ("/status.json", "Authorization: Basic OnMzY3JldA==\r\n", 200),
        ("/healthz", "", 200),
    ] {
        let reply = ask_tcp(port, "GET", target, headers, b"", Duration::from_secs(2));
        assert_eq!(reply.expect("the standby answers").status, expected, "{target} {headers}");
    }
}

fn allocations(scene: &Scene) -> u64 {
    let reply = scene.site.ask("b", "GET", "/allocations").expect("the standby answers");
    let text = reply.text();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{} {text:?} is no count", reply.status))
}
