//! The share answers with errors: to a master that writes or syncs, to a standby that reads, to
//! everybody once.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, plan};
use crate::gate::{Deed, Fault, Kind};
use crate::support::site::Part;

const CHANGES: [Kind; 3] = [Kind::Create, Kind::Write, Kind::Alter];

/// See [`gives_way`].
pub(crate) fn a_master_whose_writes_fail_gives_way() {
    gives_way(Fault::of(&CHANGES, Deed::Fail(libc::EIO)));
}

/// The same on a share that is full for the master alone, slots and all.
pub(crate) fn a_master_without_any_space_gives_way() {
    gives_way(Fault::of(&CHANGES, Deed::Fail(libc::ENOSPC)));
}

/// The same on a share that was remounted read-only.
pub(crate) fn a_master_on_a_read_only_share_gives_way() {
    gives_way(Fault::of(&CHANGES, Deed::Fail(libc::EROFS)));
}

/// The same where writes succeed and syncs do not.
pub(crate) fn a_master_that_cannot_sync_gives_way() {
    gives_way(Fault::of(&[Kind::Sync], Deed::Fail(libc::EIO)));
}

/// The same where it may do nothing any more.
pub(crate) fn a_master_that_is_denied_everything_gives_way() {
    gives_way(Fault::of_all(Deed::Fail(libc::EACCES)));
}

/// The same where no descriptor is good any more.
pub(crate) fn a_master_whose_descriptors_go_bad_gives_way() {
    let kinds = [Kind::Read, Kind::Write, Kind::Sync, Kind::Lock];
    gives_way(Fault::of(&kinds, Deed::Fail(libc::EBADF)));
}

/// A fault of the master's mount alone: the standby takes over, and nothing is lost.
fn gives_way(fault: Fault) {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.impose(Bench::side_of(&master.node), fault);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, Bench::other(&master.node));
    bench.scene.wait_delivery_since(mark);
    bench.finish();
    bench.check_repeats_of_terms(mark, master.term);
}

/// No room for readings: they are refused and nothing else changes.
pub(crate) fn a_journal_without_space_refuses_readings_and_keeps_its_master() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    for below in ["journal/", "reserve"] {
        bench.share.impose_on_all(&Fault::of(&CHANGES, Deed::Fail(libc::ENOSPC)).below(below));
    }
    bench.wait_no_load();
    thread::sleep(Duration::from_secs(4));
    bench.check_master(&master);
    let last = bench.finish();
    assert_eq!(last, master, "{}", bench.site().report());
    bench.check_repeats(mark, 0);
}

/// A standby that cannot read sees no silence: it claims nothing, until it can.
pub(crate) fn a_standby_that_cannot_read_claims_nothing() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    let standby = Bench::other(&master.node);
    bench.share.impose(Bench::side_of(standby), Fault::of(&[Kind::Read], Deed::Fail(libc::EIO)));
    thread::sleep(Duration::from_secs(5));
    bench.check_master(&master);
    bench.scene.site.kill(&master.node, Part::Agent);
    bench.watch_silence(&[standby], Duration::from_secs(5));
    assert_eq!(bench.site().masters(), [], "{}", bench.site().report());
    bench.share.heal_all();
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, standby);
    bench.scene.site.start(&master.node);
    bench.finish();
    bench.check_repeats(mark, 1);
}

/// As after a server's restart, seen by the master alone: the first operation of each kind finds
/// each file or folder stale.
pub(crate) fn everything_is_stale_once_for_the_master() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.impose(Bench::side_of(&master.node), stale_once());
    // it takes its time until each has been found so
    thread::sleep(Duration::from_secs(2));
    bench.steady();
    bench.finish();
    bench.check_repeats_of_terms(mark, master.term);
}

/// The same for all. A claim that fails half-way burns its number, which may hold delivery up: see
/// `late`.
pub(crate) fn everything_is_stale_once_for_all() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    for _ in 0..3 {
        bench.share.impose_on_all(&stale_once());
        thread::sleep(Duration::from_secs(2));
        bench.steady();
        bench.share.heal_all();
    }
    bench.finish();
    bench.check_repeats_of_terms(mark, master.term);
}

fn stale_once() -> Fault {
    Fault::of_all(Deed::Fail(libc::ESTALE)).once()
}
