//! What an init system and a container rely on: notifications, the exit code of `status --local`,
//! a token that is made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::Scene;
use crate::support::http::{ask_tcp, free_port};
use crate::support::processes;
use crate::support::site::Plan;

const LIMIT: Duration = Duration::from_secs(5);

/// Messages that come until one begins so.
fn until(socket: &UnixDatagram, begins: &str) -> Vec<String> {
    let mut got = Vec::new();
    let mut message = [0; 1_024];
    loop {
        let length = socket.recv(&mut message).unwrap_or_else(|error| {
            panic!("no message that begins with {begins:?}: {error}; before: {got:?}")
        });
        got.push(String::from_utf8_lossy(&message[..length]).into_owned());
        if got.last().is_some_and(|last| last.starts_with(begins)) {
            return got;
        }
    }
}

#[test]
fn the_init_system_is_told_what_the_agent_does_and_that_it_is_alive() {
    let mut scene = Scene::beside(&Plan::default());
    let path = scene.site.scratch().join("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let name = path.to_str().expect("a path");
    let variables = [("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", "400000")];
    scene.site.start_in("a", &[], &variables);
    assert_eq!(until(&socket, "READY=1").len(), 1, "nothing goes before it");
    until(&socket, "STATUS=master of term 1");
    let begin = Instant::now();
    for _ in 0..5 {
        until(&socket, "WATCHDOG=1");
    }
    assert!(begin.elapsed() >= Duration::from_millis(600), "twice in 400 ms is enough");
    processes::signal("STOP", &[scene.site.pid("a")]);
    std::thread::sleep(Duration::from_millis(500));
    socket.set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let mut message = [0; 64];
    while socket.recv(&mut message).is_ok_and(|_| begin.elapsed() < Duration::from_secs(20)) {}
    assert!(begin.elapsed() < Duration::from_secs(20), "a frozen agent is not alive");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    processes::signal("CONT", &[scene.site.pid("a")]);
    until(&socket, "WATCHDOG=1");
    assert!(scene.site.stop("a").0.success());
    until(&socket, "STOPPING=1");
}

#[test]
fn the_local_status_tells_by_its_exit_code_whether_an_agent_runs() {
    let mut scene = Scene::beside(&Plan::default());
    scene.site.start("a");
    scene.site.wait_fenced(0);
    assert!(scene.site.run_at("a", "status", &["--local"]).status.success());
    processes::signal("STOP", &[scene.site.pid("a")]);
    let hung = scene.site.run_at("a", "status", &["--local"]);
    processes::signal("CONT", &[scene.site.pid("a")]);
    assert_eq!(hung.status.code(), Some(75), "{hung:?}");
    assert!(scene.site.stop("a").0.success());
    let gone = scene.site.run_at("a", "status", &["--local"]);
    assert_eq!(gone.status.code(), Some(69), "{gone:?}");
    let data = scene.site.data();
    let share = ["--datadirpath", data.to_str().expect("a path")];
    assert!(scene.site.run_at("a", "status", &share).status.success(), "the share tells it");
}

#[test]
fn a_token_is_made_for_a_console_that_others_reach() {
    let mut scene = Scene::beside(&Plan::default());
    let port = free_port();
    let file = scene.site.scratch().join("made.token");
    let (console, path) = (format!("0.0.0.0:{port}"), file.to_str().expect("a path").to_owned());
    let arguments = ["--console", &console, "--console-token-file", &path];
    scene.site.start_with("a", &arguments);
    scene.site.wait_fenced(0);
    let token = fs::read_to_string(&file).expect("it was made");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let status = |headers: &str| {
        ask_tcp(port, "GET", "/status.json", headers, b"", LIMIT).ok().map(|reply| reply.status)
    };
    let shown = |token: &str| format!("Authorization: Bearer {}\r\n", token.trim());
    assert_eq!(status(""), Some(401));
    assert_eq!(status(&shown(&token)), Some(200));
    let log = scene.site.log_lines("a", "a token was made");
    assert!(log.len() == 1 && log[0].contains(&path), "{log:?}");
    let whole = fs::read_to_string(scene.site.scratch().join("a.log")).expect("a log");
    assert!(!whole.contains(token.trim()), "it is never logged");

    fs::write(scene.site.data().join("console.token"), "s3cret\n").expect("written");
    scene.site.reload("a");
    scene
        .site
        .wait("the site's token", 10, |_| (status(&shown("s3cret")) == Some(200)).then_some(()));
    assert_eq!(status(&shown(&token)), Some(401), "the site's own goes before");
}
