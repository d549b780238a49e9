//! Many changes of master, in order and not.

use crate::bench::{Bench, NODES, plan};
use crate::support::scene::is_long;
use crate::support::site::Part;

/// Switchovers one after another, and every fourth time the master dies instead.
pub(crate) fn switchovers_with_kills_in_between() {
    let (mut bench, _) = Bench::started(&plan());
    let rounds = if is_long() { 1_000 } else { 12 };
    for round in 0..rounds {
        let master = bench.site().wait_fenced(0);
        let standby = Bench::other(&master.node);
        bench.site().wait_standby(standby);
        bench.scene.vary_answers(round);
        let mark = bench.scene.mark();
        if round % 4 == 3 {
            bench.scene.site.kill(&master.node, Part::Agent);
            bench.site().wait_fenced(master.term);
            bench.scene.site.start(&master.node);
        } else {
            // asked for at either
            let asked = NODES[round % 2];
            let done = bench.site().run_at(asked, "switchover", &[]);
            assert!(done.status.success(), "round {round}: {done:?}\n{}", bench.site().report());
            bench.site().wait_fenced(master.term);
        }
        bench.scene.wait_delivery_since(mark);
        bench.check_repeats_of_terms(mark, master.term);
    }
    bench.finish();
    println!("{rounds} changes of master");
}
