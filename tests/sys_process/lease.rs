//! The lease's guard in a process of its own.

use std::fs::File;
use std::io::{PipeWriter, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use edge_agent::exit;
use edge_agent::sys::clock::boottime_ms;
use edge_agent::sys::lease::Lease;
use edge_agent::sys::process::{Exit, Pid};
use edge_agent::sys::{process, socket};

use crate::shared::{
    Case, DEADLINE_MS, await_byte, await_stopped, drain, end_of, pipe, signal, sleep_until, start,
};

/// How long a lease of these cases runs: longer than a loaded machine keeps a process waiting.
const LEASE_MS: u64 = 800;

pub(crate) const CASES: &[Case] = &[
    ("lease_ends_the_process", lease_ends_the_process),
    ("lease_that_is_extended_does_not", lease_that_is_extended_does_not),
    ("lease_that_is_cleared_ends_it_too", lease_that_is_cleared_ends_it_too),
    ("lease_not_running_ends_it_at_once", lease_not_running_ends_it_at_once),
    ("lease_ends_a_stopped_process_when_it_resumes", lease_ends_a_stopped_process),
    ("lease_extended_while_stopped_lets_it_go_on", lease_extended_while_stopped),
    ("lease_guard_interrupts_no_call", lease_guard_interrupts_no_call),
];

/// Starts a process under the lease's guard that writes to the pipe without end.
fn start_guarded(lease: &Lease, mut signs: PipeWriter) -> Pid {
    start(|| {
        lease.guard().expect("guard");
        loop {
            if signs.write_all(b".").is_err() {
                return 0;
            }
            sleep(Duration::from_millis(1));
        }
    })
}

fn new_lease() -> Lease {
    Lease::new(boottime_ms()).expect("a page")
}

fn lease_ends_the_process() {
    let lease = new_lease();
    let (_reader, signs) = pipe();
    let end_ms = boottime_ms() + 150;
    lease.set(end_ms);
    let guarded = start_guarded(&lease, signs);
    assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
    let late_ms = boottime_ms().checked_sub(end_ms).expect("not before the lease's end");
    assert!(late_ms < DEADLINE_MS / 2, "{late_ms} ms after it");
    assert!(!lease.is_running(boottime_ms()));
}

fn lease_that_is_extended_does_not() {
    let lease = new_lease();
    let (mut reader, signs) = pipe();
    let mut end_ms = boottime_ms() + LEASE_MS;
    lease.set(end_ms);
    let guarded = start_guarded(&lease, signs);
    assert!(await_byte(&mut reader).is_some());
    // as a master does: again and again, each time long before the end
    for _ in 0..15 {
        sleep_until(end_ms - LEASE_MS + LEASE_MS / 10);
        end_ms += LEASE_MS / 10;
        lease.set(end_ms);
        assert_eq!(process::reap(), None, "alive under a lease");
    }
    assert!(drain(&mut reader) > 0, "and at work");
    assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
    assert!(boottime_ms() >= end_ms, "and ended by it, not before");
}

fn lease_that_is_cleared_ends_it_too() {
    let lease = new_lease();
    let (mut reader, signs) = pipe();
    lease.set(boottime_ms() + LEASE_MS);
    let guarded = start_guarded(&lease, signs);
    assert!(await_byte(&mut reader).is_some());
    lease.clear();
    assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
}

fn lease_not_running_ends_it_at_once() {
    let never = new_lease();
    let past = new_lease();
    past.set(boottime_ms() - 1);
    let far = new_lease();
    far.set(boottime_ms() + 2 * 86_400_000);
    for lease in [never, past, far] {
        let (mut reader, signs) = pipe();
        let guarded = start_guarded(&lease, signs);
        assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
        assert_eq!(await_byte(&mut reader), None, "before anything was done");
    }
}

fn lease_ends_a_stopped_process() {
    let lease = new_lease();
    let (mut reader, signs) = pipe();
    let end_ms = boottime_ms() + LEASE_MS;
    lease.set(end_ms);
    let guarded = start_guarded(&lease, signs);
    assert!(await_byte(&mut reader).is_some());
    signal("-STOP", guarded);
    await_stopped(guarded);
    sleep_until(end_ms + 100);
    drain(&mut reader);
    assert_eq!(process::reap(), None, "a stopped process cannot end");
    signal("-CONT", guarded);
    assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
    assert_eq!(await_byte(&mut reader), None, "it did nothing after it resumed");
}

fn lease_extended_while_stopped() {
    let lease = new_lease();
    let (mut reader, signs) = pipe();
    let end_ms = boottime_ms() + LEASE_MS;
    lease.set(end_ms);
    let guarded = start_guarded(&lease, signs);
    assert!(await_byte(&mut reader).is_some());
    signal("-STOP", guarded);
    await_stopped(guarded);
    lease.set(end_ms + LEASE_MS);
    sleep_until(end_ms + 100);
    drain(&mut reader);
    signal("-CONT", guarded);
    assert!(await_byte(&mut reader).is_some(), "it goes on");
    assert_eq!(end_of(guarded), Exit::Code(exit::TEMPORARY));
    assert!(boottime_ms() >= end_ms + LEASE_MS);
}

fn lease_guard_interrupts_no_call() {
    let lease = new_lease();
    let first_ms = boottime_ms() + LEASE_MS;
    lease.set(first_ms);
    let (ours, theirs) = socket::pair().expect("pair");
    let guarded = start(|| {
        lease.guard().expect("guard");
        // the timer fires at the first end, while this waits
        let got = File::from(theirs).read(&mut [0; 8]);
        i32::from(got.is_ok_and(|count| count == 3))
    });
    lease.set(boottime_ms() + DEADLINE_MS);
    sleep_until(first_ms + 100);
    File::from(ours).write_all(b"abc").expect("write");
    assert_eq!(end_of(guarded), Exit::Code(1));
}
