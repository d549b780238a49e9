//! Death with the parent, reaping, signals, descriptors.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use edge_agent::sys::poll::{PollFd, poll};
use edge_agent::sys::process::{self, Exit, Pid};
use edge_agent::sys::signals::{Signal, Signals, reset_in_child};

use crate::shared::{
    Case, DEADLINE_MS, await_byte, await_that, descriptors, end_of, kill, pipe, sleep_long, start,
};

pub(crate) const CASES: &[Case] = &[
    ("child_dies_with_its_parent", child_dies_with_its_parent),
    ("reap_takes_strangers", reap_takes_strangers),
    ("signals_arrive_as_events", signals_arrive_as_events),
    ("others_are_closed", others_are_closed),
];

fn child_dies_with_its_parent() {
    let (mut reader, mut signs) = pipe();
    let middle = start(|| {
        start(move || {
            signs.write_all(b"g").expect("a sign");
            sleep_long()
        });
        sleep_long()
    });
    assert_eq!(await_byte(&mut reader), Some(b'g'));
    kill(middle);
    assert_eq!(await_byte(&mut reader), None, "the grandchild is gone, and its pipe closed");
    // too late to ask: the parent that was noted is not there any more
    let late = start(|| i32::from(process::die_with_parent(Pid(i32::MAX)).expect("prctl")));
    assert_eq!(end_of(late), Exit::Code(0));
    let early =
        start(|| i32::from(process::die_with_parent(process::parent_pid()).expect("prctl")));
    assert_eq!(end_of(early), Exit::Code(1));
}

fn reap_takes_strangers() {
    assert_eq!(process::reap(), None, "no child at all");
    let mut running: Vec<Pid> = (10..15).map(|code| start(move || code)).collect();
    let killed = start(sleep_long);
    process::kill(killed, Signal::Kill).expect("kill");
    running.push(killed);
    await_that("all are reaped", || {
        while let Some((pid, exit)) = process::reap() {
            let at = running.iter().position(|known| *known == pid).expect("one of ours");
            let expected = match exit {
                Exit::Code(code) => (10..15).contains(&code),
                Exit::Signal(number) => number == 9 && pid == killed,
            };
            assert!(expected, "{exit:?}");
            running.swap_remove(at);
        }
        running.is_empty()
    });
}

fn signals_arrive_as_events() {
    let child = start(|| {
        // a parent such as nohup may have left them ignored
        reset_in_child();
        let signals = Signals::new().expect("signalfd");
        assert_eq!(signals.take(), None);
        for signal in [Signal::Terminate, Signal::Interrupt, Signal::HangUp] {
            process::kill(process::own_pid(), signal).expect("kill");
            let mut fds = [PollFd::new(signals.as_fd(), true, false)];
            assert_eq!(poll(&mut fds, Some(DEADLINE_MS)).expect("poll"), 1);
            assert_eq!(signals.take(), Some(signal));
            assert_eq!(signals.take(), None);
        }
        process::kill(process::own_pid(), Signal::Pipe).expect("kill");
        assert_eq!(end_of(start(|| 3)), Exit::Code(3));
        assert_eq!(signals.take(), Some(Signal::Child));
        4
    });
    assert_eq!(end_of(child), Exit::Code(4));
}

fn others_are_closed() {
    let child = start(|| {
        let files: Vec<OwnedFd> =
            (0..20).map(|_| File::open("/dev/null").expect("open").into()).collect();
        let kept = [0, 1, 2, files[3].as_raw_fd(), files[9].as_raw_fd(), -1];
        process::close_others(&kept);
        std::mem::forget(files);
        let open = descriptors();
        assert_eq!(open, kept[..5]);
        0
    });
    assert_eq!(end_of(child), Exit::Code(0));
}
