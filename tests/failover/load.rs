//! The agent killed alone while every processor is busy: its uplink must not outlive it long
//! enough to start a request after the new master's first.

use std::time::Duration;

use crate::support::figures::Burners;
use crate::support::processes;
use crate::support::site::{Part, Plan};
use crate::{Scene, check_traces, rounds};

const NODES: [&str; 2] = ["a", "b"];

#[test]
fn no_request_of_an_old_uplink_starts_after_the_new_masters_first() {
    let mut scene = Scene::new(&Plan::default());
    scene.start(&NODES);
    let producer = scene.produce(&NODES);
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    let burners = Burners::start(2 * processors);
    for round in 0..rounds(200) {
        let master = scene.site.wait_fenced(0);
        scene.ready_for_blow(&NODES, &master.node, &producer, round);
        let mut orphans = scene.site.tree(&master.node);
        orphans.retain(|pid| Some(*pid) != scene.site.part(&master.node, Part::Agent));
        let mark = scene.mark();
        scene.site.kill(&master.node, Part::Agent);
        scene.site.wait("the killed agent's children to die with it", 10, |_| {
            orphans.iter().all(|pid| !processes::is_running(*pid)).then_some(())
        });
        scene.site.wait_fenced(master.term);
        scene.wait_delivery_since(mark);
        scene.site.start(&master.node);
    }
    drop(burners);
    scene.receiver.wait(Duration::from_millis(500), |_| None::<()>);
    scene.finish(producer);
    check_traces(&scene.site, &NODES);
}
