//! The uplink: the process that makes every request to the cloud, one at a time, as ordered.
//!
//! The agent orders by the port; the keeper passes the batches, and before all a copy of the
//! lock's descriptor, over a pair of their own. Whatever comes of an order is an outcome; the
//! process ends when either of the two is gone, and by force when the lease ends or the
//! agent's patience does.
//!
//! # Invariants
//!
//! - U1: a request that carries a term starts only while the lease runs: asked last, right
//!   before the connection is made. [`Lease::guard`] ends what outlives it.
//! - U2: the copy of the lock's descriptor is held until the process ends, and nothing is
//!   ever done with it.
//! - U3: a batch goes out only for the order of its own number.
//! - U4: no proxy, time-out or certificate comes from the environment that the agent was
//!   started in, but for the system's store where no `ca_file` is given.
//!
//! Not for: deciding when and what to send, or how to go on (the engine), nor for keeping the
//! deadline of an answer (minreq's own time-outs start threads: the agent kills); the connection
//! has its own (`cloud::way`).

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::channel::Port;
use super::cloud::exchange::{Answer, exchange};
use super::cloud::pair::{BatchHead, Hello};
use super::cloud::reason::clipped;
use super::cloud::{CloudSetup, ThingSetup, datonis, stdout};
use super::config::CloudKind;
use crate::engine::cloud::{CloudOrder, CloudOutcome, CloudRequest, Reason, Verdict};
use crate::engine::ident::{Lane, Ranges};
use crate::sys::clock::{boottime_ms, wall_ms};
use crate::sys::lease::Lease;
use crate::sys::memfd::memfd;
use crate::sys::poll::{PollFd, poll};
use crate::sys::process::{remove_environment, set_environment};

/// The head of a frame to the agent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum UplinkAnswer {
    /// The first frame: orders may come.
    Ready {
        /// Whether it holds a copy of the lock's descriptor.
        locked: bool,
    },
    /// What came of an order.
    Outcome(CloudOutcome),
}

/// The body of the process. Returns when the agent or the keeper is gone.
///
/// Without `batches` it holds nothing of the share, needs no lease, its requests carry no term,
/// and it leaves nothing to other uplinks: it may run beside one. So `check` asks, and so a node
/// tells of its own distress.
pub fn run(port: Port, batches: Option<OwnedFd>, lease: &Lease, setup: &CloudSetup) {
    if batches.is_none() {
        return match Lease::new(boottime_ms()) {
            Ok(own) => run_under(port, None, &own, setup),
            Err(error) => log::error!("uplink: cannot have memory of its own: {error}"),
        };
    }
    match lease.guard() {
        Ok(()) => run_under(port, batches, lease, setup),
        Err(error) => log::error!("uplink: cannot set the lease's timer: {error}"),
    }
}

fn run_under(port: Port, batches: Option<OwnedFd>, lease: &Lease, setup: &CloudSetup) {
    let ca = match prepare(setup) {
        Ok(ca) => ca,
        Err(error) => {
            log::error!("uplink: cannot hand over the CA certificates: {error}");
            return;
        }
    };
    match serve(port, batches, lease, setup) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
            log::error!("uplink: cannot go on: {error}");
        }
        Ok(()) | Err(_) => {}
    }
    drop(ca);
}

/// Makes minreq and rustls go by the setup alone (U4). The descriptor that comes back holds
/// the certificates, which are read with the first request.
fn prepare(setup: &CloudSetup) -> io::Result<Option<OwnedFd>> {
    for name in std::env::vars_os().map(|(name, _)| name).filter(|name| is_unwanted(name)) {
        remove_environment(&name);
    }
    // an error says that this process has a provider already: this one, from its parent
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let Some(ca) = &setup.ca else { return Ok(None) };
    let ca = memfd("ca", ca)?;
    let path = OsString::from(format!("/proc/self/fd/{}", ca.as_raw_fd()));
    set_environment(OsStr::new("SSL_CERT_FILE"), &path);
    remove_environment(OsStr::new("SSL_CERT_DIR"));
    Ok(Some(ca))
}

/// What minreq reads from the environment.
fn is_unwanted(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    name == "minreq_timeout" || name.ends_with("_proxy")
}

