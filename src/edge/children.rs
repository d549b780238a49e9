//! Children of the agent, and the outermost process of `run --supervise`.
//!
//! 1. A child holds its own end of its channel, what it was given by name, and standard input,
//!    output and error: no other descriptor.
//! 2. A child dies with its parent.
//! 3. A child ends by `_exit`: what the parent had on its stack and in its buffers is not touched.
//!
//! Not for: when to start one again (the engine decides), nor for reaping (the agent's loop does).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::channel::{Link, Port};
use crate::exit;
use crate::limits::{SUPERVISE_CALM_MS, SUPERVISE_WAIT_MS_MAX, SUPERVISE_WAIT_MS_MIN};
use crate::sys::clock::boottime_ms;
use crate::sys::poll::{PollFd, poll};
use crate::sys::process::{self, Exit, Fork, Pid};
use crate::sys::signals::{Signal, Signals, reset_in_child};
use crate::sys::socket;

/// A running child and the agent's end of its channel. Dropping it closes the channel, which an
/// idle child takes as the order to end; it is reaped by `sys::process::reap` in any case.
#[derive(Debug)]
pub struct Child {
    /// Its process.
    pub pid: Pid,
    /// Its channel.
    pub link: Link,
}

/// Forks a child that runs `body` and exits with 0; a panic in it aborts it (SIGABRT).
///
/// `name` is what `ps` shows (15 bytes). The child keeps standard input, output and error, and
/// `keep`: whatever else `body` has captured that owns a descriptor finds it closed and must
/// neither use nor drop it. It ignores SIGTERM, SIGINT and SIGHUP (`sys::signals`, invariant 3).
/// Errors: no process or no descriptor to be had.
pub fn spawn(name: &str, keep: &[BorrowedFd<'_>], body: impl FnOnce(Port)) -> io::Result<Child> {
    let (ours, theirs) = socket::pair()?;
    let link = Link::new(ours)?;
    let parent = process::own_pid();
    match process::fork()? {
        Fork::Parent(pid) => Ok(Child { pid, link }),
        Fork::Child => {
            let _abort = AbortOnUnwind;
            enter_child(name, parent, keep, &theirs);
            body(Port::new(theirs));
            process::exit_now(exit::OK)
        }
    }
}

fn enter_child(name: &str, parent: Pid, keep: &[BorrowedFd<'_>], socket: &OwnedFd) {
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    kept.extend([0, 1, 2, socket.as_raw_fd()]);
    process::close_others(&kept);
    if !process::die_with_parent(parent).unwrap_or(false) {
        process::exit_now(exit::TEMPORARY);
    }
    reset_in_child();
    process::set_name(name);
}

/// A forked child never unwinds into the code that forked it, whatever the panic strategy.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        std::process::abort();
    }
}

// --- run --supervise --------------------------------------------------------------------------

/// Runs `agent` in a child, again and again, and gives the code to exit with.
///
/// Ends when the agent exits with 0, 64 or 78 (its work is done, or another start would end in
/// the same way), and however it ends once SIGTERM or SIGINT came, which are passed on as SIGHUP
/// is. Otherwise waits 1 s, doubling to 30 s, and runs it anew; an agent that lived for a minute
/// starts the wait from 1 s. As process 1 it reaps strangers too. If this process is killed, its
/// agent gets SIGTERM. Errors: no descriptor for signals to be had.
pub fn supervise(agent: impl Fn() -> i32) -> io::Result<i32> {
    let signals = Signals::new()?;
    let mut watch = Watch { signals, stopping: false };
    let mut wait_ms = SUPERVISE_WAIT_MS_MIN;
    loop {
        let started_ms = boottime_ms();
        let exit = watch.run_once(&agent)?;
        let lived_ms = boottime_ms() - started_ms;
        if lived_ms >= u64::from(SUPERVISE_CALM_MS) {
            wait_ms = SUPERVISE_WAIT_MS_MIN;
        }
        if let Some(code) = last_code(exit, watch.stopping) {
            return Ok(code);
        }
        log::warn!("supervisor: the agent ended ({exit}), starting it again in {wait_ms} ms");
        watch.sleep_ms(wait_ms)?;
        if watch.stopping {
            return Ok(0);
        }
        wait_ms = (wait_ms * 2).min(SUPERVISE_WAIT_MS_MAX);
    }
}

/// The code to exit with after this end of the agent; `None`: it is to be started again.
fn last_code(exit: Exit, stopping: bool) -> Option<i32> {
    match exit {
        Exit::Code(code)
            if stopping || matches!(code, exit::OK | exit::USAGE | exit::CONFIGURATION) =>
        {
            Some(code)
        }
        Exit::Signal(_) if stopping => Some(exit::BUG),
        Exit::Code(_) | Exit::Signal(_) => None,
    }
}

/// The supervisor's view of the world.
struct Watch {
    signals: Signals,
    stopping: bool,
}

impl Watch {
    /// Starts the agent and waits for its end, passing signals on.
    fn run_once(&mut self, agent: &impl Fn() -> i32) -> io::Result<Exit> {
        let supervisor = process::own_pid();
        let pid = match process::fork() {
            Ok(Fork::Parent(pid)) => pid,
            Ok(Fork::Child) => {
                let _abort = AbortOnUnwind;
                process::exit_now(run_agent(supervisor, agent));
            }
            Err(error) => {
                log::warn!("supervisor: cannot fork: {error}");
                return Ok(Exit::Code(exit::TEMPORARY));
            }
        };
        loop {
            poll(&mut [PollFd::new(self.signals.as_fd(), true, false)], None)?;
            while let Some(signal) = self.signals.take() {
                self.pass_on(signal, pid);
            }
            if let Some(exit) = reap_until(pid) {
                return Ok(exit);
            }
        }
    }

    fn pass_on(&mut self, signal: Signal, pid: Pid) {
        if !matches!(signal, Signal::Terminate | Signal::Interrupt | Signal::HangUp) {
            return;
        }
        self.stopping |= signal != Signal::HangUp;
        if let Err(error) = process::kill(pid, signal) {
            log::warn!("supervisor: cannot pass {signal:?} on to the agent: {error}");
        }
    }

    /// Sleeps; ends early when it is to stop.
    fn sleep_ms(&mut self, wait_ms: u32) -> io::Result<()> {
        let until_ms = boottime_ms() + u64::from(wait_ms);
        while !self.stopping {
            let left_ms = until_ms.saturating_sub(boottime_ms());
            if left_ms == 0 {
                return Ok(());
            }
            poll(&mut [PollFd::new(self.signals.as_fd(), true, false)], Some(left_ms))?;
            while let Some(signal) = self.signals.take() {
                self.stopping |= matches!(signal, Signal::Terminate | Signal::Interrupt);
            }
            while process::reap().is_some() {}
        }
        Ok(())
    }
}

/// Takes what has ended, up to the agent; strangers are taken and forgotten.
fn reap_until(agent: Pid) -> Option<Exit> {
    while let Some((pid, exit)) = process::reap() {
        if pid == agent {
            return Some(exit);
        }
    }
    None
}

/// In the child: the agent itself. It sets its own signals up; until then they stay blocked.
fn run_agent(supervisor: Pid, agent: &impl Fn() -> i32) -> i32 {
    match process::signal_with_parent(supervisor, Signal::Terminate) {
        Ok(true) => agent(),
        Ok(false) | Err(_) => exit::TEMPORARY,
    }
}
