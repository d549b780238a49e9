//! Sites that reach their cloud through a proxy: one of Debian's, and one that does all wrong.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::proxy::{Manner, Proxy};
use crate::support::guard;
use crate::support::http::free_port;
use crate::support::left_out::leave_out;
use crate::support::producer::Producer;
use crate::support::receiver::{CLOUD_NAME, Receiver};
use crate::support::site::{Plan, Site};
use crate::{check, configure, site, wait_deliveries};

const TIMEOUT_MS: u32 = 2_000;
const READINGS_PER_SECOND: u64 = 200;

fn plan() -> Plan {
    Plan { timeout: TIMEOUT_MS, ..Plan::default() }
}

/// Whatever the proxy does, it costs neither records nor time beyond a deadline, and it is said.
#[test]
fn a_proxy_that_fails_in_every_way_loses_nothing() {
    let receiver = Receiver::start();
    let other = Receiver::start();
    let lead = Manner::Lead(receiver.address());
    let proxy = Proxy::start(lead);
    let mut site = site(&receiver, &plan(), |cloud| {
        // only the proxy knows where that is
        cloud["url"] = receiver.url_by(CLOUD_NAME).into();
        cloud["proxy"] = proxy.url().into();
        cloud["proxy_user"] = "Aladdin".into();
        cloud["proxy_password_file"] = "proxy.password".into();
    });
    fs::write(site.data().join("proxy.password"), "open sesame\n").expect("written");
    site.start_in(
        "a",
        &["--console", "off"],
        &[("https_proxy", "http://127.0.0.1:1"), ("ALL_PROXY", "http://127.0.0.1:1")],
    );
    site.wait_fenced(0);
    let producer = Producer::start(site.sockets(&["a"]), READINGS_PER_SECOND);
    for (manner, expected) in [
        (
            Manner::Say("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
            "the proxy refused: 407 proxy authentication required",
        ),
        (
            Manner::Say("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>log in</html>"),
            "the proxy sent more than its answer: 200 ok",
        ),
        (Manner::Repeat("X-Header: of an endless head\r\n"), "no HTTP spoken by the proxy"),
        (Manner::SayAndHold("HTTP/1.1 200 OK\r\nVia: "), "no answer in time from the proxy"),
        (Manner::SayAndHold("HTTP/1.1 200 OK\r\n\r\n"), "no answer in time"),
        (Manner::Say("HTTP/1.1 200 OK\r\n\r\n"), "connection closed during the TLS handshake"),
        (Manner::Say(""), "connection closed without an answer by the proxy"),
        // it leads elsewhere
        (Manner::Lead(other.address()), "certificate signed by another CA"),
    ] {
        proxy.behave(lead);
        wait_deliveries(&site, &receiver, 1, Duration::from_secs(30));
        proxy.behave(manner);
        wait_reason(&site, expected);
    }
    proxy.behave(lead);
    let sent = producer.stop();
    wait_delivered(&site, &receiver, &sent.acknowledged);
    for head in proxy.heads() {
        let begin = format!("CONNECT {CLOUD_NAME}:{} HTTP/1.1\r\n", receiver.address().port());
        let user = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
        assert!(head.starts_with(&begin) && head.contains(user), "{head}");
    }
    assert!(other.ledger().requests.is_empty(), "nothing was said to a stranger");
}

fn wait_reason(site: &Site, expected: &str) {
    site.wait(&format!("the cloud's reason to be {expected:?}"), 30, |site| {
        let status = site.status("a")?;
        status["cloud"]["reason"].as_str()?.contains(expected).then_some(())
    });
}

fn wait_delivered(site: &Site, receiver: &Receiver, acknowledged: &[u64]) {
    let delivered = receiver.wait(Duration::from_secs(60), |ledger| {
        ledger.missing(acknowledged).is_empty().then_some(())
    });
    assert!(delivered.is_some() && !acknowledged.is_empty(), "{}", site.report());
    assert!(receiver.ledger().faults.is_empty(), "{:#?}", receiver.ledger().faults);
    assert!(site.thread_faults().is_empty(), "{:?}", site.thread_faults());
}

/// tinyproxy in the foreground.
struct Tinyproxy {
    child: Child,
    port: u16,
}

impl Tinyproxy {
    /// Lets in this user, to this port of the cloud; `None`: it is not installed.
    fn start(site: &Site, user: &str, cloud_port: u16) -> Option<Self> {
        let port = free_port();
        let path = site.scratch().join("tinyproxy.conf");
        let text = format!(
            "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n\
             BasicAuth {user}\nConnectPort {cloud_port}\n"
        );
        fs::write(&path, text).expect("written");
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().ok()?;
        guard::started(child.id());
        site.wait("tinyproxy to listen", 20, |_| {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
        });
        Some(Self { child, port })
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        guard::ended(self.child.id());
    }
}

#[test]
fn a_site_goes_through_tinyproxy_and_check_tells_of_it() {
    let receiver = Receiver::start();
    let mut site = site(&receiver, &plan(), |_| {});
    let port = receiver.address().port();
    let Some(proxy) = Tinyproxy::start(&site, "plant secret", port) else {
        return leave_out("tinyproxy is not installed");
    };
    let url = format!("http://127.0.0.1:{}", proxy.port);
    configure(&site, |cloud| cloud["proxy"] = url.into());
    let (code, text) = check(&site);
    let refused = "fail  proxy: the proxy refused: 407 proxy authentication required (127.0.0.1:";
    assert!(code == 78 && text.contains(refused), "{code} {text}");

    configure(&site, |cloud| {
        cloud["proxy_user"] = "plant".into();
        cloud["proxy_password"] = "wrong".into();
    });
    let (code, text) = check(&site);
    let refused = "fail  proxy: the proxy refused: 401 unauthorized (127.0.0.1:";
    assert!(code == 78 && text.contains(refused), "{code} {text}");
    assert!(text.contains("mend cloud.proxy_user and its password"), "{text}");
    assert!(!text.contains("wrong"), "{text}");

    configure(&site, |cloud| cloud["proxy_password"] = "secret".into());
    let (code, text) = check(&site);
    let led = format!("pass  proxy: the way to localhost:{port} goes through it: 200 connection");
    assert!(code == 0 && text.contains(&led), "{code} {text}");
    assert!(text.contains("took a heartbeat of "), "{text}");

    site.start("a");
    site.wait_fenced(0);
    let producer = Producer::start(site.sockets(&["a"]), READINGS_PER_SECOND);
    wait_deliveries(&site, &receiver, 5, Duration::from_secs(30));
    let sent = producer.stop();
    wait_delivered(&site, &receiver, &sent.acknowledged);

    drop(proxy);
    let (code, text) = check(&site);
    let gone = "fail  proxy: connection refused, nothing listens at the proxy 127.0.0.1:";
    assert!(code == 75 && text.contains(gone), "{code} {text}");
}
