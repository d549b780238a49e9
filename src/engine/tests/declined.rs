//! What a site does about its declined store: replays and purges, while other things happen.

use super::*;
use crate::engine::status::{DeclinedStatus, ReplayStatus};
use crate::engine::store::StoreRefusal;

/// A site whose first node declined so many records for wrong credentials, in batches of 500,
/// and is paused.
fn declined(nodes: usize, records: u64) -> Site {
    let mut site = Site::new(nodes);
    site.run_for(3_000);
    (site.cloud, site.cloud_status) = (Verdict::BadCredentials, 401);
    while (site.share.declined.left().len() as u64) < records {
        site.push((records - site.share.declined.left().len() as u64).min(500));
        site.event(0, Event::Reload);
        site.run_for(1_000);
    }
    site.sent.clear();
    site
}

fn accept(site: &mut Site) {
    (site.cloud, site.cloud_status) = (Verdict::Accepted, 200);
}

fn status(site: &Site, place: usize) -> DeclinedStatus {
    site.status(place).declined.expect("a fenced master")
}

fn replay(site: &Site, place: usize) -> ReplayStatus {
    status(site, place).replay
}

fn left(site: &Site) -> Vec<u64> {
    site.share.declined.left().iter().map(|it| it.seq).collect()
}

#[test]
fn a_replay_delivers_what_was_declined_and_ends_the_pause() {
    let mut site = declined(1, 1_200);
    assert_eq!(site.status(0).cloud.state, "paused");
    accept(&mut site);
    site.event(0, Event::Replay);
    assert!(replay(&site, 0).running);
    site.run_for(1_500);
    assert_eq!(site.delivered().len(), 1_200);
    assert_eq!(site.sent.len(), 3, "batches of 500");
    assert!(left(&site).is_empty());
    let told = status(&site, 0);
    assert_eq!((told.records, told.complete), (0, true));
    let done = told.replay;
    assert_eq!((done.number, done.running, done.delivered, done.refused), (1, false, 1_200, 0));
    assert!(done.reason.is_empty(), "{done:?}");
    assert!(site.status(0).conditions.iter().all(|name| *name != "cloud-declining"));
    site.event(0, Event::Replay);
    site.run_for(100);
    let again = replay(&site, 0);
    assert_eq!((again.number, again.running, again.delivered), (2, false, 0), "nothing is left");
}

#[test]
fn only_a_fenced_master_replays_and_one_at_a_time() {
    let mut site = declined(2, 500);
    let judge = |site: &Site, place: usize| site.nodes[place].engine.judge_replay(site.now_ms);
    assert_eq!(judge(&site, 1), Err(StoreRefusal::Elsewhere));
    site.event(1, Event::Replay);
    site.event(1, Event::Purge);
    site.cloud = Verdict::Retry;
    assert_eq!(judge(&site, 0), Ok(()));
    site.event(0, Event::Replay);
    site.run_for(1_000);
    assert_eq!(judge(&site, 0), Err(StoreRefusal::UnderWay));
    site.event(0, Event::Replay);
    assert_eq!(replay(&site, 0).number, 1);
    site.share.frozen = true;
    site.run_for(8_000);
    assert_eq!(judge(&site, 0), Err(StoreRefusal::Elsewhere), "R1: no lease");
    accept(&mut site);
    site.share.frozen = false;
    site.run_for(70_000);
    assert_eq!(
        (replay(&site, 0).delivered, left(&site).len()),
        (500, 0),
        "it goes on after a stall"
    );
    assert!(site.status(1).declined.is_none());
}

#[test]
fn a_record_that_is_refused_again_stands_at_the_end_and_is_not_tried_twice() {
    let mut site = declined(1, 500);
    accept(&mut site);
    site.poison = Some((1, 77));
    site.event(0, Event::Replay);
    site.run_for(5_000);
    assert_eq!(left(&site), [77]);
    let done = replay(&site, 0);
    assert_eq!((done.running, done.delivered, done.refused), (false, 499, 1), "R3");
    assert!(site.sent.len() < 40, "{} requests", site.sent.len());
    site.poison = None;
    site.event(0, Event::Replay);
    site.run_for(1_000);
    assert!(left(&site).is_empty());
}

#[test]
fn with_wrong_credentials_a_replay_ends_and_nothing_more_is_declined() {
    let mut site = declined(1, 500);
    site.push(400);
    site.run_for(500);
    site.event(0, Event::Replay);
    site.run_for(10_000);
    assert_eq!(site.sent.len(), 1, "R4: its own first batch");
    assert_eq!(left(&site).len(), 500, "its entries stay, and no reading was declined");
    assert_eq!(site.status(0).cloud.state, "paused");
    let ended = replay(&site, 0);
    assert!(!ended.running && ended.reason.contains("401"), "{ended:?}");
    assert_eq!(site.status(0).journal[0].waiting, 400);
}

