//! The console over TCP: what a token opens, and what is shut without one.

use std::fs;
use std::time::Duration;

use crate::Scene;
use crate::support::http::{Reply, ask_tcp, free_port};
use crate::support::processes;
use crate::support::site::Plan;

const LIMIT: Duration = Duration::from_secs(5);
const TOKEN: &str = "Authorization: Bearer s3cret\r\n";

fn ask(port: u16, method: &str, target: &str, headers: &str, body: &[u8]) -> Option<Reply> {
    ask_tcp(port, method, target, headers, body, LIMIT).ok()
}

#[test]
fn only_with_a_token_do_other_hosts_reach_the_console() {
    let mut scene = Scene::beside(&Plan::default());
    let port = free_port();
    scene.site.start_with("a", &["--console", &format!("0.0.0.0:{port}")]);
    let master = scene.site.wait_fenced(0);
    let log = scene.site.scratch().join("a.log");
    scene.site.wait("the refusal to be logged", 10, |_| {
        fs::read_to_string(&log).ok()?.contains("there is no token").then_some(())
    });
    assert!(ask(port, "GET", "/healthz", "", b"").is_none(), "nothing listens");

    let token = scene.site.data().join("console.token");
    fs::write(&token, "s3cret\n").expect("the token can be written");
    processes::signal("HUP", &[scene.site.pid("a")]);
    let status = |reply: Option<Reply>| reply.map(|reply| reply.status);
    scene.site.wait("the console to listen", 10, |_| {
        (status(ask(port, "GET", "/healthz", "", b"")) == Some(200)).then_some(())
    });
    let reading = br#"{"thing_key":"7t38b9dbt9","data":{"n":-1}}"#;
    for (method, target, body) in [
        ("GET", "/status.json", &b""[..]),
        ("POST", "/readings", reading),
        ("POST", "/switchover", b""),
    ] {
        let refused = ask(port, method, target, "Authorization: Basic OnM=\r\n", body);
        let refused = refused.expect("it answers");
        assert_eq!(refused.status, 401, "{method} {target}: {}", refused.text());
        assert!(refused.head.contains("WWW-Authenticate: Basic "), "{}", refused.head);
    }
    assert_eq!(status(ask(port, "GET", "/master", "", b"")), Some(200));
    assert_eq!(status(ask(port, "GET", "/status.json", TOKEN, b"")), Some(200));
    assert_eq!(status(ask(port, "POST", "/readings", TOKEN, reading)), Some(204));
    assert_eq!(status(ask(port, "POST", "/switchover", TOKEN, b"")), Some(202));
    scene.site.wait_fenced(master.term);

    fs::remove_file(&token).expect("the token is there");
    processes::signal("HUP", &[scene.site.pid("a")]);
    scene.site.wait("the console to shut", 10, |_| {
        ask(port, "GET", "/healthz", "", b"").is_none().then_some(())
    });
    assert!(!fs::read_to_string(&log).expect("a log").contains("s3cret"), "it is never logged");
}
