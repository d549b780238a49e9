use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use super::*;

const TIMEOUT_MS: u32 = 1_600;

fn lease() -> Lease {
    Lease::new(boottime_ms()).expect("a page")
}

fn host(address: SocketAddr) -> Host {
    Host { name: address.ip().to_string(), port: address.port() }
}

/// A listener whose backlog is full: what is sent to it is dropped, as by a firewall.
struct Hole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Hole {
    fn new(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let limit = Duration::from_millis(100);
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, limit) {
            queued.push(stream);
            assert!(queued.len() < 100_000, "a backlog has an end");
        }
        Self { address, _listener: listener, _queued: queued }
    }
}

/// An address where nothing listens.
fn refusing(ip: &str) -> SocketAddr {
    TcpListener::bind((ip, 0)).and_then(|listener| listener.local_addr()).expect("a port")
}

/// What comes of a request to a host with these addresses, each of which answers once it is
/// connected to: which one did.
fn reached(lease: &Lease, addresses: &[SocketAddr]) -> Result<SocketAddr, ErrorKind> {
    let nowhere = Host::default();
    let way = Way::new(&nowhere, None, TIMEOUT_MS, lease);
    match way.connect_to_any(addresses) {
        Ok(stream) => {
            way.answered();
            Ok(stream.peer_addr().expect("connected"))
        }
        Err(failure) => Err(failure.expect("an address").1.kind()),
    }
}

#[test]
fn a_family_that_swallows_packets_is_left_out_from_then_on() {
    for (hole, live) in [("::1", "127.0.0.1"), ("127.0.0.1", "::1")] {
        let hole = Hole::new(hole);
        let live = TcpListener::bind((live, 0)).expect("a port");
        let live = live.local_addr().map(|address| (live, address)).expect("an address");
        let both = [hole.address, live.1];
        let lease = lease();
        assert_eq!(reached(&lease, &both), Ok(live.1), "both share the first request's time");
        for _ in 0..3 {
            let begin_ms = boottime_ms();
            assert_eq!(reached(&lease, &both), Ok(live.1));
            let spent_ms = boottime_ms() - begin_ms;
            assert!(spent_ms < u64::from(TIMEOUT_MS) / 4, "the hole was tried: {spent_ms} ms");
        }
    }
}

#[test]
fn a_request_that_was_ended_while_connecting_is_not_repeated_alike() {
    let hole = Hole::new("::1");
    let live = TcpListener::bind("127.0.0.1:0").expect("a port");
    let both = [hole.address, live.local_addr().expect("an address")];
    let lease = lease();
    // what an uplink leaves that its deadline ends
    lease.set_memo(Track::from_word(0).connecting(Family::V6).to_word());
    let begin_ms = boottime_ms();
    assert_eq!(reached(&lease, &both), Ok(both[1]));
    assert!(boottime_ms() - begin_ms < u64::from(TIMEOUT_MS) / 4, "IPv4 at once");
}

#[test]
fn a_family_that_fails_at_once_costs_nothing() {
    let live = TcpListener::bind("127.0.0.1:0").expect("a port");
    let both = [refusing("::1"), live.local_addr().expect("an address")];
    let lease = lease();
    for left in [None, Some(Family::V6), Some(Family::V4)] {
        let track = left.map_or(Track::from_word(0), |family| Track::from_word(0).failed(family));
        lease.set_memo(track.to_word());
        assert_eq!(reached(&lease, &both), Ok(both[1]), "{left:?}");
    }
}

#[test]
fn a_host_of_one_family_loses_no_try() {
    let live = TcpListener::bind("127.0.0.1:0").expect("a port");
    let one = [live.local_addr().expect("an address")];
    let lease = lease();
    for family in [Family::V4, Family::V6] {
        lease.set_memo(Track::from_word(0).failed(family).to_word());
        assert_eq!(reached(&lease, &one), Ok(one[0]));
    }
}

#[test]
fn a_hole_is_given_up_before_the_deadline_and_said_to_be_one() {
    let hole = Hole::new("127.0.0.1");
    let lease = lease();
    let cloud = host(hole.address);
    let begin_ms = boottime_ms();
    let no_way = Way::new(&cloud, None, TIMEOUT_MS, &lease).open().expect_err("a hole");
    assert!(boottime_ms() - begin_ms >= u64::from(TIMEOUT_MS / 8 * CONNECT_EIGHTHS));
    let expected = format!("no connection in time to 127.0.0.1: {cloud}");
    assert_eq!(no_way.reason.as_str(), expected, "W2");
    assert_eq!(Track::from_word(lease.memo()).family(), Some(Family::V6), "next");
}

#[test]
fn the_failure_that_tells_most_is_told() {
    let ip: IpAddr = "10.0.0.1".parse().expect("an address");
    for (kinds, expected) in [
        (&[ErrorKind::NetworkUnreachable, ErrorKind::ConnectionRefused][..], 1),
        (&[ErrorKind::ConnectionRefused, ErrorKind::NetworkUnreachable], 0),
        (&[ErrorKind::TimedOut, ErrorKind::ConnectionRefused], 0),
        (&[ErrorKind::AddrNotAvailable, ErrorKind::HostUnreachable], 1),
    ] {
        let told = kinds
            .iter()
            .fold(None, |known, kind| Some(graver(known, (ip, io::Error::from(*kind)))));
        assert_eq!(told.expect("some").1.kind(), kinds[expected], "{kinds:?}");
    }
}

