//! What mounts are like, what `check` says of them, and mounts that come late.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::advice;
use crate::host::{Link, MOUNT};
use crate::scene::{NODES, SERVER, Scene, event, pause};
use crate::server::{EXPORT, PASSWORD, Share, USER};

/// Says what `check` finds on this node's host; gives exit code and text.
fn check_at(scene: &Scene, title: &str) -> (Option<i32>, String) {
    let data = format!("{MOUNT}/{}", scene.folder);
    let mut check = scene.site.command_at(NODES[0], "check");
    let output = check.args(["--datadirpath", &data]).output().expect("the agent runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("CHECK {}: {title}: exit {:?}", scene.share.name(), output.status.code());
    text.lines().chain(errors.lines()).for_each(|line| println!("CHECK     {line}"));
    (output.status.code(), text)
}

/// `check` on each kind of mount: its judgement is that of the real kernel's options.
pub(crate) fn checked(scene: &mut Scene) {
    let lease = match scene.share {
        Share::Nfs { lease_s: 90, version } if version != "3" => Some("90 to 180 s"),
        Share::Nfs { .. } | Share::Smb { .. } => None,
    };
    // options, words that must be there, words that must not
    let tries: &[(&str, &[&str], &[&str])] = match scene.share {
        Share::Nfs { version: "3", .. } => &[
            ("", &["class doubtful", "NFS 3"], &["fail  mount"]),
            (",nolock", &["fail  mount", "nolock"], &[]),
        ],
        Share::Nfs { .. } => &[
            ("", &["class nfs4"], &["soft", "recover"]),
            (",soft", &["class nfs4", "with soft"], &[]),
            (",nolock", &["class nfs4"], &["nolock"]),
        ],
        Share::Smb { .. } => &[
            ("", &["class doubtful", "closetimeo"], &["file_mode", "serverino", "vers="]),
            (",nolease,closetimeo=0", &["class doubtful"], &["closetimeo"]),
            (",noserverino", &["without serverino"], &[]),
            (",nobrl", &["fail  mount", "nobrl"], &[]),
            (",file_mode=0644", &["file_mode=0600"], &[]),
            (",vers=2.1", &["vers=3.1.1"], &[]),
        ],
    };
    for (options, wanted, unwanted) in tries {
        scene.host(NODES[0]).mount(scene.share, options);
        println!("CHECK {}: {}", scene.share.name(), scene.host(NODES[0]).mounted());
        let (_, text) = check_at(scene, &format!("mounted with {options:?}"));
        let missing: Vec<_> = wanted.iter().filter(|word| !text.contains(**word)).collect();
        let extra: Vec<_> = unwanted.iter().filter(|word| text.contains(**word)).collect();
        let text =
            format!("{options:?}: check says {wanted:?}; not said {missing:?}, but {extra:?}");
        scene.check(missing.is_empty() && extra.is_empty(), &text);
        scene.host(NODES[0]).run(&format!("umount {MOUNT}"));
    }
    scene.mount();
    let (code, text) = check_at(scene, "mounted as in the other cells");
    scene.check(code == Some(0), "check ends with 0");
    let said = lease.is_none_or(|words| text.contains(words));
    let right = lease.is_some() || !text.contains("lease is");
    scene.check(said && right, "check knows the server's lease");
    scene.start(&NODES);
}

/// `check --peer` on both hosts at once: the share between them, as the kernel's clients have it.
pub(crate) fn certified(scene: &mut Scene) {
    scene.mount();
    let data = format!("{MOUNT}/{}", scene.folder);
    let both = NODES.map(|node| {
        let mut check = scene.site.command_at(node, "check");
        check.args(["--peer", "--datadirpath", &data, "--node", node]).stdout(Stdio::piped());
        check.spawn().expect("the agent runs")
    });
    for (node, child) in NODES.iter().zip(both) {
        let output = child.wait_with_output().expect("it ends");
        let text = String::from_utf8_lossy(&output.stdout);
        println!(
            "CHECK {}: with a peer, at {node}: exit {:?}",
            scene.share.name(),
            output.status.code()
        );
        text.lines()
            .filter(|line| line.contains("peer:"))
            .for_each(|line| println!("CHECK     {line}"));
        let word = if scene.share.is_unsafe() {
            "granted to both hosts"
        } else {
            "holds between these two hosts"
        };
        scene.check(text.contains(word), &format!("{node}: check says {word}"));
    }
    scene.start(&NODES);
}

/// The network is not there when the host starts: the mount hangs, the agent runs and waits,
/// makes no site of the empty mount point, and goes on once the share is mounted.
pub(crate) fn late_share(scene: &mut Scene) {
    let id = site_id(scene);
    for node in NODES {
        scene.host(node).prepare(scene.share);
        scene.cut(node, &[Link::Storage]);
    }
    let lines: Vec<_> = NODES
        .iter()
        .map(|node| scene.host(node).begin(&retried(&scene.share.mount_line(""))))
        .collect();
    for node in NODES {
        scene.site.start_in(node, &["--console", "off"], &[("EDGE_SITE", &id)]);
    }
    scene.produce(&NODES);
    pause(late_seconds());
    for node in NODES {
        let status = scene.site.status(node).unwrap_or_default();
        let missing = status["conditions"].to_string().contains("share-missing");
        let standby = status["role"] == "standby";
        scene.check(missing && standby, &format!("{node} waits and says share-missing"));
    }
    let made = fs::read_dir(MOUNT).map_or(0, Iterator::count);
    scene.check(made == 0, &format!("{made} files were made in the empty mount point"));
    for node in NODES {
        scene.host(node).heal(Link::Storage);
    }
    for mut line in lines {
        let ended = line.wait().expect("it is ours");
        scene.check(ended.success(), "the share was mounted in the end");
    }
    scene.wait_recovery(&NODES, event());
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

/// How late the share is: `late=SECONDS` on the kernel's command line.
fn late_seconds() -> u64 {
    let line = fs::read_to_string("/proc/cmdline").expect("the kernel's command line");
    let word = line.split_whitespace().find_map(|word| word.strip_prefix("late="));
    word.and_then(|seconds| seconds.parse().ok()).expect("it says how late the share is")
}

/// A mount that is tried until the network is there.
fn retried(line: &str) -> String {
    format!("until {line}; do :; done")
}

fn site_id(scene: &Scene) -> String {
    let mut status = scene.site.command_at(SERVER, "status");
    let data = format!("{EXPORT}/{}", scene.folder);
    let output = status.args(["--json", "--datadirpath", &data]).output().expect("the agent runs");
    let status: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("status --json prints JSON");
    status["site_id"].as_str().expect("it names the site").to_owned()
}

/// A mount line as guides give it: everything belongs to root, the service cannot work. What
/// `check` says mends it does.
pub(crate) fn guide_mount(scene: &mut Scene) {
    let line = format!(
        "mount -t cifs {} {MOUNT} -o username=edge-agent,password={PASSWORD},domain=WORKGROUP",
        advice::mount("cifs").device
    );
    scene.host(NODES[0]).run(&line);
    let (code, text) = check_at(scene, "mounted as in guides");
    scene.check(code == Some(78), &format!("check ends with {code:?}, 78 expected"));
    let remedy = format!("uid={USER},forceuid");
    scene.check(text.contains(&remedy), &format!("check says {remedy}"));
    scene.site.start(NODES[0]);
    pause(5);
    let status = scene.site.status(NODES[0]).unwrap_or_default();
    scene.say("NOTE", &format!("the agent says {} {}", status["role"], status["conditions"]));
    scene.site.stop(NODES[0]);
    scene.host(NODES[0]).run(&format!("umount {MOUNT}"));
    scene.host(NODES[0]).run(&format!("{line},{remedy}"));
    let (code, _) = check_at(scene, "mounted with what check said");
    scene.check(code == Some(0), "with what it said, check ends with 0");
    scene.host(NODES[1]).mount(scene.share, "");
    scene.start(&NODES);
}

/// The server takes root for nobody, here as in all cells: the service's own user does not mind.
pub(crate) fn root_squash(scene: &mut Scene) {
    scene.mount();
    let foreign = scene.host(NODES[0]).try_run(&format!("touch {MOUNT}/{}/root", scene.folder));
    scene.check(foreign.is_err(), "root may write nothing");
    let (code, _) = check_at(scene, "root squashed, as the service's user");
    scene.check(code == Some(0), "check ends with 0");
    let data = format!("{MOUNT}/{}", scene.folder);
    let text = scene.host(NODES[0]).try_run(&format!("/edge-agent check --datadirpath {data}"));
    let text = text.unwrap_or_else(|error| error);
    println!("CHECK {}: root squashed, as root: {text}", scene.share.name());
    let begin = Instant::now();
    scene.start(&NODES);
    scene.check(begin.elapsed() < Duration::from_secs(120), "a site runs under root_squash");
    let foreign = format!("{EXPORT}/{}/nodes", scene.folder);
    let owned = fs::read_dir(foreign).into_iter().flatten().flatten().all(|entry| {
        use std::os::unix::fs::MetadataExt;
        entry.metadata().is_ok_and(|seen| seen.uid() == USER)
    });
    scene.check(owned, "what it made belongs to the service's user");
}
