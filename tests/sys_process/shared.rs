//! What the cases share: starting, waiting for and ending processes.

use std::fs::{File, OpenOptions};
use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use edge_agent::sys::clock::boottime_ms;
use edge_agent::sys::poll::{PollFd, poll};
use edge_agent::sys::process::{self, Exit, Fork, Pid};
use edge_agent::sys::signals::Signal;

/// A case's name, and the case: what fails panics.
pub(crate) type Case = (&'static str, fn());

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const DEADLINE_MS: u64 = 20_000;

/// Forks a process that runs `body` and exits with its code. It dies with this one.
pub(crate) fn start(body: impl FnOnce() -> i32) -> Pid {
    let parent = process::own_pid();
    match process::fork().expect("fork") {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            process::die_with_parent(parent).expect("prctl");
            // a panic in it ends it with 101, through `main`
            process::exit_now(body())
        }
    }
}

/// Waits for the end of a child; kills it and panics when that takes too long.
pub(crate) fn end_of(child: Pid) -> Exit {
    let deadline_ms = boottime_ms() + DEADLINE_MS;
    while boottime_ms() < deadline_ms {
        match process::reap() {
            Some((pid, exit)) if pid == child => return exit,
            Some(_) => {}
            None => sleep(Duration::from_millis(1)),
        }
    }
    process::kill(child, Signal::Kill).expect("kill");
    panic!("process {} does not end", child.0);
}

pub(crate) fn kill(child: Pid) {
    process::kill(child, Signal::Kill).expect("kill");
    assert_eq!(end_of(child), Exit::Signal(9));
}

/// SIGSTOP, SIGCONT: signals that the program itself never sends.
pub(crate) fn signal(name: &str, pid: Pid) {
    let line = format!("kill {name} {}", pid.0);
    let status = Command::new("sh").arg("-c").arg(&line).status();
    assert!(status.expect("sh").success(), "{line}");
}

/// Waits until a process is stopped.
pub(crate) fn await_stopped(pid: Pid) {
    await_that("the process stops", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.0)).expect("stat");
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    });
}

pub(crate) fn await_that(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline_ms = boottime_ms() + DEADLINE_MS;
    while !condition() {
        assert!(boottime_ms() < deadline_ms, "within {DEADLINE_MS} ms: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// Sleeps until a moment of [`boottime_ms`].
pub(crate) fn sleep_until(moment_ms: u64) {
    while boottime_ms() < moment_ms {
        sleep(Duration::from_millis(moment_ms.saturating_sub(boottime_ms())));
    }
}

/// Waits for a byte: a sign from another process. `None`: the other side is closed.
pub(crate) fn await_byte(pipe: &mut PipeReader) -> Option<u8> {
    let ready = poll(&mut [PollFd::new(pipe.as_fd(), true, false)], Some(DEADLINE_MS));
    assert_eq!(ready.expect("poll"), 1, "a sign within {DEADLINE_MS} ms");
    let mut byte = [0];
    (pipe.read(&mut byte).expect("read") == 1).then_some(byte[0])
}

/// Reads what lies in a pipe, without waiting for more.
pub(crate) fn drain(pipe: &mut PipeReader) -> usize {
    let mut count = 0;
    let mut bytes = [0; 4_096];
    while poll(&mut [PollFd::new(pipe.as_fd(), true, false)], Some(0)).expect("poll") == 1 {
        match pipe.read(&mut bytes).expect("read") {
            0 => break,
            more => count += more,
        }
    }
    count
}

pub(crate) fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("pipe")
}

pub(crate) fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("edge-sys-{name}-{}", process::own_pid().0))
}

pub(crate) fn open(path: &PathBuf) -> File {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    file.expect("open")
}

/// The open descriptors of this process, without the one that lists them.
pub(crate) fn descriptors() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").expect("proc");
    let mut open: Vec<i32> = entries
        .map(|entry| entry.expect("entry").file_name().to_str().expect("digits").parse())
        .map(|number| number.expect("digits"))
        .collect();
    open.retain(|fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok());
    open.sort_unstable();
    open
}

/// What a process does that is to be ended from outside: nothing, longer than any deadline.
pub(crate) fn sleep_long() -> i32 {
    sleep(Duration::from_millis(3 * DEADLINE_MS));
    0
}
