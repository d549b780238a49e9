//! What a site does, step by step, when one thing happens to it.

use super::*;

#[test]
fn the_first_node_is_master_and_forwards_what_it_acknowledged() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    assert_eq!(site.role(0), Role::Master);
    assert!(site.status(0).fenced);
    site.push(1_200);
    site.run_for(2_000);
    assert_eq!(site.nodes[0].durable, 1_200);
    assert_eq!(site.delivered().len(), 1_200);
    assert_eq!(site.sent.len(), 3, "batches of 500");
    assert_eq!(site.status(0).journal[0].waiting, 0);
    assert!(
        site.nodes[0].alerts.is_empty(),
        "nobody was master before: {:?}",
        site.nodes[0].alerts
    );
}

#[test]
fn a_second_node_stands_by_and_takes_over_where_a_killed_one_stopped() {
    let mut site = Site::new(2);
    site.run_for(3_000);
    assert_eq!((site.role(0), site.role(1)), (Role::Master, Role::Standby));
    site.push(700);
    site.cloud = Verdict::Retry;
    site.run_for(1_000);
    assert_eq!(site.nodes[0].durable, 700);
    site.kill(0);
    site.cloud = Verdict::Accepted;
    site.sent.clear();
    let killed_ms = site.now_ms;
    site.run_for(3_000);
    assert_eq!(site.role(1), Role::Master);
    let (first_ms, ..) = site.sent.first().expect("a request of the new master");
    assert!(first_ms - killed_ms <= 600, "one poll and some: {} ms", first_ms - killed_ms);
    assert_eq!(site.delivered().len(), 700);
    let term_1 = site.sent.iter().all(|(.., order)| order.term == 2);
    assert!(term_1, "all by term 2");
    let [Alert::MasterChanged { from: Some(from), ground: Ground::LockFree, .. }] =
        site.nodes[1].alerts.as_slice()
    else {
        panic!("{:?}", site.nodes[1].alerts)
    };
    assert_eq!(from.as_str(), "gw-0");
}

#[test]
fn a_clean_stop_hands_over_at_once_and_exits() {
    let mut site = Site::new(2);
    site.run_for(3_000);
    site.push(10);
    site.event(0, Event::Stop);
    site.run_for(1_000);
    assert!(site.nodes[0].exited);
    assert_eq!(site.nodes[0].durable, 0, "the rest was written: nothing is left unknown");
    assert_eq!(site.role(1), Role::Master);
    let SlotState::Released { .. } = site.share.slots[&1].state else {
        panic!("{:?}", site.share.slots[&1])
    };
    assert_eq!(site.share.slots[&1].lanes[0].last_seq, 10);
    site.run_for(2_000);
    assert_eq!(site.delivered().len(), 10);
}

#[test]
fn a_switchover_goes_to_the_node_that_was_named() {
    let mut site = Site::new(3);
    site.run_for(6_000);
    site.event(1, Event::Switchover { to: NodeName::parse("gw-2") });
    site.run_for(4_000);
    assert_eq!(site.role(0), Role::Standby);
    assert_eq!(site.role(2), Role::Master, "{:?}", site.nodes[2].notes);
    assert_eq!(site.share.slots.len(), 2);
}

#[test]
fn a_switchover_to_nobody_in_particular_leaves_the_old_master() {
    let mut site = Site::new(2);
    site.run_for(3_000);
    site.event(0, Event::Switchover { to: None });
    site.run_for(3_000);
    assert_eq!((site.role(0), site.role(1)), (Role::Standby, Role::Master));
}

#[test]
fn a_frozen_master_is_seized_from_and_starts_nothing_when_it_thaws() {
    let mut site = Site::new(2);
    site.run_for(3_000);
    site.nodes[0].stopped = true;
    site.run_for(61_000);
    assert_eq!(site.role(1), Role::Master);
    assert!(!site.status(1).fenced, "the old lease may still run");
    site.push_at(1, 5);
    site.run_for(5_000);
    assert_eq!(site.sent.len(), 0);
    site.run_for(2_000);
    assert!(site.status(1).fenced);
    assert_eq!(site.sent.len(), 1);
    site.nodes[0].stopped = false;
    site.run_for(3_000);
    assert_eq!((site.role(0), site.role(1)), (Role::Standby, Role::Master));
    assert!(site.sent.iter().all(|(_, place, _)| *place == 1));
    assert!(site.share.holds(1), "the lock went over too");
    assert_eq!(site.share.slots[&2].locked, INODE);
}

