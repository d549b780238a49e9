//! The lease as its uplink sees it: shared memory, and a timer that ends the process.
//!
//! 1. The lease's end stands in memory that the agent and every child forked after it share,
//!    in milliseconds since the agent's start, in 32 bits, compared modulo 2^32.
//! 2. After [`Lease::guard`] the process does not outlive the lease: a `CLOCK_BOOTTIME` timer
//!    signals at the end, and the signal's handler reads the end anew and sets the timer again or
//!    ends the process.
//! 3. A process that was stopped or frozen past the end runs the handler before anything else
//!    when it resumes: the signal is pending by then.
//! 4. No lease, an end that has passed, and an end further ahead than any lease runs
//!    ([`LEASE_MS_MAX`]) are one and the same: not running. So an end that was never cleared stays
//!    harmless for 23 days; the agent clears it when the term ends.
//!
//! 5. A second word beside it is the uplinks' own: the memo that one leaves to the next, however
//!    it ended.
//!
//! Not for: deciding how long a lease runs.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::process::exit_now;
use super::{Plain, check, clock};
use crate::exit;
use crate::limits::LEASE_MS_MAX;

/// What the shared word holds while there is no lease.
const NONE: u32 = 0;

/// The end of the lease, shared between the agent and its children.
///
/// Its page stays mapped for the life of the process: a guard may be watching it.
#[derive(Debug)]
pub struct Lease {
    word: &'static AtomicU32,
    /// 5
    memo: &'static AtomicU32,
    origin_ms: u64,
}

impl Lease {
    /// A lease that is not running. `origin_ms` is the boot time of the agent's start, from which
    /// the shared word counts. Errors: `ENOMEM`.
    pub fn new(origin_ms: u64) -> io::Result<Self> {
        let [word, memo] = shared_words()?;
        Ok(Self { word, memo, origin_ms })
    }

    /// Lets the lease run to `end_ms` ([`clock::boottime_ms`]), longer or shorter than before.
    ///
    /// A guard follows to a later end; an earlier one it sees only when its timer fires, so the
    /// agent must end the uplink itself.
    pub fn set(&self, end_ms: u64) {
        // the one end that would read as none is moved a millisecond forward in time
        let word = match self.count(end_ms) {
            NONE => u32::MAX,
            word => word,
        };
        self.word.store(word, Ordering::SeqCst);
    }

    /// Ends the lease. A guarded process ends when its timer fires, at the end that it last read.
    pub fn clear(&self) {
        self.word.store(NONE, Ordering::SeqCst);
    }

    /// The memo that was set last, here or in another process that shares it; at first 0.
    pub fn memo(&self) -> u32 {
        self.memo.load(Ordering::SeqCst)
    }

    /// Sets the memo.
    pub fn set_memo(&self, word: u32) {
        self.memo.store(word, Ordering::SeqCst);
    }

    /// Whether the lease runs at `now_ms` ([`clock::boottime_ms`]).
    pub fn is_running(&self, now_ms: u64) -> bool {
        self.left_ms(now_ms) > 0
    }

    /// Milliseconds until the end; 0 if the lease is not running.
    pub fn left_ms(&self, now_ms: u64) -> u32 {
        left_ms(self.word.load(Ordering::SeqCst), self.count(now_ms))
    }

    /// From now on, ends this process with [`exit::TEMPORARY`] when the lease ends: at once if
    /// it is not running.
    ///
    /// For an uplink, once, after the fork (timers are not inherited). Takes SIGALRM. Errors:
    /// `EAGAIN`, `ENOMEM` (no timer to be had): the caller must not go on.
    pub fn guard(&self) -> io::Result<()> {
        GUARD_ORIGIN.store(self.count_of_origin(), Ordering::SeqCst);
        GUARD_WORD.store(ptr::from_ref(self.word).cast_mut(), Ordering::SeqCst);
        GUARD_TIMER.store(new_timer()?, Ordering::SeqCst);
        install_handler()?;
        unblock()?;
        judge();
        Ok(())
    }

    /// A moment as the shared word counts it.
    fn count(&self, moment_ms: u64) -> u32 {
        low_half(moment_ms.wrapping_sub(self.origin_ms))
    }

    fn count_of_origin(&self) -> u32 {
        low_half(self.origin_ms)
    }
}

/// What is left of a lease, from the shared word and the present moment in the same count.
fn left_ms(word: u32, now: u32) -> u32 {
    let left = word.wrapping_sub(now);
    if word == NONE || left > LEASE_MS_MAX { 0 } else { left }
}

/// A count modulo 2^32.
fn low_half(count: u64) -> u32 {
    u32::try_from(count & u64::from(u32::MAX)).expect("masked")
}

/// A page shared with every child forked from now on.
fn shared_words() -> io::Result<&'static [AtomicU32; 2]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    let bytes = size_of::<[AtomicU32; 2]>();
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
    let page = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the page is zeroed (a valid value), aligned, and never unmapped.
    Ok(unsafe { &*page.cast::<[AtomicU32; 2]>() })
}

// What the handler works with. Only `guard` writes them, before there is a handler to read them.
static GUARD_WORD: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
static GUARD_ORIGIN: AtomicU32 = AtomicU32::new(0);
static GUARD_TIMER: AtomicPtr<libc::c_void> = AtomicPtr::new(ptr::null_mut());

