//! Who is master first, and how the mastership is handed over on purpose.

use std::thread;
use std::time::Duration;

use crate::support::site::Plan;
use crate::{Scene, check_traces, rounds};

#[test]
fn the_first_node_is_master_and_later_ones_stand_by() {
    for _ in 0..rounds(10) {
        let mut scene = Scene::new(&Plan::default());
        scene.site.start("a");
        let first = scene.site.wait("a first master", 30, |site| site.masters().pop());
        assert_eq!((first.node.as_str(), first.term), ("a", 1));
        for node in ["b", "c", "d"] {
            scene.site.start(node);
        }
        for node in ["b", "c", "d"] {
            scene.site.wait_standby(node);
        }
        let master = scene.site.wait_fenced(0);
        assert_eq!((master.node.as_str(), master.term), ("a", 1));
        thread::sleep(Duration::from_millis(500));
        assert_eq!(scene.site.masters(), [master]);
        scene.judge();
    }
}

#[test]
fn a_clean_stop_hands_over_and_repeats_nothing() {
    const NODES: [&str; 2] = ["a", "b"];
    let mut scene = Scene::new(&Plan::default());
    scene.start(&NODES);
    let producer = scene.produce(&NODES);
    for round in 0..rounds(20) {
        let master = scene.site.wait_fenced(0);
        let standby = scene.ready_for_blow(&NODES, &master.node, &producer, round);
        let mark = scene.mark();
        let (status, took) = scene.site.stop(&master.node);
        assert!(status.success(), "{status}\n{}", scene.site.report());
        // 8 s by contract; the rest is for a busy machine
        assert!(took < Duration::from_secs(10), "a clean stop took {took:?}");
        let next = scene.site.wait_fenced(master.term);
        assert_eq!(next.node, standby);
        scene.wait_delivery_since(mark);
        let repeated = scene.receiver.ledger().batches_repeated_since(mark);
        assert_eq!(repeated, 0, "round {round}: batches came again after a clean stop");
        scene.site.start(&master.node);
    }
    scene.finish(producer);
    check_traces(&scene.site, &NODES);
}

#[test]
fn a_switchover_goes_where_it_is_sent_from_any_node() {
    const NODES: [&str; 3] = ["a", "b", "c"];
    let mut scene = Scene::new(&Plan::default());
    scene.start(&NODES);
    let producer = scene.produce(&NODES);
    for round in 0..rounds(20) {
        let master = scene.site.wait_fenced(0);
        let mut others = NODES.into_iter().filter(|node| *node != master.node);
        let (one, two) = (others.next().expect("three nodes"), others.next().expect("three nodes"));
        scene.site.wait_standby(one);
        scene.site.wait_standby(two);
        scene.vary_answers(round);
        scene.wait_load(&producer);
        scene.wait_delivery_since(scene.mark());
        let mark = scene.mark();
        // asked for at the master, at the successor, at the third
        let asked = [master.node.as_str(), two, one][round % 3];
        scene.site.wait("the node asked to know the successor", 30, |site| {
            let status = site.status(asked)?;
            let nodes = status["nodes"].as_array()?;
            nodes.iter().any(|node| node["node"] == two).then_some(())
        });
        let done = scene.site.run_at(asked, "switchover", &["--to", two]);
        assert!(done.status.success(), "{done:?}");
        let next = scene.site.wait_fenced(master.term);
        assert_eq!(next.node, two, "asked at {asked}\n{}", scene.site.report());
        scene.wait_delivery_since(mark);
        let repeated = scene.receiver.ledger().batches_repeated_since(mark);
        assert_eq!(repeated, 0, "round {round}: batches came again after a switchover");
    }
    let master = scene.site.wait_fenced(0);
    scene.site.wait("the node asked to know the master", 30, |site| {
        (site.status("a")?["master"]["term"] == master.term).then_some(())
    });
    let done = scene.site.run_at("a", "switchover", &[]);
    assert!(done.status.success(), "{done:?}");
    let next = scene.site.wait_fenced(master.term);
    assert_ne!(next.node, master.node, "{}", scene.site.report());
    scene.finish(producer);
    check_traces(&scene.site, &NODES);
}
