//! Asks the agent of this host, over its socket.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Status};

use crate::edge::console::SOCKET;
use crate::limits::{COMMAND_MS_MAX, REPLY_BYTES_MAX};
use crate::sys::connect::connect_unix;

/// What the agent answered.
#[derive(Debug)]
pub(super) struct Reply {
    /// The HTTP status.
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No agent runs on this run directory.
    NoAgent,
    /// It did not answer in time.
    Silent,
    /// Anything else.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent => out.write_str("no agent runs here"),
            Self::Silent => write!(out, "no answer within {} s", COMMAND_MS_MAX / 1_000),
            Self::Broken(error) if error.kind() == ErrorKind::PermissionDenied => {
                out.write_str("not permitted: only the agent's user and group may ask it")
            }
            Self::Broken(error) => error.fmt(out),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let is = |kinds: [ErrorKind; 2]| kinds.contains(&error.kind());
        if is([ErrorKind::NotFound, ErrorKind::ConnectionRefused]) {
            Self::NoAgent
        } else if is([ErrorKind::WouldBlock, ErrorKind::TimedOut]) {
            Self::Silent
        } else {
            Self::Broken(error)
        }
    }
}

/// Sends a request and waits for the answer, [`COMMAND_MS_MAX`] at most.
pub(super) fn ask(run_dir: &Path, request: &str, body: &str) -> Result<Reply, Failure> {
    let begin = Instant::now();
    let left = || {
        let limit = Duration::from_millis(u64::from(COMMAND_MS_MAX));
        limit.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()).ok_or(Failure::Silent)
    };
    let mut socket = connect_unix(&run_dir.join(SOCKET), COMMAND_MS_MAX)?;
    let length = body.len();
    socket.set_write_timeout(Some(left()?))?;
    socket.write_all(
        format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let mut answer = vec![0; REPLY_BYTES_MAX];
    let mut filled = 0;
    while filled < answer.len() {
        socket.set_read_timeout(Some(left()?))?;
        match socket.read(&mut answer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    parse(&answer[..filled]).ok_or_else(|| {
        Failure::Broken(io::Error::new(ErrorKind::InvalidData, "the answer is not whole"))
    })
}

fn parse(answer: &[u8]) -> Option<Reply> {
    let mut headers = [EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(Status::Complete(head)) = response.parse(answer) else {
        return None;
    };
    let body = answer[head..].to_vec();
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    if length.is_some_and(|length: usize| length != body.len()) {
        return None;
    }
    Some(Reply { status: response.code?, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    #[test]
    fn answers_are_whole_or_none() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        let reply = parse(whole).expect("it is whole");
        assert_eq!((reply.status, reply.body.as_slice()), (503, &b"{}"[..]));
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_none(), "{end}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH\r\n").is_none());
    }

    #[test]
    fn an_agent_that_is_absent_or_gone_is_told_apart() {
        let folder = std::env::temp_dir().join(format!("edge-client-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let missing = ask(&folder, "GET /healthz", "").expect_err("nobody there");
        assert!(matches!(missing, Failure::NoAgent), "{missing:?}");
        let listener = UnixListener::bind(folder.join(SOCKET)).expect("a free path");
        let agent = thread::spawn(move || {
            let (mut one, _) = listener.accept().expect("a connection");
            let mut request = [0; 512];
            let count = one.read(&mut request).expect("a request");
            one.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").expect("room");
            one.write_all(b"{}").expect("room");
            drop(one);
            drop(listener.accept().expect("a connection"));
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let reply = ask(&folder, "POST /switchover", "{}").expect("an answer");
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
        let broken = ask(&folder, "GET /healthz", "").expect_err("it hung up");
        assert!(matches!(broken, Failure::Broken(_)), "{broken:?}");
        let request = agent.join().expect("it ends");
        assert!(request.starts_with("POST /switchover HTTP/1.1\r\nHost: localhost\r\n"));
        assert!(request.ends_with("Content-Length: 2\r\n\r\n{}"), "{request}");
        let stale = ask(&folder, "GET /healthz", "").expect_err("nobody answers");
        assert!(matches!(stale, Failure::NoAgent), "{stale:?}");
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
