//! What a site does with names: two agents of one name, nodes that are gone, clocks that are off.

use super::*;
use crate::engine::naming::Namesake;
use crate::engine::share::{NodesOrder, NodesRead, NodesSeen, OwnRecord};
use crate::limits::{NODE_CROWDED_MS, NODE_FORGET_MS, NODES_MAX};

/// What fails of the nodes' records.
#[derive(Clone, Copy, Default)]
pub(super) struct Rot {
    /// Whatever is done in their folder.
    pub(super) all: Option<ShareFault>,
    /// Listing it.
    pub(super) list: bool,
    /// Writing our own.
    pub(super) write: bool,
}

impl Share {
    pub(super) fn nodes(&mut self, place: usize, order: NodesOrder, node: &Node) -> ShareOutcome {
        self.looks.push((place, order.write.is_some(), order.read));
        if let Some(fault) = self.rot.all {
            return failed(
                fault,
                match (order.read, order.write.is_some()) {
                    (NodesRead::Nothing, false) => "cannot read",
                    (NodesRead::Nothing, true) => "cannot write",
                    (NodesRead::Known | NodesRead::Listed, _) => "cannot list",
                },
            );
        }
        let error = |text: &str| match failed(ShareFault::Stale, text) {
            ShareOutcome::Failed(error) => error,
            outcome => panic!("{outcome:?}"),
        };
        let ours = &node.engine.host.node;
        let mut seen = NodesSeen { own: self.own(place, &order, node), ..NodesSeen::default() };
        if let Some(record) = order.write {
            if self.rot.write {
                seen.own = OwnRecord::Unread;
                seen.failed = Some(error("cannot write"));
            } else {
                self.writers.insert(ours.clone(), (place, node.machine));
                self.records.insert(ours.clone(), record);
            }
        }
        let mut others: Vec<_> =
            self.records.values().filter(|record| record.node != *ours).cloned().collect();
        // Those known before come first.
        let known: BTreeSet<_> = node.engine.roster.status().map(|known| known.node).collect();
        others.sort_by_key(|record| !known.contains(&record.node));
        match order.read {
            NodesRead::Nothing => others.clear(),
            NodesRead::Known => others.retain(|record| known.contains(&record.node)),
            NodesRead::Listed if self.rot.list => {
                others.retain(|record| known.contains(&record.node));
                seen.failed = Some(error("cannot list"));
            }
            NodesRead::Listed => {
                seen.crowded = others.len() > NODES_MAX;
                others.truncate(NODES_MAX);
                seen.listed = Some(others.iter().map(|record| record.node.clone()).collect());
            }
        }
        seen.records = others.into_iter().take(NODES_MAX).collect();
        ShareOutcome::Nodes(seen)
    }

    fn own(&self, place: usize, order: &NodesOrder, node: &Node) -> OwnRecord {
        let Some(nonce) = order.own_nonce else { return OwnRecord::Unread };
        let ours = &node.engine.host.node;
        let record = self.records.get(ours).filter(|record| record.nonce != nonce);
        record.map_or(OwnRecord::Clear, |record| {
            let (writer, machine) = self.writers[ours];
            OwnRecord::Foreign(Namesake {
                nonce: record.nonce,
                beat: record.beat,
                role: record.role,
                same_machine: machine == node.machine,
                same_boot: writer == place,
                same_run_dir: writer == place,
                host: heapless::String::new(),
            })
        })
    }
}

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

/// Two nodes of one name; the second comes when the first is master.
fn with_a_latecomer() -> Site {
    let mut site = Site::new(2);
    site.share_name(0, 1);
    site.nodes[1].alive = false;
    site.run_for(3_000);
    site.nodes[1].alive = true;
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
    let mut site = with_a_latecomer();
    site.run_for(3_000);
    site.event(0, Event::Stop);
    site.run_for(3_000);
    assert!(site.nodes[0].exited);
    assert_eq!(site.role(1), Role::Master);
    assert!(!site.has(1, "name-taken"));
}

