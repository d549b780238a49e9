//! The share is gone, for all or for one, and comes back.

use std::thread;

use crate::bench::{Bench, LEASE_OVER, NODES, plan, seconds};
use crate::gate::{Deed, Fault};

/// Nobody forwards while it is gone, all consoles answer, and one node is master afterwards.
pub(crate) fn a_share_that_is_gone_for_all_comes_back() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    bench.share.impose_on_all(&Fault::of_all(Deed::Fail(libc::ENOTCONN)));
    thread::sleep(LEASE_OVER);
    bench.watch_silence(&NODES, seconds(5, 120));
    assert_eq!(bench.site().masters(), [], "{}", bench.site().report());
    bench.finish();
    bench.check_repeats_of_terms(mark, master.term);
}

/// The other node takes over; once it is back, nothing changes any more.
pub(crate) fn a_share_that_is_gone_for_one_comes_back() {
    let (mut bench, master) = Bench::started(&plan());
    let mark = bench.scene.mark();
    let side = Bench::side_of(&master.node);
    bench.share.impose(side, Fault::of_all(Deed::Fail(libc::ENOTCONN)));
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, Bench::other(&master.node));
    bench.watch_silence(&[&master.node], seconds(3, 120));
    let last = bench.finish();
    assert_eq!(last, next, "{}", bench.site().report());
    bench.check_repeats(mark, 1);
}
