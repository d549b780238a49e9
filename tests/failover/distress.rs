//! What a node tells of itself, whatever its role; what the master tells of its sources and
//! certificates; a share that is full.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};

use crate::Scene;
use crate::support::left_out::leave_out;
use crate::support::processes;
use crate::support::receiver::Behaviour;
use crate::support::site::{Part, Plan, Site};

#[test]
fn a_share_that_hangs_or_vanishes_is_told_directly_by_whoever_suffers_it() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a", "b"]);
    // b's share hangs; then a's is not there any more
    let keeper = scene.site.part("b", Part::Keeper).expect("b has a keeper");
    processes::signal("STOP", &[keeper]);
    let (data, away) = (scene.site.data(), scene.site.scratch().join("away"));
    fs::rename(&data, &away).expect("the folder can be moved");
    wait_distress(&scene, "a", "share-missing", &["raised"]);
    wait_distress(&scene, "b", "share-stalled", &["raised"]);
    assert!(scene.site.status("b").expect("b answers")["share"]["stalled_ms"].as_u64() > Some(0));
    fs::rename(&away, &data).expect("the folder can be moved back");
    processes::signal("CONT", &[keeper]);
    wait_distress(&scene, "a", "share-missing", &["raised", "cleared"]);
    wait_distress(&scene, "b", "share-stalled", &["raised", "cleared"]);
    scene.site.wait_fenced(1);
    let ledger = scene.receiver.ledger();
    for condition in ["share-missing", "share-stalled", "lock-file-replaced"] {
        assert!(ledger.alerts_of(condition).is_empty(), "{condition} goes one way only");
    }
    assert!(ledger.distress_of("a", "lock-file-replaced").is_empty(), "all of it was gone");
    let (_, first) = &ledger.distress[0];
    let data = &first["data"];
    assert_eq!((&data["site"], &first["alert_type"]), (&json!("scratch"), &json!(2)), "{first}");
    assert!(data["lasted_ms"].as_u64() >= Some(3_000), "{first}");
    assert!(data["detail"].as_str().is_some_and(|text| !text.is_empty()), "{first}");
    drop(ledger);
    scene.judge();
}

#[test]
fn a_refused_configuration_a_lost_lock_file_and_failing_sources_are_told_once() {
    let mut plan = Plan::default();
    let source = std::env::temp_dir().join(format!("edge-source-{}", std::process::id()));
    drop(fs::remove_file(&source));
    plan.sources.push(json!({ "file": { "path": source, "metric": "m", "every_ms": 200 } }));
    let mut scene = Scene::beside(&plan);
    let ca = scene.site.data().join("ca.pem");
    let both = fs::read_to_string(&ca).expect("it is there") + &expired();
    fs::write(&ca, both).expect("it can be written");
    scene.start(&["a", "b"]);
    let wanted = ("certificate-expiring", "raised");
    let alert = wait_alert(&scene, wanted);
    assert_eq!((&alert["data"]["expiring"], &alert["data"]["of"]), (&json!(1), &json!(2)));
    assert!(conditions(&scene.site, "a").contains("certificate-expiring"));

    let path = scene.site.data().join("edge.json");
    let good = fs::read(&path).expect("it is there");
    fs::write(&path, b"{ nonsense").expect("it can be written");
    hang_up(&scene, "b");
    wait_distress(&scene, "b", "config-refused", &["raised"]);
    hang_up(&scene, "b");
    let alert = wait_alert(&scene, ("source-failed", "raised"));
    assert_eq!((&alert["data"]["metric"], &alert["alert_type"]), (&json!("m"), &json!(1)));
    fs::write(&source, b"1\n").expect("room");
    fs::write(&path, good).expect("it can be written");
    hang_up(&scene, "b");
    wait_distress(&scene, "b", "config-refused", &["raised", "cleared"]);
    wait_alert(&scene, ("source-failed", "cleared"));

    fs::remove_file(scene.site.data().join("edge.lock")).expect("it is there");
    wait_distress(&scene, "a", "lock-file-replaced", &["raised"]);
    assert!(conditions(&scene.site, "a").contains("lock-file-replaced"));
    scene.site.wait_fenced(1);
    let ledger = scene.receiver.ledger();
    assert!(ledger.distress_of("a", "config-refused").is_empty(), "only b was asked");
    assert_eq!(ledger.distress_of("b", "config-refused").len(), 2, "once each");
    drop(ledger);
    scene.judge();
    drop(fs::remove_file(source));
}