#[test]
fn one_that_waits_for_its_name_stops_without_a_word_on_the_share() {
    let mut site = with_a_latecomer();
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
    assert_eq!(site.told(0), ["node-lost", "node-forgotten"], "R6");
    // A live node's record that somebody deleted comes back before anybody minds.
    let live = site.nodes[1].engine.host.node.clone();
    site.share.records.remove(&live);
    site.run_for(20_000);
    assert!(site.knows(0, "gw-1"));
    assert_eq!(site.told(0), ["node-lost", "node-forgotten"]);
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
    assert_eq!(site.told(0), ["node-lost", "redundancy-lost", "node-forgotten"]);
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

#[test]
fn what_was_told_of_a_node_is_over_once_it_is_forgotten() {
    let mut site = Site::new(3);
    site.nodes[2].wall_ahead_ms = 40_000;
    site.run_for(30_000);
    site.kill(2);
    site.run_for(30_000);
    assert_eq!(site.told(0), ["clock-skew", "node-lost"]);
    // Another is master now: what the first one told is over all the same.
    site.event(0, Event::Stop);
    site.run_for(10_000);
    assert_eq!(site.role(1), Role::Master);
    assert_eq!(site.told(1), ["master-changed", "node-lost"], "who stopped");
    site.nodes[1].engine.roster.age_for_test(u64::from(NODE_FORGET_MS));
    site.run_for(30_000);
    let over = |what: &str| site.told(1).iter().filter(|told| **told == what).count();
    assert_eq!((over("node-forgotten"), over("clock-skew-over")), (2, 1), "R6 {:?}", site.told(1));
}

#[test]
fn a_node_that_was_seen_to_live_has_an_hour_where_there_are_too_many() {
    let mut site = Site::new(2);
    site.run_for(20_000);
    site.kill(1);
    site.run_for(2_000);
    let mut record = site.share.records.values().next().expect("one").clone();
    for number in 0..NODES_MAX {
        record.node = NodeName::parse(&format!("a-{number}")).expect("a name");
        site.share.records.insert(record.node.clone(), record.clone());
    }
    site.run_for(120_000);
    assert!(site.share.records.len() <= NODES_MAX + 1, "those that never lived made room");
    assert!(site.knows(0, "gw-1"), "R5");
    // Too many that were seen to live: the oldest goes after its hour.
    record.beat += 1;
    for number in 0..NODES_MAX {
        record.node = NodeName::parse(&format!("a-{number}")).expect("a name");
        site.share.records.insert(record.node.clone(), record.clone());
    }
    site.run_for(60_000);
    assert!(site.knows(0, "gw-1"), "R5");
    site.nodes[0].engine.roster.age_for_test(u64::from(NODE_CROWDED_MS));
    site.run_for(30_000);
    assert!(!site.knows(0, "gw-1"));
}

#[test]
fn records_that_fail_keep_nobody_from_electing() {
    for fault in [ShareFault::Stale, ShareFault::Denied, ShareFault::Other] {
        let mut site = Site::new(2);
        site.share.rot.all = Some(fault);
        site.run_for(3_000);
        let master = (0..2).find(|at| site.role(*at) == Role::Master).expect("N5");
        assert!(site.has(0, "share-failing") && site.has(1, "share-failing"));
        let said = |site: &Site| [0, 1].map(|at| site.nodes[at].notes.len());
        site.run_for(12_000);
        let before = said(&site);
        assert!(before[0] < 10 && before[1] < 10, "{:?}", site.nodes[0].notes);
        site.run_for(60_000);
        let grown = said(&site)[1 - master] - before[1 - master];
        assert_eq!(grown, 0, "{:?}", site.nodes[1 - master].notes);
        site.kill(master);
        site.run_for(3_000);
        assert_eq!(site.role(1 - master), Role::Master, "{fault:?}");
        // A keeper that starts anew: what is known to fail is not said again and again.
        site.share.unlock(1 - master);
        site.event(1 - master, Event::KeeperGone);
        site.run_for(3_000);
        assert_eq!(site.role(1 - master), Role::Master, "{fault:?}");
        assert!(site.has(1 - master, "share-failing"));
        site.share.rot.all = None;
        site.nodes[master].alive = true;
        site.run_for(12_000);
        for at in [0, 1] {
            assert!(!site.has(at, "share-failing"), "{fault:?} {:?}", site.nodes[at].notes);
        }
    }
}

#[test]
fn who_waits_for_its_name_waits_on_while_it_cannot_look() {
    let mut site = namesakes();
    site.nodes[1].alive = false;
    site.run_for(3_000);
    site.nodes[1].alive = true;
    site.run_for(3_000);
    let before = site.nodes[1].notes.len();
    site.share.rot.all = Some(ShareFault::Stale);
    site.run_for(60_000);
    assert!(site.has(1, "name-taken") && site.has(1, "share-failing"));
    let notes = &site.nodes[1].notes[before..];
    assert_eq!(notes.len(), 2, "what fails, and one reopening: {notes:?}");
    site.share.rot.all = None;
    site.run_for(2_000);
    assert!(site.has(1, "name-taken") && !site.has(1, "share-failing"));
    site.kill(0);
    site.run_for(15_000);
    assert!(!site.has(1, "name-taken"));
}

#[test]
fn who_waits_for_its_name_looks_at_its_own_record_alone() {
    let mut site = namesakes();
    site.nodes[1].alive = false;
    site.run_for(3_000);
    site.nodes[1].alive = true;
    site.run_for(15_000);
    let looks: Vec<_> = site.share.looks.iter().filter(|look| look.0 == 1).collect();
    assert!(looks.len() > 10);
    assert!(looks.iter().all(|look| (look.1, look.2) == (false, NodesRead::Nothing)), "{looks:?}");
}

#[test]
fn the_first_poll_waits_for_our_own_record_alone() {
    let mut site = Site::new(2);
    site.run_for(3_000);
    for place in [0, 1] {
        let mut looks = site.share.looks.iter().filter(|look| look.0 == place);
        assert_eq!(looks.next(), Some(&(place, false, NodesRead::Nothing)));
        assert_eq!(looks.next(), Some(&(place, true, NodesRead::Nothing)));
    }
    site.run_for(10_000);
    for (place, other) in [(0, "gw-1"), (1, "gw-0")] {
        assert!(site.knows(place, other), "the next one lists");
    }
}

#[test]
fn a_part_that_fails_with_the_records_is_said_once_and_hides_nothing_else() {
    for rot in [Rot { list: true, ..Rot::default() }, Rot { write: true, ..Rot::default() }] {
        let mut site = Site::new(2);
        site.run_for(20_000);
        assert_eq!(site.role(0), Role::Master);
        let before = [0, 1].map(|at| site.nodes[at].notes.len());
        site.share.rot = rot;
        site.run_for(60_000);
        for at in [0, 1] {
            assert!(site.has(at, "share-failing"));
            let notes = &site.nodes[at].notes[before[at]..];
            let ours = notes.iter().filter(|note| !note.starts_with("site: ")).count();
            assert_eq!(ours, 1, "{notes:?}");
        }
        // Who cannot write looks silent; who cannot list still sees.
        let live = site.status(0).nodes.iter().filter(|node| node.live).count();
        assert_eq!(live, if rot.write { 1 } else { 2 });
        site.share.rot = Rot::default();
        site.run_for(12_000);
        assert!(!site.has(0, "share-failing") && !site.has(1, "share-failing"));
        assert_eq!(site.status(0).nodes.iter().filter(|node| node.live).count(), 2);
    }
}