/// Runs in the uplink when the timer fires. Only async-signal-safe calls (`clock_gettime`,
/// `timer_settime`, `_exit`: signal-safety(7)), and none that touches `errno` when it succeeds.
extern "C" fn on_timer(_signal: libc::c_int) {
    judge();
}

/// Ends the process if the lease has ended; else sets the timer to its end.
fn judge() {
    let now_ms = clock::boottime_ms();
    let now = low_half(now_ms).wrapping_sub(GUARD_ORIGIN.load(Ordering::SeqCst));
    // SAFETY: null, or the word of a lease, whose page is never unmapped.
    let word = unsafe { GUARD_WORD.load(Ordering::SeqCst).as_ref() };
    let left = word.map_or(0, |word| left_ms(word.load(Ordering::SeqCst), now));
    if left == 0 || set_timer(now_ms + u64::from(left)).is_err() {
        exit_now(exit::TEMPORARY);
    }
}

/// Lets the guard's timer fire at a moment of `CLOCK_BOOTTIME`: at once if that has passed.
fn set_timer(at_ms: u64) -> io::Result<()> {
    let mut when = libc::itimerspec::zeroed();
    when.it_value.tv_sec = (at_ms / 1_000).try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let nanoseconds = (at_ms % 1_000) * 1_000_000;
    when.it_value.tv_nsec = nanoseconds.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let timer = GUARD_TIMER.load(Ordering::SeqCst);
    let flags = libc::TIMER_ABSTIME;
    // SAFETY: the timer was made by `new_timer`; `when` is whole; null asks for no old value.
    check(unsafe { libc::timer_settime(timer, flags, &raw const when, ptr::null_mut()) })?;
    Ok(())
}

/// A timer of this process on `CLOCK_BOOTTIME` that raises SIGALRM, not set yet.
fn new_timer() -> io::Result<libc::timer_t> {
    let mut event = libc::sigevent::zeroed();
    event.sigev_notify = libc::SIGEV_SIGNAL;
    event.sigev_signo = libc::SIGALRM;
    let mut timer: libc::timer_t = ptr::null_mut();
    // SAFETY: `event` is a whole sigevent without pointers; `timer` may be written.
    check(unsafe { libc::timer_create(libc::CLOCK_BOOTTIME, &raw mut event, &raw mut timer) })?;
    Ok(timer)
}

/// Has SIGALRM run `on_timer`; interrupted system calls go on by themselves.
fn install_handler() -> io::Result<()> {
    let mut action = libc::sigaction::zeroed();
    action.sa_sigaction = on_timer as extern "C" fn(libc::c_int) as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler has the plain signature and is async-signal-safe; null: no old action.
    check(unsafe { libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut()) })?;
    Ok(())
}

fn unblock() -> io::Result<()> {
    let mut set = libc::sigset_t::zeroed();
    // SAFETY: `set` is a set that the call may write.
    check(unsafe { libc::sigemptyset(&raw mut set) })?;
    // SAFETY: `set` was initialised above.
    check(unsafe { libc::sigaddset(&raw mut set, libc::SIGALRM) })?;
    // SAFETY: `set` is an initialised set; null asks for no old one.
    check(unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Lease, NONE, left_ms};
    use crate::limits::LEASE_MS_MAX;

    // The guard ends its process: it is tested in `tests/sys_process/`.

    #[test]
    fn runs_from_set_to_end() {
        let lease = Lease::new(1_000).expect("a page");
        assert!(!lease.is_running(1_000), "none was set");
        lease.set(6_000);
        assert!(lease.is_running(1_000) && lease.is_running(5_999));
        assert!(!lease.is_running(6_000) && !lease.is_running(6_001));
        assert_eq!(lease.left_ms(2_000), 4_000);
        lease.set(9_000);
        assert!(lease.is_running(8_999), "it can be made longer");
        lease.set(7_000);
        assert!(!lease.is_running(7_000), "and shorter");
        lease.clear();
        assert!(!lease.is_running(2_000));
        lease.set(500);
        assert!(!lease.is_running(1_000), "an end before the agent's start has passed");
    }

    #[test]
    fn the_memo_is_a_word_of_its_own() {
        let lease = Lease::new(1_000).expect("a page");
        assert_eq!(lease.memo(), 0);
        lease.set(6_000);
        lease.set_memo(7);
        lease.clear();
        assert_eq!(lease.memo(), 7);
        lease.set_memo(u32::MAX);
        assert!(!lease.is_running(1_000));
    }

    #[test]
    fn the_count_may_wrap() {
        let wrap = 1_u64 << 32;
        let lease = Lease::new(0).expect("a page");
        lease.set(wrap + 2_000);
        assert_eq!(lease.left_ms(wrap - 3_000), 5_000);
        assert_eq!(lease.left_ms(wrap + 1_999), 1);
        assert_eq!(lease.left_ms(wrap + 2_000), 0);
        lease.set(wrap);
        assert_eq!(
            lease.left_ms(wrap - 10),
            9,
            "the end that would read as none is brought forward"
        );
    }

    #[test]
    fn an_end_too_far_ahead_was_never_given() {
        assert_eq!(left_ms(LEASE_MS_MAX + 7, 7), LEASE_MS_MAX);
        assert_eq!(left_ms(LEASE_MS_MAX + 8, 7), 0);
        assert_eq!(left_ms(7, 8), 0);
        assert_eq!(left_ms(NONE, u32::MAX), 0);
    }
}
