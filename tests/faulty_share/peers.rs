//! `check --peer` by two hosts, on a share that does one thing wrong: both end, both say the same of
//! it, and nothing is left behind.

use std::fs;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use crate::bench::{Bench, NODES, PATIENCE};
use crate::gate::{Deed, Fault, Kind, Side};
use crate::share::Share;
use crate::support::site::Plan;
use crate::support::{guard, processes};

/// Exit codes: sysexits'.
const TEMPORARY: i32 = 75;
const CONFIGURATION: i32 = 78;
/// The files of a meeting, but for the one where they meet.
const SCRATCH: &str = ".edge.peer.";
const CERTIFIED: &str = "share class doubtful holds between these two hosts";
const NOT_CERTIFIED: &str = "share class doubtful does not hold between these hosts";

/// Times that a busy machine keeps.
fn plan() -> Plan {
    Plan { heartbeat: 5_000, fence: 20_000, seize: 60_000, ..Plan::default() }
}

/// Two checks at once, each by a mount of its own; the first host has [`Side::A`].
struct Pair {
    bench: Bench,
    checks: Vec<Child>,
}

impl Pair {
    /// The share goes wrong once the first host waits, past its check of itself.
    fn begin(plan: &Plan, go_wrong: impl FnOnce(&Share)) -> Self {
        let mut pair = Self { bench: Bench::new(plan), checks: Vec::new() };
        pair.start(NODES[0]);
        pair.wait_for("the first host to wait", |name| name == ".edge.peer");
        go_wrong(&pair.bench.share);
        pair.start(NODES[1]);
        pair
    }

    fn start(&mut self, node: &str) {
        let mut check = self.bench.site().command_at(node, "check");
        check.arg("--peer").arg("--datadirpath").arg(self.bench.share.point(Bench::side_of(node)));
        check.args(["--node", node]).stdout(Stdio::piped());
        let check = check.spawn().expect("the agent can be run");
        guard::started(check.id());
        self.checks.push(check);
    }

