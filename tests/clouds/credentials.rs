//! A cloud that refuses us: one batch is declined, the uplink pauses, alerts wait, and the
//! right credentials end it.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::support::SECRET_KEY;
use crate::support::producer::Producer;
use crate::support::receiver::{Behaviour, Receiver};
use crate::support::site::Plan;
use crate::{NODE, Scene, is_long, number, numbers, plan, tries};

const OTHER_SECRET: &str = "testsecretkey0000000000000000000000000002";

#[test]
fn a_refusal_of_us_costs_one_batch_and_names_what_is_wrong() {
    let scene = Scene::start(&plan());
    let mut declined = 0;
    for (round, (status, remedy, alert)) in [
        (401, "cloud.access_key and the secret key", "credentials"),
        (403, "cloud.access_key and the secret key", "credentials"),
        (404, "cloud.url", "no such address"),
        (405, "cloud.url", "no such address"),
        (410, "cloud.url", "no such address"),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = scene.mark();
        scene.receiver.behave(Behaviour::Answer(status));
        let numbers_sent = scene.post(500).start..scene.post(300).end;
        declined += 500;
        let entries = scene.wait_declined(declined);
        let newest = &entries[declined - 500..];
        assert_eq!(numbers(newest), numbers_sent.clone().take(500).collect::<Vec<_>>());
        for (entry, next) in newest.iter().zip(&newest[1..]) {
            assert_eq!((entry.status, entry.term, next.seq), (status, 1, entry.seq + 1));
            assert!(entry.reason.contains(remedy), "{}", entry.reason);
        }
        let cloud = scene.status()["cloud"].clone();
        assert_eq!((&cloud["state"], &cloud["status"]), (&json!("paused"), &json!(status)));
        assert!(cloud["reason"].as_str().is_some_and(|text| text.contains(remedy)), "{cloud}");
        assert!(cloud["wait_ms"].as_u64().is_some_and(|ms| (40_000..=60_000).contains(&ms)));
        assert!(scene.has_condition("cloud-declining"));
        assert!(!scene.has_condition("cloud-unreachable"));
        // what is queued behind is left alone, and so is the alert
        thread::sleep(Duration::from_millis(400));
        assert_eq!(tries(&scene.receiver.ledger(), mark), [500], "{status}: nothing is split");
        assert_eq!(scene.mark(), mark + 1, "{status}: nothing else is sent");
        scene.recover();
        scene.wait_delivered(numbers_sent.start + 500..numbers_sent.end);
        scene.wait("the alerts", |ledger| ledger.alerts_of("cloud-accepting").len() == round + 1);
        scene.wait_condition("cloud-declining", false);
        let ledger = scene.receiver.ledger();
        let alerts = ledger.alerts_of("cloud-declining");
        assert_eq!(alerts.len(), round + 1, "{status}: once");
        let message = alerts[round]["message"].as_str().unwrap_or_default();
        assert!(message.contains(alert) && message.contains(remedy), "{message}");
        assert_eq!(alerts[round]["data"]["status"], status);
    }
    assert_eq!(scene.site.log_lines(NODE, "trying again after a pause").len(), 5);
    assert_eq!(scene.site.log_lines(NODE, "accepts records again").len(), 5);
    scene.judge();
}

/// The long run alone: pauses grow, and each costs one batch.
#[test]
fn each_pause_is_longer_and_costs_one_batch() {
    if !is_long() {
        println!("skipped: EDGE_LONG=1 does it");
        return;
    }
    // without alerts, which would be tried in place of readings
    let scene = Scene::start_with(&plan(), |config| config["alerts"] = json!({}));
    scene.receiver.behave(Behaviour::Answer(401));
    for _ in 0..3 {
        scene.post(500);
    }
    scene.wait_declined(500);
    thread::sleep(Duration::from_secs(40));
    assert_eq!(scene.declined().len(), 500);
    scene.wait_declined(1_000);
    let wait_ms = scene.status()["cloud"]["wait_ms"].as_u64().expect("a number");
    assert!((100_000..=120_000).contains(&wait_ms), "{wait_ms}");
    scene.recover();
    scene.wait_delivered(1_001..1_501);
    scene.judge();
}

fn in_file(config: &mut serde_json::Value) {
    let cloud = config["cloud"].as_object_mut().expect("an object");
    cloud.remove("secret_key");
    cloud.insert("secret_key_file".into(), json!("secret.key"));
}

/// A scene whose secret key stands in a file; the file is there before the node starts.
fn scene_with_secret_file() -> Scene {
    let plan = Plan { batch_age: 50, ..plan() };
    Scene::start_with_files(Receiver::start(), &plan, in_file, |data| {
        fs::write(data.join("secret.key"), SECRET_KEY).expect("written");
    })
}

#[test]
fn a_secret_is_rotated_under_load_by_sighup() {
    let scene = scene_with_secret_file();
    // numbers of its own begin at 0, and reading 0 was delivered before
    let producer = Producer::start_at(vec![scene.site.socket(NODE)], 400, 1_000_000);
    scene.wait("the load", |ledger| ledger.readings() > 200);
    fs::write(scene.site.data().join("secret.key"), format!("{OTHER_SECRET}\n")).expect("written");
    scene.receiver.take_secret(OTHER_SECRET);
    scene.site.reload(NODE);
    let before = scene.receiver.ledger().readings();
    scene.wait("deliveries under the new secret", |ledger| ledger.readings() > before + 400);
    let sent = producer.stop();
    assert!(!sent.acknowledged.is_empty());
    scene.site.wait("everything to be delivered or declined", 60, |_| {
        let declined = scene.declined();
        let ledger = scene.receiver.ledger();
        let kept: Vec<_> = declined.iter().filter_map(number).collect();
        let is_there = |n: &u64| ledger.has(*n) || kept.contains(n);
        sent.acknowledged.iter().all(is_there).then_some(())
    });
    // a batch that was on its way when the cloud changed its mind, if there was one
    assert!(scene.declined().len() <= 500, "{}", scene.declined().len());
    scene.wait_condition("cloud-declining", false);
    scene.judge();
}

#[test]
fn a_changed_secret_file_ends_the_pause_by_itself() {
    let scene = scene_with_secret_file();
    scene.receiver.take_secret(OTHER_SECRET);
    let refused = scene.post(3);
    assert_eq!(numbers(&scene.wait_declined(3)), refused.collect::<Vec<_>>());
    let queued = scene.post(3);
    let mark = scene.mark();
    // half a key, as an editor may leave it for a moment, is not the end of the old one
    fs::write(scene.site.data().join("secret.key"), "").expect("written");
    thread::sleep(Duration::from_millis(500));
    fs::write(scene.site.data().join("secret.key"), OTHER_SECRET).expect("written");
    scene.wait_delivered(queued);
    assert_eq!(scene.receiver.ledger().requests[mark].status, 200, "the first behind the pause");
    scene.wait("the alert", |ledger| ledger.alerts_of("cloud-accepting").len() == 1);
    assert_eq!(scene.receiver.ledger().alerts_of("cloud-declining").len(), 1);
    assert_eq!(scene.site.log_lines(NODE, "the secret or CA file changed").len(), 1);
    scene.judge();
}