#[test]
fn a_cloud_that_never_answers_costs_one_short_lived_process() {
    let mut scene = Scene::beside(&Plan { timeout: 1_000, ..Plan::default() });
    scene.start(&["a"]);
    scene.receiver.behave(Behaviour::BlackHole);
    let path = scene.site.data().join("edge.json");
    fs::write(&path, b"{ nonsense").expect("it can be written");
    hang_up(&scene, "a");
    let caller = scene.site.wait("a caller", 10, |site| site.part("a", Part::Caller));
    scene.site.wait("the caller to be ended", 20, |site| {
        let status = site.status("a").expect("the agent answers all the while");
        assert!(status["lease_ms"].as_u64() > Some(0), "no heartbeat is missed: {status}");
        (site.part("a", Part::Caller) != Some(caller)).then_some(())
    });
    scene.receiver.behave(Behaviour::Answer(200));
    wait_distress(&scene, "a", "config-refused", &["raised"]);
    scene.site.wait("the last caller to end", 10, |site| {
        site.part("a", Part::Caller).is_none().then_some(())
    });
    scene.judge();
}

#[test]
fn the_end_of_a_child_is_logged_with_its_reason() {
    let mut plan = Plan::default();
    plan.sources.push(json!({ "file": { "path": "/proc/uptime", "field": 1, "metric": "up" } }));
    let mut scene = Scene::beside(&plan);
    scene.start(&["a"]);
    let first = scene.site.wait("a collector", 10, |site| site.part("a", Part::Collector));
    scene.site.kill("a", Part::Collector);
    scene.site.wait("another collector", 20, |site| {
        site.part("a", Part::Collector).filter(|pid| *pid != first)
    });
    scene.site.kill("a", Part::Keeper);
    scene.site.wait_fenced(1);
    let log = fs::read_to_string(scene.site.scratch().join("a.log")).expect("a log");
    assert!(log.contains("keeper: gone (killed by SIGKILL)"), "{log}");
    let collector = ["collector: gone (killed by SIGKILL)", "collector: channel lost"];
    assert!(collector.iter().any(|line| log.contains(line)), "{log}");
}

#[test]
fn a_full_share_can_still_be_taken_over_and_forwarded_from() {
    let mut scene = Scene::beside(&Plan::default());
    let Some(mounted) = Mounted::over(&scene.site.data()) else {
        return leave_out("a full share: a tmpfs can be mounted by root alone");
    };
    scene.start(&["a"]);
    let reserve = scene.site.data().join("reserve");
    scene.site.wait("the reserve", 10, |_| reserve.exists().then_some(()));
    scene.site.start("b");
    scene.site.wait_standby("b");
    scene.receiver.behave(Behaviour::HangUp);
    let producer = scene.produce(&["a"]);
    scene.wait_load(&producer);
    let data = scene.site.data();
    fill(&data.join("ballast"));
    scene
        .site
        .wait("the condition", 20, |site| conditions(site, "a").contains("no-space").then_some(()));
    assert_eq!(scene.site.masters().len(), 1, "no space is no reason to resign");
    assert!(reserve.exists(), "appends do not eat it");
    let sent = producer.stop();
    // before b looks, what an append that failed gave back is taken, and every last inode
    scene.site.freeze("b");
    scene.site.kill("a", Part::Agent);
    fill(&data.join("ballast-0"));
    let count = (1..1_000).take_while(|n| File::create(data.join(format!("ballast-{n}"))).is_ok());
    assert!(count.count() < 900, "the inodes come to an end");
    scene.site.thaw("b");
    scene.site.wait_fenced(1);
    assert!(!reserve.exists(), "it made room for the claim");
    scene.receiver.behave(Behaviour::Answer(200));
    scene.wait_all_delivered(&sent);
    wait_distress(&scene, "b", "no-space", &["raised"]);
    for entry in fs::read_dir(&data).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.to_string_lossy().contains("/ballast") {
            fs::remove_file(path).expect("it is there");
        }
    }
    scene.site.wait("the reserve to be made again", 20, |_| reserve.exists().then_some(()));
    let body = r#"{"thing_key":"t","data":{"n":4000000}}"#;
    let reply = scene.site.post("b", "/readings", body).expect("it answers");
    assert_eq!(reply.status, 204, "{}", reply.text());
    wait_distress(&scene, "b", "no-space", &["raised", "cleared"]);
    assert!(!conditions(&scene.site, "b").contains("no-space"));
    scene.judge();
    scene.site.stop("b");
    drop(mounted);
}

