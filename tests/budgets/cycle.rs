//! What forwarding a reading costs in instructions, by process, as callgrind counts them: a figure
//! that a busy machine does not change.
//!
//! The agent and its children run under valgrind; the counts are those between two dumps, one after
//! a first batch, one after some more of the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::sink::Sink;
use crate::support::figures::ratio;
use crate::support::receiver::Receiver;
use crate::support::site::{Part, Place, Plan, Site};
use crate::throughput::{LOADS, Load, POST_READINGS, post};
use crate::{NODES, Row};

/// Posts that are counted: each gives one batch or so at 256 KiB.
const POSTS: u64 = 10;
/// Whose instructions are told.
const PARTS: [(Part, &str); 3] =
    [(Part::Agent, "agent"), (Part::Keeper, "keeper"), (Part::Uplink, "uplink")];

/// A row for each configuration; one that says so where there is no valgrind.
pub(crate) fn measure(binary: &Path) -> Vec<Row> {
    let asked = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !asked.is_ok_and(|status| status.success()) {
        return vec![Row::new("instructions a reading", "not measured: needs valgrind".into(), "")];
    }
    LOADS.iter().map(|load| measure_load(binary, load)).collect()
}

fn measure_load(binary: &Path, load: &Load) -> Row {
    let (sink, receiver) = (Sink::start(), Receiver::start());
    // far from any proof: a slow program's lease must last, and its heartbeats are not counted
    let plan = Plan {
        heartbeat: 20_000,
        fence: 60_000,
        seize: 120_000,
        timeout: 60_000,
        ..Plan::default()
    };
    let mut site = Site::new(binary, &receiver, &plan);
    sink.take_in(&site, load);
    let counts = site.scratch().join("callgrind");
    let file = format!("--callgrind-out-file={}.%p", counts.display());
    let words = ["valgrind", "--tool=callgrind", "--trace-children=yes", &file];
    let enter = words.map(str::to_owned).to_vec();
    site.put(NODES[0], Place { enter, data: site.data() });
    site.start(NODES[0]);
    site.wait_fenced(0);
    forward(&site, &sink);
    let pids = PARTS.map(|(part, _)| site.part(NODES[0], part).expect("it runs"));
    dump(&pids);
    for _ in 0..POSTS {
        forward(&site, &sink);
    }
    dump(&pids);
    let each = pids.map(|pid| {
        let path = format!("{}.{pid}.2", counts.display());
        let text = fs::read_to_string(&path).unwrap_or_default();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let total = total.and_then(|text| text.trim().parse().ok()).expect("callgrind counts");
        ratio(total, POSTS * u64::from(POST_READINGS))
    });
    let parts: Vec<String> =
        PARTS.iter().zip(each).map(|((_, name), count)| format!("{name} {count:.0}")).collect();
    let (sum, parts) = (each.iter().sum::<f64>(), parts.join(", "));
    let figure = format!("instructions a reading, {}", load.name);
    Row::new(&figure, format!("{sum:.0}: {parts}"), "compare with the release before")
}

/// Posts readings, and waits until they have arrived.
fn forward(site: &Site, sink: &Sink) {
    let before = sink.count().records;
    let wanted = before + u64::from(POST_READINGS);
    site.wait("readings to be taken", 120, |site| {
        (post(&site.socket(NODES[0]), 1) > 0).then_some(())
    });
    site.wait("readings to arrive", 120, |_| (sink.count().records >= wanted).then_some(()));
}

/// Has callgrind write what it has counted since the last time.
fn dump(pids: &[u32]) {
    let mut command = Command::new("callgrind_control");
    command.arg("--dump=budgets").args(pids.iter().map(u32::to_string));
    let output = command.output().expect("callgrind_control comes with valgrind");
    assert!(output.status.success(), "callgrind_control: {output:?}");
}
