//! Locks on open file descriptions, across processes.

use std::os::fd::AsFd;

use edge_agent::sys::lock::{TryLock, try_lock};
use edge_agent::sys::process::Exit;

use crate::shared::{Case, end_of, kill, open, scratch, sleep_long, start};

use edge_agent::limits::LOCK_OFFSET;

pub(crate) const CASES: &[Case] = &[
    ("lock_excludes_another_process", lock_excludes_another_process),
    ("lock_lives_as_long_as_any_copy", lock_lives_as_long_as_any_copy),
];

fn lock_excludes_another_process() {
    let path = scratch("lock");
    let ours = open(&path);
    assert_eq!(try_lock(ours.as_fd(), LOCK_OFFSET).expect("lock"), TryLock::Held);
    let is_busy = || {
        let theirs = open(&path);
        i32::from(try_lock(theirs.as_fd(), LOCK_OFFSET).expect("lock") == TryLock::Busy)
    };
    assert_eq!(end_of(start(is_busy)), Exit::Code(1));
    // closing another descriptor of the file gives nothing up
    drop(open(&path));
    assert_eq!(end_of(start(is_busy)), Exit::Code(1));
    drop(ours);
    assert_eq!(end_of(start(is_busy)), Exit::Code(0));
    std::fs::remove_file(path).expect("remove");
}

fn lock_lives_as_long_as_any_copy() {
    let path = scratch("copies");
    let (holder, other) = (open(&path), open(&path));
    assert_eq!(try_lock(holder.as_fd(), LOCK_OFFSET).expect("lock"), TryLock::Held);
    let sleeper = start(|| {
        // it has inherited a copy of the holder's descriptor
        sleep_long()
    });
    drop(holder);
    assert_eq!(try_lock(other.as_fd(), LOCK_OFFSET).expect("lock"), TryLock::Busy);
    kill(sleeper);
    assert_eq!(try_lock(other.as_fd(), LOCK_OFFSET).expect("lock"), TryLock::Held);
    std::fs::remove_file(path).expect("remove");
}
