//! A cloud nearby: TLS by a CA made on the spot, every signature checked, every record
//! kept; it can fail in the ways in which clouds fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::answers::{Answer, Asked, Rule};
use super::certificates::{Authority, Certificate};
use super::ledger::{Incoming, Ledger, bodies_of};
use super::{ACCESS_KEY, SECRET_KEY, now_ns};

/// Longest life of a connection that is answered.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// What a guarding receiver will not have in a record.
pub const REFUSED: &str = "\"refused\"";
/// A name in the receiver's certificate that nobody looks up by chance (RFC 6761 6.2).
pub const CLOUD_NAME: &str = "cloud.test";

/// How requests are met.
#[derive(Clone)]
pub enum Behaviour {
    /// Read and answered with this status; the records count as delivered if it is 2xx.
    Answer(u16),
    /// Read, kept as delivered, answered 200 after this time.
    Delay(Duration),
    /// The connection is accepted and nothing is ever said on it.
    BlackHole,
    /// Read, kept as delivered, never answered.
    Silent,
    /// The connection is closed at once.
    HangUp,
    /// Read, kept as delivered, and the connection is reset.
    Reset,
    /// Read, and answered as this says.
    Rule(Rule),
}

/// How long a peer stayed on a connection that got no answer.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// When it was accepted.
    pub accepted_ns: u64,
    /// When the peer gave up; `None`: it is still there.
    pub closed_ns: Option<u64>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    changed: Condvar,
    behaviour: Mutex<Behaviour>,
    held: Mutex<Vec<Held>>,
    stop: AtomicBool,
    config: Mutex<Arc<ServerConfig>>,
    secret: Mutex<Secret>,
}

/// The key that requests are to be signed with.
struct Secret {
    key: String,
    /// Other signatures are answered 401; else they are faults.
    refuses_others: bool,
}

