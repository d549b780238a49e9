use std::io::Write;
use std::net::TcpListener;

use super::*;
use crate::edge::cloud::way::Host;
use crate::sys::lease::Lease;

/// What comes of a server that reads a request, answers so, and closes.
fn answer_to(bytes: &'static [u8]) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("a connection");
        let mut request = [0; 4_096];
        let _count = socket.read(&mut request).expect("a request");
        socket.write_all(bytes).expect("an answer");
    });
    let url = format!("http://{address}/");
    let answer = asked(&url);
    server.join().expect("joined");
    answer
}

/// What a small request to a URL comes to.
fn asked(url: &str) -> Answer {
    let (host, lease) = (Host::of_url(url).expect("a host"), Lease::new(0).expect("a page"));
    let way = Way::new(&host, None, 10_000, &lease);
    exchange(minreq::post(url).with_body("{}"), &way, "the-host", 0)
}

#[test]
fn answers_have_verdict_status_and_reason() {
    for (bytes, verdict, status, reason) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..], Verdict::Accepted, 200, ""),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", Verdict::Accepted, 204, ""),
        (b"HTTP/1.1 202 Accepted\r\n\r\n", Verdict::Accepted, 202, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Verdict::Unknown, 200,
            "answer 200 cut short, from the-host"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", Verdict::Accepted, 200, ""),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n[\"no\r\n\x1b thing\"]",
            Verdict::BadContent, 400, "answer 400 Bad Request: [\"no thing\"]"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n<html>", Verdict::BadCredentials, 401,
            "answer 401 Unauthorized (see cloud.access_key and the secret key)"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", Verdict::BadCredentials, 404,
            "answer 404 Not Found (see cloud.url): no"),
        (b"HTTP/1.1 422 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            Verdict::BadContent, 422, "answer 422 : no"),
        (b"HTTP/1.1 413 Too Large\r\n\r\n", Verdict::TooLarge, 413, "answer 413 Too Large"),
        (b"HTTP/1.1 307 Moved\r\nLocation: http://elsewhere/\r\n\r\n", Verdict::Retry, 307,
            "answer 307, redirected to http://elsewhere/"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", Verdict::Retry, 304, "answer 304 Not Modified"),
        (b"", Verdict::Unknown, 0, "connection closed without an HTTP answer by the-host"),
        (b"SSH-2.0-OpenSSH\r\n", Verdict::Unknown, 0,
            "connection closed without an HTTP answer by the-host"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Verdict::Unknown, 0,
            "no usable answer (non-usize content length) from the-host"),
        (b"HTTP/1.1 200 OK\r\n\xff: x\r\n\r\n", Verdict::Unknown, 0,
            "no usable answer (response contained invalid utf-8 where valid utf-8 was expected) from the-host"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            Verdict::Accepted, 200, ""),
        (b"HTTP/1.1 100 Continue\r\n\r\n", Verdict::Retry, 100, "answer 100 Continue"),
    ] {
        let answer = answer_to(bytes);
        let found = (answer.verdict, answer.status, answer.reason.as_str());
        assert_eq!(found, (verdict, status, reason), "{}", bytes.escape_ascii());
    }
}

#[test]
fn retry_after_is_honoured() {
    let busy = answer_to(b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\n\r\n");
    assert_eq!((busy.verdict, busy.retry_after_ms), (Verdict::Retry, Some(7_000)));
    let later =
        answer_to(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Later\r\nretry-after: 9999\r\n\r\n");
    assert_eq!((later.status, later.retry_after_ms), (503, Some(3_600_000)));
    assert_eq!(later.reason, "answer 503 Later");
}

#[test]
fn a_port_where_nothing_listens_is_said_to_refuse() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let answer = asked(&format!("http://{address}/"));
    assert_eq!((answer.verdict, answer.status), (Verdict::Retry, 0));
    assert_eq!(answer.reason, format!("connection refused, nothing listens at {address}").as_str());
}
