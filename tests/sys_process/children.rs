//! Children and their channels.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use edge_agent::edge::channel::Port;
use edge_agent::edge::children::{self, Child};
use edge_agent::sys::poll::{PollFd, poll};
use edge_agent::sys::process::{self, Exit};
use edge_agent::sys::signals::Signal;

use crate::shared::{Case, DEADLINE_MS, descriptors, end_of, kill, pipe};

pub(crate) const CASES: &[Case] = &[
    ("child_talks_over_its_channel", child_talks_over_its_channel),
    ("child_holds_what_it_was_given", child_holds_what_it_was_given),
    ("child_ignores_what_stops_the_agent", child_ignores_what_stops_the_agent),
    ("child_that_panics_aborts", child_that_panics_aborts),
    ("channel_allocates_nothing_once_warm", channel_allocates_nothing_once_warm),
];

/// The next answer of a child, and its body.
fn answer_of(child: &mut Child) -> (u32, Vec<u8>) {
    loop {
        if let Some(head) = child.link.receive::<u32>().expect("receive") {
            return (head, child.link.body().to_vec());
        }
        let mut fds = [PollFd::new(child.link.as_fd(), true, child.link.wants_write())];
        assert_eq!(poll(&mut fds, Some(DEADLINE_MS)).expect("poll"), 1);
        child.link.flush().expect("flush");
    }
}

/// A child that sends every frame back, its head one higher, until the channel is closed.
fn echo(mut port: Port) {
    while let Ok(head) = port.receive::<u32>() {
        let body = port.body().to_vec();
        port.send(&(head + 1), &body).expect("send");
    }
}

fn child_talks_over_its_channel() {
    let mut child = children::spawn("echo-with-a-long-name", &[], echo).expect("spawn");
    let body = vec![5; 1_000_000];
    child.link.send(&7_u32, &body, None).expect("send");
    assert_eq!(answer_of(&mut child), (8, body));
    let name = std::fs::read_to_string(format!("/proc/{}/comm", child.pid.0));
    assert_eq!(name.expect("comm"), "echo-with-a-lon\n");
    let pid = child.pid;
    drop(child);
    assert_eq!(end_of(pid), Exit::Code(0), "the end of its channel ends it");
}

fn child_holds_what_it_was_given() {
    let (_reader, _signs) = pipe();
    let given = File::open("/dev/null").expect("open");
    let kept: BorrowedFd<'_> = given.as_fd();
    let number = kept.as_raw_fd();
    let mut child = children::spawn("holder", &[kept], |mut port| {
        let open: Vec<u8> =
            descriptors().into_iter().map(|fd| u8::try_from(fd).expect("small")).collect();
        port.send(&0_u32, &open).expect("send");
    })
    .expect("spawn");
    let (_, mut open) = answer_of(&mut child);
    open.retain(|fd| ![0, 1, 2, u8::try_from(number).expect("small")].contains(fd));
    assert_eq!(open.len(), 1, "its end of the channel alone: {open:?}");
    assert_eq!(end_of(child.pid), Exit::Code(0));
}

fn child_ignores_what_stops_the_agent() {
    let mut child = children::spawn("echo", &[], echo).expect("spawn");
    child.link.send(&1_u32, b"", None).expect("send");
    assert_eq!(answer_of(&mut child).0, 2, "it is past its first steps");
    for signal in [Signal::Terminate, Signal::Interrupt, Signal::HangUp, Signal::Pipe] {
        process::kill(child.pid, signal).expect("kill");
    }
    child.link.send(&1_u32, b"", None).expect("send");
    assert_eq!(answer_of(&mut child).0, 2, "it is there for a clean stop");
    kill(child.pid);
}

fn child_that_panics_aborts() {
    let child = children::spawn("panic", &[], |_port| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("on purpose");
    });
    assert_eq!(end_of(child.expect("spawn").pid), Exit::Signal(6));
}

fn channel_allocates_nothing_once_warm() {
    let mut child = children::spawn("echo", &[], echo).expect("spawn");
    let body = [7; 3_000];
    let round = |child: &mut Child| {
        child.link.send(&1_u32, &body, None).expect("send");
        while child.link.receive::<u32>().expect("receive").is_none() {
            poll(&mut [PollFd::new(child.link.as_fd(), true, false)], Some(DEADLINE_MS))
                .expect("poll");
        }
        assert_eq!(child.link.body(), body);
    };
    let before = edge_agent::sys::alloc::allocations();
    for _ in 0..1_000 {
        round(&mut child);
    }
    assert_eq!(edge_agent::sys::alloc::allocations() - before, 0);
    kill(child.pid);
}
