//! The way to the cloud: names, addresses, the proxy. It gives a connection, or says why not.
//!
//! # Invariants
//!
//! - W1: what is looked up is the next host on the way: the proxy, if there is one, else the cloud.
//! - W2: connection and tunnel stand, or are given up, before the request's deadline, so that the
//!   uplink lives to tell of it. Only looking a name up has no limit but the deadline's own.
//! - W3: nothing was sent to the cloud when there is no connection: the verdict is Retry.
//!
//! Which address is tried when, and what is remembered of it, decides [`super::family`].

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::family::{Attempt, Family, Track, attempts};
use super::proxy::{ProxySetup, open_tunnel};
use super::reason::of_io;
use crate::limits::CONNECT_EIGHTHS;
use crate::sys::clock::{boottime_ms, wall_ms};
use crate::sys::lease::Lease;

/// A host's name or address, and a port.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Host {
    /// An IPv6 address has no brackets here.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl Host {
    /// That of a URL, as the configuration takes them; `None`: it is none.
    pub fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            Some(_) | None => (authority, None),
        };
        let default = if scheme == "https" { 443 } else { 80 };
        let port = port.map_or(Some(default), |port| port.parse().ok())?;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        Some(Self { name: bare.to_owned(), port })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') {
            write!(out, "[{name}]:{port}")
        } else {
            write!(out, "{name}:{port}")
        }
    }
}

/// The way of one request.
pub struct Way<'a> {
    cloud: &'a Host,
    proxy: Option<&'a ProxySetup>,
    /// Its memo is the [`Track`].
    lease: &'a Lease,
    /// W2
    deadline_ms: u64,
}

/// A connection to the cloud.
#[derive(Debug)]
pub struct Opened {
    /// The connection, without time-outs.
    pub stream: TcpStream,
    /// What the proxy said, if there is one.
    pub proxy_said: Option<String>,
}

/// Why there is none.
#[derive(Debug)]
pub struct NoWay {
    /// The status that the proxy refused with; 0: it was something else.
    pub proxy_status: u16,
    /// In plain words.
    pub reason: String,
}

impl NoWay {
    /// For this reason, which is no status of a proxy.
    pub fn because(reason: String) -> Self {
        Self { proxy_status: 0, reason }
    }
}

impl<'a> Way<'a> {
    /// The way of a request that begins now and has `timeout_ms` in all.
    pub fn new(
        cloud: &'a Host,
        proxy: Option<&'a ProxySetup>,
        timeout_ms: u32,
        lease: &'a Lease,
    ) -> Self {
        let deadline_ms = boottime_ms() + u64::from(timeout_ms / 8 * CONNECT_EIGHTHS);
        Self { cloud, proxy, lease, deadline_ms }
    }

    /// Connects.
    pub fn open(&self) -> Result<Opened, NoWay> {
        let Some(proxy) = self.proxy else {
            return Ok(Opened { stream: self.connect(self.cloud, "")?, proxy_said: None });
        };
        let mut stream = self.connect(&proxy.host, "the proxy ")?;
        let said = open_tunnel(&mut stream, proxy, self.cloud, self.deadline_ms);
        if said.as_ref().map_or_else(|no_way| no_way.proxy_status != 0, |_| true) {
            self.answered();
        }
        let said = said?;
        let unlimited = stream.set_read_timeout(None).and_then(|()| stream.set_write_timeout(None));
        unlimited.map_err(|error| NoWay::because(format!("cannot set up a socket: {error}")))?;
        Ok(Opened { stream, proxy_said: Some(said) })
    }

    /// There was an answer: the next request goes the same way.
    pub fn answered(&self) {
        self.leave(self.track().answered());
    }

    fn track(&self) -> Track {
        Track::from_word(self.lease.memo())
    }

    fn leave(&self, track: Track) {
        self.lease.set_memo(track.to_word());
    }

    /// Connects to the next host on the way (W1); `role` says which it is, for people.
    fn connect(&self, host: &Host, role: &str) -> Result<TcpStream, NoWay> {
        let shown = format!("{role}{host}");
        let failed = |error: &io::Error| of_io(error, &shown, wall_ms()).1.as_str().to_owned();
        let found = (host.name.as_str(), host.port).to_socket_addrs();
        let found = found.map_err(|error| NoWay::because(failed(&error)))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if boottime_ms() >= self.deadline_ms {
            // says nothing of any address
            return Err(NoWay::because(format!("name looked up too late: {shown}")));
        }
        self.connect_to_any(&addresses).map_err(|failure| {
            NoWay::because(match failure {
                Some((ip, error)) if error.kind() == ErrorKind::TimedOut => {
                    format!("no connection in time to {ip}: {shown}")
                }
                Some((_, error)) => failed(&error),
                None => format!("no address found: {shown}"),
            })
        })
    }

    /// Connects to one of a host's addresses; else gives the failure that tells most, `None` if
    /// there is no address.
    fn connect_to_any(
        &self,
        addresses: &[SocketAddr],
    ) -> Result<TcpStream, Option<(IpAddr, io::Error)>> {
        self.leave(self.track().begin());
        let attempts = attempts(addresses, self.track().family());
        let first = attempts.first().map(|attempt| Family::of(&attempt.address)).ok_or(None)?;
        let mut gravest = None;
        for attempt in attempts {
            match self.attempt(attempt) {
                Ok(stream) => return Ok(stream),
                Err(error) => gravest = Some(graver(gravest, (attempt.address.ip(), error))),
            }
        }
        self.leave(self.track().failed(first));
        Err(gravest)
    }

    fn attempt(&self, Attempt { address, sharing }: Attempt) -> io::Result<TcpStream> {
        let left_ms = self.deadline_ms.saturating_sub(boottime_ms()) / u64::from(sharing);
        if left_ms == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        self.leave(self.track().connecting(Family::of(&address)));
        let stream = TcpStream::connect_timeout(&address, Duration::from_millis(left_ms))?;
        self.leave(self.track().connected());
        Ok(stream)
    }
}

/// The failure that tells more: that there is no way to an address tells least, since half of all
/// hosts have none to IPv6; of others the first.
fn graver(known: Option<(IpAddr, io::Error)>, next: (IpAddr, io::Error)) -> (IpAddr, io::Error) {
    let tells_little = |error: &io::Error| {
        matches!(
            error.kind(),
            ErrorKind::NetworkUnreachable
                | ErrorKind::HostUnreachable
                | ErrorKind::AddrNotAvailable
        )
    };
    match known {
        Some(known) if !tells_little(&known.1) => known,
        Some(_) | None => next,
    }
}

#[cfg(test)]
mod tests;