#[test]
fn a_stall_of_the_share_stops_forwarding_and_not_the_term() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    site.push(5);
    site.share.frozen = true;
    site.run_for(8_000);
    assert_eq!(site.sent.len(), 0);
    assert!(site.status(0).conditions.contains(&"share-stalled"));
    assert_eq!(site.status(0).lease_ms, 0);
    site.push(5);
    site.share.frozen = false;
    site.run_for(2_000);
    assert_eq!(site.role(0), Role::Master);
    assert_eq!(site.delivered().len(), 10);
    assert_eq!(site.share.slots.len(), 1, "N4: the same term");
}

#[test]
fn a_lost_keeper_ends_the_term() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    site.share.lock.clear();
    site.nodes[0].orders.clear();
    site.event(0, Event::KeeperGone);
    assert_eq!(site.role(0), Role::Standby);
    site.run_for(3_000);
    assert_eq!(site.status(0).term, 2, "N3: a new term");
    assert!(site.status(0).fenced, "the same lock file on a local share");
}

#[test]
fn a_superseded_master_resigns_and_stands_by() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    let mut newer = site.share.slots[&1].clone();
    newer.term = 2;
    newer.nonce = 5;
    newer.node = NodeName::parse("other").expect("a name");
    site.share.slots.insert(2, newer);
    site.share.lock = BTreeSet::from([9]);
    site.run_for(2_000);
    assert_eq!(site.role(0), Role::Standby);
    assert!(site.nodes[0].notes.iter().any(|note| note.contains("superseded by term 2")));
}

#[test]
fn lost_nodes_and_lost_redundancy_are_told_once() {
    let mut site = Site::new(2);
    site.run_for(20_000);
    site.kill(1);
    site.run_for(30_000);
    let told: Vec<_> = site.nodes[0].alerts.iter().map(Alert::condition).collect();
    assert_eq!(told, ["node-lost", "redundancy-lost"]);
    site.nodes[1].alive = true;
    site.event(1, Event::KeeperGone);
    site.run_for(15_000);
    let told: Vec<_> = site.nodes[0].alerts.iter().map(Alert::condition).collect();
    assert_eq!(told[2..], ["node-returned", "redundancy-restored"]);
}

#[test]
fn failures_back_off_and_are_told_once() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    site.cloud = Verdict::Unknown;
    site.push(5);
    site.run_for(30_000);
    let tries = site.sent.len();
    assert!((3..40).contains(&tries), "{tries} tries in 30 s");
    assert_eq!(site.status(0).cloud.failures as usize, tries);
    let lines = site.nodes[0].notes.iter().filter(|note| note.starts_with("cloud:")).count();
    assert_eq!(lines, 1);
    let ranges: BTreeSet<_> =
        site.sent.iter().map(|(.., order)| format!("{:?}", order.what)).collect();
    assert_eq!(ranges.len(), 1, "F5: the same identities each time");
}

#[test]
fn things_are_registered_and_kept_alive_although_nothing_is_read() {
    let mut site = Site::new(1);
    site.settings.alive_every_ms.push(5_000).expect("room");
    site.run_for(40_000);
    let things: Vec<_> = site.nodes[0].things.iter().map(|(what, _)| what.clone()).collect();
    assert_eq!(things[0], CloudRequest::Register { thing: 0 });
    assert!(things[1..].iter().all(|what| *what == CloudRequest::Alive { thing: 0 }));
    let first_ms = site.nodes[0].things[0].1;
    assert!((10_000..13_000).contains(&first_ms), "F4: after a while: {first_ms}");
    assert!((5..8).contains(&things.len()), "one each 5 s: {things:?}");
}

#[test]
fn a_thing_that_the_cloud_will_not_have_holds_up_no_records() {
    for (verdict, status) in [(Verdict::BadCredentials, 403), (Verdict::Retry, 500)] {
        let mut site = Site::new(1);
        site.settings.alive_every_ms.push(5_000).expect("room");
        site.thing = Some((verdict, status));
        site.run_for(2_000);
        for _ in 0..60 {
            site.push(1);
            site.run_for(1_000);
            assert_eq!(site.status(0).journal[0].waiting, 0, "{status}");
            let conditions = site.status(0).conditions;
            assert!(conditions.iter().all(|name| !name.starts_with("cloud-")), "{conditions:?}");
        }
        let things = site.nodes[0].things.len();
        assert!((1..20).contains(&things), "{status}: {things} tries");
        let told = |text: &str| site.nodes[0].notes.iter().filter(|n| n.contains(text)).count();
        assert_eq!(told("cloud:"), usize::from(status == 403), "once");
    }
}

