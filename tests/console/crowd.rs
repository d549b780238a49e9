//! Two hundred clients on the console, well-behaved and not, while readings are forwarded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::producer::Producer;
use crate::support::scene::is_long;
use crate::support::site::Plan;
use crate::support::{binary, processes};
use crate::{NODES, Seen};

const CLIENTS: usize = 200;
/// What the console may take in memory: answers of all connections and bodies of readings.
const GROWTH_KB_MAX: u64 = 6_000;

/// What a client does, again and again.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Asks and reads the answer.
    Polite(&'static str),
    /// Sends a byte now and then.
    Slow,
    /// Connects and says nothing.
    Mute,
    /// Asks for the page and does not read it.
    Deaf,
    /// Sends a head or a body without end.
    Endless(&'static str),
    /// Sends what is no request.
    Garbage,
    /// Sends half of a body and goes.
    Half,
}

const MANNERS: [Manner; 10] = [
    Manner::Polite("/"),
    Manner::Polite("/metrics"),
    Manner::Polite("/status.json"),
    Manner::Slow,
    Manner::Mute,
    Manner::Deaf,
    Manner::Endless("GET / HTTP/1.1\r\nHost: localhost\r\nX: "),
    Manner::Endless(
        "POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n",
    ),
    Manner::Garbage,
    Manner::Half,
];

/// Behaves so once; whether there was a whole answer.
fn behave(address: SocketAddr, manner: Manner, stop: &AtomicBool) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(1)))?;
    let get = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    };
    let patience = Instant::now() + Duration::from_secs(4);
    let go_on = || !stop.load(Ordering::Acquire) && Instant::now() < patience;
    match manner {
        Manner::Polite(target) => {
            stream.write_all(get(target).as_bytes())?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            return Ok(answer.starts_with(b"HTTP/1.1 200 "));
        }
        Manner::Slow => {
            for byte in get("/").bytes() {
                stream.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(200));
                if !go_on() {
                    break;
                }
            }
        }
        Manner::Mute => {
            while go_on() {
                thread::sleep(Duration::from_millis(100));
            }
        }
        Manner::Deaf => {
            stream.write_all(get("/").repeat(8).as_bytes())?;
            while go_on() {
                thread::sleep(Duration::from_millis(100));
            }
        }
        Manner::Endless(head) => {
            stream.write_all(head.as_bytes())?;
            while go_on() {
                stream.write_all(&[b'a'; 4_096])?;
            }
        }
        Manner::Garbage => {
            let bytes: Vec<u8> = (0..2_048_u32).map(|at| (at * 197 % 251) as u8).collect();
            stream.write_all(&bytes)?;
            let _ = stream.read(&mut [0; 64]);
        }
        Manner::Half => {
            stream.write_all(b"POST /readings HTTP/1.1\r\nHost: localhost\r\n")?;
            stream.write_all(b"Content-Length: 4000\r\n\r\n{\"events\":[")?;
        }
    }
    Ok(false)
}

#[test]
fn a_crowd_on_the_console_holds_up_nothing() {
    let seconds = if is_long() { 60 } else { 10 };
    // the product's own times
    let plan = Plan { poll: 500, heartbeat: 1_000, fence: 5_000, seize: 60_000, ..Plan::default() };
    let mut seen = Seen::new(&plan);
    seen.start_both();
    // readings come by the Unix socket, which the crowd cannot fill
    let producer = Producer::start(seen.site.sockets(&NODES), 500);
    let before = producer.acknowledged();
    seen.site
        .wait("readings to flow", 30, |_| (producer.acknowledged() > before + 500).then_some(()));
    let agent = seen.site.pid(NODES[0]);
    let base_kb = processes::peak_kb(agent).expect("it runs");
    let address = SocketAddr::from(([127, 0, 0, 1], seen.ports[0]));
    let (stop, answers, tries) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let acknowledged = producer.acknowledged();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (stop, answers, tries) = (&stop, &answers, &tries);
            let manner = MANNERS[client % MANNERS.len()];
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    tries.fetch_add(1, Ordering::Relaxed);
                    if behave(address, manner, stop).unwrap_or(false) {
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            });
        }
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Release);
    });
    let taken = producer.acknowledged() - acknowledged;
    let peak_kb = processes::peak_kb(agent).expect("it still runs");
    println!(
        "crowd: {CLIENTS} clients for {seconds} s, {} visits, {} answers; {taken} readings taken \
         meanwhile; the agent's peak grew from {base_kb} to {peak_kb} kB",
        tries.into_inner(),
        answers.load(Ordering::Relaxed)
    );
    assert!(answers.into_inner() > 0, "nobody polite was answered");
    assert!(taken > 0, "readings were held up");
    if !binary::is_another() {
        assert!(peak_kb < base_kb + GROWTH_KB_MAX, "{base_kb} kB grew to {peak_kb}");
    }
    let masters = seen.site.masters();
    assert!(masters.len() == 1 && masters[0].term == 1, "heartbeats went on: {masters:?}");
    println!("crowd: {} proofs were late", seen.site.said(NODES[0], "no proof within the lease"));
    let sent = producer.stop();
    seen.site.wait("all that was sent to be delivered", 60, |_| {
        (seen.receiver.ledger().readings() >= sent.acknowledged.len()).then_some(())
    });
    let faults = seen.site.thread_faults();
    assert!(faults.is_empty(), "{faults:?}");
}
