//! A small HTTP/1.1 client: one request a connection, everything under one deadline.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON, if it is that.
    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks the agent behind a Unix socket.
pub fn ask_unix(
    socket: &Path,
    method: &str,
    target: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Reply> {
    let end = Instant::now() + limit;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&request(method, target, "", body))?;
    read_reply(&mut stream, end, UnixStream::set_read_timeout)
}

/// Asks the agent behind a TCP port of this host; `headers` are whole lines.
pub fn ask_tcp(
    port: u16,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Reply> {
    let end = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), limit)?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(&request(method, target, headers, body))?;
    read_reply(&mut stream, end, TcpStream::set_read_timeout)
}

/// A port of this host that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("http: no port is free");
    listener.local_addr().expect("http: a listener has an address").port()
}

fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let host = if headers.contains("Host: ") { "" } else { "Host: localhost\r\n" };
    let mut bytes = format!(
        "{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn read_reply<S: Read>(
    stream: &mut S,
    end: Instant,
    set_limit: impl Fn(&S, Option<Duration>) -> Result<()>,
) -> Result<Reply> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(reply) = whole_reply(&bytes, false) {
            return Ok(reply);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::TimedOut, "no answer in time"));
        }
        set_limit(stream, Some(left))?;
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            let gone = || Error::new(ErrorKind::UnexpectedEof, "connection closed");
            return whole_reply(&bytes, true).ok_or_else(gone);
        }
        bytes.extend_from_slice(&chunk[..count]);
    }
}

/// A reply is whole at its `Content-Length`, without one at the end of the stream.
fn whole_reply(bytes: &[u8], ended: bool) -> Option<Reply> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let body = &bytes[split + 4..];
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = header(&head, "content-length").and_then(|text| text.parse::<usize>().ok());
    let wanted = match length {
        _ if status == 204 => 0,
        Some(length) => length,
        None if ended => body.len(),
        None => return None,
    };
    (body.len() >= wanted).then(|| Reply { status, head, body: body[..wanted].to_vec() })
}

/// The value of a header, found by its lower-case name.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
