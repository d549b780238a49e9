//! A master frozen past `seize_ms` and let go: one master, and the resumed node starts
//! nothing.

use std::thread;
use std::time::Duration;

use crate::support::site::Plan;
use crate::support::trace;
use crate::{Scene, check_traces, rounds};

const NODES: [&str; 2] = ["a", "b"];

#[test]
fn a_frozen_master_is_replaced_and_stands_by_when_it_resumes() {
    let plan = Plan { fence: 1_000, seize: 3_000, ..Plan::default() };
    let mut scene = Scene::new(&plan);
    scene.start(&NODES);
    let producer = scene.produce(&NODES);
    for round in 0..rounds(20) {
        // a master that seized holds the lock once the resumed node has let go of it
        let master = scene.site.wait("a fenced master that holds the lock", 60, |site| {
            let master = site.masters().into_iter().find(|master| master.fenced)?;
            let locked = site.status(&master.node)?["share"]["locked"] == true;
            locked.then_some(master)
        });
        let standby = scene.ready_for_blow(&NODES, &master.node, &producer, round);
        let mark = scene.mark();
        scene.site.freeze(&master.node);
        let traced = trace::of(&scene.site, &master.node).len();
        let next = scene.site.wait_fenced(master.term);
        assert_eq!(next.node, standby);
        scene.wait_delivery_since(mark);
        scene.site.thaw(&master.node);
        scene.site.wait_standby(&master.node);
        thread::sleep(Duration::from_millis(500));
        let started = trace::of(&scene.site, &master.node).len() - traced;
        assert_eq!(started, 0, "round {round}: the resumed node started requests");
        let masters = scene.site.masters();
        assert_eq!(masters.len(), 1, "round {round}: {masters:?}");
        assert_eq!(masters[0].term, next.term, "round {round}");
        let repeated = scene.receiver.ledger().batches_repeated_since(mark);
        assert!(repeated <= 1, "round {round}: {repeated} batches came again (L7)");
    }
    scene.finish(producer);
    check_traces(&scene.site, &NODES);
}