#[test]
fn a_cloud_that_accepts_nothing_ends_a_replay_after_a_while() {
    let mut site = declined(1, 500);
    (site.cloud, site.cloud_status) = (Verdict::BadContent, 422);
    site.event(0, Event::Replay);
    site.run_for(20_000);
    let ended = replay(&site, 0);
    assert_eq!((ended.running, ended.delivered, ended.refused), (false, 0, 64), "R5");
    assert_eq!(left(&site).len(), 500);
    assert_eq!(left(&site)[0], 65, "what was put back stands behind the rest");
}

#[test]
fn live_readings_and_a_replay_take_turns_and_alerts_go_first() {
    let mut site = declined(1, 3_000);
    site.push(3_000);
    site.run_for(500);
    accept(&mut site);
    site.event(0, Event::Replay);
    site.run_for(2_000);
    let old = |order: &CloudOrder| readings_of(&order.what)[0].1 <= 3_000;
    let turns: Vec<_> = site.sent.iter().map(|(.., order)| old(order)).collect();
    assert_eq!(turns, [true, false].repeat(6), "R4");
    assert_eq!((left(&site).len(), site.status(0).journal[0].waiting), (0, 0));
}

#[test]
fn a_takeover_ends_a_replay_and_repeats_one_batch_at_most() {
    for requests in 1..5 {
        let mut site = declined(2, 2_000);
        accept(&mut site);
        site.event(0, Event::Replay);
        while site.sent.len() < requests {
            site.run_for(0);
        }
        site.kill(0);
        let before: Vec<_> = site.sent.iter().flat_map(|(.., it)| readings_of(&it.what)).collect();
        site.run_for(3_000);
        assert!(site.status(1).fenced);
        assert_eq!(replay(&site, 1).number, 0, "in memory only");
        let stored = status(&site, 1);
        assert_eq!(stored.records, left(&site).len() as u64, "it is counted");
        site.event(1, Event::Replay);
        site.run_for(3_000);
        let all: Vec<_> = site.sent.iter().flat_map(|(.., it)| readings_of(&it.what)).collect();
        assert_eq!((site.delivered().len(), left(&site).len()), (2_000, 0));
        assert!(
            all.len() <= 2_500,
            "one batch again at most: {} after {}",
            all.len(),
            before.len()
        );
    }
}

#[test]
fn a_clean_stop_forgets_what_was_accepted() {
    let mut site = declined(2, 2_000);
    accept(&mut site);
    site.event(0, Event::Replay);
    while site.sent.len() < 2 {
        site.run_for(0);
    }
    site.event(0, Event::Stop);
    site.run_for(3_000);
    assert!(site.nodes[0].exited && site.status(1).fenced);
    site.event(1, Event::Replay);
    site.run_for(3_000);
    assert_eq!(site.delivered().len(), 2_000);
    let all = site.sent.iter().flat_map(|(.., it)| readings_of(&it.what)).count();
    assert_eq!(all, 2_000, "nothing came twice");
}

#[test]
fn a_purge_empties_the_store_and_ends_a_replay() {
    let mut site = declined(1, 1_500);
    site.cloud = Verdict::Retry;
    site.event(0, Event::Replay);
    site.run_for(500);
    site.event(0, Event::Purge);
    assert!(!replay(&site, 0).running);
    assert!(replay(&site, 0).reason.contains("purged"));
    assert_eq!(site.nodes[0].engine.judge_replay(site.now_ms), Err(StoreRefusal::UnderWay));
    site.run_for(2_000);
    let status = status(&site, 0);
    assert_eq!(
        (status.purge.number, status.purge.running, status.purge.records),
        (1, false, 1_500)
    );
    assert_eq!((status.records, left(&site).len()), (0, 0));
    accept(&mut site);
    site.sent.clear();
    site.run_for(70_000);
    assert!(site.sent.is_empty(), "nothing of it is sent any more");
}

#[test]
fn a_store_that_cannot_be_written_ends_a_replay_and_holds_nothing_up() {
    let mut site = declined(1, 1_500);
    accept(&mut site);
    site.event(0, Event::Replay);
    site.share.full = true;
    site.push(5);
    site.run_for(20_000);
    let ended = replay(&site, 0);
    assert!(!ended.running && ended.reason.contains("no space"), "{ended:?}");
    assert_eq!(left(&site).len(), 1_500, "what was accepted is sent again by the next");
    site.share.full = false;
    site.run_for(70_000);
    assert_eq!(site.status(0).journal[0].waiting, 0);
    site.event(0, Event::Replay);
    site.run_for(2_000);
    assert!(left(&site).is_empty());
}

#[test]
fn the_store_is_looked_at_only_while_it_changes() {
    let mut site = declined(1, 500);
    site.run_for(5_000);
    assert_eq!(status(&site, 0).records, 500);
    let counts = site.share.declined.counts;
    site.run_for(30_000);
    assert_eq!(site.share.declined.counts, counts);
    accept(&mut site);
    site.event(0, Event::Replay);
    site.run_for(5_000);
    assert_eq!(status(&site, 0).records, 0);
    assert!((1..5).contains(&(site.share.declined.counts - counts)));
}
