//! The tunnel through an HTTP proxy: `CONNECT` (RFC 9110 9.3.6), and what the proxy says to it.
//!
//! 1. The proxy is given the cloud's name: it looks it up, we do not.
//! 2. Nothing of a record reaches a proxy but through the tunnel, by TLS to the cloud's own name:
//!    whatever the proxy says, the verdict is Retry.
//! 3. What follows the answer belongs to the tunnel, where the cloud never speaks first: a proxy
//!    that sends more than its answer is not believed.
//!
//! minreq has code for this, which reads until it is given less than 256 bytes, without bounds,
//! and may take half an answer for the whole.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::head::{HeadFault, final_head};
use super::way::{Host, NoWay};
use crate::sys::clock::boottime_ms;

/// A proxy, and who we are to it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySetup {
    /// Where it listens.
    pub host: Host,
    /// User and password, for Basic authentication (RFC 7617).
    pub user: Option<(String, String)>,
}

impl fmt::Debug for ProxySetup {
    /// Without user and password.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ProxySetup {{ {} }}", self.host)
    }
}

/// Asks for a tunnel to `cloud`; gives what the proxy said. From then on `stream` leads there.
pub fn open_tunnel(
    stream: &mut TcpStream,
    proxy: &ProxySetup,
    cloud: &Host,
    deadline_ms: u64,
) -> Result<String, NoWay> {
    let host = &proxy.host;
    send(stream, &request(proxy, cloud), deadline_ms).map_err(|error| broken(&error, host))?;
    let read = |room: &mut [u8]| {
        stream.set_read_timeout(Some(left(deadline_ms)?))?;
        stream.read(room)
    };
    let head = final_head(read).map_err(|fault| match fault {
        HeadFault::Closed => {
            NoWay::because(format!("connection closed without an answer by the proxy {host}"))
        }
        HeadFault::NotHttp => NoWay::because(format!("no HTTP spoken by the proxy {host}")),
        HeadFault::TooLong => NoWay::because(format!("endless answer of the proxy {host}")),
        HeadFault::Io(error) => broken(&error, host),
    })?;
    let said = format!("{} {}", head.status, head.phrase.to_ascii_lowercase());
    let said = said.trim_end();
    if !(200..300).contains(&head.status) {
        let reason = format!("the proxy refused: {said} ({host})");
        return Err(NoWay { proxy_status: head.status, reason });
    }
    if head.has_more {
        let reason = format!("the proxy sent more than its answer: {said} ({host})");
        return Err(NoWay::because(reason));
    }
    Ok(said.to_owned())
}

fn broken(error: &io::Error, host: &Host) -> NoWay {
    let is_late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    NoWay::because(if is_late {
        format!("no answer in time from the proxy {host}")
    } else {
        format!("connection broken ({error}) by the proxy {host}")
    })
}

/// What is left until the deadline; `TimedOut`: nothing.
fn left(deadline_ms: u64) -> io::Result<Duration> {
    match deadline_ms.saturating_sub(boottime_ms()) {
        0 => Err(ErrorKind::TimedOut.into()),
        left_ms => Ok(Duration::from_millis(left_ms)),
    }
}

fn send(stream: &mut TcpStream, request: &str, deadline_ms: u64) -> io::Result<()> {
    stream.set_write_timeout(Some(left(deadline_ms)?))?;
    stream.write_all(request.as_bytes())
}

fn request(proxy: &ProxySetup, cloud: &Host) -> String {
    let mut text = format!("CONNECT {cloud} HTTP/1.1\r\nHost: {cloud}\r\n");
    if let Some((user, password)) = &proxy.user {
        text += "Proxy-Authorization: Basic ";
        text += &base64(format!("{user}:{password}").as_bytes());
        text += "\r\n";
    }
    text += concat!("User-Agent: edge-agent/", env!("CARGO_PKG_VERSION"), "\r\n\r\n");
    text
}

/// RFC 4648 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            let is_padding = place > three.len();
            text.push(if is_padding { '=' } else { char::from(DIGITS[digit as usize]) });
        }
    }
    text
}
