//! `check --peer`, by two processes at once beside a running site.

use std::fs;
use std::process::{Child, Output, Stdio};

use crate::Scene;
use crate::support::site::{Plan, Site};

fn begin(site: &Site, node: &str) -> Child {
    let mut command = site.command("check");
    command.arg("--peer").arg("--datadirpath").arg(site.data()).args(["--node", node]);
    command.stdout(Stdio::piped()).spawn().expect("the agent can be run")
}

fn end(child: Child) -> (i32, String) {
    let Output { status, stdout, .. } = child.wait_with_output().expect("it ends");
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&stdout).into_owned())
}

#[test]
fn two_hosts_certify_a_share_without_disturbing_its_site() {
    // what is seen late is judged by these: times that a busy machine keeps
    let plan = Plan { heartbeat: 1_000, fence: 8_000, ..Plan::default() };
    let mut scene = Scene::beside(&plan);
    scene.start(&["a"]);
    let producer = scene.produce(&["a"]);
    scene.wait_load(&producer);
    let before = scene.site.wait_fenced(0);
    // one that came alone and was killed while it waited
    let mut alone = begin(&scene.site, "e");
    let meeting = scene.site.data().join(".edge.peer");
    scene.site.wait("somebody to wait", 10, |_| meeting.exists().then_some(()));
    alone.kill().expect("it runs");
    alone.wait().expect("it ended");

    let both = [begin(&scene.site, "c"), begin(&scene.site, "d")].map(end);
    for (code, text) in &both {
        assert_eq!(*code, 0, "{text}");
        for part in [
            "peer: class local here",
            "peer: freshness: ",
            "peer: lock: refused while the first host had it",
            "peer: lock: refused while the second host had it",
            "peer: create: 256 names",
            "peer: names: one that the first host made",
            "peer: names: one that the second host made",
            "peer: killed: the lock of a killed process of the first host comes free",
            "peer: killed: the lock of a killed process of the second host comes free",
            "peer: late: the first host slept through",
            "peer: late: the second host slept through",
            "peer: share class local holds between these two hosts",
        ] {
            assert!(text.contains(&format!("pass  {part}")), "{part} in {text}");
        }
    }
    let is_first = |text: &str| text.contains("this is the first host");
    assert_ne!(is_first(&both[0].1), is_first(&both[1].1), "one is the first");
    let alone = "is a file system of this host alone: another host that has the same disk mounted";
    assert!(both.iter().any(|(_, text)| text.contains(alone)), "whoever waits is told: {both:?}");
    assert_eq!(scene.site.masters(), [before]);
    scene.finish(producer);
    let names = fs::read_dir(scene.site.data()).expect("it can be listed");
    let names = names.map(|name| name.expect("an entry").file_name().into_string().expect("ours"));
    let left: Vec<_> = names.filter(|name| name.starts_with(".edge.peer")).collect();
    assert_eq!(left, Vec::<String>::new(), "nothing is left behind");
}