    /// Waits until such a file stands in the folder.
    fn wait_for(&self, what: &str, is_it: impl Fn(&str) -> bool) {
        self.bench
            .site()
            .wait(what, PATIENCE, |_| self.names().iter().any(|it| is_it(it)).then_some(()));
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.bench.share.folder()).expect("the folder can be listed");
        names.filter_map(|name| name.ok()?.file_name().into_string().ok()).collect()
    }

    /// What each said, the first host first.
    fn end(&mut self) -> Vec<(i32, String)> {
        let ended = self.checks.drain(..).map(|check| {
            let pid = check.id();
            let Output { status, stdout, .. } = check.wait_with_output().expect("it ends");
            guard::ended(pid);
            (status.code().unwrap_or(-1), String::from_utf8_lossy(&stdout).into_owned())
        });
        let said: Vec<_> = ended.collect();
        let left: Vec<_> =
            self.names().into_iter().filter(|it| it.starts_with(".edge.peer")).collect();
        assert_eq!(left, Vec::<String>::new(), "nothing is left behind");
        said
    }

    /// Both end with this code, and say all of this, and the same.
    fn check(&mut self, code: i32, parts: &[&str]) {
        let said = self.end();
        for (found, text) in &said {
            assert_eq!(*found, code, "{text}");
            for part in parts {
                assert!(text.contains(part), "{part} in {text}");
            }
            assert_eq!(text.contains(CERTIFIED), code == 0, "{text}");
        }
        let [first, second] = [&said[0].1, &said[1].1].map(|text| {
            let lines = text.lines().skip_while(|line| !line.contains("peer: class "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(first, second, "both say the same");
    }

    /// Both end before their time, the first host with one of these, the second with the other.
    fn check_ended(&mut self, parts: [&str; 2]) {
        for ((code, text), part) in self.end().iter().zip(parts) {
            assert_eq!(*code, TEMPORARY, "{text}");
            assert!(text.contains(part) && !text.contains("holds between"), "{part} in {text}");
        }
    }
}

/// One fault, and what both say of it.
fn judged(code: i32, parts: &[&str], go_wrong: impl FnOnce(&Share)) {
    Pair::begin(&plan(), go_wrong).check(code, parts);
}

/// Nothing is wrong.
pub(crate) fn a_good_share_is_certified() {
    let parts = [
        "pass  peer: freshness: a page that one rewrites is seen and answered by the other",
        "pass  peer: lock: refused while the first host had it, granted at most",
        "pass  peer: lock: refused while the second host had it, granted at most",
        "pass  peer: create: 256 names",
        "pass  peer: names: one that the first host made",
        "pass  peer: names: one that the second host made",
        "pass  peer: killed: the lock of a killed process of the first host comes free",
        "pass  peer: killed: the lock of a killed process of the second host comes free",
        "pass  peer: late: the first host slept through",
        "pass  peer: late: the second host slept through",
        "a killed master is followed after three heartbeats of silence",
    ];
    judged(0, &parts, |_| {});
}

/// Older than a quarter of the configured lease.
pub(crate) fn a_page_that_is_seen_late_fails() {
    let plan = Plan { heartbeat: 1_000, fence: 4_000, ..plan() };
    let parts =
        ["fail  peer: freshness: ", "a quarter of ha.fence_ms, 1000 ms here", NOT_CERTIFIED];
    let mut pair = Pair::begin(&plan, |share| {
        share.hide_only("page.");
        share.hide_bytes(Side::B, Duration::from_secs(2));
    });
    pair.check(CONFIGURATION, &parts);
}

/// Each excludes only the processes of its own host.
pub(crate) fn a_lock_that_is_granted_to_both_fails() {
    let parts = [
        "fail  peer: lock: granted to both hosts while the first host had it",
        "fail  peer: lock: granted to both hosts while the second host had it",
        NOT_CERTIFIED,
    ];
    judged(CONFIGURATION, &parts, Share::grant_locks_to_both);
}

/// It works, slowly.
pub(crate) fn a_lock_that_never_comes_free_leaves_silence() {
    let parts = [
        "warn  peer: lock: refused while the first host had it, and for 10 s after it was given up",
        "pass  peer: lock: refused while the second host had it",
        "warn  peer: killed: the lock of a killed process of the first host stays taken",
        "pass  peer: killed: the lock of a killed process of the second host comes free",
        "every takeover waits for ha.seize_ms of silence",
    ];
    judged(0, &parts, |share| share.keep_all_locks(Side::A));
}

/// What has nothing to do with locks is tried all the same.
pub(crate) fn a_host_without_locks_fails_and_all_else_is_tried() {
    let parts = [
        "fail  peer: lock: the second host cannot try for it (no locks available)",
        "pass  peer: create: ",
        "pass  peer: late: the second host slept through",
        NOT_CERTIFIED,
    ];
    judged(CONFIGURATION, &parts, |share| fail_locks(share, libc::ENOLCK));
}

/// What may pass by itself.
pub(crate) fn a_host_whose_locks_fail_for_now_is_not_certified() {
    let parts = [
        "fail  peer: lock: the second host cannot try for it (input/output error)",
        "pass  peer: create: ",
        "was not shown to hold: see above, and run it again",
    ];
    judged(TEMPORARY, &parts, |share| fail_locks(share, libc::EIO));
}

fn fail_locks(share: &Share, errno: i32) {
    share.impose(Side::B, Fault::of(&[Kind::Lock], Deed::Fail(errno)).below(SCRATCH));
}

/// What a host does not see yet it is given, too.
pub(crate) fn a_name_that_is_given_to_both_fails() {
    let parts =
        ["fail  peer: create: of 256 names", "were given to both and 0 to none", NOT_CERTIFIED];
    judged(CONFIGURATION, &parts, |share| {
        share.hide_only("claim.");
        share.hide_names(Side::B, Duration::from_millis(300));
        share.give_hidden_names();
    });
}

/// As NFS does it, but for a shorter time: in one direction alone, which is told.
pub(crate) fn a_name_that_is_hidden_for_a_while_is_told() {
    let mut pair = Pair::begin(&plan(), |share| hide_a_name(share, 3));
    let said = pair.end();
    for (code, text) in said {
        assert_eq!(code, 0, "{text}");
        let seen_ms = |creator: &str| {
            let begin = format!("names: one that the {creator} host made");
            let line = text.lines().find(|line| line.contains(&begin)).expect("it is told");
            let number = line.split("is seen after ").nth(1).and_then(|it| it.split(' ').next());
            number.and_then(|it| it.parse::<u64>().ok()).expect("a number")
        };
        assert!(seen_ms("first") >= 3_000 && seen_ms("second") < seen_ms("first"), "{text}");
    }
}

/// Longer than a segment is waited for.
pub(crate) fn a_name_that_is_hidden_for_too_long_fails() {
    let parts = [
        "fail  peer: names: one that the first host made was unseen by the second host for 60 s",
        "pass  peer: names: one that the second host made",
        NOT_CERTIFIED,
    ];
    judged(CONFIGURATION, &parts, |share| hide_a_name(share, 70));
}

fn hide_a_name(share: &Share, seconds: u64) {
    share.hide_only(".name.");
    share.hide_names(Side::B, Duration::from_secs(seconds));
}

/// Its slots alone are seen late, by a sleeper that wakes two seconds after the claim.
pub(crate) fn a_sleeper_that_does_not_see_its_successor_fails() {
    let parts = [
        "pass  peer: freshness: ",
        "pass  peer: late: the first host slept through",
        "fail  peer: late: the second host slept through a takeover and did not see",
        NOT_CERTIFIED,
    ];
    judged(CONFIGURATION, &parts, |share| {
        share.hide_only("slots.Second");
        share.hide_bytes(Side::B, Duration::from_secs(60));
    });
}

/// It says why, and the other that it has ended.
pub(crate) fn a_host_that_cannot_write_ends_both() {
    let mut pair = Pair::begin(&plan(), |share| {
        share.impose(Side::A, Fault::of(&[Kind::Write], Deed::Fail(libc::EIO)).below(SCRATCH));
    });
    pair.check_ended(["cannot write", "the first host has ended"]);
}

/// Neither takes what it has heard so far for all.
pub(crate) fn a_host_whose_child_dies_ends_both() {
    let mut pair = Pair::begin(&plan(), |_| {});
    pair.wait_for("the hosts to meet", |name| name.starts_with(SCRATCH));
    let check = pair.checks[0].id();
    let mut tree = processes::tree(check).into_iter();
    // the one that looked at the share before is not reaped
    let is_it = |it: &processes::Process| it.parent == check && it.state != 'Z';
    let child = tree.find(is_it).expect("it has a child");
    processes::signal("KILL", &[child.pid]);
    pair.check_ended(["ended before its time", "the first host said nothing for 30 s"]);
}

/// Nobody waits for it for good: neither the other, nor its own command.
pub(crate) fn a_host_whose_share_hangs_ends_both() {
    let mut pair = Pair::begin(&plan(), |share| {
        share.impose(Side::A, Fault::of(&[Kind::Write], Deed::Hang).below(SCRATCH));
    });
    // its child has what it writes to open until the share lets it go
    pair.checks[0].wait().expect("it ends");
    pair.bench.share.heal_all();
    pair.check_ended(["no answer within 100 s", "the first host said nothing for 30 s"]);
}