fn serve(
    mut port: Port,
    batches: Option<OwnedFd>,
    lease: &Lease,
    setup: &CloudSetup,
) -> io::Result<()> {
    let mut batches = batches.map(Batches::greet).transpose()?;
    let locked = batches.as_ref().is_some_and(|batches| batches.lock.is_some());
    port.send(&UplinkAnswer::Ready { locked }, &[])?;
    let sender = Sender::new(setup, lease, batches.is_some());
    loop {
        let order = next_order(&mut port, batches.as_mut())?;
        let outcome = match (&order.what, &mut batches) {
            (CloudRequest::Batch { lane, ranges }, Some(batches)) => {
                sender.send_batch(&order, *lane, ranges, batches.take(order.request)?)
            }
            (CloudRequest::Batch { .. }, None) => {
                without_request(&order, Verdict::Retry, "this uplink is given no batches")
            }
            (CloudRequest::Alert, _) => sender.send_alert(&order, port.body()),
            (CloudRequest::Register { thing }, _) => {
                let body = |thing: &_| datonis::register_body(thing, &setup.site, wall_ms());
                sender.send_of_thing(&order, *thing, datonis::REGISTER_PATH, body)
            }
            (CloudRequest::Alive { thing }, _) => {
                let body = |thing: &_| datonis::alive_body(thing, wall_ms());
                sender.send_of_thing(&order, *thing, datonis::ALIVE_PATH, body)
            }
        };
        port.send(&UplinkAnswer::Outcome(outcome), &[])?;
    }
}

/// Waits for an order. Batches are taken off the pair as they come: the keeper writes them
/// without a thought for whether there is room.
fn next_order(port: &mut Port, mut batches: Option<&mut Batches>) -> io::Result<CloudOrder> {
    loop {
        let Some(batches) = batches.as_deref_mut() else { return port.receive() };
        let mut ready = [
            PollFd::new(batches.pair.as_fd(), true, false),
            PollFd::new(port.as_fd(), true, false),
        ];
        poll(&mut ready, None)?;
        if ready[0].is_readable() || ready[0].is_broken() {
            batches.receive()?;
        } else if ready[1].is_readable() || ready[1].is_broken() {
            return port.receive();
        }
    }
}

/// The keeper's end of the uplink.
struct Batches {
    pair: Port,
    /// The number of the batch that lies in `pair`.
    request: Option<u32>,
    /// U2
    lock: Option<OwnedFd>,
}

impl Batches {
    /// Waits for the keeper's first words.
    fn greet(socket: OwnedFd) -> io::Result<Self> {
        let mut pair = Port::new(socket);
        let hello: Hello = pair.receive()?;
        let lock = pair.take_fd();
        if hello.locked != lock.is_some() {
            let text = "uplink: the keeper's greeting and the lock's descriptor disagree";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        Ok(Self { pair, request: None, lock })
    }

    fn receive(&mut self) -> io::Result<()> {
        self.request = None;
        let head: BatchHead = self.pair.receive()?;
        self.request = Some(head.request);
        Ok(())
    }

    /// The batch of this number; others are dropped (U3).
    fn take(&mut self, request: u32) -> io::Result<&[u8]> {
        while self.request != Some(request) {
            self.receive()?;
        }
        Ok(self.pair.body())
    }
}

/// Makes requests.
struct Sender<'a> {
    setup: &'a CloudSetup,
    lease: &'a Lease,
    /// Else requests carry no term and need no lease.
    has_term: bool,
    key: hmac::Key,
    trace: trace::Trace,
}

impl<'a> Sender<'a> {
    fn new(setup: &'a CloudSetup, lease: &'a Lease, has_term: bool) -> Self {
        let key = datonis::signing_key(&setup.secret_key);
        Self { setup, lease, has_term, key, trace: trace::Trace::open() }
    }

    fn send_batch(
        &self,
        order: &CloudOrder,
        lane: Lane,
        ranges: &Ranges,
        lines: &[u8],
    ) -> CloudOutcome {
        match (self.setup.kind, lane) {
            (CloudKind::Stdout, Lane::Readings | Lane::Alerts) => {
                self.under_lease(order, || Answer::none(stdout::write_records(lines)))
            }
            (CloudKind::Datonis, Lane::Readings) => {
                let body = datonis::readings_body(lines);
                self.post(order, datonis::READINGS_PATH, body, Some(ranges))
            }
            (CloudKind::Datonis, Lane::Alerts) => match datonis::alert_body(lines) {
                Some(body) => self.post(order, datonis::ALERTS_PATH, body, Some(ranges)),
                None => without_request(order, Verdict::TooLarge, "alerts go one at a time"),
            },
        }
    }

