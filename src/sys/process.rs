//! Processes: fork, death with the parent, signals to and news of children.
//!
//! 1. Waiting never blocks: [`reap`] takes what has ended.
//! 2. [`reap`] takes any child: as process 1 the agent inherits strangers.
//! 3. A child's parent is checked after the request to die with it: a parent that died
//!    before leaves no orphan.
//!
//! Not for: starting programs; children are forked, never executed anew.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::RawFd;

use super::signals::Signal;
use super::{check, uninterrupted};

/// A process id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pid(pub i32);

/// Which side of a fork this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fork {
    /// The caller, with its child's id.
    Parent(Pid),
    /// The new process.
    Child,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(out, "exited with {code}"),
            Self::Signal(number) => match name_of(number) {
                Some(name) => write!(out, "killed by {name}"),
                None => write!(out, "killed by signal {number}"),
            },
        }
    }
}

/// The names of the signals that end a process of ours, if any does.
fn name_of(number: i32) -> Option<&'static str> {
    let names = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGSYS, "SIGSYS"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
    ];
    names.into_iter().find_map(|(signal, name)| (signal == number).then_some(name))
}

/// Forks. Errors: `EAGAIN` (process limit), `ENOMEM`.
///
/// The program is single-threaded: the child finds every lock of the C library free, and may
/// go on as any process may. In a test, which has threads, the child should do little.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the program has one thread, so no lock is held by another one at the fork.
    match check(unsafe { libc::fork() })? {
        0 => Ok(Fork::Child),
        child => Ok(Fork::Parent(Pid(child))),
    }
}

/// This process.
pub fn own_pid() -> Pid {
    // SAFETY: getpid has no preconditions and never fails.
    Pid(unsafe { libc::getpid() })
}

/// The parent of this process; `Pid(0)` if it is outside of this process's pid namespace.
pub fn parent_pid() -> Pid {
    // SAFETY: getppid has no preconditions and never fails.
    Pid(unsafe { libc::getppid() })
}

/// Asks the kernel to kill this process when its parent ends (`PR_SET_PDEATHSIG`).
///
/// `parent` is what [`own_pid`] gave before the fork. `false`: it has ended already, nothing
/// will be signalled, and the caller should end. To be called after any change of user, which
/// clears the request: prctl(2).
pub fn die_with_parent(parent: Pid) -> io::Result<bool> {
    signal_with_parent(parent, Signal::Kill)
}

/// Like [`die_with_parent`], with a signal that lets this process end in its own way.
pub fn signal_with_parent(parent: Pid, signal: Signal) -> io::Result<bool> {
    let number = libc::c_long::from(signal.number());
    // SAFETY: PR_SET_PDEATHSIG takes a signal's number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, number) })?;
    Ok(parent_pid() == parent)
}

/// Sends a signal. Errors: `ESRCH` (no such process), `EPERM`.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    // SAFETY: kill takes any two numbers and touches no memory.
    check(unsafe { libc::kill(pid.0, signal.number()) })?;
    Ok(())
}

/// Takes one child that has ended, if there is one; never waits.
///
/// To be called until it gives `None`: one SIGCHLD may stand for many deaths.
pub fn reap() -> Option<(Pid, Exit)> {
    let mut status = 0;
    let reaped = uninterrupted(|| {
        // SAFETY: `status` is a valid integer that the call may write.
        check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })
    });
    match reaped {
        Ok(0) | Err(_) => None,
        Ok(pid) => Some((Pid(pid), exit_of(status))),
    }
}

fn exit_of(status: libc::c_int) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit::Signal(libc::WTERMSIG(status))
    } else {
        Exit::Code(libc::WEXITSTATUS(status))
    }
}

/// Ends this process at once: no destructors, no buffers flushed. May be called in a signal
/// handler.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Closes every descriptor of this process but `keep`.
///
/// For a fresh child, which inherits descriptors that it must not hold open. The caller
/// answers for it that nothing in this process uses a closed descriptor again: an object that
/// owns one must neither be used nor dropped. Standard input, output and error are closed too
/// unless named.
pub fn close_others(keep: &[RawFd]) {
    let mut keep = keep.to_vec();
    keep.retain(|fd| *fd >= 0);
    keep.sort_unstable();
    keep.dedup();
    if close_ranges(&keep).is_err() {
        close_listed(&keep);
    }
}

/// Closes the gaps between the numbers of a sorted list (`close_range(2)`, Linux 5.9).
fn close_ranges(keep: &[RawFd]) -> io::Result<()> {
    let mut first = 0;
    for fd in keep {
        let fd = u32::try_from(*fd).expect("negative numbers were left out");
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: closing touches no memory; the caller of `close_others` answers for the owners.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) })?;
    Ok(())
}

/// Closes what `/proc/self/fd` lists; without it, every number up to the limit.
fn close_listed(keep: &[RawFd]) {
    for fd in listed() {
        if keep.binary_search(&fd).is_err() {
            // SAFETY: as in `close_range`; a number that is not open gives EBADF.
            let _ = unsafe { libc::close(fd) };
        }
    }
}

/// The descriptors that are open, and perhaps some that are not.
fn listed() -> Vec<RawFd> {
    match std::fs::read_dir("/proc/self/fd") {
        Ok(entries) => {
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
        }
        Err(_) => (0..descriptors_max()).collect(),
    }
}

fn descriptors_max() -> RawFd {
    // SAFETY: sysconf takes any name and touches no memory of ours.
    let limit = unsafe { libc::sysconf(libc::_SC_OPEN_MAX) };
    limit.clamp(256, 65_536).try_into().expect("clamped")
}

/// Names this process, as `ps` shows it: the first 15 bytes.
pub fn set_name(name: &str) {
    let mut bytes = [0_u8; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    // SAFETY: PR_SET_NAME reads a string of at most 16 bytes that ends with a zero.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, bytes.as_ptr()) };
}

/// Removes a variable from this process's environment. `name` is one that the environment
/// holds, or at least neither empty nor with `=` or a zero inside.
pub fn remove_environment(name: &OsStr) {
    // SAFETY: the program has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
}

/// Sets a variable in this process's environment; for `name` see [`remove_environment`].
pub fn set_environment(name: &OsStr, value: &OsStr) {
    // SAFETY: the program has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::set_var(name, value) };
}

/// The effective user id.
pub fn user_id() -> u32 {
    // SAFETY: geteuid has no preconditions and never fails.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::{Exit, listed, set_name};
    use std::os::fd::AsRawFd;

    // What forks is tested in `tests/sys_process/`: these tests have threads.

    #[test]
    fn an_end_is_told_in_words() {
        for (exit, text) in [
            (Exit::Code(75), "exited with 75"),
            (Exit::Signal(libc::SIGKILL), "killed by SIGKILL"),
            (Exit::Signal(libc::SIGSEGV), "killed by SIGSEGV"),
            (Exit::Signal(63), "killed by signal 63"),
        ] {
            assert_eq!(exit.to_string(), text);
        }
    }

    #[test]
    fn open_descriptors_are_listed() {
        let file = std::fs::File::open("/dev/null").expect("open");
        assert!(listed().contains(&file.as_raw_fd()));
        assert!(listed().contains(&2));
    }

    #[test]
    fn a_name_is_cut_to_fifteen_bytes() {
        std::thread::spawn(|| {
            set_name("edge-agent-keeper-of-the-share");
            let path = "/proc/thread-self/comm";
            assert_eq!(std::fs::read_to_string(path).expect("comm"), "edge-agent-keep\n");
        })
        .join()
        .expect("the thread's own assertions");
    }
}
