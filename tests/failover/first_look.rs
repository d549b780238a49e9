//! The main job as the readme gives it: this machine's own figures, on standard output.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Turn;
use crate::support::{binary, guard, processes};

#[test]
fn the_example_configuration_shows_this_machines_figures() {
    let _turn = Turn::beside();
    let scratch = std::env::temp_dir().join(format!("edge-agent-{}-look", std::process::id()));
    // the folder of both is there, as on a real machine; they themselves are made
    fs::create_dir_all(&scratch).expect("a scratch folder can be made");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut agent = Command::new(binary::under_test(env!("CARGO_BIN_EXE_edge-agent")))
        .args(["run", "--config"])
        .arg(root.join("config/edge.json"))
        .arg("--datadirpath")
        .arg(scratch.join("data"))
        .arg("--run-dir")
        .arg(scratch.join("run"))
        .args(["--console", "off"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the agent can be started");
    guard::started(agent.id());
    let output = agent.stdout.take().expect("it is piped");
    let (told, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            drop(told.send(line));
        }
    });
    let seen = figures_in(&lines, Duration::from_secs(60));
    processes::signal("TERM", &[agent.id()]);
    let status = agent.wait().expect("the agent can be waited for");
    guard::ended(agent.id());
    drop(reader.join());
    drop(fs::remove_dir_all(&scratch));
    assert_eq!(seen, ["load1", "mem_available_kb"]);
    assert!(status.success(), "{status}");
}

/// Reads records until both figures came, or for so long; gives their names, sorted.
fn figures_in(lines: &mpsc::Receiver<String>, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else { break };
        let record: Value = serde_json::from_str(&line).expect("every line is JSON");
        assert_eq!(record["thing_key"], "this-machine", "{line}");
        assert!(record["timestamp"].as_u64() > Some(1_600_000_000_000), "{line}");
        for (name, value) in record["data"].as_object().expect("a reading has data") {
            assert!(value.is_number(), "{line}");
            seen.push(name.clone());
        }
        seen.sort();
        seen.dedup();
    }
    seen
}
