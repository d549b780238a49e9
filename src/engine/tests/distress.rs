//! What a node tells of itself, and the reserve on a full share.

use super::*;
use crate::engine::distress::Condition;
use crate::engine::notes::Level;
use crate::engine::telling::Phase;
use crate::limits::{DISTRESS_HOLD_MS, REPLACED_SHOWN_MS, STALL_MS, TELL_EVERY_MS};

fn site(nodes: usize) -> Site {
    let mut site = Site::new(nodes);
    site.settings.alerts = Some(Level::Info);
    site.run_for(3_000);
    site
}

/// The calls of a node: condition, phase.
fn calls(site: &Site, place: usize) -> Vec<(Condition, Phase)> {
    site.nodes[place].calls.iter().map(|(call, _)| (call.condition, call.phase)).collect()
}

#[test]
fn a_standby_whose_share_goes_away_tells_so_once_and_that_it_is_back() {
    let mut site = site(2);
    site.nodes[0].stopped = true;
    site.share.gone = true;
    site.run_for(u64::from(DISTRESS_HOLD_MS) - 500);
    assert_eq!(calls(&site, 1), [], "not at once");
    site.run_for(60_000);
    assert_eq!(calls(&site, 1), [(Condition::ShareMissing, Phase::Raise)]);
    let (call, _) = &site.nodes[1].calls[0];
    assert_eq!((call.term, call.evidence.as_str()), (0, "no data directory"));
    assert!(site.status(1).conditions.contains(&"share-missing"));
    site.share.gone = false;
    site.run_for(3_000);
    let told = [(Condition::ShareMissing, Phase::Raise), (Condition::ShareMissing, Phase::Clear)];
    assert_eq!(calls(&site, 1), told);
    assert!(!site.status(1).conditions.contains(&"share-missing"));
}

#[test]
fn a_stall_of_a_moment_is_not_told_and_a_long_one_is_by_master_and_standby() {
    let mut site = site(2);
    site.share.frozen = true;
    site.run_for(u64::from(STALL_MS) + 1_000);
    site.share.frozen = false;
    site.run_for(3_000);
    assert_eq!((calls(&site, 0), calls(&site, 1)), (vec![], vec![]));
    site.share.frozen = true;
    site.run_for(30_000);
    let raised = (Condition::ShareStalled, Phase::Raise);
    assert_eq!((calls(&site, 0), calls(&site, 1)), (vec![raised], vec![raised]));
    let alerts = &site.nodes[0].alerts;
    assert!(alerts.is_empty(), "no condition goes by both ways: {alerts:?}");
}

#[test]
fn nothing_is_told_without_a_thing_for_alerts_or_below_the_level() {
    for least in [None, Some(Level::Critical)] {
        let mut site = Site::new(1);
        site.settings.alerts = least;
        site.run_for(3_000);
        site.share.frozen = true;
        site.run_for(60_000);
        assert_eq!(calls(&site, 0), [], "A3");
        assert!(site.status(0).conditions.contains(&"share-stalled"), "the console says so");
    }
}

#[test]
fn a_condition_that_comes_and_goes_is_no_storm() {
    let mut site = site(1);
    for _ in 0..60 {
        site.share.frozen = true;
        site.run_for(20_000);
        site.share.frozen = false;
        site.run_for(5_000);
    }
    let raises: Vec<u64> = site.nodes[0]
        .calls
        .iter()
        .filter(|(call, _)| call.phase == Phase::Raise)
        .map(|(_, at_ms)| *at_ms)
        .collect();
    assert!((2..=4).contains(&raises.len()), "in 25 minutes: {raises:?}");
    assert!(raises.windows(2).all(|two| two[1] - two[0] >= u64::from(TELL_EVERY_MS)), "D2");
}

#[test]
fn a_cloud_that_refuses_is_asked_ever_more_seldom_and_hears_it_in_the_end() {
    let mut site = site(1);
    site.cloud = Verdict::Retry;
    site.share.frozen = true;
    site.run_for(3_600_000);
    let count = site.nodes[0].calls.len();
    assert!((10..120).contains(&count), "{count} calls in an hour");
    site.cloud = Verdict::Accepted;
    site.run_for(600_000);
    let told = site.nodes[0].calls.len();
    assert!(told == count + 1, "once it was taken, no more: {count} and then {told}");
    let (first, _) = &site.nodes[0].calls[0];
    for (call, _) in &site.nodes[0].calls {
        let same = (call.wall_ms, call.lasted_ms, &call.evidence);
        assert_eq!(same, (first.wall_ms, first.lasted_ms, &first.evidence), "A5");
    }
}

#[test]
fn a_call_without_an_answer_ends_at_its_deadline_and_is_made_again() {
    let mut site = site(1);
    site.deaf = true;
    site.share.frozen = true;
    site.run_for(60_000);
    let calls = &site.nodes[0].calls;
    assert!(calls.len() >= 2, "{calls:?}");
    for (call, at_ms) in calls {
        assert_eq!(call.deadline_ms, at_ms + u64::from(site.settings.timeout_ms), "A2");
    }
}

#[test]
fn a_call_made_before_the_clock_was_set_bears_the_right_time_after() {
    let settings = Settings { alerts: Some(Level::Info), ..Settings::default() };
    let mut distress = Distress::new(1);
    let at = |ms, wall_ms| Now { ms, wall_ms };
    let seen = heapless::String::try_from("gone").ok();
    distress.see(at(10_000, 5_000), Condition::ConfigRefused, seen);
    let call = distress.next_call(at(70_000, 1_800_000_000_000), 0, &settings).expect("a call");
    assert_eq!(call.wall_ms, 1_799_999_940_000, "a minute ago");
}

