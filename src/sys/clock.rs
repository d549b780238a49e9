//! The three clocks, each with its one use.
//!
//! 1. Leases, silence and back-off count [`boottime_ms`]: it runs on while the host sleeps.
//! 2. [`wall_ms`] only stamps records and log lines; it may jump either way.
//! 3. [`monotonic_ns`] orders events of one host in a trace.
//!
//! Not for: comparing two hosts' clocks, which nothing in this program does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Plain, check};

/// Milliseconds since boot, time asleep included (`CLOCK_BOOTTIME`). May be called in a
/// signal handler.
pub fn boottime_ms() -> u64 {
    let since_boot = since_boot(libc::CLOCK_BOOTTIME);
    since_boot.as_secs() * 1_000 + u64::from(since_boot.subsec_millis())
}

/// Milliseconds since 1970 by the wall clock; 0 if it stands before that.
pub fn wall_ms() -> u64 {
    // std reads 64-bit seconds on every system, unlike a 32-bit `timespec`
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since_epoch.as_secs() * 1_000 + u64::from(since_epoch.subsec_millis())
}

/// Nanoseconds since boot, time asleep left out (`CLOCK_MONOTONIC`): for traces.
pub fn monotonic_ns() -> u64 {
    let since_boot = since_boot(libc::CLOCK_MONOTONIC);
    since_boot.as_secs() * 1_000_000_000 + u64::from(since_boot.subsec_nanos())
}

/// Reads a clock that counts from boot: its seconds fit a 32-bit `time_t` for 68 years.
fn since_boot(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec::zeroed();
    // SAFETY: `time` is a valid timespec that the call may write.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })
        .expect("both clocks exist since Linux 2.6.39");
    let seconds = time.tv_sec.try_into().expect("time since boot is not negative");
    let nanoseconds = time.tv_nsec.try_into().expect("nanoseconds are below 10^9");
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::{boottime_ms, monotonic_ns, wall_ms};

    #[test]
    fn clocks_advance_at_the_same_pace() {
        let (boottime, monotonic) = (boottime_ms(), monotonic_ns());
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(boottime_ms() - boottime >= 20, "slept 20 ms");
        assert!(monotonic_ns() - monotonic >= 20_000_000, "slept 20 ms");
        assert!(boottime_ms() >= monotonic_ns() / 1_000_000, "time asleep is included");
    }

    #[test]
    fn wall_clock_counts_milliseconds_since_1970() {
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        assert!((wall_ms() / 1_000).abs_diff(seconds) <= 1);
    }
}
