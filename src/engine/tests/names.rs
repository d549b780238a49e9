//! What a site does with names: two agents of one name, nodes that are gone, clocks that are off.

use super::*;
use crate::limits::{NODE_FORGET_MS, NODES_MAX};

impl Site {
    fn conditions(&self, place: usize) -> Vec<&'static str> {
        self.status(place).conditions.iter().copied().collect()
    }

    fn has(&self, place: usize, condition: &str) -> bool {
        self.conditions(place).contains(&condition)
    }

    fn said(&self, place: usize, begin: &str) -> usize {
        self.nodes[place].notes.iter().filter(|note| note.starts_with(begin)).count()
    }

    fn told(&self, place: usize) -> Vec<&'static str> {
        self.nodes[place].alerts.iter().map(Alert::condition).collect()
    }

    fn knows(&self, place: usize, name: &str) -> bool {
        self.status(place).nodes.iter().any(|node| node.node.as_str() == name)
    }
}

/// Two that live under the name of node 0, and one under another.
fn namesakes() -> Site {
    let mut site = Site::new(3);
    site.share_name(0, 1);
    site
}

#[test]
fn a_second_agent_of_a_name_takes_no_part_until_the_first_is_silent() {
    let mut site = namesakes();
    site.nodes[1].alive = false;
    site.run_for(3_000);
    assert_eq!(site.role(0), Role::Master);
    let record = |site: &Site| site.share.records[&site.nodes[0].engine.host.node].nonce;
    site.nodes[1].alive = true;
    site.run_for(60_000);
    assert!(site.has(1, "name-taken") && !site.has(0, "name-taken"));
    assert_eq!(site.said(1, "name-taken: an agent"), 1, "{:?}", site.nodes[1].notes);
    assert_eq!((site.role(1), site.share.holds(1)), (Role::Standby, false), "N1");
    assert_eq!(record(&site), 1_000, "N1: it writes nothing");
    site.kill(0);
    site.run_for(5_000);
    assert_eq!(site.role(2), Role::Master, "who has a name of its own goes on");
    assert!(site.has(1, "name-taken"));
    site.run_for(8_000);
    assert!(!site.has(1, "name-taken") && site.nodes[1].engine.has_name());
    assert_eq!(record(&site), 1_001);
    site.kill(2);
    site.run_for(2_000);
    assert_eq!(site.role(1), Role::Master);
}

#[test]
fn a_name_is_taken_at_once_from_one_that_stops() {
    let mut site = Site::new(2);
    site.share_name(0, 1);
    site.nodes[1].alive = false;
    site.run_for(3_000);
    site.nodes[1].alive = true;
    site.run_for(3_000);
    site.event(0, Event::Stop);
    site.run_for(3_000);
    assert!(site.nodes[0].exited);
    assert_eq!(site.role(1), Role::Master);
    assert!(!site.has(1, "name-taken"));
}

#[test]
fn one_that_waits_for_its_name_stops_without_a_word_on_the_share() {
    let mut site = Site::new(2);
    site.share_name(0, 1);
    site.nodes[1].alive = false;
    site.run_for(3_000);
    site.nodes[1].alive = true;
    site.run_for(3_000);
    site.event(1, Event::Stop);
    site.run_for(1_000);
    assert!(site.nodes[1].exited);
    let record = &site.share.records[&site.nodes[0].engine.host.node];
    assert_eq!((record.nonce, record.role), (1_000, Role::Master));
}

#[test]
fn a_restart_takes_part_at_once() {
    let mut site = Site::new(2);
    site.run_for(10_000);
    assert_eq!(site.role(0), Role::Master);
    site.share.unlock(1);
    site.restart(1, 100);
    site.kill(0);
    site.run_for(1_000);
    assert_eq!(site.role(1), Role::Master);
    assert_eq!(site.said(1, "name-taken"), 0);
}

/// Of clones that started at once, and of one that is master, one goes on, whoever it is.
#[test]
fn of_clones_exactly_one_goes_on() {
    for (later, master) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut site = namesakes();
        site.nodes[1].machine = site.nodes[0].machine;
        site.nodes[2].alive = !master;
        site.nodes[0].alive = !later;
        if !master {
            // Somebody else is master.
            (site.nodes[0].alive, site.nodes[1].alive) = (false, false);
            site.run_for(2_000);
            assert_eq!(site.role(2), Role::Master);
            (site.nodes[0].alive, site.nodes[1].alive) = (!later, true);
        }
        site.run_for(12_000);
        site.nodes[0].alive = true;
        site.run_for(40_000);
        let waits: Vec<_> = [0, 1].into_iter().filter(|at| site.has(*at, "name-taken")).collect();
        assert_eq!(waits.len(), 1, "N2: later {later}, master {master}");
        let waiting = waits[0];
        let other = 1 - waiting;
        assert!(!site.nodes[waiting].engine.has_name() && site.nodes[other].engine.has_name());
        assert!(!site.share.holds(waiting), "N1");
        if master {
            assert_eq!(site.role(other), Role::Master, "no master yields");
            assert!(site.said(other, "name-taken: an agent") == 1);
            assert!(site.said(other, "name-taken: over") == 1);
        }
        assert!(site.said(waiting, "name-taken: an agent") >= 1);
        site.kill(other);
        site.nodes[2].alive = false;
        site.run_for(90_000);
        assert_eq!(site.role(waiting), Role::Master, "later {later}, master {master}");
    }
}

