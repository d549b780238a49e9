//! The commands, at a site that runs.

use std::fs;
use std::process::Output;

use crate::Scene;
use crate::support::http::free_port;
use crate::support::receiver::Behaviour;
use crate::support::site::{Plan, Site};

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    streams.concat()
}

/// Runs a command at node a, on the site's data directory.
fn run(site: &Site, name: &str, arguments: &[&str]) -> (i32, String) {
    let data = site.data();
    let data = data.to_str().expect("a scratch folder has a plain name");
    let output = site.run_at("a", name, &[&["--datadirpath", data], arguments].concat());
    (output.status.code().unwrap_or(-1), text(&output))
}

#[test]
fn nodes_are_listed_and_forgotten_once_they_are_gone() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a", "b"]);
    let listed = |name: &'static str, live: &'static str| {
        move |site: &Site| {
            let (code, text) = run(site, "nodes", &[]);
            assert_eq!(code, 0, "{text}");
            let row = text.lines().find(|row| row.starts_with(name))?.to_owned();
            (row.split_whitespace().nth(2) == Some(live)).then_some(row)
        }
    };
    let row = scene.site.wait("b to be listed as live", 20, listed("b", "yes"));
    for part in ["standby", scene.site.data().to_str().expect("plain")] {
        assert!(row.contains(part), "{row}");
    }
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    assert!(code == 75 && why.contains("b is live"), "{code} {why}");
    scene.site.stop("b");
    scene.site.wait("b to be listed as gone", 20, listed("b", "no"));
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    assert_eq!((code, why.as_str()), (0, "b is forgotten\n"));
    let (_, list) = run(&scene.site, "nodes", &[]);
    assert!(!list.lines().any(|row| row.starts_with("b ")), "{list}");
    let (code, why) = run(&scene.site, "nodes", &["forget", "b"]);
    let unknown = "edge-agent: no node b is known; edge-agent nodes lists them\n";
    assert_eq!((code, why.as_str()), (75, unknown));
}

fn verify(site: &Site) -> (i32, String) {
    let output =
        site.command("journal").arg("verify").arg("--datadirpath").arg(site.data()).output();
    let output = output.expect("the agent can be run");
    (output.status.code().unwrap_or(-1), text(&output))
}

#[test]
fn a_journal_is_verified_and_its_damage_found() {
    let mut scene =
        Scene::beside(&Plan { batch_age: 60_000, batch_records: 1_000_000, ..Plan::default() });
    scene.start(&["a"]);
    let producer = scene.produce(&["a"]);
    scene.wait_load(&producer);
    let (code, text) = verify(&scene.site);
    assert_eq!(code, 0, "a running site is whole: {text}");
    let sent = producer.stop();
    scene.site.stop("a");
    let (code, text) = verify(&scene.site);
    assert!(code == 0 && text.contains("the journal is whole"), "{code} {text}");
    assert!(!sent.acknowledged.is_empty());
    let folder = scene.site.data().join("journal/readings");
    let mut segments: Vec<_> = fs::read_dir(&folder)
        .expect("the lane is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    segments.sort();
    let last = segments.last().expect("a segment");
    let mut bytes = fs::read(last).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(last, bytes).expect("it can be written");
    let (code, text) = verify(&scene.site);
    assert!(code == 75 && text.contains("MISSING"), "{code} {text}");
}

#[test]
fn a_site_is_checked_without_disturbing_it() {
    let mut scene = Scene::beside(&Plan::default());
    scene.start(&["a"]);
    let producer = scene.produce(&["a"]);
    scene.wait_load(&producer);
    let before = scene.site.wait_fenced(0);
    let check = |site: &Site, more: &[&str]| {
        let mut command = site.command("check");
        command.arg("--datadirpath").arg(site.data()).args(["--node", "c"]).args(more);
        let output = command.output().expect("the agent can be run");
        (output.status.code().unwrap_or(-1), text(&output))
    };
    let (code, text) = check(&scene.site, &[]);
    assert_eq!(code, 0, "{text}");
    for part in [
        "pass  share: ",
        "pass  lock: ",
        "other known: a",
        "took a heartbeat of ",
        "ca_file: good until ",
        "server's certificate: good until ",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(scene.site.masters(), [before]);
    scene.finish(producer);

    let (code, text) = check(&scene.site, &["--console", "0.0.0.0:8480"]);
    assert!(code == 78 && text.contains("fail  console: "), "{code} {text}");
    let path = scene.site.data().join("edge.json");
    let config = fs::read_to_string(&path).expect("it can be read");
    let unreachable = format!("https://127.0.0.1:{}", free_port());
    fs::write(&path, config.replace(&scene.receiver.url(), &unreachable)).expect("written");
    let (code, text) = check(&scene.site, &[]);
    assert!(code == 75 && text.contains("connection refused"), "{code} {text}");
    fs::write(&path, &config).expect("written");
    scene.receiver.behave(Behaviour::Answer(401));
    let (code, text) = check(&scene.site, &[]);
    assert!(code == 78 && text.contains("fail  cloud: "), "{code} {text}");
    fs::write(&path, "{}").expect("written");
    let (code, text) = check(&scene.site, &[]);
    assert!(code == 78 && text.contains("fail  config: edge.json:1:1: site"), "{code} {text}");
    let (code, text) = check(&scene.site, &["--site-id", "00112233445566778899aabbccddeeff"]);
    assert!(code == 78 && text.contains("fail  share: "), "{code} {text}");
}
