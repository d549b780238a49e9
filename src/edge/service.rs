//! What the init system is told: that the agent runs, what it does, that it is alive
//! (`sd_notify(3)`, "Well-known assignments"; the protocol is a datagram of lines).
//!
//! - V1: nothing here blocks or fails the agent. What cannot be sent is lost.
//! - V2: it is told that the agent is alive from its loop alone, twice in the time after which
//!   it would be taken for hung.
//!
//! Without `NOTIFY_SOCKET` nothing is told, and nothing is made ready to be.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::engine::ident::Role;
use crate::engine::status::Status;
use crate::limits::SERVICE_STATUS_MS;

/// The init system, if it wants to know.
#[derive(Debug, Default)]
pub(super) struct Service {
    socket: Option<UnixDatagram>,
    /// V2: half of the time that it waits.
    alive_every_ms: Option<u64>,
    alive_due_ms: u64,
    status_due_ms: u64,
    told: String,
}

impl Service {
    /// As the environment says.
    pub(super) fn new() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(name) = variable("NOTIFY_SOCKET") else { return Self::default() };
        let socket = connect(&name)
            .inspect_err(|error| {
                log::warn!("service: cannot reach NOTIFY_SOCKET: {error}: nothing is told there");
            })
            .ok();
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let alive_every_ms = number("WATCHDOG_USEC")
            .filter(|usec| is_ours && *usec > 0)
            .map(|usec| (usec / 2_000).max(1));
        Self { socket, alive_every_ms, ..Self::default() }
    }

    /// When something is to be told at the latest; `u64::MAX`: never.
    pub(super) fn due_ms(&self) -> u64 {
        match (&self.socket, self.alive_every_ms) {
            (Some(_), Some(_)) => self.alive_due_ms,
            (Some(_) | None, _) => u64::MAX,
        }
    }

    /// The loop runs.
    pub(super) fn ready(&mut self) {
        self.tell("READY=1\n");
    }

    /// It is to end.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\n");
    }

    /// V2: tells that the agent is alive.
    pub(super) fn alive(&mut self, now_ms: u64) {
        let Some(every_ms) = self.alive_every_ms.filter(|_| now_ms >= self.alive_due_ms) else {
            return;
        };
        self.alive_due_ms = now_ms + every_ms;
        self.tell("WATCHDOG=1\n");
    }

    /// Whether the status may be told again.
    pub(super) fn wants_status(&self, now_ms: u64) -> bool {
        self.socket.is_some() && now_ms >= self.status_due_ms
    }

    /// Tells what the agent does, if that has changed.
    pub(super) fn status(&mut self, now_ms: u64, status: &Status) {
        self.status_due_ms = now_ms + u64::from(SERVICE_STATUS_MS);
        let line = line(status);
        if line != self.told {
            self.tell(&format!("STATUS={line}\n"));
            self.told = line;
        }
    }

    /// V1
    fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(text.as_bytes());
        }
    }
}

/// `@` begins a name that is in no file system.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// One line for people, as `systemctl status` shows it.
fn line(status: &Status) -> String {
    let mut text = match (status.role, &status.master) {
        (Role::Master, _) => format!("master of term {}", status.term),
        (role, Some(master)) if master.state == "active" => {
            format!("{}; the master is {}, term {}", role.name(), master.node, master.term)
        }
        (role, _) => format!("{}; no master is known", role.name()),
    };
    let fault = status.share.fault.as_str();
    if !fault.is_empty() {
        write!(text, "; {fault}").expect("a string takes anything");
    }
    for (at, condition) in status.conditions.iter().enumerate() {
        let before = if at == 0 { "; conditions: " } else { ", " };
        write!(text, "{before}{condition}").expect("a string takes anything");
    }
    text.replace('\n', " ")
}