#[test]
fn wrong_credentials_cost_one_batch_and_a_pause_and_say_so() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    (site.cloud, site.cloud_status) = (Verdict::BadCredentials, 401);
    site.push(1_200);
    site.run_for(30_000);
    assert_eq!(site.sent.len(), 1, "the backlog is not churned through");
    let status = site.status(0);
    assert_eq!((status.journal[0].declined, status.journal[0].waiting), (500, 700));
    assert_eq!(status.cloud.state, "paused");
    assert!(status.conditions.contains(&"cloud-declining"));
    site.run_for(40_000);
    assert_eq!(site.sent.len(), 2, "after a minute");
    (site.cloud, site.cloud_status) = (Verdict::Accepted, 200);
    site.event(0, Event::Reload);
    site.run_for(2_000);
    assert_eq!(site.status(0).journal[0].waiting, 0, "SIGHUP ends the pause");
    let told: Vec<_> = site.nodes[0].alerts.iter().map(Alert::condition).collect();
    assert_eq!(told, ["cloud-declining", "redundancy-lost", "cloud-accepting"]);
}

#[test]
fn an_uplink_that_is_paused_for_long_is_ended() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    (site.cloud, site.cloud_status) = (Verdict::BadCredentials, 401);
    site.push(1_200);
    site.run_for(150_000);
    let status = site.status(0);
    assert_eq!((status.cloud.state, status.cloud.failures), ("paused", 2));
    assert!(!site.nodes[0].uplink, "it is idle, and the loop does not spin");
    (site.cloud, site.cloud_status) = (Verdict::Accepted, 200);
    site.run_for(100_000);
    assert_eq!(site.status(0).journal[0].waiting, 0, "another one goes on");
}

#[test]
fn a_refused_record_is_declined_and_the_rest_delivered() {
    let mut site = Site::new(1);
    site.poison = Some((1, 77));
    site.run_for(2_000);
    site.push(500);
    site.run_for(5_000);
    let status = site.status(0);
    assert_eq!((status.journal[0].declined, status.journal[0].waiting), (1, 0));
    assert_eq!(status.journal[0].delivered, 499);
}

#[test]
fn a_changed_secret_ends_the_pause() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    assert_eq!(site.rereads, 0, "only while paused");
    (site.cloud, site.cloud_status) = (Verdict::BadCredentials, 401);
    site.push(600);
    site.run_for(35_000);
    assert_eq!((site.rereads, site.sent.len()), (3, 1), "each 10 s");
    (site.cloud, site.cloud_status) = (Verdict::Accepted, 200);
    site.secret_changed = true;
    site.run_for(11_000);
    let status = site.status(0);
    assert_eq!((status.journal[0].declined, status.journal[0].waiting), (500, 0));
    assert_eq!(site.rereads, 4, "and no more");
}

#[test]
fn a_poison_record_now_and_then_is_one_condition() {
    let mut site = Site::new(1);
    site.run_for(2_000);
    let told = |site: &Site| {
        let alerts = site.nodes[0].alerts.iter().map(Alert::condition);
        alerts.filter(|name| name.starts_with("cloud-")).collect::<Vec<_>>()
    };
    for round in 0..3 {
        site.poison = Some((1, round * 10 + 5));
        site.push(10);
        site.run_for(300_000);
        assert!(site.status(0).conditions.contains(&"cloud-declining"), "round {round}");
        assert!(!site.status(0).conditions.contains(&"cloud-unreachable"), "round {round}");
    }
    assert_eq!(site.status(0).journal[0].declined, 3);
    assert_eq!(told(&site), ["cloud-declining"]);
    site.run_for(301_000);
    assert_eq!(told(&site), ["cloud-declining", "cloud-accepting"], "after a quiet time");
    assert!(!site.status(0).conditions.contains(&"cloud-declining"));
    (site.cloud, site.cloud_status) = (Verdict::BadCredentials, 401);
    site.push(10);
    site.run_for(2_000);
    assert_eq!(told(&site).len(), 3, "wrong credentials are news of their own");
}

