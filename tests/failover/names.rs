//! Two agents of one name, and nodes that are replaced.
//!
//! All agents run on this machine: only their run directories tell them apart, unless a mount
//! gives one of them another boot id.

use std::process::Command;
use std::time::Duration;

use crate::support::left_out::leave_out;
use crate::support::site::{Part, Plan, Site};
use crate::{Scene, rounds};

const ALONE: &[&str] = &["--console", "off"];

fn has(site: &Site, node: &str, condition: &str) -> Option<bool> {
    let status = site.status(node)?;
    Some(status["conditions"].as_array()?.iter().any(|name| name == condition))
}

/// Waits until a node says that another has its name, or no longer.
fn wait_taken(site: &Site, node: &str, is_taken: bool) {
    let what = format!("{node} to say name-taken: {is_taken}");
    site.wait(&what, 60, |site| (has(site, node, "name-taken")? == is_taken).then_some(()));
}

fn knows(site: &Site, node: &str, other: &str) -> Option<bool> {
    let status = site.status(node)?;
    Some(status["nodes"].as_array()?.iter().any(|known| known["node"] == other))
}

#[test]
fn a_second_agent_of_a_name_takes_no_part_until_it_has_the_name() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a", "b"]);
    let producer = scene.produce(&["a", "b", "again"]);
    scene.site.start_as("again", "a", ALONE);
    wait_taken(&scene.site, "again", true);
    for part in ["an agent on this host is known as a", "--node, EDGE_NODE"] {
        assert_eq!(scene.site.said("again", part), 1, "{part}");
    }
    let refused = scene.site.post("again", "/switchover", "").expect("its console is up");
    assert_eq!(refused.status, 503);
    assert_eq!(scene.site.wait_fenced(0).node, "a");
    scene.wait_load(&producer);

    scene.site.kill("a", Part::Agent);
    assert_eq!(scene.site.wait_fenced(1).node, "b", "who has a name of its own goes on");
    wait_taken(&scene.site, "again", false);
    scene.site.wait_standby("again");
    // now the first is the second
    scene.site.start("a");
    wait_taken(&scene.site, "a", true);
    scene.site.stop("again");
    scene.site.wait_standby("a");
    wait_taken(&scene.site, "a", false);
    let waits = scene.site.said("a", "name-taken: an agent");
    assert_eq!(waits, 1);

    // the same run directory: a restart
    scene.site.kill("a", Part::Agent);
    scene.site.start("a");
    scene.site.wait_standby("a");
    scene.site.kill("b", Part::Agent);
    assert_eq!(scene.site.wait_fenced(2).node, "a");
    assert_eq!(scene.site.said("a", "name-taken: an agent"), waits, "it took part at once");
    scene.finish(producer);
}

#[test]
fn a_replaced_node_is_forgotten_by_all_and_its_successors_clock_is_looked_at() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["old", "a"]);
    // its clock is not set: decades behind
    scene.site.start_in("new", ALONE, &[("EDGE_WALL_WRONG_MS", "600000")]);
    scene.site.wait_standby("new");
    let seen = |site: &Site| knows(site, "new", "old")?.then_some(());
    scene.site.wait("the new node to know the old one", 30, seen);
    // so that the other one is master next
    scene.site.freeze("new");
    scene.site.stop("old");
    assert_eq!(scene.site.wait_fenced(1).node, "a");
    scene.site.thaw("new");
    let data = scene.site.data();
    let data = data.to_str().expect("a scratch folder has a plain name");
    scene.site.wait("the old node to be forgotten", 30, |site| {
        let output = site.run_at("a", "nodes", &["forget", "old", "--datadirpath", data]);
        output.status.success().then_some(())
    });
    for node in ["a", "new"] {
        let gone = |site: &Site| (!knows(site, node, "old")?).then_some(());
        scene.site.wait(&format!("{node} to forget the old node"), 30, gone);
    }
    assert!(!scene.site.data().join("nodes/old").exists());
    assert_eq!(scene.receiver.ledger().alerts_of("redundancy-lost").len(), 0);
    // it takes a while; and only debug builds have wrong clocks
    if rounds(10) == 10 && cfg!(debug_assertions) {
        wait_clock_off(&scene);
    }
    scene.judge();
}

/// Waits until the master has told that the clock of the new node, and no other, is off.
fn wait_clock_off(scene: &Scene) {
    let skewed = |site: &Site| has(site, "a", "clock-skew")?.then_some(());
    scene.site.wait("a clock to be found off", 30, skewed);
    let told = scene.receiver.wait(Duration::from_secs(30), |ledger| {
        ledger.alerts_of("clock-skew").first().map(|alert| (*alert).clone())
    });
    let told = told.expect("an alert");
    assert_eq!(told["data"]["whose"], "new");
    assert!(told["data"]["skew_ms"].as_i64() < Some(0), "{told}");
    let status = scene.site.status("a").expect("it answers");
    let nodes = status["nodes"].as_array().expect("a list");
    let off = nodes.iter().filter(|node| node["skew_ms"] != 0);
    let off: Vec<_> = off.filter_map(|node| node["node"].as_str()).collect();
    assert_eq!(off, ["new"]);
}

/// Equal machine ids, and boots that differ: each takes the other for its own former self.
#[test]
fn of_two_cloned_machines_one_goes_on() {
    if rounds(10) != 10 {
        eprintln!("skipped: two cloned machines (EDGE_LONG=1)");
        return;
    }
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !mounts.is_ok_and(|status| status.success()) {
        return leave_out("two cloned machines: needs unshare and the right to mount");
    }
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a"]);
    let boot = scene.site.scratch().join("boot");
    std::fs::write(&boot, "00000000-0000-4000-8000-000000000000\n").expect("room");
    let script = format!("mount --bind {} /proc/sys/kernel/random/boot_id", boot.display());
    scene.site.start_with_mounts("clone", "a", &script);
    scene.site.wait_standby("clone");
    let said = |node: &'static str, text: &'static str| {
        move |site: &Site| (site.said(node, text) == 1).then_some(())
    };
    scene.site.wait("both to see each other", 60, said("a", "lives as a, too: it has to wait"));
    scene.site.wait("the clone to yield", 60, said("clone", "lives as a, too, and goes on"));
    wait_taken(&scene.site, "a", false);
    wait_taken(&scene.site, "clone", true);
    assert_eq!(scene.site.wait_fenced(0).term, 1, "the master noticed nothing else");
    scene.site.kill("a", Part::Agent);
    assert_eq!(scene.site.wait_fenced(1).node, "clone");
    scene.judge();
}
