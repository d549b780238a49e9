//! A thin line between the site and its cloud: so many bytes a second each way, all
//! connections together.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that go over the line at a time.
const PIECE_BYTES: usize = 512;

/// The line; it is cut when dropped.
pub struct SlowLink {
    port: u16,
    stop: Arc<AtomicBool>,
}

/// One direction: when the bytes that are on it have passed.
struct Direction {
    free_at: Mutex<Instant>,
    bytes_per_second: u32,
}

impl SlowLink {
    /// Leads from a port of its own to this one.
    pub fn start(to_port: u16, bytes_per_second: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("link: cannot listen");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let direction =
            || Arc::new(Direction { free_at: Mutex::new(Instant::now()), bytes_per_second });
        let (up, down) = (direction(), direction());
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let Ok(far) = TcpStream::connect(("127.0.0.1", to_port)) else { continue };
                carry(&near, &far, &up, &stopped);
                carry(&far, &near, &down, &stopped);
            }
        });
        Self { port, stop }
    }

    /// Where it begins.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // wakes the thread that accepts
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn carry(from: &TcpStream, to: &TcpStream, over: &Arc<Direction>, stop: &Arc<AtomicBool>) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let (over, stop) = (Arc::clone(over), Arc::clone(stop));
    thread::spawn(move || {
        let mut piece = [0; PIECE_BYTES];
        while let Ok(count) = from.read(&mut piece) {
            if count == 0 || stop.load(Ordering::Acquire) {
                break;
            }
            over.pass(count);
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

impl Direction {
    /// Waits until so many bytes have passed, behind all that came before.
    fn pass(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("a piece is small");
        let took = Duration::from_secs(1) * bytes / self.bytes_per_second;
        let passed_at = {
            let mut free_at = self.free_at.lock().expect("no thread panics here");
            *free_at = (*free_at).max(Instant::now()) + took;
            *free_at
        };
        thread::sleep(passed_at.saturating_duration_since(Instant::now()));
    }
}
