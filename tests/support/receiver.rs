//! A cloud nearby: TLS by a CA made on the spot, every signature checked, every record
//! kept; it can fail in the ways in which clouds fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::ledger::{Incoming, Ledger};
use super::{ACCESS_KEY, SECRET_KEY, now_ns};

/// Longest life of a connection that is answered.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// How requests are met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    config: Arc<ServerConfig>,
}

/// The receiver; it ends when dropped.
pub struct Receiver {
    address: SocketAddr,
    name: String,
    ca_pem: String,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Starts a receiver on a free port of loopback.
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, "localhost")
    }

    /// Starts a receiver on a free port of this address, with a certificate for this name.
    pub fn start_at(address: Ipv4Addr, name: &str) -> Self {
        let (config, ca_pem) = certificates(name);
        let listener = TcpListener::bind((address, 0)).expect("receiver: cannot listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            changed: Condvar::new(),
            behaviour: Mutex::new(Behaviour::Answer(200)),
            held: Mutex::default(),
            stop: AtomicBool::new(false),
            config: Arc::new(config),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, name: name.to_owned(), ca_pem, shared }
    }

    /// Where it is reached, by a name in its certificate.
    pub fn url(&self) -> String {
        format!("https://{}:{}", self.name, self.address.port())
    }

    /// The CA that its certificate is from.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Changes how requests are met, from the next connection on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
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

fn certificates(name: &str) -> (ServerConfig, String) {
    let mut ca = CertificateParams::new(Vec::new()).expect("no names, none that is bad");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "scratch CA");
    let ca_key = KeyPair::generate().expect("receiver: cannot make a key");
    let issuer = CertifiedIssuer::self_signed(ca, ca_key).expect("receiver: cannot make a CA");
    let names = vec![name.to_owned()];
    let server = CertificateParams::new(names).expect("a name of ours is good");
    let key = KeyPair::generate().expect("receiver: cannot make a key");
    let certificate = server.signed_by(&key, &issuer).expect("receiver: cannot sign");
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("rcgen writes PKCS 8");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("the key is the certificate's");
    let authority: &rcgen::Certificate = issuer.as_ref();
    (config, authority.pem())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((socket, _)) = listener.accept() {
        let accepted_ns = now_ns();
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let behaviour = *lock(&shared.behaviour);
        let serving = Arc::clone(shared);
        thread::spawn(move || serve(socket, accepted_ns, behaviour, &serving));
    }
}

fn serve(mut socket: TcpStream, accepted_ns: u64, behaviour: Behaviour, shared: &Shared) {
    let _ = socket.set_nodelay(true);
    let _ = socket.set_read_timeout(Some(CONNECTION_LIMIT));
    let status = match behaviour {
        Behaviour::HangUp => return,
        Behaviour::BlackHole => return hold(&mut socket, accepted_ns, shared),
        Behaviour::Answer(status) => status,
        Behaviour::Delay(_) => 200,
        Behaviour::Silent => 0,
    };
    let Ok(connection) = ServerConnection::new(Arc::clone(&shared.config)) else { return };
    let mut stream = StreamOwned::new(connection, socket);
    // a peer that was killed half-way has sent nothing that counts
    let Some((head, body)) = read_request(&mut stream) else { return };
    enter(&head, body, accepted_ns, status, shared);
    if let Behaviour::Delay(time) = behaviour {
        thread::sleep(time);
    }
    if status == 0 {
        return hold(&mut stream.sock, accepted_ns, shared);
    }
    let answer = format!("HTTP/1.1 {status} .\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
    let _ = stream.sock.shutdown(Shutdown::Write);
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
    let signed = signature(&body) == head.header("x-dtn-signature");
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
fn signature(body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET_KEY.as_bytes());
    let tag = ring::hmac::sign(&key, body);
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("half a byte");
    tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
