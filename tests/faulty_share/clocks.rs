//! Hosts whose wall clocks disagree, run at different speeds, and are stepped.
//!
//! `libfaketime` (Debian's package `faketime`) stands before the C library's clocks in the real
//! agent. Elapsed time is left as it is: how far the elapsed time of two hosts may drift apart is
//! the simulator's affair.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::{Bench, NODES, PATIENCE, plan};
use crate::support::left_out::leave_out;
use crate::support::site::Part;

/// The clock says 1970 for so long.
const CLOCK_WRONG: (&str, &str) = ("EDGE_WALL_WRONG_MS", "10000");

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

/// One host is an hour behind and slow, the other an hour ahead and fast; each is stepped by hours,
/// the master forwards and backwards, the standby too. No step changes the master; the death of a
/// master and a switchover between such hosts cost what they always cost.
pub(crate) fn hosts_whose_clocks_are_hours_apart_and_drift_agree() {
    let Some(library) = library() else {
        return leave_out("clocks: please install faketime");
    };
    let mut bench = Bench::new(&plan());
    let clocks = NODES.map(|node| Clock::new(&bench, node));
    clocks[0].set("-3600 x0.9");
    clocks[1].set("+3600 x1.1");
    for clock in &clocks {
        clock.start(&mut bench, &library);
    }
    bench.produce();
    let mut master = bench.steady();
    bench.wait_condition(&master.node, "clock-skew");
    let first = bench.scene.mark();
    let begun = master.term;
    for step in ["+7200 x1.1", "-7200 x0.9", "+864000", "-864000 x1.1"] {
        for clock in &clocks {
            clock.set(step);
            let mark = bench.scene.mark();
            bench.wait_load();
            bench.scene.wait_delivery_since(mark);
            bench.check_master(&master);
        }
        let mark = bench.scene.mark();
        if step.starts_with('+') {
            bench.scene.site.kill(&master.node, Part::Agent);
            bench.site().wait_fenced(master.term);
            let dead = clocks.iter().find(|clock| clock.node == master.node).expect("one of two");
            dead.start(&mut bench, &library);
        } else {
            let asked = bench.site().run_at(&master.node, "switchover", &[]);
            assert!(asked.status.success(), "{asked:?}\n{}", bench.site().report());
            bench.site().wait_fenced(master.term);
        }
        bench.scene.wait_delivery_since(mark);
        master = bench.steady();
    }
    assert_eq!(master.term, begun + 4, "{}", bench.site().report());
    assert_eq!(bench.finish(), master, "{}", bench.site().report());
    bench.check_repeats_of_terms(first, begun);
}

/// The wall clock of a node's host.
struct Clock {
    node: &'static str,
    file: PathBuf,
}

impl Clock {
    fn new(bench: &Bench, node: &'static str) -> Self {
        Self { node, file: bench.site().scratch().join(format!("{node}.clock")) }
    }

    /// So many seconds before or behind, and at which speed, as `libfaketime` has it.
    fn set(&self, text: &str) {
        let aside = self.file.with_extension("new");
        fs::write(&aside, text).expect("the scratch folder takes it");
        fs::rename(aside, &self.file).expect("the scratch folder takes it");
    }

    fn start(&self, bench: &mut Bench, library: &Path) {
        let library = library.to_str().expect("a path of the system");
        let file = self.file.to_str().expect("a path of ours");
        let variables = [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        bench.scene.site.start_in(self.node, &["--console", "off"], &variables);
    }
}

/// Where Debian puts it.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = folders.map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    paths.find(|path| path.is_file())
}
