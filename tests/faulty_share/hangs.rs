//! The share hangs under a master, for it alone and for all.

use std::thread;
use std::time::Duration;

use crate::bench::{Bench, LEASE_OVER, NODES, plan, seconds};
use crate::gate::{Deed, Fault, Side};

/// Nothing answers the master any more: its console does, its requests end with its lease, the
/// standby takes over by silence, and once the share answers again the old master stands by.
pub(crate) fn all_io_of_the_master_hangs() {
    hangs_for(seconds(12, 180));
}

/// The same, for longer than anybody waits.
pub(crate) fn all_io_of_the_master_hangs_for_long() {
    hangs_for(Duration::from_secs(600));
}

fn hangs_for(time: Duration) {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.impose(Bench::side_of(&master.node), Fault::of_all(Deed::Hang));
    thread::sleep(LEASE_OVER);
    bench.wait_condition(&master.node, "share-stalled");
    bench.watch_silence(&[&master.node], time.saturating_sub(LEASE_OVER));
    let next = bench.site().wait_fenced(master.term);
    assert_ne!(next.node, master.node);
    bench.scene.wait_delivery_since(mark);
    bench.share.heal_all();
    bench.site().wait_standby(&master.node);
    let last = bench.finish();
    assert_eq!(last, next, "{}", bench.site().report());
    bench.check_repeats(mark, 1);
}

/// Nothing answers anybody: nobody forwards, all consoles answer, and one node is master once
/// the share answers again.
pub(crate) fn all_io_of_all_hangs() {
    let (mut bench, _) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.impose_on_all(&Fault::of_all(Deed::Hang));
    thread::sleep(LEASE_OVER);
    for node in NODES {
        bench.wait_condition(node, "share-stalled");
    }
    bench.watch_silence(&NODES, seconds(6, 180));
    bench.share.heal(Side::B);
    thread::sleep(Duration::from_millis(100));
    bench.finish();
    bench.check_repeats(mark, 2);
}
