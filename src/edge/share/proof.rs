//! A master's proof: one operation, every result checked.
//!
//! In this order: make the segments that the slot will name; write inside the lock; write
//! the slot; then open both files afresh by their paths and see that they are still the
//! same, and that no term is newer.
//!
//! # Invariants
//!
//! - R1: `Proven` is said only after all of it; any doubt is another verdict or a failure.
//! - R2: with the lock lost the slot is not written: it would say `locked` of a lost lock.

use super::directory::Root;
use super::lock::{ShareLock, is_replaced};
use super::segments;
use super::terms::{self, LastWrite, Wrote};
use crate::engine::ident::Lane;
use crate::engine::share::{LockSeen, Proof, ProofLock, ProofVerdict, Proven, ShareError};
use crate::engine::slot::Slot;

/// Performs a proof.
pub(super) fn prove(
    root: &Root,
    held: &mut ShareLock,
    last: &mut LastWrite,
    proof: &Proof,
) -> Result<Proven, ShareError> {
    let slot = &proof.slot;
    for lane in Lane::ALL {
        let number = proof.create[lane.index()];
        if number > 0 {
            segments::create(root, lane, slot.term, number)?;
        }
    }
    let lock = prove_lock(root, held, proof)?;
    if proof.lock == ProofLock::Write && lock == LockSeen::Lost {
        let verdict = match verify(root, held, proof, lock, *last) {
            Ok(ProofVerdict::Proven) | Err(_) => ProofVerdict::LockLost,
            Ok(worse) => worse,
        };
        return Ok(Proven { verdict, lock });
    }
    if proof.write_slot
        && let Some(verdict) = write_slot(root, slot, last)?
    {
        return Ok(Proven { verdict, lock });
    }
    Ok(Proven { verdict: verify(root, held, proof, lock, *last)?, lock })
}

fn prove_lock(root: &Root, held: &mut ShareLock, proof: &Proof) -> Result<LockSeen, ShareError> {
    match proof.lock {
        ProofLock::Write => held.prove(root, proof.slot.heartbeat.to_le_bytes()[0]),
        ProofLock::Try => match held.try_for(root) {
            Err(error) if is_replaced(&error) => Ok(LockSeen::Lost),
            tried => tried,
        },
        ProofLock::Leave => Ok(LockSeen::Left),
    }
}

/// `None`: written; else why not.
fn write_slot(
    root: &Root,
    slot: &Slot,
    last: &mut LastWrite,
) -> Result<Option<ProofVerdict>, ShareError> {
    match terms::write(root, slot, last) {
        Ok(Wrote::Slot) => Ok(None),
        Ok(Wrote::Superseded(by)) => Ok(Some(ProofVerdict::Superseded { by })),
        Ok(Wrote::Replaced) => Ok(Some(ProofVerdict::Replaced)),
        Err(error) if is_replaced(&error) => Ok(Some(ProofVerdict::Replaced)),
        Err(error) => Err(error),
    }
}

/// Looks at both files afresh.
fn verify(
    root: &Root,
    held: &ShareLock,
    proof: &Proof,
    lock: LockSeen,
    last: LastWrite,
) -> Result<ProofVerdict, ShareError> {
    let slot = &proof.slot;
    let verdict = verify_terms(root, slot, proof.all, last)?;
    if verdict != ProofVerdict::Proven {
        return Ok(verdict);
    }
    let at_path = match held.inode_at_path(root) {
        Ok(inode) => inode,
        Err(error) if is_replaced(&error) => return Ok(ProofVerdict::Replaced),
        Err(error) => return Err(error),
    };
    let locked = match lock {
        LockSeen::Held { inode } => inode,
        LockSeen::Left | LockSeen::Busy | LockSeen::Lost => at_path,
    };
    let named = if slot.locked == 0 { at_path } else { slot.locked };
    let same = at_path == named && at_path == locked;
    Ok(if same { ProofVerdict::Proven } else { ProofVerdict::Replaced })
}