/// The receiver; it ends when dropped.
pub struct Receiver {
    address: SocketAddr,
    authority: Authority,
    name: &'static str,
    ca_pem: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts a receiver on a free port of loopback.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1")
    }

    /// Starts a receiver on a free port of an address of this host.
    pub fn start_at(ip: &str) -> Self {
        Self::start_as(ip, "localhost")
    }

    /// Starts one that is reached by this name: `localhost` or [`CLOUD_NAME`].
    pub fn start_as(ip: &str, name: &'static str) -> Self {
        let authority = Authority::new("scratch CA");
        let listener = TcpListener::bind((ip, 0)).expect("receiver: cannot listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            changed: Condvar::new(),
            behaviour: Mutex::new(Behaviour::Answer(200)),
            held: Mutex::default(),
            stop: AtomicBool::new(false),
            config: Mutex::new(authority.server(Certificate::Good)),
            secret: Mutex::new(Secret { key: SECRET_KEY.to_owned(), refuses_others: false }),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, name, ca_pem: authority.pem(), authority, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where it is reached, by a name in its certificate.
    pub fn url(&self) -> String {
        self.url_by(self.name)
    }

    /// Where it is reached, by another name for its address; [`CLOUD_NAME`] is in its
    /// certificate.
    pub fn url_by(&self, name: &str) -> String {
        format!("https://{name}:{}", self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that its certificate is from.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Changes how requests are met, from the next connection on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Meets requests as a rule says, from the next connection on.
    pub fn rule(&self, rule: impl Fn(&Asked<'_>) -> Answer + Send + Sync + 'static) {
        self.behave(Behaviour::Rule(Arc::new(rule)));
    }

    /// Shows such a certificate, from the next connection on.
    pub fn show(&self, certificate: Certificate) {
        *lock(&self.shared.config) = self.authority.server(certificate);
    }

    /// Takes requests that are signed with this key, and answers 401 to others.
    pub fn take_secret(&self, key: &str) {
        *lock(&self.shared.secret) = Secret { key: key.to_owned(), refuses_others: true };
    }

    /// Takes only what is signed with the key and holds nothing of [`REFUSED`].
    pub fn guard(&self) {
        self.take_secret(SECRET_KEY);
        self.rule(|asked| {
            let refused = asked.records.iter().any(|record| record.to_string().contains(REFUSED));
            Answer::Status(if refused { 422 } else { 200 })
        });
    }

    /// What arrived so far.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.shared.ledger)
    }

    /// The connections that got no answer.
    pub fn held(&self) -> Vec<Held> {
        lock(&self.shared.held).clone()
    }

    /// Waits until `seen` finds what it looks for; `None`: not in time.
    pub fn wait<T>(
        &self,
        limit: Duration,
        mut seen: impl FnMut(&Ledger) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + limit;
        let mut ledger = self.ledger();
        loop {
            if let Some(found) = seen(&ledger) {
                return Some(found);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.shared.changed.wait_timeout(ledger, left);
            ledger = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // wakes the thread that accepts
        drop(TcpStream::connect(self.address));
    }
}

/// A panic in one thread must not hide what the others found.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept() {
        let accepted_ns = now_ns();
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let behaviour = lock(&shared.behaviour).clone();
        let serving = Arc::clone(shared);
        thread::spawn(move || serve(socket, accepted_ns, &behaviour, &serving));
    }
}

fn serve(mut socket: TcpStream, accepted_ns: u64, behaviour: &Behaviour, shared: &Shared) {
    let _ = socket.set_nodelay(true);
    let _ = socket.set_read_timeout(Some(CONNECTION_LIMIT));
    let config = Arc::clone(&lock(&shared.config));
    let Ok(connection) = ServerConnection::new(config) else { return };
    match behaviour {
        Behaviour::HangUp => return,
        Behaviour::BlackHole => return hold(&mut socket, accepted_ns, shared),
        Behaviour::Reset => {
            let mut stream = StreamOwned::new(connection, Peeking { socket, seen: 0 });
            if let Some((head, body)) = read_request(&mut stream) {
                enter(&head, body, accepted_ns, 0, shared);
            }
            return;
        }
        Behaviour::Answer(_) | Behaviour::Delay(_) | Behaviour::Silent | Behaviour::Rule(_) => {}
    }
    let mut stream = StreamOwned::new(connection, socket);
    // a peer that was killed half-way has sent nothing that counts
    let Some((head, body)) = read_request(&mut stream) else { return };
    let answer = answer_to(&head, &body, behaviour, shared);
    enter(&head, body, accepted_ns, answer.status(), shared);
    if let Behaviour::Delay(time) = behaviour {
        thread::sleep(*time);
    }
    if let Answer::Silence = answer {
        return hold(&mut stream.sock, accepted_ns, shared);
    }
    answer.write(&mut stream, &shared.stop);
    stream.conn.send_close_notify();
    let _ = stream.flush();
    let _ = stream.sock.shutdown(Shutdown::Write);
}

fn answer_to(head: &Head, body: &[u8], behaviour: &Behaviour, shared: &Shared) -> Answer {
    let secret = lock(&shared.secret);
    if signature(body, &secret.key) != head.header("x-dtn-signature") && secret.refuses_others {
        return Answer::Status(401);
    }
    drop(secret);
    match behaviour {
        Behaviour::Answer(status) => Answer::Status(*status),
        Behaviour::Silent => Answer::Silence,
        Behaviour::Rule(rule) => {
            let path = head.path.strip_prefix("POST ").unwrap_or_default();
            let records = bodies_of(path, body).unwrap_or_default();
            rule(&Asked { path, records: &records, bytes: body.len() })
        }
        Behaviour::Delay(_) | Behaviour::Reset | Behaviour::BlackHole | Behaviour::HangUp => {
            Answer::Status(200)
        }
    }
}

/// Reads and leaves everything in the socket: closed with data that were never taken from it,
/// it is reset, not ended (tcp(7)).
struct Peeking {
    socket: TcpStream,
    seen: usize,
}

impl Read for Peeking {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let mut bytes = vec![0; self.seen + out.len()];
        let end = Instant::now() + CONNECTION_LIMIT;
        while Instant::now() < end {
            let count = self.socket.peek(&mut bytes)?;
            if count > self.seen {
                let fresh = &bytes[self.seen..count];
                out[..fresh.len()].copy_from_slice(fresh);
                self.seen = count;
                return Ok(fresh.len());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(0)
    }
}

impl Write for Peeking {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush()
    }
}

/// Keeps a connection, silently, until its peer gives up.
fn hold(socket: &mut TcpStream, accepted_ns: u64, shared: &Shared) {
    let index = {
        let mut held = lock(&shared.held);
        held.push(Held { accepted_ns, closed_ns: None });
        held.len() - 1
    };
    let _ = socket.set_read_timeout(Some(Duration::from_millis(100)));
    let mut chunk = [0; 4096];
    while !shared.stop.load(Ordering::Acquire) {
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    lock(&shared.held)[index].closed_ns = Some(now_ns());
}

struct Head {
    path: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    }
}

/// Reads one request whole; `None` if the peer did not send that much.
fn read_request(stream: &mut impl Read) -> Option<(Head, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some((head, start)) = parse_head(&bytes) {
            let length: usize = head.header("content-length").parse().unwrap_or(0);
            if bytes.len() >= start + length {
                return Some((head, bytes[start..start + length].to_vec()));
            }
        }
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        if bytes.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
}

/// A whole head, header names in lower case, and where the body starts.
fn parse_head(bytes: &[u8]) -> Option<(Head, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(start) = request.parse(bytes).ok()? else { return None };
    let path = format!("{} {}", request.method?, request.path?);
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers =
        request.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
    Some((Head { path, headers }, start))
}

fn enter(head: &Head, body: Vec<u8>, accepted_ns: u64, status: u16, shared: &Shared) {
    let secret = lock(&shared.secret);
    let fits = signature(&body, &secret.key) == head.header("x-dtn-signature");
    let signed = fits || (secret.refuses_others && status == 401);
    drop(secret);
    let mut ledger = lock(&shared.ledger);
    let index = ledger.requests.len();
    let Some(path) = head.path.strip_prefix("POST ") else {
        return ledger.fault(index, &format!("it is {:?}, not a POST", head.path));
    };
    if head.header("x-access-key") != ACCESS_KEY {
        ledger.fault(index, "its access key is wrong");
    }
    if head.header("content-type") != "application/json" {
        ledger.fault(index, "its content type is wrong");
    }
    ledger.enter(Incoming {
        accepted_ns,
        path: path.to_owned(),
        site: head.header("x-edge-site"),
        node: head.header("x-edge-node"),
        term: head.header("x-edge-term"),
        records: head.header("x-edge-records"),
        signed,
        body,
        status,
    });
    drop(ledger);
    shared.changed.notify_all();
}

/// HMAC-SHA256 of a body, in lower-case hex.
fn signature(body: &[u8], key: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    let tag = ring::hmac::sign(&key, body);
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("half a byte");
    tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