#[test]
fn a_late_write_of_a_dead_process_changes_nothing() {
    let mut site = Site::new(2);
    site.run_for(7_000);
    let mut late = site.share.records[&site.nodes[1].engine.host.node].clone();
    site.share.unlock(1);
    site.restart(1, 100);
    site.run_for(7_000);
    late.beat += 1;
    site.share.records.insert(late.node.clone(), late);
    site.run_for(30_000);
    for place in [0, 1] {
        assert_eq!(site.said(place, "name-taken"), 0, "{place} {:?}", site.nodes[place].notes);
    }
    assert_eq!(site.told(0), [""; 0]);
}

#[test]
fn a_node_comes_back_to_its_name_after_its_share_was_away() {
    let mut site = Site::new(2);
    site.run_for(10_000);
    site.share.unlock(1);
    site.nodes[1].orders.clear();
    site.event(1, Event::KeeperGone);
    site.run_for(3_000);
    assert!(site.nodes[1].engine.has_name() && site.said(1, "name-taken") == 0);
}

#[test]
fn a_forgotten_node_is_dropped_everywhere_without_a_storm() {
    let mut site = Site::new(3);
    site.run_for(20_000);
    site.event(2, Event::Stop);
    site.run_for(2_000);
    assert!(site.nodes[2].exited && site.knows(0, "gw-2"));
    let gone = site.nodes[2].engine.host.node.clone();
    site.share.records.remove(&gone);
    site.run_for(11_000);
    for place in [0, 1] {
        assert!(!site.knows(place, "gw-2"), "{place} {:?}", site.status(place).nodes);
    }
    assert_eq!(site.told(0), ["node-lost"], "when it was stopped");
    // A live node's record that somebody deleted comes back before anybody minds.
    let live = site.nodes[1].engine.host.node.clone();
    site.share.records.remove(&live);
    site.run_for(20_000);
    assert!(site.knows(0, "gw-1"));
    assert_eq!(site.told(0), ["node-lost"]);
}

#[test]
fn a_node_that_was_not_seen_for_a_month_is_forgotten() {
    let mut site = Site::new(2);
    site.run_for(20_000);
    site.kill(1);
    site.run_for(20_000);
    site.nodes[0].engine.roster.age_for_test(u64::from(NODE_FORGET_MS) - 60_000);
    site.run_for(15_000);
    assert!(site.knows(0, "gw-1"), "not yet");
    site.run_for(60_000);
    assert!(!site.knows(0, "gw-1") && site.share.records.len() == 1);
    assert_eq!(site.said(0, "site: gw-1 was not seen for"), 1);
    assert_eq!(site.told(0), ["node-lost", "redundancy-lost"]);
}

#[test]
fn dead_nodes_give_way_when_there_are_too_many() {
    let mut site = Site::new(2);
    site.run_for(2_000);
    let mut record = site.share.records.values().next().expect("one").clone();
    for number in 0..NODES_MAX {
        record.node = NodeName::parse(&format!("a-{number}")).expect("a name");
        site.share.records.insert(record.node.clone(), record.clone());
    }
    site.run_for(60_000);
    assert!(site.knows(0, "gw-1"), "the one that lives is seen");
    assert!(site.share.records.len() <= NODES_MAX + 1, "{}", site.share.records.len());
    let live = site.status(0).nodes.iter().filter(|node| node.live).count();
    assert_eq!(live, 2);
    assert!(!site.has(0, "redundancy-lost"));
}

#[test]
fn what_was_only_found_is_not_called_seen() {
    let mut site = Site::new(2);
    site.run_for(2_000);
    let mut record = site.share.records.values().next().expect("one").clone();
    record.node = NodeName::parse("old").expect("a name");
    site.share.records.insert(record.node.clone(), record);
    site.run_for(30_000);
    for node in &site.status(0).nodes {
        assert_eq!(node.unseen, node.node.as_str() == "old");
    }
}

#[test]
fn a_clock_that_is_off_is_told_once_and_its_end_once() {
    let mut site = Site::new(3);
    site.nodes[1].wall_ahead_ms = 25_000;
    site.nodes[2].wall_ahead_ms = 40_000;
    site.run_for(30_000);
    let told: Vec<_> = site.nodes[0]
        .alerts
        .iter()
        .filter_map(|alert| match alert {
            Alert::ClockSkew { node, skew_ms } => Some((node.as_str(), *skew_ms)),
            _ => None,
        })
        .collect();
    let [("gw-2", skew_ms)] = told.as_slice() else { panic!("{told:?}") };
    assert!((34_000..=40_000).contains(skew_ms), "{skew_ms}");
    assert!(site.has(0, "clock-skew"), "of the master's own clock");
    assert!(site.has(2, "clock-skew") && !site.has(1, "clock-skew"));
    site.nodes[2].wall_ahead_ms = 20_000;
    site.run_for(30_000);
    assert!(site.has(0, "clock-skew"), "hysteresis");
    site.nodes[2].wall_ahead_ms = 1_000;
    site.run_for(30_000);
    assert!(!site.has(0, "clock-skew"));
    assert_eq!(site.told(0), ["clock-skew", "clock-skew-over"]);
    assert!(site.told(1).is_empty() && site.told(2).is_empty());
}