/// No newer term, and our own slot as we wrote it last or newer.
fn verify_terms(
    root: &Root,
    slot: &Slot,
    all: bool,
    last: LastWrite,
) -> Result<ProofVerdict, ShareError> {
    let file = match terms::open(root) {
        Ok(file) => file,
        Err(error) if is_replaced(&error) => return Ok(ProofVerdict::Replaced),
        Err(error) => return Err(error),
    };
    let path = root.terms();
    let newest = if all {
        terms::newest(&file, &path)?
    } else {
        terms::read_ahead(&file, &path, slot.term)?
    };
    if let Some(by) = newest.map(|newest| newest.term).filter(|&by| by > slot.term) {
        return Ok(ProofVerdict::Superseded { by });
    }
    let heartbeat = last.done.filter(|done| done.0 == slot.term).map_or(0, |done| done.1);
    let ours = terms::read(&file, &path, slot.term)?.is_some_and(|own| {
        own.term == slot.term && own.nonce == slot.nonce && own.heartbeat >= heartbeat
    });
    Ok(if ours { ProofVerdict::Proven } else { ProofVerdict::Replaced })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::testing::{Folder, slot};
    use super::*;
    use crate::engine::ident::Term;
    use crate::engine::share::ShareFault;
    use crate::limits::SLOTS;

    struct Master {
        folder: Folder,
        root: Root,
        lock: ShareLock,
        last: LastWrite,
    }

    impl Master {
        fn new() -> Self {
            let folder = Folder::new();
            let root = folder.root();
            Self { folder, root, lock: ShareLock::default(), last: LastWrite::default() }
        }

        fn locked() -> (Self, u64) {
            let mut master = Self::new();
            let seen = master.lock.try_for(&master.root).expect("tried");
            let LockSeen::Held { inode } = seen else { panic!("free: {seen:?}") };
            (master, inode)
        }

        fn prove(&mut self, term: Term, heartbeat: u64, lock: ProofLock, locked: u64) -> Proven {
            let mut slot = slot(term, heartbeat);
            slot.locked = locked;
            let proof = Proof { slot, write_slot: true, all: false, lock, create: [0; 2] };
            self.act(&proof).expect("an answer")
        }

        fn act(&mut self, proof: &Proof) -> Result<Proven, ShareError> {
            prove(&self.root, &mut self.lock, &mut self.last, proof)
        }

        fn verdict(&mut self, heartbeat: u64, inode: u64) -> ProofVerdict {
            self.prove(7, heartbeat, ProofLock::Write, inode).verdict
        }

        /// Puts a copy of a file in its place, as an operator or a sync tool might.
        fn replace(&self, path: &Path) {
            let copy = self.folder.path.join("copy");
            fs::copy(path, &copy).expect("copied");
            fs::rename(copy, path).expect("renamed");
        }
    }

    #[test]
    fn a_proof_writes_the_byte_and_the_slot() {
        let (mut master, inode) = Master::locked();
        let proven = master.prove(7, 1, ProofLock::Write, inode);
        assert_eq!(proven.verdict, ProofVerdict::Proven);
        assert_eq!(proven.lock, LockSeen::Held { inode });
        assert_eq!(master.verdict(2, inode), ProofVerdict::Proven);
        assert_eq!(fs::read(master.root.lock()).expect("read")[4_096], 2);
        let survey = terms::survey(&master.root).expect("surveyed");
        assert_eq!(survey.newest.map(|slot| slot.heartbeat), Some(2));
    }

    #[test]
    fn segments_are_there_before_the_slot_names_them() {
        let (mut master, inode) = Master::locked();
        let mut named = slot(7, 1);
        named.locked = inode;
        named.lanes[0].newest_segment = 1;
        let lock = ProofLock::Write;
        let proof = Proof { slot: named, write_slot: true, all: false, lock, create: [1, 2] };
        assert_eq!(master.act(&proof).expect("proven").verdict, ProofVerdict::Proven);
        assert_eq!(segments::newest(&master.root, Lane::Readings, 7).expect("listed"), 1);
        assert_eq!(segments::newest(&master.root, Lane::Alerts, 7).expect("listed"), 2);
        fs::remove_dir_all(master.root.path.join("journal")).expect("gone");
        let proof = Proof { create: [2, 0], ..proof };
        assert_eq!(master.act(&proof).expect("made anew").verdict, ProofVerdict::Proven);
        assert_eq!(segments::newest(&master.root, Lane::Readings, 7).expect("listed"), 2);
        fs::remove_dir_all(master.root.path.join("journal")).expect("gone");
        fs::write(master.root.path.join("journal"), "no folder").expect("written");
        let mut slot = proof.slot.clone();
        slot.heartbeat = 2;
        let proof = Proof { slot, create: [3, 0], ..proof };
        let error = master.act(&proof).expect_err("no folder");
        assert_eq!(error.fault, ShareFault::Missing);
        let survey = terms::survey(&master.root).expect("surveyed");
        assert_eq!(survey.newest.map(|slot| slot.heartbeat), Some(1), "not written");
    }

    #[test]
    fn a_newer_term_supersedes_wherever_it_stands() {
        for by in [8, 9, 10, 7 + SLOTS] {
            let (mut master, inode) = Master::locked();
            assert_eq!(master.verdict(1, inode), ProofVerdict::Proven);
            terms::write(&master.root, &slot(by, 1), &mut LastWrite::default()).expect("written");
            assert_eq!(master.verdict(2, inode), ProofVerdict::Superseded { by });
        }
    }

    #[test]
    fn a_page_taken_by_a_later_term_is_not_covered() {
        let (mut master, inode) = Master::locked();
        let by = 7 + SLOTS;
        terms::write(&master.root, &slot(by, 1), &mut LastWrite::default()).expect("written");
        assert_eq!(master.verdict(1, inode), ProofVerdict::Superseded { by });
        let newest = terms::survey(&master.root).expect("surveyed").newest;
        assert_eq!(newest.map(|slot| slot.term), Some(by));
    }

    #[test]
    fn a_replaced_or_deleted_lock_file_is_seen_and_a_touched_one_is_nothing() {
        let (mut master, inode) = Master::locked();
        assert_eq!(master.verdict(1, inode), ProofVerdict::Proven);
        let file = master.root.open_writable(&master.root.lock()).expect("opened");
        file.set_modified(std::time::UNIX_EPOCH).expect("touched");
        assert_eq!(master.verdict(2, inode), ProofVerdict::Proven);
        master.replace(&master.root.lock());
        assert_eq!(master.verdict(3, inode), ProofVerdict::Replaced);
        fs::remove_file(master.root.lock()).expect("gone");
        assert_eq!(master.verdict(4, inode), ProofVerdict::Replaced);
        let without = master.prove(7, 5, ProofLock::Try, 0);
        assert_eq!(without.verdict, ProofVerdict::Replaced, "not there counts as replaced");
    }

    #[test]
    fn terms_that_are_gone_foreign_or_set_back_are_replaced() {
        let (mut master, inode) = Master::locked();
        assert_eq!(master.verdict(1, inode), ProofVerdict::Proven);
        let old = fs::read(master.root.terms()).expect("read");
        assert_eq!(master.verdict(2, inode), ProofVerdict::Proven);
        fs::write(master.root.terms(), old).expect("set back");
        assert_eq!(master.verdict(3, inode), ProofVerdict::Replaced);
        let other = Folder::new();
        fs::rename(other.root().terms(), master.root.terms()).expect("renamed");
        assert_eq!(master.verdict(4, inode), ProofVerdict::Replaced);
        fs::remove_file(master.root.terms()).expect("gone");
        assert_eq!(master.verdict(5, inode), ProofVerdict::Replaced);
    }

    #[test]
    fn a_lost_lock_is_said_unless_something_worse_is_seen() {
        let (mut master, inode) = Master::locked();
        assert_eq!(master.verdict(1, inode), ProofVerdict::Proven);
        master.lock.leave();
        let lost = master.prove(7, 2, ProofLock::Write, inode);
        assert_eq!((lost.verdict, lost.lock), (ProofVerdict::LockLost, LockSeen::Lost));
        let newest = terms::survey(&master.root).expect("surveyed").newest;
        assert_eq!(newest.map(|slot| slot.heartbeat), Some(1), "R2");
        terms::write(&master.root, &slot(8, 1), &mut LastWrite::default()).expect("written");
        assert_eq!(master.verdict(3, inode), ProofVerdict::Superseded { by: 8 });
    }

    #[test]
    fn a_master_without_the_lock_tries_for_it() {
        let mut master = Master::new();
        let mut other = ShareLock::default();
        other.try_for(&master.root).expect("tried");
        let proven = master.prove(7, 1, ProofLock::Try, 0);
        assert_eq!((proven.verdict, proven.lock), (ProofVerdict::Proven, LockSeen::Busy));
        let proven = master.prove(7, 2, ProofLock::Leave, 0);
        assert_eq!((proven.verdict, proven.lock), (ProofVerdict::Proven, LockSeen::Left));
        other.leave();
        let proven = master.prove(7, 3, ProofLock::Try, 0);
        assert_eq!(proven.verdict, ProofVerdict::Proven);
        assert!(matches!(proven.lock, LockSeen::Held { .. }));
    }

    #[test]
    fn alone_a_proof_may_write_the_byte_only() {
        let (mut master, inode) = Master::locked();
        assert_eq!(master.verdict(1, inode), ProofVerdict::Proven);
        let mut slot = slot(7, 9);
        slot.locked = inode;
        let proof =
            Proof { slot, write_slot: false, all: false, lock: ProofLock::Write, create: [0; 2] };
        assert_eq!(master.act(&proof).expect("proven").verdict, ProofVerdict::Proven);
        let newest = terms::survey(&master.root).expect("surveyed").newest;
        assert_eq!(newest.map(|slot| slot.heartbeat), Some(1));
        fs::remove_file(master.root.terms()).expect("gone");
        assert_eq!(master.act(&proof).expect("answered").verdict, ProofVerdict::Replaced);
    }
}
