//! Standard output, standard error and the system's log: closed, full, or gone.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::apart::{has_own_mounts, mount};
use crate::lone::Lone;
use crate::scene::{NODES, PATIENCE, Scene};
use crate::support::site::Plan;

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Each answer is a line in the log at level debug.
fn make_it_say(agent: &Lone, lines: usize) {
    for _ in 0..lines {
        let reply = agent.ask("GET", "/healthz").expect("it answers");
        assert_eq!(reply.status, 200);
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_its_gaps_are_told() {
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    let mut start = command(&Lone::words(&scene, node));
    start.stderr(Stdio::piped());
    let mut agent = Lone::start(&scene, node, start);
    agent.wait_master();
    // a pipe holds 64 KiB
    make_it_say(&agent, 1_500);
    assert!(scene.post_to(node), "readings are taken all the while");
    scene.wait_delivered();
    let log = agent.child.stderr.take().expect("it is piped");
    let (told, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    let end = Instant::now() + Duration::from_secs(PATIENCE);
    let dropped = loop {
        make_it_say(&agent, 1);
        let found = lines.try_iter().find(|line| line.contains("lines were dropped"));
        if let Some(line) = found {
            break line;
        }
        assert!(Instant::now() < end, "nothing is told of the lines that were dropped");
    };
    assert!(dropped.contains("nobody took them"), "{dropped}");
    // gone for good
    drop(lines);
    make_it_say(&agent, 3);
    reader.join().expect("it ends");
    make_it_say(&agent, 100);
    assert!(scene.post_to(node), "readings are taken all the while");
    scene.wait_delivered();
    agent.stop();
}

#[test]
fn streams_that_are_closed_or_full_from_the_start_hold_up_nothing() {
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    let words = Lone::words(&scene, node);
    for streams in ["<&- >&- 2>&-", ">/dev/full 2>&1", "2>&-", "<&-", "2</dev/null"] {
        let mut start = Command::new("sh");
        start.arg("-c").arg(format!("exec \"$@\" {streams}")).arg("sh").args(&words);
        let mut agent = Lone::start(&scene, node, start);
        agent.wait_master();
        make_it_say(&agent, 20);
        assert!(scene.post_to(node), "{streams}");
        scene.wait_delivered();
        agent.stop();
    }
    scene.judge();
}

#[test]
fn records_for_a_standard_output_that_nobody_reads_wait() {
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    let config = json!({ "site": "s", "cloud": { "kind": "stdout", "timeout_ms": 500,
        "batch_age_ms_max": 10 } });
    let path = scene.site.scratch().join("lines.json");
    fs::write(&path, config.to_string()).expect("room");
    let mut start = command(&Lone::words(&scene, node));
    start.arg("--config").arg(&path).stdout(Stdio::piped());
    let mut agent = Lone::start(&scene, node, start);
    agent.wait_master();
    // a pipe holds 64 KiB
    for _ in 0..100 {
        assert!(scene.post_to(node));
    }
    agent.wait("the cloud to be unreachable", |status| {
        status["conditions"].to_string().contains("cloud-unreachable").then_some(())
    });
    assert!(scene.post_to(node), "readings are taken all the while");
    let output = agent.child.stdout.take().expect("it is piped");
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        drop({ output }.read_to_end(&mut text));
        text
    });
    agent.wait("all to be written", |status| {
        let lane = &status["journal"][0];
        let calm = !status["conditions"].to_string().contains("cloud-unreachable");
        (lane["waiting"] == 0 && calm).then_some(())
    });
    agent.stop();
    let text = reader.join().expect("it ends");
    let numbers = crate::scene::numbers_in(&text);
    assert_eq!(numbers, (0..101 * 20).collect(), "each of them came");
}

/// A `/dev` of our own: in this mount namespace alone.
fn own_devices(scratch: &Path) {
    let folder = scratch.join("dev");
    fs::create_dir(&folder).expect("room");
    mount(&["-t", "tmpfs", "tmpfs"], &folder);
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let place = folder.join(name);
        File::create(&place).expect("room");
        mount(&["--bind", &format!("/dev/{name}")], &place);
    }
    mount(&["--rbind", folder.to_str().expect("UTF-8")], Path::new("/dev"));
}

/// Makes the agent speak until a line with these words comes; gives the lines before it too.
fn hear(agent: &Lone, log: &UnixDatagram, words: &str) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(PATIENCE);
    let mut lines = Vec::new();
    let mut room = [0; 4_096];
    loop {
        while let Ok(length) = log.recv(&mut room) {
            let line = String::from_utf8_lossy(&room[..length]).into_owned();
            let found = line.contains(words);
            lines.push(line);
            if found {
                return lines;
            }
        }
        assert!(Instant::now() < end, "no line with {words}: {lines:?}");
        make_it_say(agent, 1);
    }
}

#[test]
fn a_system_log_that_stops_fills_and_goes_holds_up_nothing() {
    if !has_own_mounts("outputs::a_system_log_that_stops_fills_and_goes_holds_up_nothing") {
        return;
    }
    let scene = Scene::new(&Plan::default());
    let node = NODES[0];
    own_devices(scene.site.scratch());
    let open = || {
        let log = UnixDatagram::bind("/dev/log").expect("the place is free");
        log.set_nonblocking(true).expect("ours");
        log
    };
    let log = open();
    let mut start = command(&Lone::words(&scene, node));
    start.args(["--log", "syslog"]);
    let mut agent = Lone::start(&scene, node, start);
    agent.wait_master();
    let lines = hear(&agent, &log, "started, version");
    let begin = format!("<30>edge-agent[{}]: INFO ", agent.child.id());
    assert!(lines.iter().any(|line| line.starts_with(&begin)), "{lines:?}");
    // the reader stops: its queue fills, and what does not fit is dropped
    make_it_say(&agent, 1_000);
    assert!(scene.post_to(node), "readings are taken all the while");
    hear(&agent, &log, "lines were dropped: nobody took them");
    // it goes, and its place with it
    drop(log);
    make_it_say(&agent, 20);
    fs::remove_file("/dev/log").expect("it is there");
    make_it_say(&agent, 20);
    assert!(scene.post_to(node), "readings are taken all the while");
    let log = open();
    let lines = hear(&agent, &log, "lines were dropped: nobody took them");
    let last = lines.last().expect("there is one");
    let told = last.split(' ').find_map(|word| word.parse::<u32>().ok());
    assert!(told >= Some(40), "{last}");
    scene.wait_delivered();
    agent.stop();
}
