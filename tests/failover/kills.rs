//! SIGKILL under load: nothing acknowledged is lost, at most one batch comes again.

use std::thread;
use std::time::Duration;

use crate::support::site::{Part, Plan};
use crate::{Scene, check_traces, rounds};

const NODES: [&str; 2] = ["a", "b"];

#[test]
fn a_killed_agent_loses_nothing() {
    kill_under_load(Part::Agent, rounds(20));
}

#[test]
fn a_killed_keeper_loses_nothing() {
    kill_under_load(Part::Keeper, rounds(20));
}

#[test]
fn a_killed_uplink_loses_nothing() {
    kill_under_load(Part::Uplink, rounds(20));
}

fn kill_under_load(part: Part, rounds: usize) {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&NODES);
    let producer = scene.produce(&NODES);
    for round in 0..rounds {
        let master = scene.site.wait_fenced(0);
        scene.ready_for_blow(&NODES, &master.node, &producer, round);
        // a different moment of the batch's life in each round
        thread::sleep(Duration::from_millis(round as u64 * 137 % 400));
        let mark = scene.mark();
        scene.site.kill(&master.node, part);
        if part != Part::Uplink {
            scene.site.wait_fenced(master.term);
        }
        scene.wait_delivery_since(mark);
        let repeated = scene.receiver.ledger().batches_repeated_since(mark);
        assert!(repeated <= 1, "round {round}: {repeated} batches came again (L7)");
        if part == Part::Agent {
            scene.site.start(&master.node);
        }
    }
    let sent = scene.finish(producer);
    check_traces(&scene.site, &NODES);
    let ledger = scene.receiver.ledger();
    println!(
        "{part:?} killed {rounds} times: {} acknowledged, {} records delivered, {} repeated",
        sent.acknowledged.len(),
        ledger.records(),
        ledger.repeated_records
    );
}