/// A small file system in memory over a data directory, with what was there.
struct Mounted(PathBuf);

impl Mounted {
    fn over(data: &Path) -> Option<Self> {
        let script = "cp -a \"$0\" \"$0.before\" && mount -t tmpfs -o size=6m,nr_inodes=150,mode=0700 tmpfs \"$0\" \
                      && cp -a \"$0.before/.\" \"$0\"";
        let done = Command::new("sh").arg("-c").arg(script).arg(data).output().ok()?;
        done.status.success().then(|| Self(data.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let done = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

/// Writes a file until no byte more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file more");
    for length in [4_096, 1] {
        while file.write_all(&vec![7; length]).is_ok() {}
    }
}

/// A certificate that nobody would accept any more, in PEM.
fn expired() -> String {
    let mut params = CertificateParams::new(vec!["old".to_owned()]).expect("a good name");
    params.not_before = date_time_ymd(2_020, 1, 1);
    params.not_after = date_time_ymd(2_021, 1, 1);
    let key = KeyPair::generate().expect("a key");
    params.self_signed(&key).expect("signed").pem()
}

fn hang_up(scene: &Scene, node: &str) {
    processes::signal("HUP", &[scene.site.pid(node)]);
}

fn conditions(site: &Site, node: &str) -> String {
    site.status(node).map_or_else(String::new, |status| status["conditions"].to_string())
}

/// Waits until a node has told exactly this of a condition.
fn wait_distress(scene: &Scene, node: &str, condition: &str, states: &[&str]) {
    let seen = scene.receiver.wait(Duration::from_secs(60), |ledger| {
        (ledger.distress_of(node, condition).len() >= states.len()).then_some(())
    });
    let ledger = scene.receiver.ledger();
    let told = ledger.distress_of(node, condition);
    assert!(
        seen.is_some() && told == states,
        "{node}, {condition}: {told:?}\n{}{}",
        ledger.tail(),
        { scene.site.report() }
    );
    let by_node: Vec<_> = ledger.requests.iter().filter(|r| r.node == node).collect();
    let calls = by_node.iter().filter(|r| r.term.is_none() && r.path.ends_with("/alerts.json"));
    assert!(calls.clone().count() >= states.len(), "X-Edge-Term: none");
    assert!(calls.clone().all(|call| call.records.is_empty()), "they name no records");
}

/// Waits for an alert of the alert lane in this state.
fn wait_alert(scene: &Scene, (condition, state): (&str, &str)) -> Value {
    let of = |alert: &&&Value| alert["data"]["state"] == state;
    let seen = scene.receiver.wait(Duration::from_secs(60), |ledger| {
        ledger.alerts_of(condition).iter().find(of).map(|alert| (*alert).clone())
    });
    let ledger = scene.receiver.ledger();
    assert_eq!(ledger.alerts_of(condition).iter().filter(of).count(), 1, "{:#?}", ledger.alerts);
    seen.unwrap_or_else(|| panic!("no {condition}, {state}\n{}", scene.site.report()))
}
