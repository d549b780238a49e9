//! The lock between two hosts: whether it excludes, and how soon it comes free.
//!
//! Each trial has a file of its own, so that a lock which stays taken spoils no other.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use super::super::directory::Root;
use super::super::fault::{cannot, reason_of};
use super::super::probe::{Level, Probe};
use super::meeting::NEVER;
use super::page::Side;
use super::{Finding, Proof, Told};
use crate::edge::children::{self, Child};
use crate::engine::share::ShareError;
use crate::limits::PEER_LOCK_MS_MAX;
use crate::sys::lock::{TryLock, has_no_locks, try_lock};
use crate::sys::process::kill;
use crate::sys::signals::Signal;

const REMEDY: &str = "mount a share that gives locks, or with locks (no nolock, no nobrl)";

/// What trying for a lock gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Got {
    /// It is taken.
    Nothing,
    /// It is ours.
    Lock,
    /// It could not be tried for; the error number.
    Fault(i32),
}

impl Got {
    /// As the other host is told it.
    fn value(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Lock => 1,
            Self::Fault(errno) => 2 | u64::from(errno.unsigned_abs()) << 32,
        }
    }

    fn of(value: u64) -> Self {
        match value {
            0 => Self::Nothing,
            1 => Self::Lock,
            _ => Self::Fault(i32::try_from(value >> 32).unwrap_or(0)),
        }
    }
}

/// What was found of one holder.
pub(super) struct Exclusion {
    /// The other was refused while it had the lock.
    pub(super) excludes: bool,
    /// How long it took until the other was granted what was given up, at most; [`NEVER`] if it
    /// was not, or that was not tried.
    pub(super) freed_ms: u64,
}

impl<T: FnMut(Told)> Proof<'_, '_, T> {
    /// One holds the lock, the other tries for it, then it is given up.
    pub(super) fn exclusion(&mut self, holder: Side) -> Result<Exclusion, ShareError> {
        let (root, path) = (self.root, self.meeting.scratch(&format!("lock.{holder:?}")));
        let (mut held, mut got) = (None, [Got::Nothing; 2]);
        for (got, tries) in got.iter_mut().zip([holder, holder.other()]) {
            let mut own = Got::Nothing;
            if self.meeting.side() == tries {
                (own, held) = try_for_lock(root, &path)?;
            }
            *got = Got::of(self.meeting.tell(tries, own.value())?);
        }
        let excludes = got == [Got::Lock, Got::Nothing];
        let freed_ms = if excludes {
            let give_up = || {
                drop(held);
                Ok(())
            };
            self.span(holder, PEER_LOCK_MS_MAX, give_up, || is_granted(root, &path))?
        } else {
            NEVER
        };
        self.say(judge_exclusion(holder, got, freed_ms));
        Ok(Exclusion { excludes, freed_ms })
    }

    /// How long the lock of a killed process stays taken, in ms, at most.
    pub(super) fn killed(&mut self, holder: Side) -> Result<u64, ShareError> {
        let (root, path) = (self.root, self.meeting.scratch(&format!("killed.{holder:?}")));
        let (mut child, mut own) = (None, Got::Nothing);
        if self.meeting.side() == holder {
            let mut started = start_holder(root, &path)?;
            let mut told = None;
            self.meeting.wait(PEER_LOCK_MS_MAX, || {
                // one that died has told nothing
                told = started.link.receive::<u64>().unwrap_or(Some(Got::Nothing.value()));
                Ok(told.is_some())
            })?;
            own = Got::of(told.unwrap_or(Got::Nothing.value()));
            child = Some(started.pid);
        }
        let had = Got::of(self.meeting.tell(holder, own.value())?);
        let end = || match child {
            Some(pid) => {
                kill(pid, Signal::Kill).map_err(|error| cannot("end the holder of", &path, &error))
            }
            None => Ok(()),
        };
        let freed_ms = if had == Got::Lock {
            self.span(holder, PEER_LOCK_MS_MAX, end, || is_granted(root, &path))?
        } else {
            end()?;
            NEVER
        };
        self.say(judge_killed(holder, had, freed_ms));
        Ok(freed_ms)
    }
}

/// A process that takes the lock, tells what it got, and keeps it.
fn start_holder(root: &Root, path: &Path) -> Result<Child, ShareError> {
    let started = children::spawn("edge-check", &[], |mut port| {
        let tried = try_for_lock(root, path);
        let got = tried.as_ref().map_or(Got::Nothing, |tried| tried.0);
        let _ = port.send(&got.value(), &[]);
        loop {
            std::thread::park();
        }
    });
    started.map_err(|error| cannot("start a process for", path, &error))
}

