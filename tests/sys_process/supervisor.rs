//! The outermost process of `run --supervise`.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use edge_agent::edge::children;
use edge_agent::sys::clock::boottime_ms;
use edge_agent::sys::poll::{PollFd, poll};
use edge_agent::sys::process::{self, Exit, Pid};
use edge_agent::sys::signals::{Signal, Signals};

use crate::shared::{Case, await_byte, drain, end_of, kill, pipe, scratch, start};

pub(crate) const CASES: &[Case] = &[
    ("supervisor_ends_with_final_codes", supervisor_ends_with_final_codes),
    ("supervisor_starts_the_agent_again", supervisor_starts_the_agent_again),
    ("supervisor_passes_signals_on", supervisor_passes_signals_on),
    ("supervisor_stops_between_two_agents", supervisor_stops_between_two_agents),
    ("supervisor_killed_ends_its_agent", supervisor_killed_ends_its_agent),
];

/// Starts a supervisor over this agent; it exits with the supervisor's code.
fn start_supervisor(agent: impl Fn() -> i32) -> Pid {
    start(|| children::supervise(agent).expect("supervise"))
}

fn supervisor_ends_with_final_codes() {
    for code in [0, 64, 78] {
        assert_eq!(end_of(start_supervisor(|| code)), Exit::Code(code));
    }
}

fn supervisor_starts_the_agent_again() {
    let (mut reader, signs) = pipe();
    let path = scratch("again");
    let started_ms = boottime_ms();
    let supervisor = start_supervisor(|| {
        (&signs).write_all(b"s").expect("a sign");
        if File::create_new(&path).is_ok() { 70 } else { 0 }
    });
    assert_eq!(end_of(supervisor), Exit::Code(0));
    assert_eq!(drain(&mut reader), 2, "it was started twice");
    assert!(boottime_ms() - started_ms >= 1_000, "after a wait");
    std::fs::remove_file(path).expect("remove");
}

fn supervisor_passes_signals_on() {
    let (mut reader, signs) = pipe();
    let supervisor = start_supervisor(|| {
        let signals = Signals::new().expect("signalfd");
        (&signs).write_all(b"s").expect("a sign");
        loop {
            poll(&mut [PollFd::new(signals.as_fd(), true, false)], None).expect("poll");
            match signals.take() {
                Some(Signal::Terminate) => return 7,
                Some(Signal::HangUp) => (&signs).write_all(b"h").expect("a sign"),
                other => assert_eq!(other, None),
            }
        }
    });
    assert_eq!(await_byte(&mut reader), Some(b's'));
    process::kill(supervisor, Signal::HangUp).expect("kill");
    assert_eq!(await_byte(&mut reader), Some(b'h'));
    process::kill(supervisor, Signal::Terminate).expect("kill");
    assert_eq!(end_of(supervisor), Exit::Code(7), "the agent's own code, though not a final one");
}

fn supervisor_stops_between_two_agents() {
    let (mut reader, signs) = pipe();
    let supervisor = start_supervisor(move || {
        (&signs).write_all(b"s").expect("a sign");
        process::exit_now(70)
    });
    assert_eq!(await_byte(&mut reader), Some(b's'));
    // whether the agent is still there or the wait has begun, no other one is started
    process::kill(supervisor, Signal::Interrupt).expect("kill");
    assert!(matches!(end_of(supervisor), Exit::Code(0 | 70)));
    assert_eq!(drain(&mut reader), 0);
}

fn supervisor_killed_ends_its_agent() {
    let (mut reader, signs) = pipe();
    let supervisor = start_supervisor(|| {
        let signals = Signals::new().expect("signalfd");
        (&signs).write_all(b"s").expect("a sign");
        loop {
            poll(&mut [PollFd::new(signals.as_fd(), true, false)], None).expect("poll");
            if signals.take() == Some(Signal::Terminate) {
                // a clean stop, though nobody is left to see its code
                (&signs).write_all(b"t").expect("a sign");
                return 0;
            }
        }
    });
    assert_eq!(await_byte(&mut reader), Some(b's'));
    drop(signs);
    kill(supervisor);
    assert_eq!(await_byte(&mut reader), Some(b't'));
    assert_eq!(await_byte(&mut reader), None);
}
