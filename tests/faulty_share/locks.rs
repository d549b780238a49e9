//! The server's table of locks.
//!
//! A lock belongs to an open file description and ends with it. What a holder is told when the
//! server has forgotten its lock differs: SMB says nothing outside the range, NFS fails what is
//! written through that descriptor.

use std::collections::{HashMap, HashSet};

use crate::gate::Side;

/// Who asks for a lock, through which open file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asker {
    /// The mount.
    pub(crate) side: Side,
    /// The kernel's number of the owner, of this mount alone.
    pub(crate) owner: u64,
    /// The open file.
    pub(crate) file: u64,
}

/// A range of bytes, both ends within.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    /// The first.
    pub(crate) start: u64,
    /// The last.
    pub(crate) end: u64,
}

impl Span {
    fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

#[derive(Clone, Copy, Debug)]
struct Lock {
    asker: Asker,
    span: Span,
    writes: bool,
}

/// The locks of all files.
#[derive(Default)]
pub(crate) struct Locks {
    held: HashMap<u64, Vec<Lock>>,
    granted_to_both: bool,
    /// Open files whose lock was forgotten, and how writes through them fail.
    lost: HashMap<u64, i32>,
    /// Open files whose lock is kept though they are closed: their host is lost.
    kept: HashSet<u64>,
    /// Mounts whose locks never come free.
    keeps_all: [bool; 2],
}

impl Locks {
    /// Grants a lock to a mount though the other has it, or no longer.
    pub(crate) fn grant_to_both(&mut self, does: bool) {
        self.granted_to_both = does;
    }

    /// Tries for a lock of a file; whether it is granted.
    pub(crate) fn lock(&mut self, inode: u64, asker: Asker, span: Span, writes: bool) -> bool {
        let both = self.granted_to_both;
        let held = self.held.entry(inode).or_default();
        let is_ours =
            |lock: &Lock| (lock.asker.side, lock.asker.owner) == (asker.side, asker.owner);
        let is_barred = held.iter().any(|lock| {
            let excludes = lock.span.overlaps(span) && (lock.writes || writes);
            excludes && !is_ours(lock) && !(both && lock.asker.side != asker.side)
        });
        if is_barred {
            return false;
        }
        held.retain(|lock| !is_ours(lock) || !lock.span.overlaps(span));
        held.push(Lock { asker, span, writes });
        self.lost.remove(&asker.file);
        true
    }

    /// Gives a lock up.
    pub(crate) fn unlock(&mut self, inode: u64, asker: Asker, span: Span) {
        let is_it = |lock: &Lock| {
            lock.asker.side == asker.side
                && lock.asker.owner == asker.owner
                && lock.span.overlaps(span)
        };
        self.held.entry(inode).or_default().retain(|lock| !is_it(lock));
    }

    /// An open file is closed: its locks end.
    pub(crate) fn close(&mut self, file: u64) {
        self.lost.remove(&file);
        if self.kept.remove(&file) {
            return;
        }
        let keeps_all = self.keeps_all;
        let stays = |lock: &Lock| lock.asker.file != file || keeps_all[lock.asker.side.index()];
        self.held.values_mut().for_each(|held| held.retain(stays));
    }

    /// Forgets the locks of a mount. What is written afterwards through the files that had them
    /// fails with `told`, if that is given.
    pub(crate) fn forget(&mut self, side: Side, told: Option<i32>) {
        for held in self.held.values_mut() {
            for lock in held.iter().filter(|lock| lock.asker.side == side) {
                self.lost.extend(told.map(|errno| (lock.asker.file, errno)));
            }
            held.retain(|lock| lock.asker.side != side);
        }
    }

    /// Keeps the locks of a mount, whoever closes what: a lost host gives nothing up.
    pub(crate) fn keep(&mut self, side: Side) {
        let all = self.held.values().flatten().filter(|lock| lock.asker.side == side);
        self.kept.extend(all.map(|lock| lock.asker.file));
    }

    /// Keeps whatever lock a mount gets from now on.
    pub(crate) fn keep_all(&mut self, side: Side) {
        self.keeps_all[side.index()] = true;
    }

    /// How a write through this open file fails, if its lock was forgotten.
    pub(crate) fn told(&self, file: u64) -> Option<i32> {
        self.lost.get(&file).copied()
    }
}
