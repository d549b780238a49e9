//! Answers that no good cloud gives, by TLS: `check` asks by an uplink of its own, and says what
//! came of it, in bounded time and memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::binary;
use crate::support::certificates::{Authority, Certificate};
use crate::support::receiver::Receiver;
use crate::support::site::{Plan, Site};
use crate::{configure, site, text_of};

const TIMEOUT_MS: u32 = 2_000;
/// Address space of `check` and its uplink, each: what they need, and some more.
const MEMORY_KB: &str = "65536";

/// What a server says once it was asked.
type Says = fn(&mut dyn Write) -> std::io::Result<()>;

fn endless(out: &mut dyn Write, begin: &str, piece: &str) -> std::io::Result<()> {
    out.write_all(begin.as_bytes())?;
    let many = piece.repeat(1 + 8_192 / piece.len());
    loop {
        out.write_all(many.as_bytes())?;
    }
}

/// A head of which one line takes up so many bytes, its end among them.
fn long_line(out: &mut dyn Write, bytes: usize, end: &str) -> std::io::Result<()> {
    let fill = "x".repeat(bytes - "a: ".len() - end.len());
    out.write_all(["HTTP/1.1 200 OK\r\na: ", &fill, end].concat().as_bytes())
}

/// What is said, the exit code, and what `check` says of it.
const ANSWERS: &[(Says, i32, &str)] = &[
    (|out| out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 0, "took a heartbeat"),
    (|out| endless(out, "HTTP/1.1 200 OK\r\n", "a: b\r\n"), 75, "surpassed max_headers_size"),
    (|out| endless(out, "HTTP/1.1 200 OK\r\na: ", "x"), 75, "surpassed max_headers_size"),
    (|out| endless(out, "HTTP/1.1 ", "x"), 75, "surpassed max_status_line"),
    (
        |out| {
            out.write_all(
                ["HTTP/1.1 200 OK\r\n", &"a: b\r\n".repeat(10_000), "\r\n"].concat().as_bytes(),
            )
        },
        75,
        "surpassed max_headers_size",
    ),
    (
        |out| long_line(out, 8_192, "\r\n").and_then(|()| out.write_all(b"b: c\r\n\r\n")),
        75,
        "surpassed max_headers_size",
    ),
    // minreq's count of the room that is left goes below 0: the uplink ends there, although what
    // follows has an end
    (
        |out| {
            long_line(out, 8_192, "\n")?;
            out.write_all(["b: c\r\n".repeat(10_000), "\r\n".to_owned()].concat().as_bytes())
        },
        75,
        "the uplink ended without an answer",
    ),
    (|out| endless(out, "HTTP/1.1 200 OK\r\n\r\n", "x"), 0, "took a heartbeat"),
    (
        |out| endless(out, "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n", "x"),
        75,
        "answer 500 No: xxx",
    ),
    (
        |out| endless(out, "HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n", "zz\r\n"),
        0,
        "answer 400 No",
    ),
    (
        |out| out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"),
        75,
        "answer 200 cut short",
    ),
    (
        |out| out.write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n"),
        0,
        "took a heartbeat",
    ),
    (|out| endless(out, "", "HTTP/1.1 100 Continue\r\n\r\n"), 75, "answer 100 Continue"),
    (
        |out| out.write_all(b"HTTP/1.1 307 Moved\r\nLocation: https://elsewhere.invalid/\r\n\r\n"),
        75,
        "answer 307, redirected to https://elsewhere.invalid/",
    ),
    (
        |out| {
            out.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 13\r\n\r\n<html>\n</html>")
        },
        75,
        "answer 502 Bad Gateway: <html></html",
    ),
    (
        |out| out.write_all(b"HTTP/1.1 403 No\r\n\r\n"),
        78,
        "answer 403 No (see cloud.access_key and the secret key)",
    ),
    (|out| out.write_all(b"HTTP/1.1 413 No\r\n\r\n"), 0, "refused a heartbeat"),
    (|_| Ok(()), 75, "connection closed without an HTTP answer"),
    (|out| out.write_all(&[0xff; 4_096]), 75, "invalid utf-8"),
    (|out| out.write_all(b"220 mail.example ESMTP\r\n"), 75, "without an HTTP answer"),
    (
        |out| loop {
            out.write_all(b"H")?;
            out.flush()?;
            thread::sleep(Duration::from_millis(200));
        },
        75,
        "no answer within 2 s",
    ),
];

/// The next connection on which a request comes: `check` makes others, to see the certificate.
fn accept(
    listener: &TcpListener,
    config: &Arc<ServerConfig>,
) -> Option<StreamOwned<ServerConnection, TcpStream>> {
    loop {
        let (socket, _) = listener.accept().ok()?;
        let _ = socket.set_write_timeout(Some(Duration::from_secs(10)));
        let session = ServerConnection::new(Arc::clone(config)).expect("a session");
        let mut stream = StreamOwned::new(session, socket);
        let mut request = [0; 16 << 10];
        if stream.read(&mut request).is_ok_and(|count| count > 0) {
            return Some(stream);
        }
    }
}

/// Serves one request after another, each in its own way.
fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) {
    for (says, ..) in ANSWERS {
        let Some(mut stream) = accept(listener, config) else { return };
        // a client that has heard enough hangs up
        let _said = says(&mut stream);
        stream.conn.send_close_notify();
        let _ = stream.flush();
    }
}

fn check(site: &Site) -> (i32, String) {
    let agent = site.command("check");
    // an emulator needs more for itself
    let limit = if binary::is_another() { "unlimited" } else { MEMORY_KB };
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v \"$0\"; exec \"$@\"", limit]).arg(agent.get_program());
    limited.args(agent.get_args()).arg("--datadirpath").arg(site.data());
    text_of(&limited.output().expect("the agent can be run"))
}

#[test]
fn each_answer_is_met_in_bounded_time_and_memory() {
    let receiver = Receiver::start();
    let site = site(&receiver, &Plan { timeout: TIMEOUT_MS, ..Plan::default() }, |_| {});
    let authority = Authority::new("scratch CA");
    let config = authority.server(Certificate::Good);
    std::fs::write(site.data().join("ca.pem"), authority.pem()).expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    configure(&site, |cloud| cloud["url"] = format!("https://{address}").into());
    let server = thread::spawn(move || serve(&listener, &config));
    for (number, (_, code, expected)) in ANSWERS.iter().enumerate() {
        let found = check(&site);
        assert!(
            found.0 == *code && found.1.contains(expected),
            "answer {number}: expected {code} {expected:?}, found {} {}",
            found.0,
            found.1
        );
    }
    server.join().expect("every answer was given");
}
