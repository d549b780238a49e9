//! Wrong configurations through the binary: `check` and `sources` say where and exit with 78,
//! `run` says so and stays. Every wrong value is tried beside the shape of the configuration.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::is_long;
use crate::lone::Lone;
use crate::scene::{NODES, PATIENCE, Scene};
use crate::support::processes::signal;
use crate::support::site::Plan;

/// A wrong configuration and what must be said of it.
fn wrong(good: &str) -> Vec<(Vec<u8>, &'static str)> {
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} in {good}");
        good.replacen(from, to, 1).into_bytes()
    };
    let deep = format!("{{\"site\":{}", "[".repeat(100_000)).into_bytes();
    vec![
        (Vec::new(), ":1:1: expected"),
        (b"\0\0\0\0".to_vec(), ":1:1: expected"),
        (b"\xff\xfe{\0}\0".to_vec(), ":1:1: expected"),
        ([b"\xef\xbb\xbf", good.as_bytes()].concat(), ":1:1: expected"),
        (vec![b' '; 10 << 20], "1048576 bytes"),
        (deep, ": site: expected nesting at most 16 deep"),
        (changed("\"poll_ms\": 100", "\"poll_ms\": 1e999"), ": ha.poll_ms: expected"),
        (changed("\"poll_ms\": 100", "\"poll_ms\": -1"), ": ha.poll_ms: expected a whole number"),
        (
            changed("\"poll_ms\": 100", "\"poll_ms\": \"100\""),
            ": ha.poll_ms: expected a whole number",
        ),
        (
            changed("\"poll_ms\": 100", "\"poll_ms\": 100, \"poll_ms\": 100"),
            ": ha.poll_ms: stands here twice",
        ),
        (changed("\"ha\":", "\"hu\":"), ": hu: unknown field"),
        (changed("\"site\":", "\"sites\":"), ": sites: unknown field"),
        (changed("\"site\": \"scratch\"", "\"site\": \"\\u0000\""), ": site: expected a text"),
        (good.as_bytes()[..good.len() / 2].to_vec(), ": expected"),
    ]
}

/// A file that `--config` names: not there, wrong, and then good.
#[test]
fn a_node_with_a_wrong_configuration_of_its_own_stays_and_takes_a_good_one() {
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    let file = scene.site.scratch().join("named.json");
    let words = Lone::words(&scene, node);
    let mut start = Command::new(&words[0]);
    start.args(&words[1..]).arg("--config").arg(&file);
    let log = scene.site.scratch().join("a.log");
    start.stdout(Stdio::null()).stderr(fs::File::create(&log).expect("room"));
    let mut agent = Lone::start(&scene, node, start);
    let told = |agent: &mut Lone, words: &str| {
        agent.wait(words, |status| {
            let shown = status["conditions"].to_string().contains("config-refused");
            let log = fs::read_to_string(&log).unwrap_or_default();
            (shown && log.contains(words)).then_some(())
        });
    };
    told(&mut agent, "named.json: no such file or directory");
    fs::create_dir(&file).expect("room");
    signal("HUP", &[agent.child.id()]);
    told(&mut agent, "named.json: not a regular file");
    fs::remove_dir(&file).expect("it is empty");
    fs::write(&file, "{\"site\": 7}").expect("room");
    signal("HUP", &[agent.child.id()]);
    told(&mut agent, "named.json:1:10: site: expected a text");
    assert!(!scene.post_to(node), "nothing is collected");
    fs::write(&file, r#"{"site":"s","cloud":{"kind":"stdout"}}"#).expect("room");
    signal("HUP", &[agent.child.id()]);
    agent.wait("a good one to be taken", |status| {
        status["conditions"].as_array()?.is_empty().then_some(())
    });
    assert!(scene.post_to(node));
    agent.stop();
}

#[test]
fn a_wrong_configuration_is_said_by_line_column_and_field() {
    let mut scene = Scene::new(&Plan::default());
    let data = scene.site.data();
    let path = data.join("edge.json");
    let config: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
    let good = serde_json::to_string_pretty(&config).expect("JSON");
    let run = |name: &str, arguments: &[&std::ffi::OsStr]| {
        let done = scene.site.command(name).args(arguments).output().expect("it can be run");
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        (done.status.code(), text)
    };
    let file = scene.site.scratch().join("wrong.json");
    for (bytes, expected) in wrong(&good) {
        fs::write(&path, &bytes).expect("room");
        fs::write(&file, &bytes).expect("room");
        let (code, text) = run("check", &["--datadirpath".as_ref(), data.as_ref()]);
        assert_eq!(code, Some(78), "{expected}: {text}");
        assert!(text.contains("fail  config: ") && text.contains(expected), "{expected}: {text}");
        let (code, text) = run("sources", &["--once".as_ref(), "--config".as_ref(), file.as_ref()]);
        assert_eq!(code, Some(78), "{expected}: {text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // cut anywhere
    let step = if is_long() { 1 } else { good.len() / 20 };
    for at in (0..good.len() - 1).step_by(step) {
        fs::write(&file, &good.as_bytes()[..at]).expect("room");
        let (code, text) = run("sources", &["--once".as_ref(), "--config".as_ref(), file.as_ref()]);
        assert_eq!(code, Some(78), "cut at {at}: {text}");
        assert!(text.contains("wrong.json:"), "cut at {at}: {text}");
    }

    fs::write(&path, &good).expect("room");
    scene.start();
    for (bytes, expected) in wrong(&good) {
        fs::write(&path, &bytes).expect("room");
        let before = scene.log("a").matches("config: refused: ").count();
        scene.reload();
        scene.site.wait(expected, PATIENCE, |_| {
            let log = scene.log("a");
            let told = log.matches("config: refused: ").count() > before;
            (told && log.lines().any(|line| line.contains("refused") && line.contains(expected)))
                .then_some(())
        });
        scene.wait_condition("config-refused");
        scene.feed(1);
    }
    fs::write(&path, &good).expect("room");
    scene.reload();
    let master = scene.wait_calm();
    scene.hand_over(&master);
    scene.judge();
}
