//! A cloud that takes everything and looks at nothing but the head: TLS, one request a connection,
//! as little work as can be, because it shares the processor with what is measured.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use crate::support::certificates::{Authority, Certificate};
use crate::support::http::header;
use crate::support::site::Site;
use crate::throughput::Load;

/// What came.
#[derive(Default)]
struct Taken {
    records: AtomicU64,
    bytes: AtomicU64,
    requests: AtomicU64,
    stop: AtomicBool,
}

/// The cloud.
pub(crate) struct Sink {
    url: String,
    ca_pem: String,
    port: u16,
    taken: Arc<Taken>,
}

/// What it has taken so far.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Count {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

impl Sink {
    pub(crate) fn start() -> Self {
        let authority = Authority::new("scratch CA");
        let config = authority.server(Certificate::Good);
        let listener = TcpListener::bind("127.0.0.1:0").expect("sink: cannot listen");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let taken = Arc::new(Taken::default());
        let serving = Arc::clone(&taken);
        thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                if serving.stop.load(Ordering::Acquire) {
                    return;
                }
                // a broken request is the client's: it comes again
                let _ = serve(socket, &config, &serving);
            }
        });
        let url = format!("https://localhost:{port}");
        Self { url, ca_pem: authority.pem(), port, taken }
    }

    /// Has a site forward to this, in such batches.
    pub(crate) fn take_in(&self, site: &Site, load: &Load) {
        fs::write(site.data().join("ca.pem"), &self.ca_pem).expect("budgets: cannot write");
        site.edit_config(|config| {
            config["cloud"]["url"] = json!(self.url);
            config["cloud"]["batch_records_max"] = json!(load.batch_records);
            config["cloud"]["batch_bytes_max"] = json!(load.batch_bytes);
        });
    }

    pub(crate) fn count(&self) -> Count {
        let load = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let Taken { records, bytes, requests, .. } = &*self.taken;
        Count { records: load(records), bytes: load(bytes), requests: load(requests) }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.taken.stop.store(true, Ordering::Release);
        // wakes the thread that accepts
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(socket: TcpStream, config: &Arc<ServerConfig>, taken: &Taken) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    let head_end = loop {
        let count = stream.read(&mut buffer[filled..])?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let length: usize = header(&head, "content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut left = length.saturating_sub(filled - head_end - 4);
    while left > 0 {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        left = left.saturating_sub(count);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")?;
    stream.conn.send_close_notify();
    stream.flush()?;
    let records = header(&head, "x-edge-records").map_or(0, count_records);
    taken.records.fetch_add(records, Ordering::AcqRel);
    taken.bytes.fetch_add(length as u64, Ordering::AcqRel);
    taken.requests.fetch_add(1, Ordering::AcqRel);
    Ok(())
}

/// `<term>/<lane>/<first>-<last>[,…]`
fn count_records(ranges: &str) -> u64 {
    let count = |range: &str| {
        let (first, last) = range.rsplit_once('/')?.1.split_once('-')?;
        Some(last.parse::<u64>().ok()? - first.parse::<u64>().ok()? + 1)
    };
    ranges.split(',').filter_map(count).sum()
}
