//! A source that takes a second and one that never answers: they cost themselves, and little
//! else; mended, they are read again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use crate::scene::{PATIENCE, Scene};
use crate::support::site::Plan;

fn source(path: &Path, metric: &str, every_ms: u32) -> Value {
    json!({ "file": { "path": path, "metric": metric, "every_ms": every_ms } })
}

fn pipe(scene: &Scene, name: &str) -> PathBuf {
    let path = scene.site.scratch().join(name);
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo can be run");
    assert!(made.success());
    path
}

/// Writes a number to a pipe whenever somebody opens it, after a time.
fn device(path: &Path, over: &Arc<AtomicBool>, time: Duration) -> JoinHandle<()> {
    let (over, path) = (Arc::clone(over), path.to_owned());
    thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            let mut file = File::create(&path).expect("the pipe can be opened");
            thread::sleep(time);
            // whoever read it may be gone
            drop(file.write_all(b"42\n"));
            drop(file);
            // or it would be opened again before its end was seen
            thread::sleep(Duration::from_millis(300));
        }
    })
}

/// How many values of a metric were delivered.
fn count(scene: &Scene, metric: &str) -> usize {
    let ledger = scene.receiver.ledger();
    ledger.contents().filter(|reading| reading["data"][metric].is_number()).count()
}

#[test]
fn a_slow_source_and_one_that_never_answers_leave_the_master_at_its_pace() {
    let plan = Plan { heartbeat: 500, fence: 5_000, ..Plan::default() };
    let mut scene = Scene::new(&plan);
    let (never, slow) = (pipe(&scene, "never"), pipe(&scene, "slow"));
    let path = scene.site.data().join("edge.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&path).expect("there")).expect("it is JSON");
    config["things"][1]["sources"] = json!([
        source(&never, "never", 1_000),
        source(&slow, "slow", 1_500),
        source(Path::new("/proc/uptime"), "uptime", 200),
    ]);
    fs::write(&path, config.to_string()).expect("room");
    let over = Arc::new(AtomicBool::new(false));
    let mut devices = vec![device(&slow, &over, Duration::from_secs(1))];
    scene.start();
    let mut leases = Vec::new();
    scene.site.wait("the condition to show", PATIENCE, |site| {
        let status = site.status("a").expect("the agent answers all the while");
        leases.push(status["lease_ms"].as_u64().unwrap_or(0));
        status["conditions"].to_string().contains("source-failed").then_some(())
    });
    assert!(leases.iter().all(|left| *left > 0), "no heartbeat is missed: {leases:?}");
    assert!(leases.len() > 20, "it answers all the while: {leases:?}");
    let before = (count(&scene, "slow"), count(&scene, "uptime"));
    scene.site.wait("the other sources to go on", PATIENCE, |_| {
        (count(&scene, "slow") > before.0 + 1 && count(&scene, "uptime") > before.1 + 5)
            .then_some(())
    });
    assert_eq!(count(&scene, "never"), 0);
    scene.feed(2);

    devices.push(device(&never, &over, Duration::ZERO));
    scene.site.wait("the condition to end", PATIENCE, |site| {
        let conditions = site.status("a")?["conditions"].to_string();
        (!conditions.contains("source-failed") && count(&scene, "never") > 0).then_some(())
    });
    let log = scene.log("a");
    assert_eq!(log.matches("never of host000001: took longer than 5 s").count(), 1, "{log}");
    assert_eq!(log.matches("never of host000001: read again").count(), 1, "{log}");
    assert_eq!(scene.site.wait_fenced(0).term, 1);
    scene.judge();
    over.store(true, Ordering::Release);
    scene.stop();
    for path in [&never, &slow] {
        // lets a device go that waits for a reader
        drop(File::options().read(true).write(true).open(path));
    }
    for device in devices {
        device.join().expect("it ends");
    }
}