/// The lock, in a file that is opened for nothing else; given up by closing it.
fn try_for_lock(root: &Root, path: &Path) -> Result<(Got, Option<File>), ShareError> {
    let file = root.open_or_create(path).map_err(|error| cannot("open", path, &error))?;
    Ok(match try_lock(file.as_fd(), 0) {
        Ok(TryLock::Held) => (Got::Lock, Some(file)),
        Ok(TryLock::Busy) => (Got::Nothing, None),
        Err(error) => (Got::Fault(error.raw_os_error().unwrap_or(0)), None),
    })
}

fn is_granted(root: &Root, path: &Path) -> Result<bool, ShareError> {
    Ok(try_for_lock(root, path)?.0 == Got::Lock)
}

/// Judges what the holder got, and the other while it had that.
fn judge_exclusion(holder: Side, got: [Got; 2], freed_ms: u64) -> Finding {
    let name = holder.name();
    match got {
        [Got::Fault(errno), _] => no_lock(holder, errno),
        [_, Got::Fault(errno)] => no_lock(holder.other(), errno),
        [Got::Nothing, _] => {
            (Level::Fail, format!("lock: {name} got none, though nobody had it: {REMEDY}"))
        }
        [Got::Lock, Got::Lock] => {
            let text = format!(
                "lock: granted to both hosts while {name} had it: {REMEDY}; else nodes follow each \
                 other by silence alone"
            );
            (Level::Fail, text)
        }
        [Got::Lock, Got::Nothing] if freed_ms == NEVER => {
            let seconds = PEER_LOCK_MS_MAX / 1_000;
            let text = format!(
                "lock: refused while {name} had it, and for {seconds} s after it was given up: nodes \
                 follow each other by silence"
            );
            (Level::Warn, text)
        }
        [Got::Lock, Got::Nothing] => {
            let text = format!(
                "lock: refused while {name} had it, granted at most {freed_ms} ms after its end"
            );
            (Level::Pass, text)
        }
    }
}

/// Why a host cannot try. Without locks something has to be changed, all else may pass.
fn no_lock(side: Side, errno: i32) -> Finding {
    let error = io::Error::from_raw_os_error(errno);
    let level = if has_no_locks(&error) {
        Level::Fail
    } else {
        Probe::of(&cannot("lock", Path::new(".edge.peer"), &error)).level
    };
    let (name, reason) = (side.name(), reason_of(&error));
    (level, format!("lock: {name} cannot try for it ({reason}): {REMEDY}"))
}

fn judge_killed(holder: Side, had: Got, freed_ms: u64) -> Finding {
    let name = holder.name();
    if had != Got::Lock {
        let text = format!("killed: a process of {name} got no lock, so none was killed with it");
        return (Level::FailForNow, text);
    }
    if freed_ms == NEVER {
        let text = format!(
            "killed: the lock of a killed process of {name} stays taken: a killed master is \
             followed after ha.seize_ms of silence"
        );
        return (Level::Warn, text);
    }
    let text = format!(
        "killed: the lock of a killed process of {name} comes free at most {freed_ms} ms later"
    );
    (Level::Pass, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_try_gave_is_told_whole() {
        for got in [Got::Nothing, Got::Lock, Got::Fault(0), Got::Fault(libc::ENOLCK)] {
            assert_eq!(Got::of(got.value()), got);
        }
    }

    #[test]
    fn exclusion_is_judged() {
        use Got::{Fault, Lock, Nothing};
        for (got, freed_ms, level, part) in [
            ([Lock, Nothing], 40, Level::Pass, "granted at most 40 ms after its end"),
            ([Lock, Nothing], NEVER, Level::Warn, "for 10 s after it was given up"),
            ([Lock, Lock], NEVER, Level::Fail, "granted to both hosts while the first host had it"),
            ([Nothing, Lock], NEVER, Level::Fail, "the first host got none"),
            ([Nothing, Nothing], NEVER, Level::Fail, "the first host got none"),
            ([Fault(libc::ENOLCK), Lock], NEVER, Level::Fail, "the first host cannot try"),
            ([Lock, Fault(libc::ENOSYS)], NEVER, Level::Fail, "the second host cannot try"),
            ([Lock, Fault(libc::EIO)], NEVER, Level::FailForNow, "the second host cannot try"),
        ] {
            let (found, text) = judge_exclusion(Side::First, got, freed_ms);
            assert_eq!(found, level, "{text}");
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_killed_holder_is_judged() {
        for (had, freed_ms, level) in [
            (Got::Lock, 40, Level::Pass),
            (Got::Lock, NEVER, Level::Warn),
            (Got::Nothing, NEVER, Level::FailForNow),
        ] {
            assert_eq!(judge_killed(Side::Second, had, freed_ms).0, level, "E4");
        }
    }
}
