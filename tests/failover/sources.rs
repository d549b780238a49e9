//! Sources that are slow, that hang, or that are read while the clock is wrong: they cost
//! themselves, and little else.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::Scene;
use crate::support::ledger::Ledger;
use crate::support::site::{Part, Plan};
use crate::support::{HOST_THING, binary};

fn pipe(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("edge-source-{}-{name}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo can be run");
    assert!(made.success());
    path
}

fn source(path: &Path, metric: &str, every_ms: u32) -> Value {
    json!({ "file": { "path": path, "pattern": "([0-9.]+)", "metric": metric,
        "scale": 0.5, "unit": "V", "every_ms": every_ms } })
}

/// Timestamps of a metric, as they came.
fn stamps(ledger: &Ledger, metric: &str) -> Vec<u64> {
    let of_host = ledger.contents().filter(|reading| reading["thing_key"] == HOST_THING);
    let of_metric = of_host.filter(|reading| reading["data"][metric].is_number());
    of_metric.filter_map(|reading| reading["timestamp"].as_u64()).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 584 million")
}

#[test]
fn a_source_that_hangs_costs_the_others_one_pause_and_the_agent_nothing() {
    let (never, slow) = (pipe("never"), pipe("slow"));
    let mut plan = Plan::default();
    // a pipe without a writer: its opening never returns
    plan.sources.push(source(&never, "never", 1_000));
    plan.sources.push(source(&slow, "slow", 1_500));
    plan.sources.push(source(Path::new("/proc/uptime"), "uptime", 100));
    let mut scene = Scene::beside(&plan);
    let over = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (over, slow) = (Arc::clone(&over), slow.clone());
        move || {
            while !over.load(Ordering::Acquire) {
                // opened as soon as the collector does
                let mut file = File::create(&slow).expect("the pipe can be opened");
                thread::sleep(Duration::from_secs(1));
                // the collector may be gone
                drop(file.write_all(b"42\n"));
                drop(file);
                // or it would be opened again before its end was seen
                thread::sleep(Duration::from_millis(300));
            }
        }
    });
    scene.start(&["a"]);
    let first = scene.site.wait("a collector", 10, |site| site.part("a", Part::Collector));
    scene.site.wait("the first collector to be ended and another to be there", 20, |site| {
        let status = site.status("a").expect("the agent answers all the while");
        assert!(status["lease_ms"].as_u64() > Some(0), "no heartbeat is missed: {status}");
        site.part("a", Part::Collector).filter(|pid| *pid != first)
    });
    let since = now_ms();
    let many = scene.receiver.wait(Duration::from_secs(30), |ledger| {
        let count = |metric| stamps(ledger, metric).into_iter().filter(|at| *at > since).count();
        (count("slow") >= 2 && count("uptime") >= 5).then_some(())
    });
    assert!(many.is_some(), "the others go on\n{}", scene.site.report());
    assert!(stamps(&scene.receiver.ledger(), "never").is_empty());
    let status = scene.site.status("a").expect("it answers");
    let conditions = status["conditions"].to_string();
    assert!(conditions.contains("source-failed"), "{conditions}");
    assert_eq!(scene.site.mastership("a").map(|master| master.term), Some(1));
    scene.judge();
    over.store(true, Ordering::Release);
    drop(scene);
    // lets the writer go, should it wait for a reader
    drop(File::options().read(true).write(true).open(&slow));
    writer.join().expect("the writer ends");
    drop((std::fs::remove_file(never), std::fs::remove_file(slow)));
}

#[test]
fn readings_wait_for_a_clock_that_is_set() {
    if !cfg!(debug_assertions) {
        println!("skipped: only in debug builds can the clock be made wrong");
        return;
    }
    let mut plan = Plan::default();
    plan.sources.push(source(Path::new("/proc/uptime"), "uptime", 100));
    let mut scene = Scene::beside(&plan);
    let (begin, started) = (now_ms(), Instant::now());
    let wrong = [("EDGE_WALL_WRONG_MS", "3000")];
    scene.site.start_in("a", &["--console", "off"], &wrong);
    scene.site.wait("the condition to show", 3, |site| {
        let conditions = site.status("a")?["conditions"].to_string();
        (site.role("a")? == "master" && conditions.contains("clock-invalid")).then_some(())
    });
    let post = |body: &str| scene.site.post("a", "/readings", body).expect("it answers");
    let unstamped = r#"{"thing_key":"t","data":{"n":1}}"#;
    let stamped = r#"{"timestamp":1600000000000,"thing_key":"t","data":{"n":2}}"#;
    let reply = post(unstamped);
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(reply.head.contains("Retry-After: "), "{}", reply.head);
    assert_eq!(post(stamped).status, 204);
    assert!(started.elapsed() < Duration::from_secs(3), "too slow a machine to test this");
    scene.site.wait("the clock to be set", 20, |site| {
        let conditions = site.status("a")?["conditions"].to_string();
        (!conditions.contains("clock-invalid")).then_some(())
    });
    assert_eq!(post(unstamped.replace(":1", ":3").as_str()).status, 204);
    let came = scene.receiver.wait(Duration::from_secs(30), |ledger| {
        (stamps(ledger, "uptime").iter().any(|at| *at > begin + 4_000)).then_some(())
    });
    assert!(came.is_some(), "{}", scene.site.report());
    let stamps = stamps(&scene.receiver.ledger(), "uptime");
    let early = stamps.iter().filter(|at| **at < begin + 2_900).count();
    assert!(early >= 5, "what was held back has the time of when it was read: {stamps:?}");
    assert!(stamps.iter().all(|at| *at >= begin), "{begin}: {stamps:?}");
    scene.judge();
}

#[test]
fn the_command_prints_what_would_be_recorded() {
    let folder = std::env::temp_dir().join(format!("edge-command-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a scratch folder");
    std::fs::write(folder.join("w1_slave"), "aa : crc=57 YES\naa t=21312\n").expect("room");
    let run = |sources: Value| {
        let config = json!({ "site": "s", "cloud": { "kind": "stdout" },
            "things": [{ "thing_key": "k", "name": "Oven", "sources": sources }] });
        let path = folder.join("edge.json");
        std::fs::write(&path, config.to_string()).expect("room");
        let mut command = Command::new(binary::under_test(env!("CARGO_BIN_EXE_edge-agent")));
        let done = command.args(["sources", "--once", "--config"]).arg(path).output();
        let done = done.expect("the command can be run");
        let text = [done.stdout, done.stderr].concat();
        (done.status.code(), String::from_utf8(text).expect("it prints UTF-8"))
    };
    let good = json!({ "file": { "path": "w1_slave", "pattern": "(?s)YES.*t=(-?[0-9]+)",
        "scale": 0.001, "unit": "°C", "metric": "temperature" } });
    let (code, text) = run(json!([good]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Oven (k)\n  temperature  21.312 °C "), "{text}");
    assert!(text.ends_with(" ms  from \"21312\"\n"), "{text}");
    let missing = json!({ "file": { "path": "none", "metric": "none" } });
    let (code, text) = run(json!([missing, good]));
    assert_eq!(code, Some(75), "{text}");
    assert!(text.contains("none         failed") && text.contains("21.312 °C"), "{text}");
    let (code, text) = run(json!([{ "file": { "path": "none" } }]));
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("things[0].sources[0].file.metric: expected this field"), "{text}");
    drop(std::fs::remove_dir_all(folder));
}