    /// An alert that was never journalled: it names no record.
    fn send_alert(&self, order: &CloudOrder, line: &[u8]) -> CloudOutcome {
        match (self.setup.kind, datonis::alert_body(line)) {
            (CloudKind::Stdout, _) => {
                self.under_lease(order, || Answer::none(stdout::write_records(line)))
            }
            (CloudKind::Datonis, Some(body)) => self.post(order, datonis::ALERTS_PATH, body, None),
            (CloudKind::Datonis, None) => {
                without_request(order, Verdict::BadContent, "the alert is not one line")
            }
        }
    }

    fn send_of_thing(
        &self,
        order: &CloudOrder,
        thing: u16,
        path: &str,
        body: impl Fn(&ThingSetup) -> Vec<u8>,
    ) -> CloudOutcome {
        match (self.setup.kind, self.setup.things.get(usize::from(thing))) {
            (CloudKind::Stdout, _) => without_request(order, Verdict::Accepted, ""),
            (CloudKind::Datonis, Some(thing)) => self.post(order, path, body(thing), None),
            (CloudKind::Datonis, None) => {
                without_request(order, Verdict::BadContent, "no such thing is configured")
            }
        }
    }

    fn post(
        &self,
        order: &CloudOrder,
        path: &str,
        body: Vec<u8>,
        ranges: Option<&Ranges>,
    ) -> CloudOutcome {
        let setup = self.setup;
        let term = if self.has_term { order.term.to_string() } else { "none".into() };
        let mut request = minreq::post(format!("{}{path}", setup.url))
            .with_header("Content-Type", "application/json")
            .with_header("X-Access-Key", &setup.access_key)
            .with_header("X-Dtn-Signature", datonis::signature(&self.key, &body))
            .with_header("X-Edge-Site", &setup.site_id)
            .with_header("X-Edge-Node", setup.node.as_str())
            .with_header("X-Edge-Term", term)
            .with_header("Connection", "close")
            .with_header("User-Agent", concat!("edge-agent/", env!("CARGO_PKG_VERSION")));
        if let Some(ranges) = ranges {
            request = request.with_header("X-Edge-Records", ranges.to_string());
        }
        let request = request.with_body(body);
        let way = setup.way(self.lease);
        self.under_lease(order, || exchange(request, &way, host_of(&setup.url), wall_ms()))
    }

    /// Does it if the lease runs (U1).
    fn under_lease(&self, order: &CloudOrder, send: impl FnOnce() -> Answer) -> CloudOutcome {
        if self.has_term && !self.lease.is_running(boottime_ms()) {
            return without_request(
                order,
                Verdict::Retry,
                "the lease had ended before it was sent",
            );
        }
        if self.has_term {
            self.trace.note(order);
        }
        let answer = send();
        CloudOutcome {
            request: order.request,
            verdict: answer.verdict,
            status: answer.status,
            retry_after_ms: answer.retry_after_ms,
            reason: answer.reason,
        }
    }
}

/// An outcome without a request.
fn without_request(order: &CloudOrder, verdict: Verdict, reason: &str) -> CloudOutcome {
    let reason: Reason = clipped(format_args!("{reason}"));
    CloudOutcome { request: order.request, verdict, status: 0, retry_after_ms: None, reason }
}

/// Host and port of a URL.
fn host_of(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    behind_scheme.split('/').next().unwrap_or(behind_scheme)
}

/// For tests, in debug builds alone: when connections are made.
mod trace {
    use crate::engine::cloud::CloudOrder;

    /// Where connections are noted.
    #[cfg(debug_assertions)]
    pub(super) struct Trace(Option<std::fs::File>);

    #[cfg(debug_assertions)]
    impl Trace {
        /// Opens the file that `EDGE_TRACE_CONNECT` names.
        pub(super) fn open() -> Self {
            let path = std::env::var_os("EDGE_TRACE_CONNECT");
            let open = |path| std::fs::OpenOptions::new().append(true).create(true).open(path);
            Self(path.and_then(|path| open(path).ok()))
        }

        /// Writes a line: `<CLOCK_MONOTONIC in ns> <term> <request>`.
        pub(super) fn note(&self, order: &CloudOrder) {
            use std::io::Write;
            let Some(mut file) = self.0.as_ref() else { return };
            let now_ns = crate::sys::clock::monotonic_ns();
            let line = format!("{now_ns} {} {}\n", order.term, order.request);
            file.write_all(line.as_bytes()).expect("the trace can be written");
        }
    }

    /// Nothing.
    #[cfg(not(debug_assertions))]
    pub(super) struct Trace;

    #[cfg(not(debug_assertions))]
    impl Trace {
        pub(super) const fn open() -> Self {
            Self
        }

        pub(super) const fn note(&self, _order: &CloudOrder) {}
    }
}

#[cfg(test)]
mod tests;