#[test]
fn a_full_journal_lets_its_oldest_segments_go_and_says_so() {
    let mut site = Site::new(1);
    site.settings.journal_bytes_max = 20 << 20;
    site.settings.batch_records_max = 50_000;
    site.run_for(2_000);
    site.cloud = Verdict::Retry;
    // Segments are closed at 4 MiB: the books hold 83,000 records of 50 bytes each.
    for _ in 0..80 {
        site.push(10_000);
        site.run_for(500);
    }
    let status = site.status(0);
    assert!(status.conditions.contains(&"journal-dropping"), "{:?}", status.conditions);
    assert!(site.share.journal_bytes(0) <= 28 << 20, "{}", site.share.journal_bytes(0));
    site.cloud = Verdict::Accepted;
    site.run_for(100_000);
    let status = site.status(0);
    let (delivered, dropped) = (status.journal[0].delivered, status.journal[0].dropped);
    assert!(dropped > 100_000, "{dropped}");
    assert_eq!(delivered + dropped, 800_000, "each is delivered or counted");
    let told: Vec<_> = site.nodes[0].alerts.iter().map(Alert::condition).collect();
    assert!(!told.contains(&"group-damaged"), "{told:?}");
    assert_eq!(told[told.len() - 1], "journal-fine");
}

#[test]
fn on_an_unsafe_mount_only_silence_and_releases_count() {
    let mut site = Site::new(2);
    site.share.class = ShareClass::Doubtful;
    site.share.lies = true;
    let why = "with nobrl two hosts are granted the same lock: mount without it";
    site.share.mount.unsafe_because = Some(heapless::String::try_from(why).expect("it fits"));
    site.run_for(50_000);
    assert_eq!((site.role(0), site.role(1)), (Role::Standby, Role::Standby));
    site.run_for(20_000);
    let masters = [0, 1].map(|place| site.role(place) == Role::Master);
    assert_eq!(masters.iter().filter(|master| **master).count(), 1, "seized after the silence");
    let master = usize::from(masters[1]);
    assert!((0..2).all(|place| !site.share.holds(place)), "nobody tries the lock");
    for place in 0..2 {
        site.event(place, Event::Reload);
        let said = site.nodes[place].notes.iter().filter(|note| note.contains("nobrl")).count();
        assert_eq!(said, 1, "{:?}", site.nodes[place].notes);
        assert!(site.status(place).conditions.contains(&"unsafe-mount"));
        assert!(!site.status(place).conditions.contains(&"locks-do-not-exclude"));
    }
    site.run_for(10_000);
    assert!((0..2).all(|place| !site.share.holds(place)), "SIGHUP does not mend a mount");
    site.event(master, Event::Stop);
    site.run_for(3_000);
    assert_eq!(site.role(1 - master), Role::Master, "a release is seen at once");
}

#[test]
fn alone_the_hosts_own_locks_are_enough_on_any_mount() {
    let mut site = Site::new(1);
    site.nodes[0].engine.host.alone = true;
    let why = "with nolock two hosts are granted the same lock: mount without it";
    site.share.mount.unsafe_because = Some(heapless::String::try_from(why).expect("it fits"));
    site.run_for(3_000);
    assert_eq!(site.role(0), Role::Master);
    assert!(!site.status(0).conditions.contains(&"unsafe-mount"));
}

/// Simulator, seed 217: the verdict on a batch that ended at the end of our newest segment came
/// after more had been written to it and another was begun.
#[test]
fn what_is_added_to_a_segment_while_its_last_batch_is_sent_is_forwarded_too() {
    let mut site = Site::new(1);
    site.settings.batch_age_ms_max = 0;
    site.run_for(1_000);
    site.push(5);
    // the batch is with the uplink, and its answer takes its time
    while site.nodes[0].requests.is_empty() {
        site.turn_share(0);
    }
    let request = site.nodes[0].requests.pop().expect("it was sent");
    for records in [5, 7] {
        site.push(records);
        site.run_for(500);
        site.nodes[0].engine.close_segments();
    }
    site.nodes[0].requests.push(request);
    site.run_for(5_000);
    assert_eq!(site.nodes[0].durable, 17);
    let missing: Vec<_> = (1..=17).filter(|seq| !site.delivered().contains(&(1, *seq))).collect();
    assert_eq!(missing, [0_u64; 0], "B3");
}

/// Simulator, seed 225: the lock file is deleted where nobody tries the lock, so that no poll
/// misses it.
#[test]
fn a_deleted_lock_file_is_made_anew_where_locks_are_left_alone() {
    let mut site = Site::new(2);
    let why = heapless::String::try_from("nolock").expect("short");
    site.share.mount.unsafe_because = Some(why);
    site.run_for(70_000);
    let place = site.push(1);
    site.share.replaced = true;
    site.run_for(10_000);
    assert!(!site.share.replaced, "somebody opened the data directory afresh");
    let masters = (0..2).filter(|place| site.role(*place) == Role::Master).count();
    assert_eq!(masters, 1, "after node {place}");
}
