//! Many changes of master, in order and not.

use crate::bench::{Bench, NODES, PATIENCE, plan};
use crate::support::scene::is_long;
use crate::support::site::Part;

/// The clock says 1970 for so long.
const CLOCK_WRONG: (&str, &str) = ("EDGE_WALL_WRONG_MS", "10000");

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

/// A host's wall clock is decades behind and is set while it is master: clocks are for people, and
/// no election goes by them.
pub(crate) fn a_clock_that_is_set_under_its_master_changes_nothing() {
    let mut bench = Bench::new(&plan());
    bench.scene.site.start(NODES[0]);
    let master = bench.site().wait_fenced(0);
    bench.scene.site.start_in(NODES[1], &["--console", "off"], &[CLOCK_WRONG]);
    bench.site().wait_standby(NODES[1]);
    bench.produce();
    bench.steady();
    let mark = bench.scene.mark();
    bench.scene.site.kill(NODES[0], Part::Agent);
    let next = bench.site().wait_fenced(master.term);
    assert_eq!(next.node, NODES[1]);
    bench.scene.site.start(NODES[0]);
    bench.scene.wait_delivery_since(mark);
    bench.site().wait("the clock to be set", PATIENCE, |site| {
        (site.said(NODES[1], "clock-invalid: over") > 0).then_some(())
    });
    assert_eq!(bench.finish(), next, "{}", bench.site().report());
    bench.check_repeats(mark, 1);
}
