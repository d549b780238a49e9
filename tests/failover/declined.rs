//! What the cloud refused: listed, sent again under its first identities, put back, deleted; on
//! the master's host alone, and across a takeover.

use std::fmt::Write;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::Scene;
use crate::support::THING;
use crate::support::answers::Answer;
use crate::support::ledger::Request;
use crate::support::processes;
use crate::support::receiver::Behaviour;
use crate::support::site::{Part, Plan, Site};

/// Records of a batch.
const BATCH: u64 = 50;
const ADDRESS: &str = "http://10.0.0.1:8480";

/// Two nodes, the first of them master.
fn scene() -> Scene {
    let plan = Plan { batch_records: 50, ..Plan::default() };
    let mut scene = Scene::beside(&plan);
    scene.site.start_with("a", &["--console", "off", "--advertise", ADDRESS]);
    scene.site.wait_fenced(0);
    scene.site.start("b");
    scene.site.wait_standby("b");
    scene
}

/// Posts readings of these numbers, durably.
fn post(site: &Site, node: &str, numbers: std::ops::RangeInclusive<u64>) {
    let mut body = String::new();
    for number in numbers {
        let time = 1_600_000_000_000 + number;
        writeln!(
            body,
            "{{\"thing_key\":\"{THING}\",\"timestamp\":{time},\"data\":{{\"n\":{number}}}}}"
        )
        .expect("a string takes anything");
    }
    let reply = site.post(node, "/readings", &body).expect("an answer");
    assert_eq!(reply.status, 204, "{}", reply.text());
}

/// What the master knows of the store.
fn store(site: &Site, node: &str) -> Option<Value> {
    let declined = site.status(node)?["declined"].take();
    declined.is_object().then_some(declined)
}

fn wait_records(site: &Site, node: &str, records: u64) {
    site.wait(&format!("{records} declined records to be counted"), 30, |site| {
        let store = store(site, node)?;
        (store["complete"] == true && store["records"] == records).then_some(())
    });
}

/// Lets a cloud that wants other credentials refuse so many batches of 1, 2, 3, ... Alerts go:
/// they would go first each time, and are not declined.
fn decline(scene: &Scene, batches: u64) {
    scene.receiver.rule(|asked| Answer::Status(if asked.is_readings() { 401 } else { 200 }));
    post(&scene.site, "a", 1..=batches * BATCH);
    for batch in 1..=batches {
        wait_records(&scene.site, "a", batch * BATCH);
        if batch < batches {
            // the pause is over, and the credentials are as wrong as before
            processes::signal("HUP", &[scene.site.pid("a")]);
        }
    }
}