#[test]
fn a_refused_configuration_is_told_until_a_good_one_is_taken() {
    let mut site = site(1);
    site.event(0, Event::Judged { refused: Some("edge.json:1:1: expected an object") });
    site.run_for(1_000);
    site.event(0, Event::Judged { refused: Some("edge.json:1:2: expected an object") });
    site.run_for(1_000);
    assert_eq!(calls(&site, 0), [(Condition::ConfigRefused, Phase::Raise)]);
    assert!(site.status(0).conditions.contains(&"config-refused"));
    site.event(0, Event::Judged { refused: None });
    site.run_for(1_000);
    assert_eq!(calls(&site, 0).last(), Some(&(Condition::ConfigRefused, Phase::Clear)));
    assert_eq!(calls(&site, 0).len(), 2);
}

#[test]
fn locks_that_do_not_exclude_are_told_by_whoever_found_out() {
    let mut site = Site::new(2);
    site.settings.alerts = Some(Level::Info);
    site.share.class = ShareClass::Doubtful;
    site.run_for(20_000);
    assert_eq!((site.role(0), site.role(1)), (Role::Master, Role::Standby));
    site.share.lies = true;
    site.run_for(20_000);
    assert_eq!(calls(&site, 1), [(Condition::LocksDoNotExclude, Phase::Raise)]);
    assert_eq!(calls(&site, 0), []);
    site.share.lies = false;
    site.event(1, Event::Reload);
    site.run_for(2_000);
    assert_eq!(calls(&site, 1).last(), Some(&(Condition::LocksDoNotExclude, Phase::Clear)));
}

#[test]
fn a_lost_lock_file_is_told_for_a_while_unless_the_whole_share_is_gone() {
    for gone in [false, true] {
        let mut site = site(2);
        site.share.replaced = true;
        site.run_for(1_200);
        site.share.replaced = false;
        site.share.gone = gone;
        site.run_for(30_000);
        let expected = if gone { Condition::ShareMissing } else { Condition::LockFileReplaced };
        assert_eq!(calls(&site, 0), [(expected, Phase::Raise)]);
        site.share.gone = false;
        site.run_for(u64::from(REPLACED_SHOWN_MS));
        assert_eq!(calls(&site, 0), [(expected, Phase::Raise), (expected, Phase::Clear)]);
    }
}

#[test]
fn an_unsafe_mount_is_told_by_the_node_that_has_it() {
    let mut site = Site::new(1);
    site.settings.alerts = Some(Level::Info);
    site.share.mount.unsafe_because = heapless::String::try_from("nobrl: mount without it").ok();
    site.run_for(3_000);
    assert_eq!(calls(&site, 0), [(Condition::UnsafeMount, Phase::Raise)]);
    assert_eq!(site.nodes[0].calls[0].0.evidence, "nobrl: mount without it");
}

#[test]
fn each_condition_has_its_own_place_and_name() {
    let mut names = BTreeSet::new();
    for (place, condition) in Condition::ALL.into_iter().enumerate() {
        assert_eq!(condition as usize, place);
        assert!(names.insert(condition.name()));
        assert!(condition.level() >= Level::Error && !condition.remedy().is_empty());
    }
}

#[test]
fn the_reserve_is_made_given_up_and_made_again() {
    let mut site = site(2);
    assert!(site.share.reserve, "{:?}", site.nodes[0].notes);
    site.share.room = Some(0);
    site.share.full = true;
    site.run_for(5_000);
    assert_eq!(site.role(0), Role::Master, "no space is no reason to resign");
    assert!(!site.share.reserve, "its proofs needed the room");
    site.push(10);
    site.kill(0);
    site.run_for(5_000);
    assert_eq!(site.role(1), Role::Master, "{:?}", site.nodes[1].notes);
    site.run_for(20_000);
    assert!(site.status(1).conditions.contains(&"no-space"));
    let told = (Condition::NoSpace, Phase::Raise);
    assert!(calls(&site, 1).contains(&told), "{:?}", site.nodes[1].notes);
    site.push_at(1, 5);
    let before = site.nodes[1].flown;
    site.run_for(20_000);
    assert_eq!(
        site.nodes[1].flown, before,
        "V1: no append is tried while the reserve is not there"
    );
    site.share.full = false;
    site.share.room = Some(9);
    site.run_for(10_000);
    assert!(site.share.reserve);
    assert_eq!(site.nodes[1].durable, 5, "the journal goes on");
    assert!(!site.status(1).conditions.contains(&"no-space"));
    assert_eq!(calls(&site, 1).last(), Some(&(Condition::NoSpace, Phase::Clear)));
}

#[test]
fn a_full_share_does_not_slow_forwarding_down() {
    let mut site = Site::new(1);
    site.settings.batch_records_max = 10;
    site.run_for(3_000);
    site.cloud = Verdict::Retry;
    site.push(200);
    site.run_for(2_000);
    site.share.full = true;
    site.push(10);
    // appends are put off ever longer
    site.run_for(40_000);
    site.sent.clear();
    site.cloud = Verdict::Accepted;
    site.run_for(70_000);
    assert_eq!(site.delivered().len(), 200);
    let took_ms = site.sent[site.sent.len() - 1].0 - site.sent[0].0;
    let heartbeat_ms = u64::from(site.settings.heartbeat_ms);
    assert!(took_ms < 3 * heartbeat_ms, "20 batches wait for no heartbeat: {took_ms} ms");
}