#[test]
fn hosts_of_urls_are_read() {
    for (url, name, port, shown) in [
        ("https://api.datonis.io", "api.datonis.io", 443, "api.datonis.io:443"),
        ("https://api.datonis.io:8443/x:y", "api.datonis.io", 8443, "api.datonis.io:8443"),
        ("http://localhost/a", "localhost", 80, "localhost:80"),
        ("http://[fd00::1]:3128", "fd00::1", 3128, "[fd00::1]:3128"),
        ("https://[fd00::1]", "fd00::1", 443, "[fd00::1]:443"),
    ] {
        let host = Host::of_url(url).expect(url);
        assert_eq!((host.name.as_str(), host.port, host.to_string().as_str()), (name, port, shown));
    }
    assert_eq!(Host::of_url("proxy:3128"), None);
    assert_eq!(Host::of_url("http://proxy:x"), None);
}

/// A proxy that reads a request, says this, and holds the connection until the other side closes
/// if `holds`.
fn proxy(says: Vec<u8>, holds: bool) -> (ProxySetup, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = host(listener.local_addr().expect("an address"));
    let serve = move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a request");
            request.push(byte[0]);
        }
        // the other side may have heard enough
        let _written = socket.write_all(&says);
        if holds {
            let _count = socket.read(&mut [0]);
        }
        String::from_utf8(request).expect("a request is ASCII")
    };
    (ProxySetup { host, user: None }, std::thread::spawn(serve))
}

/// What a way through such a proxy comes to.
fn through(says: &[u8], holds: bool) -> (Result<String, String>, u16) {
    let (setup, server) = proxy(says.to_vec(), holds);
    let cloud = Host { name: "cloud.invalid".into(), port: 443 };
    let lease = lease();
    let opened = Way::new(&cloud, Some(&setup), TIMEOUT_MS, &lease).open();
    let shown = setup.host.to_string();
    let found = match opened {
        Ok(opened) => (Ok(opened.proxy_said.expect("a proxy")), 0),
        Err(no_way) => (Err(no_way.reason.replace(&shown, "P")), no_way.proxy_status),
    };
    server.join().expect("joined");
    found
}

#[test]
fn a_proxy_is_given_the_clouds_name_and_our_credentials() {
    let (mut setup, server) = proxy(b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(), true);
    setup.user = Some(("Aladdin".into(), "open sesame".into()));
    let cloud = Host { name: "cloud.invalid".into(), port: 8443 };
    let lease = lease();
    let opened = Way::new(&cloud, Some(&setup), TIMEOUT_MS, &lease).open().expect("a tunnel");
    assert_eq!(opened.proxy_said.as_deref(), Some("200 connection established"));
    assert_eq!(opened.stream.read_timeout().expect("asked"), None);
    assert_eq!(opened.stream.write_timeout().expect("asked"), None);
    drop(opened);
    let request = server.join().expect("joined");
    let expected = "CONNECT cloud.invalid:8443 HTTP/1.1\r\nHost: cloud.invalid:8443\r\n\
         Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nUser-Agent: edge-agent/";
    assert!(request.starts_with(expected), "{request}");
}

#[test]
fn whatever_a_proxy_answers_is_bounded_and_said_in_plain_words() {
    let long = |length: usize| {
        let begin = "HTTP/1.1 200 Ok\r\nVia: ";
        [begin, &"x".repeat(length - begin.len() - 4), "\r\n\r\n"].concat().into_bytes()
    };
    for (says, expected) in [
        (
            b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n"
                .to_vec(),
            Ok("200 connection established"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\n".to_vec(), Ok("204")),
        (long(255), Ok("200 ok")),
        (long(256), Ok("200 ok")),
        (long(512), Ok("200 ok")),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 6\r\n\r\n<html>"
                .to_vec(),
            Err("the proxy refused: 407 proxy authentication required (P)"),
        ),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n".to_vec(), Err("the proxy refused: 403 forbidden (P)")),
        (
            b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n".to_vec(),
            Err("the proxy refused: 302 found (P)"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>".to_vec(),
            Err("the proxy sent more than its answer: 200 ok (P)"),
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), Err("no HTTP spoken by the proxy P")),
        (vec![0; 4_096], Err("no HTTP spoken by the proxy P")),
        (long(1 << 20), Err("endless answer of the proxy P")),
        (
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            Err("connection closed without an answer by the proxy P"),
        ),
        (Vec::new(), Err("connection closed without an answer by the proxy P")),
    ] {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(
            through(&says, false).0,
            expected,
            "{}",
            says[..says.len().min(80)].escape_ascii()
        );
    }
    let (hanging, status) = through(b"HTTP/1.1 200 OK\r\nVia: x", true);
    assert_eq!((hanging, status), (Err("no answer in time from the proxy P".into()), 0));
    assert_eq!(through(b"HTTP/1.1 407 No\r\n\r\n", false).1, 407);
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let setup = ProxySetup { host: host(refusing("127.0.0.1")), user: None };
    let (cloud, lease) = (Host::default(), lease());
    let no_way = Way::new(&cloud, Some(&setup), TIMEOUT_MS, &lease).open().expect_err("refused");
    let expected = format!("connection refused, nothing listens at the proxy {}", setup.host);
    assert_eq!(no_way.reason.as_str(), expected);
}