/// Runs `declined` on the site's data directory, at a node.
fn run(site: &Site, node: &str, words: &[&str]) -> (i32, String, String) {
    let data = site.data();
    let data = data.to_str().expect("a scratch folder has a plain name");
    let arguments = [&["--datadirpath", data], words].concat();
    let Output { status, stdout, stderr } = site.run_at(node, "declined", &arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

/// The records that are listed.
fn listed(site: &Site, node: &str) -> Vec<Value> {
    let (code, lines, why) = run(site, node, &["list", "--json"]);
    assert_eq!(code, 0, "{why}");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn wait_delivered(scene: &Scene, last: u64) {
    let all = scene.receiver.wait(Duration::from_secs(60), |ledger| {
        (1..=last).all(|number| ledger.has(number)).then_some(())
    });
    let missing = scene.receiver.ledger().missing(&(1..=last).collect::<Vec<_>>());
    assert!(all.is_some(), "{missing:?} never came\n{}", scene.site.report());
}

#[test]
fn declined_records_are_listed_sent_again_and_deleted() {
    let scene = scene();
    decline(&scene, 3);
    let records = listed(&scene.site, "a");
    assert_eq!(records.len() as u64, 3 * BATCH);
    assert!(records.iter().all(|it| it["status"] == 401 && it["lane"] == "readings"));
    let (code, text, why) = run(&scene.site, "a", &["list"]);
    assert_eq!((code, why.as_str()), (0, ""), "{text}");
    assert!(text.contains("  1/readings/1  401  "), "{text}");
    assert!(text.ends_with("\n150 records\n"), "{text}");
    scene.receiver.behave(Behaviour::Answer(200));
    let (code, text, why) = run(&scene.site, "a", &["replay"]);
    assert_eq!((code, text.as_str()), (0, "replayed 150 records, 0 refused again\n"), "{why}");
    wait_delivered(&scene, 3 * BATCH);
    let ledger = scene.receiver.ledger();
    for it in &records {
        let number = it["record"]["data"]["n"].as_u64().expect("a number");
        let identity = ledger.identity_of(number).expect("it came");
        let first = (it["term"].as_u64(), it["seq"].as_u64());
        assert_eq!(first, (Some(identity.term.into()), Some(identity.seq)), "{it}");
    }
    assert_eq!(ledger.repeated_records, 0);
    drop(ledger);
    assert_eq!(listed(&scene.site, "a"), [Value::Null; 0]);
    wait_records(&scene.site, "a", 0);
    poison(&scene);
    refuse_elsewhere(&scene);
    scene.judge();
}

fn refuse_elsewhere(scene: &Scene) {
    scene.site.wait("b to read where a's console is", 30, |site| {
        (site.status("b")?["master"]["advertise"] == ADDRESS).then_some(())
    });
    for words in [["list"], ["replay"], ["purge"]] {
        let (code, text, why) = run(&scene.site, "b", &words);
        let expected =
            format!("edge-agent: declined: this node stands by; ask the master a at {ADDRESS}\n");
        assert_eq!((code, text.as_str(), why), (75, "", expected));
    }
    let nowhere = scene.site.run_at("nobody", "declined", &["purge"]);
    assert_eq!(nowhere.status.code(), Some(69), "{nowhere:?}");
    let reply = scene.site.post("b", "/declined/replay", "").expect("an answer");
    assert_eq!((reply.status, reply.json().expect("JSON")["master"].as_str()), (503, Some("a")));
}

/// One record that the cloud will not have, whatever happens.
fn poison(scene: &Scene) {
    scene.receiver.rule(|asked| Answer::Status(if asked.holds(&[177]) { 400 } else { 200 }));
    post(&scene.site, "a", 151..=200);
    wait_records(&scene.site, "a", 1);
    let before = listed(&scene.site, "a");
    assert_eq!((before.len(), &before[0]["record"]["data"]["n"]), (1, &177.into()));
    let (code, text, why) = run(&scene.site, "a", &["replay"]);
    assert_eq!((code, text.as_str()), (0, "replayed 0 records, 1 refused again\n"), "{why}");
    let after = listed(&scene.site, "a");
    assert_eq!((after.len(), &after[0]["seq"]), (1, &before[0]["seq"]), "once");
    assert_eq!(after[0]["record"], before[0]["record"]);
    assert!(after[0]["time"].as_u64() > before[0]["time"].as_u64(), "with the new time");
    let (code, text, why) = run(&scene.site, "a", &["purge"]);
    assert_eq!((code, text.as_str()), (0, "deleted 1 record\n"), "{why}");
    let (_, text, _) = run(&scene.site, "a", &["list"]);
    assert_eq!(text, "0 records\n");
    wait_records(&scene.site, "a", 0);
    let ledger = scene.receiver.ledger();
    assert_eq!(ledger.missing(&(1..=200).collect::<Vec<_>>()), [177]);
}

#[test]
fn a_replay_that_its_master_does_not_survive_is_finished_by_the_next() {
    let mut scene = scene();
    let records = 8 * BATCH;
    decline(&scene, 8);
    // a kill most likely comes between a delivery and its answer
    scene.receiver.behave(Behaviour::Delay(Duration::from_millis(150)));
    let mark = scene.mark();
    let run_dir = scene.site.socket("a");
    let mut command = scene.site.command("declined");
    command.arg("replay").arg("--run-dir").arg(run_dir.parent().expect("a folder"));
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let following = command.spawn().expect("the agent can be run");
    let seen = scene.receiver.wait(Duration::from_secs(30), |ledger| {
        let replayed = |it: &&Request| it.records.contains("/readings/");
        (ledger.requests.iter().skip(mark).filter(replayed).count() >= 3).then_some(())
    });
    assert!(seen.is_some(), "no replay\n{}", scene.site.report());
    let again = scene.site.post("a", "/declined/replay", "").expect("an answer");
    assert_eq!(again.status, 409, "{}", again.text());
    scene.site.kill("a", Part::Agent);
    let ended = following.wait_with_output().expect("it ends");
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(75), "{why}");
    assert!(why.contains("declined: ended early"), "{why}");

    scene.site.wait_fenced(1);
    let left = listed(&scene.site, "b").len() as u64;
    assert!((1..records).contains(&left), "{left} are left");
    assert_eq!(left % BATCH, 0, "whole batches were forgotten");
    wait_records(&scene.site, "b", left);
    scene.receiver.behave(Behaviour::Answer(200));
    let (code, text, why) = run(&scene.site, "b", &["replay"]);
    let expected = format!("replayed {left} records, 0 refused again\n");
    assert_eq!((code, text), (0, expected), "{why}");
    wait_delivered(&scene, records);
    assert_eq!(listed(&scene.site, "b"), [Value::Null; 0]);
    let ledger = scene.receiver.ledger();
    let repeated = ledger.batches_repeated_since(mark);
    assert!(repeated <= 1, "{repeated} batches came again\n{}", ledger.tail());
    drop(ledger);
    scene.judge();
}
