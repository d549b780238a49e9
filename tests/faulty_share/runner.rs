//! Runs scenarios beside each other, each in a process of its own: they mostly wait, whatever one
//! of them does to its mounts touches no other, and one that never ends can be ended.
//!
//! Words select scenarios by parts of their names; `--exact`, `--skip`, `--list`, `--nocapture` and
//! `--test-threads` mean what they mean to other tests (`support::wanted`).

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::check_nothing_left;
use crate::share::Share;
use crate::support::guard;
use crate::support::left_out::leave_out;
use crate::support::scene::is_long;
use crate::support::wanted::Wanted;

/// Names the scenario of a process.
const SCENARIO: &str = "EDGE_FAULTY_SCENARIO";
/// Scenarios beside each other.
const BESIDE: usize = 8;
/// A scenario that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(300);
/// The same in the long form: a thousand switchovers take three seconds each.
const LIMIT_LONG: Duration = Duration::from_secs(7_200);

/// A scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it does; it panics if anything is wrong.
    pub(crate) run: fn(),
    /// Whether it belongs to the long form alone.
    pub(crate) is_long: bool,
}

/// Runs what is wanted of these.
pub(crate) fn run(all: &[Scenario]) -> ExitCode {
    if let Some(name) = std::env::var_os(SCENARIO) {
        let scenario = all.iter().find(|scenario| name == scenario.name).expect("one of ours");
        (scenario.run)();
        check_nothing_left();
        return ExitCode::SUCCESS;
    }
    let wanted = Wanted::of_command_line();
    let all: Vec<_> = all.iter().filter(|scenario| !scenario.is_long || is_long()).collect();
    let chosen: Vec<_> = all.iter().filter(|scenario| wanted.wants(scenario.name)).collect();
    if wanted.list {
        for scenario in chosen {
            println!("{}: test", scenario.name);
        }
        return ExitCode::SUCCESS;
    }
    wanted.say_if_none(chosen.len(), all.len());
    if let Err(error) = Share::mount() {
        leave_out(&format!("faulty_share: FUSE cannot be mounted here: {error}"));
        return ExitCode::SUCCESS;
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..wanted.threads.unwrap_or(BESIDE).min(chosen.len()) {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !is_passed(scenario.name, wanted.nocapture) {
                        failed.lock().expect("nobody panics").push(scenario.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("nobody panics");
    let (passed, count) = (chosen.len() - failed.len(), chosen.len());
    println!("{passed} of {count} scenarios passed, {} were not asked for", all.len() - count);
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario in a process of its own, and says what became of it.
fn is_passed(name: &str, shown: bool) -> bool {
    let started = Instant::now();
    let own = std::env::current_exe().expect("a test knows its program");
    let mut command = Command::new(own);
    command.env(SCENARIO, name).stdin(Stdio::null());
    let said = said_by(name);
    if !shown {
        let file = File::create(&said).expect("runner: cannot make a file");
        command.stderr(file.try_clone().expect("runner: cannot copy a descriptor")).stdout(file);
    }
    let mut child = command.spawn().expect("runner: cannot start this program again");
    guard::started(child.id());
    let limit = if is_long() { LIMIT_LONG } else { LIMIT };
    let status = loop {
        match child.try_wait().expect("runner: cannot wait") {
            Some(status) => break Some(status),
            None if started.elapsed() > limit => {
                drop(child.kill());
                drop(child.wait());
                break None;
            }
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    guard::ended(child.id());
    let took = started.elapsed().as_secs_f64();
    let text = fs::read_to_string(&said).unwrap_or_default();
    drop(fs::remove_file(&said));
    let passed = status.is_some_and(|status| status.success());
    if passed {
        println!("test {name} ... ok, {took:.1} s");
        text.lines().for_each(|line| println!("    {line}"));
    } else {
        let how = status.map_or_else(|| "it did not end".to_owned(), |status| status.to_string());
        println!("test {name} ... FAILED, {took:.1} s: {how}\n{text}");
    }
    passed
}

/// Where the words of a scenario go.
fn said_by(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("edge-said-{}-{name}", std::process::id()))
}
