//! What one node has made is unseen by the other for as long as network shares hide things:
//! names for half a minute, what was written in place for a moment.

use std::time::Duration;

use crate::bench::{Bench, NODES, plan, seconds};
use crate::gate::Side;
use crate::support::scene::is_long;
use crate::support::site::Part;

/// What was rewritten in place may be this old: a quarter of the lease bounds it, real shares
/// stay below half of that.
const BYTES_HIDDEN: Duration = Duration::from_millis(300);

/// Deaths and switchovers where nobody sees what is.
pub(crate) fn names_and_bytes_that_are_unseen_for_a_while_lose_nothing() {
    let mut bench = Bench::new(&plan());
    for side in Side::ALL {
        bench.share.hide_names(side, seconds(3, 30));
        bench.share.hide_bytes(side, BYTES_HIDDEN);
    }
    bench.scene.start(&NODES);
    bench.produce();
    for round in 0..if is_long() { 10 } else { 3 } {
        let master = bench.steady();
        let mark = bench.scene.mark();
        if round % 2 == 0 {
            bench.scene.site.kill(&master.node, Part::Agent);
            bench.site().wait_fenced(master.term);
            bench.scene.site.start(&master.node);
        } else {
            let done = bench.site().run_at(&master.node, "switchover", &[]);
            assert!(done.status.success(), "{done:?}\n{}", bench.site().report());
            bench.site().wait_fenced(master.term);
        }
        bench.scene.wait_delivery_since(mark);
        bench.check_repeats_of_terms(mark, master.term);
    }
    bench.finish();
}
