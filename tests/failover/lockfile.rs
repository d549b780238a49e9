//! The lock file deleted, replaced or touched under a master, then a new node: two terms
//! never forward together, and a touch changes nothing.

use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::support::site::Plan;
use crate::{Scene, check_traces, rounds};

const NODES: [&str; 2] = ["a", "b"];

#[test]
fn a_deleted_lock_file_never_makes_two_masters() {
    tamper(|lock| fs::remove_file(lock).expect("the lock file is there"));
}

#[test]
fn a_replaced_lock_file_never_makes_two_masters() {
    tamper(|lock| {
        let other = lock.with_extension("other");
        fs::copy(lock, &other).expect("the lock file can be copied");
        fs::rename(&other, lock).expect("the copy can take its place");
    });
}

#[test]
fn a_touched_lock_file_changes_nothing() {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&["a"]);
    let producer = scene.produce(&NODES);
    let before = scene.site.wait_fenced(0);
    for _ in 0..rounds(20) {
        let lock = File::options().append(true).open(scene.site.data().join("edge.lock"));
        let lock = lock.expect("the lock file is there");
        lock.set_modified(SystemTime::now()).expect("the lock file can be touched");
        scene.site.start("b");
        scene.site.wait_standby("b");
        // some heartbeats, each of which looks at the file
        thread::sleep(Duration::from_secs(1));
        assert_eq!(scene.site.masters(), std::slice::from_ref(&before), "{}", scene.site.report());
        scene.site.stop("b");
    }
    scene.finish(producer);
}

fn tamper(deed: impl Fn(&Path)) {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&["a"]);
    let producer = scene.produce(&NODES);
    for round in 0..rounds(20) {
        let master = scene.site.wait_fenced(0);
        scene.vary_answers(round);
        scene.wait_load(&producer);
        scene.wait_delivery_since(scene.mark());
        let other = NODES.into_iter().find(|node| *node != master.node).expect("two nodes");
        let mark = scene.mark();
        deed(&scene.site.data().join("edge.lock"));
        scene.site.start(other);
        let next = scene.site.wait_fenced(master.term);
        scene.wait_delivery_since(mark);
        let idle = NODES.into_iter().find(|node| *node != next.node).expect("two nodes");
        scene.site.wait_standby(idle);
        let repeated = scene.receiver.ledger().batches_repeated_since(mark);
        assert!(repeated <= 1, "{repeated} batches came again (L7)");
        scene.site.stop(idle);
    }
    scene.finish(producer);
    check_traces(&scene.site, &NODES);
}
