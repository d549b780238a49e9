//! Locks that are lost, granted twice or not at all; lock files deleted and replaced.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::bench::{Bench, NODES, plan};
use crate::gate::{Deed, Fault, Kind, Side};
use crate::support::site::{Master, Part};

/// The standby is granted the lock while its holder lives: it sees that, and leaves it alone.
pub(crate) fn a_lock_that_is_lost_silently_makes_no_second_master() {
    let (mut bench, master) = Bench::started(&plan());
    bench.share.forget_locks(Bench::side_of(&master.node), None);
    distrusted(&mut bench, &master);
}

/// Locks exclude nobody from the start.
pub(crate) fn a_lock_that_is_granted_to_both_makes_no_second_master() {
    let mut bench = Bench::new(&plan());
    bench.share.grant_locks_to_both();
    bench.scene.start(&NODES);
    bench.produce();
    let master = bench.steady();
    distrusted(&mut bench, &master);
}

/// Only silence counts from now on.
fn distrusted(bench: &mut Bench, master: &Master) {
    let (mark, standby) = (bench.scene.mark(), Bench::other(&master.node));
    bench.wait_condition(standby, "locks-do-not-exclude");
    thread::sleep(Duration::from_secs(2));
    bench.check_master(master);
    bench.check_repeats(mark, 0);
    bench.scene.site.kill(&master.node, Part::Agent);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, standby);
    bench.scene.site.start(&master.node);
    bench.finish();
    bench.check_repeats(mark, 1);
}

/// The server keeps the lock of a host that is lost, as NFS 3 does: silence decides.
pub(crate) fn the_lock_of_a_lost_host_is_waited_for_no_longer_than_silence() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.keep_locks(Bench::side_of(&master.node));
    bench.lose(&master.node);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(bench.site().status(&next.node).expect("it answers")["share"]["locked"], false);
    bench.scene.wait_delivery_since(mark);
    bench.scene.site.start(&master.node);
    bench.finish();
    bench.check_repeats(mark, 1);
}

/// The holder is told by its next write, as NFS does.
pub(crate) fn a_lock_that_is_lost_and_told_leaves_one_master() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    for _ in 0..3 {
        let before = bench.site().wait_fenced(0);
        bench.share.forget_locks(Bench::side_of(&before.node), Some(libc::EIO));
        thread::sleep(Duration::from_secs(1));
        bench.steady();
    }
    bench.finish();
    // each loss ends an uplink, whether or not its master goes
    bench.check_repeats(mark, 3 + bench.terms_since(master.term));
}

/// What tells the nodes is that the file is not there, or another one.
pub(crate) fn a_deleted_lock_file_leaves_one_master() {
    tamper(|lock| fs::remove_file(lock).expect("the lock file is there"));
}

/// The same.
pub(crate) fn a_replaced_lock_file_leaves_one_master() {
    tamper(|lock| {
        let other = lock.with_extension("other");
        fs::copy(lock, &other).expect("the lock file can be copied");
        fs::rename(&other, lock).expect("the copy can take its place");
    });
}

fn tamper(deed: impl Fn(&Path)) {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    deed(&bench.share.folder().join("edge.lock"));
    bench.site().wait_fenced(master.term);
    bench.scene.wait_delivery_since(mark);
    bench.finish();
    bench.check_repeats_of_terms(mark, master.term);
}

/// A standby whose mount gives no locks any more leaves a living master alone, and follows one that
/// is silent.
pub(crate) fn a_standby_that_gets_no_locks_makes_no_second_master() {
    let (mut bench, master) = Bench::started(&plan());
    let (mark, standby) = (bench.scene.mark(), Bench::other(&master.node));
    let none = Fault::of(&[Kind::Lock], Deed::Fail(libc::ENOLCK));
    bench.share.impose(Bench::side_of(standby), none);
    thread::sleep(Duration::from_secs(6));
    bench.check_master(&master);
    bench.check_repeats(mark, 0);
    bench.scene.site.kill(&master.node, Part::Agent);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, standby);
    assert_eq!(bench.site().status(standby).expect("it answers")["share"]["locked"], false);
    bench.scene.site.start(&master.node);
    bench.share.heal_all();
    bench.finish();
    bench.check_repeats(mark, 1);
}

/// Where nobody gets locks they are left alone, and said so; silence and clean stops count.
pub(crate) fn a_share_without_locks_goes_by_silence_and_says_so() {
    let mut bench = Bench::new(&plan());
    for (side, errno) in Side::ALL.into_iter().zip([libc::ENOSYS, libc::ENOLCK]) {
        bench.share.impose(side, Fault::of(&[Kind::Lock], Deed::Fail(errno)));
    }
    bench.scene.start(&NODES);
    for node in NODES {
        bench.wait_condition(node, "unsafe-mount");
    }
    bench.produce();
    let (mark, master) = (bench.scene.mark(), bench.steady());
    bench.scene.site.kill(&master.node, Part::Agent);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, Bench::other(&master.node));
    bench.scene.site.start(&master.node);
    bench.finish();
    bench.check_repeats(mark, 1);
}
