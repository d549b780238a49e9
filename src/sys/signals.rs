//! Signals as events: a descriptor to poll, never a callback.
//!
//! 1. The agent's four signals are blocked for good and arrive through [`Signals`].
//! 2. SIGPIPE is ignored everywhere: a write to a closed pipe is an error, not a death.
//! 3. Children ignore what stops the agent: a terminal and a service manager signal the whole
//!    group, and the agent needs its children for a clean stop. They end with their channel,
//!    with their parent, or by [`Signal::Kill`].
//!
//! Not for: the lease's signal, which is `sys::lease`'s own.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Plain, check};

/// The signals that this program knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM: stop cleanly.
    Terminate,
    /// SIGINT: the same, from a terminal.
    Interrupt,
    /// SIGHUP: read the configuration anew.
    HangUp,
    /// SIGCHLD: a child ended.
    Child,
    /// SIGKILL: only ever sent.
    Kill,
    /// SIGPIPE: only ever ignored.
    Pipe,
}

impl Signal {
    /// The system's number of it.
    pub fn number(self) -> i32 {
        match self {
            Self::Terminate => libc::SIGTERM,
            Self::Interrupt => libc::SIGINT,
            Self::HangUp => libc::SIGHUP,
            Self::Child => libc::SIGCHLD,
            Self::Kill => libc::SIGKILL,
            Self::Pipe => libc::SIGPIPE,
        }
    }
}

/// The signals that arrive as events.
const TAKEN: [Signal; 4] = [Signal::Terminate, Signal::Interrupt, Signal::HangUp, Signal::Child];

/// The bytes of one `signalfd_siginfo`: signalfd(2).
const SIGINFO_BYTES: usize = 128;

/// SIGTERM, SIGINT, SIGHUP and SIGCHLD of this process, as a descriptor to poll.
#[derive(Debug)]
pub struct Signals {
    file: File,
}

impl Signals {
    /// Blocks the four in this process and opens the descriptor (`signalfd(2)`, close-on-exec,
    /// non-blocking). A child made by `fork` inherits the block: see [`reset_in_child`].
    pub fn new() -> io::Result<Self> {
        // an ignored signal is discarded even while it is blocked
        for signal in TAKEN {
            dispose(signal, libc::SIG_DFL)?;
        }
        dispose(Signal::Pipe, libc::SIG_IGN)?;
        let set = set_of(&TAKEN)?;
        // SAFETY: `set` is an initialised set; null asks for no old one.
        check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: -1 asks for a new descriptor; `set` is an initialised set.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { file: File::from(fd) })
    }

    /// The next signal that has arrived, if any. The kernel keeps one of each kind: SIGCHLD may
    /// stand for many deaths.
    pub fn take(&self) -> Option<Signal> {
        loop {
            let mut info = [0_u8; SIGINFO_BYTES];
            match (&self.file).read(&mut info) {
                Ok(SIGINFO_BYTES) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => return None,
            }
            let number = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            if let Some(signal) = TAKEN.into_iter().find(|signal| signal.number() == number) {
                return Some(signal);
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// In a fresh child: SIGTERM, SIGINT, SIGHUP and SIGPIPE are ignored (invariants 2 and 3),
/// SIGCHLD is as usual, and nothing stays blocked.
pub fn reset_in_child() {
    let ignored = [Signal::Terminate, Signal::Interrupt, Signal::HangUp, Signal::Pipe];
    for signal in ignored {
        dispose(signal, libc::SIG_IGN).expect("these signals may be ignored");
    }
    dispose(Signal::Child, libc::SIG_DFL).expect("SIGCHLD has a default");
    unblock_all().expect("an empty set may be set");
}

fn unblock_all() -> io::Result<()> {
    let none = set_of(&[])?;
    // SAFETY: `none` is an initialised set; null asks for no old one.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) })?;
    Ok(())
}

/// Sets what a signal does: `SIG_DFL` or `SIG_IGN`.
fn dispose(signal: Signal, how: libc::sighandler_t) -> io::Result<()> {
    let mut action = libc::sigaction::zeroed();
    action.sa_sigaction = how;
    // SAFETY: `action` is a whole sigaction without a handler of ours; null asks for no old one.
    check(unsafe { libc::sigaction(signal.number(), &raw const action, std::ptr::null_mut()) })?;
    Ok(())
}

fn set_of(signals: &[Signal]) -> io::Result<libc::sigset_t> {
    let mut set = libc::sigset_t::zeroed();
    // SAFETY: `set` is a set that the call may write.
    check(unsafe { libc::sigemptyset(&raw mut set) })?;
    for signal in signals {
        // SAFETY: `set` was initialised above.
        check(unsafe { libc::sigaddset(&raw mut set, signal.number()) })?;
    }
    Ok(set)
}
