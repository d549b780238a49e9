//! A proxy that does as it is told.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How a request for a tunnel is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// With a tunnel to this address, whatever was asked for.
    Lead(SocketAddr),
    /// With these bytes; then it closes.
    Say(&'static str),
    /// With these bytes; then it keeps silent.
    SayAndHold(&'static str),
    /// With this line again and again.
    Repeat(&'static str),
}

/// The proxy; its threads end with the test.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    heads: Mutex<Vec<String>>,
}

impl Proxy {
    /// Starts one on a free port of loopback.
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("proxy: cannot listen");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { manner: Mutex::new(manner), heads: Mutex::default() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || serve(socket, &shared));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes its manner, from the next connection on.
    pub(crate) fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// What it was asked.
    pub(crate) fn heads(&self) -> Vec<String> {
        lock(&self.shared.heads).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut socket: TcpStream, shared: &Shared) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !socket.read(&mut byte).is_ok_and(|count| count == 1) {
            return;
        }
        head.push(byte[0]);
    }
    lock(&shared.heads).push(String::from_utf8_lossy(&head).into_owned());
    let manner = *lock(&shared.manner);
    // a client that has heard enough hangs up
    match manner {
        Manner::Lead(to) => lead(socket, to),
        Manner::Say(text) => drop(socket.write_all(text.as_bytes())),
        Manner::SayAndHold(text) => {
            let _written = socket.write_all(text.as_bytes());
            let _ = socket.set_read_timeout(Some(Duration::from_secs(30)));
            while socket.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
        }
        Manner::Repeat(text) => while socket.write_all(text.as_bytes()).is_ok() {},
    }
}

fn lead(mut near: TcpStream, to: SocketAddr) {
    let Ok(mut far) = TcpStream::connect(to) else { return };
    let _written = near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
    let (Ok(mut from), Ok(mut back)) = (near.try_clone(), far.try_clone()) else { return };
    let there = thread::spawn(move || {
        let _copied = std::io::copy(&mut from, &mut far);
        let _ = far.shutdown(Shutdown::Write);
    });
    let _copied = std::io::copy(&mut back, &mut near);
    let _ = near.shutdown(Shutdown::Write);
    drop(there.join());
}
