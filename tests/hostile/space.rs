//! A disk that is full or read-only, under a running site and before one starts.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apart::{has_own_mounts, mount, unmount};
use crate::scene::{NODES, PATIENCE, Scene};
use crate::support::http::ask_unix;
use crate::support::receiver::Behaviour;
use crate::support::site::Plan;
use crate::support::{SECRET_KEY, THING};

/// Moves the data directory of a scene to a small file system of its own.
fn on_small_disk(scene: &Scene) {
    let (data, aside) = (scene.site.data(), scene.site.scratch().join("aside"));
    fs::rename(&data, &aside).expect("it can be moved");
    fs::create_dir(&data).expect("it can be made");
    mount(&["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"], &data);
    let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp");
}

/// Fills a file system to the last byte; deleting the file empties it again.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::options().create(true).append(true).open(&path).expect("a name");
    let chunk = vec![0; 64 << 10];
    for size in [64 << 10, 4 << 10, 512, 1] {
        while file.write_all(&chunk[..size]).is_ok() {}
    }
    path
}

/// A quarter of a megabyte of readings; whoever posts them does not wait for long.
fn flood(scene: &Scene, node: &str) -> Option<u16> {
    let line =
        format!("{{\"thing_key\":\"{THING}\",\"data\":{{\"flood\":\"{}\"}}}}\n", "x".repeat(900));
    let body = line.repeat(250);
    let limit = Duration::from_millis(300);
    ask_unix(&scene.site.socket(node), "POST", "/readings", body.as_bytes(), limit)
        .ok()
        .map(|reply| reply.status)
}

#[test]
fn a_full_disk_stops_intake_and_nothing_else() {
    if !has_own_mounts("space::a_full_disk_stops_intake_and_nothing_else") {
        return;
    }
    let mut scene = Scene::new(&Plan::default());
    on_small_disk(&scene);
    scene.start();
    scene.feed(2);
    scene.wait_delivered();
    scene.receiver.behave(Behaviour::HangUp);
    scene.feed(8);
    let before = scene.site.wait_fenced(0);
    let filler = fill(&scene.site.data());
    // what cannot be written waits in memory; then producers are told to come again
    scene.site.wait("a producer to be told to come again", PATIENCE, |_| {
        let answer = flood(&scene, &before.node);
        assert!(answer.is_none_or(|code| [204, 429, 503].contains(&code)), "{answer:?}");
        // whatever became free meanwhile
        fill(&scene.site.data());
        (answer == Some(429)).then_some(())
    });
    let status = scene.wait_condition("share-failing");
    let fault = status["share"]["fault"].to_string();
    assert!(fault.contains("no space left on device (free space"), "{fault}");

    scene.receiver.guard();
    scene.reload();
    scene.wait_delivered();
    let now = scene.site.wait_fenced(0);
    assert_eq!((now.node.as_str(), now.term), (before.node.as_str(), before.term));

    fill(&scene.site.data());
    scene.site.stop(&before.node);
    let next = scene.site.wait_fenced(before.term);
    scene.site.start(&before.node);
    scene.site.wait_standby(&before.node);
    fs::remove_file(filler).expect("it is there");
    scene.feed(4);
    scene.wait_delivered();
    scene.wait_calm();
    scene.note_keepers();
    scene.hand_over(&next);
    scene.judge();
    scene.stop();
    unmount(&scene.site.data());
}

/// Puts a read-only view of the data directory over it; the files that are open stay as they
/// are, as on a disk that became read-only by itself.
fn make_read_only(scene: &Scene) {
    let (data, view) = (scene.site.data(), scene.site.scratch().join("view"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    drop(fs::create_dir(&view));
    mount(&["--bind", &text(&data)], &view);
    mount(&["-o", "remount,bind,ro"], &view);
    mount(&["--bind", &text(&view)], &data);
}

fn make_writable(scene: &Scene) {
    unmount(&scene.site.data());
    unmount(&scene.site.scratch().join("view"));
}

fn wait_read_only(scene: &Scene) {
    for node in NODES {
        scene.site.wait("a node to say that it cannot write", PATIENCE, |site| {
            let status = site.status(node)?;
            let fault = status["share"]["fault"].as_str()?.to_owned();
            let shown = status["conditions"].to_string().contains("share-missing");
            let says = fault.contains("read-only file system (mount it read-write)");
            (shown && says).then_some(())
        });
    }
}

#[test]
fn a_read_only_disk_is_said_and_waited_for() {
    if !has_own_mounts("space::a_read_only_disk_is_said_and_waited_for") {
        return;
    }
    let mut scene = Scene::new(&Plan::default());
    on_small_disk(&scene);
    scene.start();
    scene.feed(4);
    make_read_only(&scene);
    wait_read_only(&scene);
    for node in NODES {
        assert!(!scene.post_to(node), "nothing can be written");
    }
    make_writable(&scene);
    scene.wait_calm();
    scene.feed(4);
    scene.wait_delivered();

    scene.stop();
    make_read_only(&scene);
    for node in NODES {
        scene.site.start(node);
    }
    wait_read_only(&scene);
    make_writable(&scene);
    let master = scene.wait_calm();
    scene.note_keepers();
    scene.feed(4);
    scene.hand_over(&master);
    scene.judge();
    assert!(
        fs::read_to_string(scene.site.data().join("secret.key"))
            .expect("there")
            .contains(SECRET_KEY)
    );
    scene.stop();
    unmount(&scene.site.data());
}
