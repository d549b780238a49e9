//! What a cloud, or a proxy on the way to it, answers.
//!
//! An input: flags; how many bytes come at a time; then the answer. Flag 1: its last bytes come over
//! and over, until the connection is closed.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use edge_agent::edge::cloud::certificate::{end_of, ends_in};
use edge_agent::edge::cloud::exchange::{Answer, exchange};
use edge_agent::edge::cloud::head::{Head, HeadFault, final_head};
use edge_agent::edge::cloud::verdict::{retry_after_ms, verdict};
use edge_agent::edge::cloud::way::{Host, Way};
use edge_agent::engine::cloud::{Reason, Verdict};
use edge_agent::limits::{ANSWER_BYTES_MAX, CERTIFICATES_MAX, RETRY_AFTER_MS_MAX};
use edge_agent::sys::lease::Lease;

use super::plan::Plan;

const ENDLESS: u8 = 1;
/// The end of an endless answer, over and over.
const REPEATED_BYTES: usize = 512;
/// Of an endless answer so much is sent if nobody stops it: far more than sockets hold unread.
const SENT_BYTES_MAX: usize = 64 << 20;
const WALL_MS: u64 = 1_800_000_000_000;

/// See the module.
pub fn try_one(input: &[u8]) {
    let mut plan = Plan::new(input);
    let (flags, at_a_time) = (plan.u8(), 1 + usize::from(plan.u8()));
    let bytes = plan.rest();
    check_head(bytes, at_a_time);
    check_retry_after(bytes);
    check_certificate(bytes);
    CLOUD.with_borrow_mut(|cloud| {
        let cloud = cloud.get_or_insert_with(Cloud::new);
        let is_endless = flags & ENDLESS != 0 && !bytes.is_empty();
        let answer = cloud.ask(bytes, is_endless);
        // a status may begin in one repetition and end in the next
        let repeated = if is_endless { repeated(bytes).repeat(3) } else { Vec::new() };
        check_answer(&answer, &[bytes, &repeated].concat());
    });
}

/// However it comes, the head is the same, and a bounded part is read for it.
fn check_head(bytes: &[u8], at_a_time: usize) {
    let (whole, pieces) = (head_of(bytes, 512), head_of(bytes, at_a_time));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => {
            // of what lies behind it, less is read
            let pieces = Head { has_more: whole.has_more, ..pieces.clone() };
            assert_eq!(*whole, pieces);
            assert!(!(100..200).contains(&whole.status));
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => panic!("{whole:?}, but {pieces:?} with {at_a_time} at a time"),
    }
}

fn head_of(bytes: &[u8], at_a_time: usize) -> Result<Head, &'static str> {
    let mut rest = bytes;
    let head = final_head(|room| {
        let count = rest.len().min(at_a_time).min(room.len());
        room[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        Ok(count)
    });
    assert!(bytes.len() - rest.len() <= ANSWER_BYTES_MAX + 512, "a bounded part");
    head.map_err(|fault| match fault {
        HeadFault::Closed => "closed",
        HeadFault::NotHttp => "no HTTP",
        // by how much it comes at a time it is seen sooner or later
        HeadFault::TooLong => "too long",
        HeadFault::Io(error) => panic!("{error}"),
    })
}

fn check_retry_after(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (header, date) = text.split_once('\n').unwrap_or((text, ""));
    for date in [None, Some(date)] {
        let wait_ms = retry_after_ms(header, date, WALL_MS);
        assert!(wait_ms.is_none_or(|wait_ms| wait_ms <= RETRY_AFTER_MS_MAX));
    }
}

/// What follows a certificate changes nothing.
fn check_certificate(bytes: &[u8]) {
    let end_ms = end_of(bytes);
    let more = [bytes, b"\x30\x03more"].concat();
    assert!(end_ms.is_none() || end_of(&more) == end_ms);
    assert!(ends_in(bytes).len() <= CERTIFICATES_MAX);
}

/// There is a verdict, which goes with the status, and a reason unless all is well.
fn check_answer(answer: &Answer, bytes: &[u8]) {
    let Answer { status, reason, .. } = answer;
    let is_accepted = answer.verdict == Verdict::Accepted;
    assert_eq!(is_accepted, reason.is_empty(), "{answer:?}");
    assert!(reason.chars().all(|letter| !letter.is_control()), "{answer:?}");
    assert!(answer.retry_after_ms.is_none_or(|wait_ms| wait_ms <= RETRY_AFTER_MS_MAX));
    if *status == 0 {
        assert!(matches!(answer.verdict, Verdict::Retry | Verdict::Unknown), "{answer:?}");
        return;
    }
    let is_cut = verdict(*status) == Verdict::Accepted && answer.verdict == Verdict::Unknown;
    assert!(answer.verdict == verdict(*status) || is_cut, "{answer:?}");
    let digits = status.to_string();
    let is_there = bytes.windows(digits.len()).any(|window| window == digits.as_bytes());
    assert!(is_there, "{answer:?}");
    // minreq does not look at the first word of its line
    let says = |line: &[u8]| {
        let word = line.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let word = std::str::from_utf8(word.trim_ascii_end()).ok();
        word.and_then(|word| word.parse().ok()) == Some(*status)
    };
    let is_said = bytes.split(|&byte| byte == b'\n').any(says);
    assert!(!is_accepted || is_said, "P2: {answer:?}");
}

thread_local! {
    static CLOUD: RefCell<Option<Cloud>> = const { RefCell::new(None) };
}

/// A server that answers a request with what it is given.
struct Cloud {
    address: SocketAddr,
    answers: Sender<(Vec<u8>, bool)>,
    /// How much it could send of each.
    sent: Receiver<usize>,
    lease: Lease,
}

impl Cloud {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (answers, orders) = channel::<(Vec<u8>, bool)>();
        let (tell, sent) = channel();
        thread::spawn(move || {
            for (bytes, is_endless) in orders {
                let (socket, _) = listener.accept().expect("a connection");
                if tell.send(answer(socket, &bytes, is_endless)).is_err() {
                    return;
                }
            }
        });
        Self { address, answers, sent, lease: Lease::new(0).expect("a page") }
    }

    fn ask(&self, bytes: &[u8], is_endless: bool) -> Answer {
        self.answers.send((bytes.to_vec(), is_endless)).expect("it lives");
        let host = Host { name: self.address.ip().to_string(), port: self.address.port() };
        let way = Way::new(&host, None, 60_000, &self.lease);
        let request = minreq::post(format!("http://{}/", self.address)).with_body("{}");
        let answer = unless_minreq_ends(|| exchange(request, &way, "the-host", WALL_MS));
        let sent = self.sent.recv().expect("it lives");
        assert!(sent < SENT_BYTES_MAX, "all of an endless answer is read: {answer:?}");
        answer
    }
}

/// Answers a request; how much went.
fn answer(mut socket: TcpStream, bytes: &[u8], is_endless: bool) -> usize {
    let mut room = [0; 4_096];
    let mut request = Vec::new();
    while !request.ends_with(b"{}") {
        let count = socket.read(&mut room).unwrap_or(0);
        if count == 0 {
            return 0;
        }
        request.extend_from_slice(&room[..count]);
    }
    let mut sent = 0;
    let mut goes = socket.write_all(bytes).is_ok();
    if is_endless {
        let last = repeated(bytes);
        let piece = last.repeat(1 + (64 << 10) / last.len());
        while goes && sent < SENT_BYTES_MAX {
            goes = socket.write_all(&piece).is_ok();
            sent += piece.len();
        }
    }
    // gone already, perhaps
    let _gone = socket.shutdown(Shutdown::Write);
    while socket.read(&mut room).is_ok_and(|count| count > 0) {}
    sent
}

/// What of an endless answer comes again and again.
fn repeated(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len() - bytes.len().min(REPEATED_BYTES)..]
}

thread_local! {
    /// A panic of minreq's own was seen.
    static ENDED: RefCell<bool> = const { RefCell::new(false) };
}

/// minreq's count of a head's bytes may end the process, which is a Retry (`Cargo.toml`,
/// `overflow-checks`); any other panic is none of its own.
fn unless_minreq_ends(ask: impl FnOnce() -> Answer) -> Answer {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            let place = panic.location().map(|place| place.file().to_owned());
            if place.is_some_and(|file| file.contains("/minreq-")) {
                ENDED.set(true);
            } else {
                usual(panic);
            }
        }));
    });
    match catch_unwind(AssertUnwindSafe(ask)) {
        Ok(answer) => answer,
        Err(_) if ENDED.take() => {
            let reason = Reason::try_from("the uplink ended").expect("short");
            Answer::none((Verdict::Retry, reason))
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let with = |flags: u8, text: &str| [&[flags, 20][..], text.as_bytes()].concat();
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 429 Busy\r\n\
        Retry-After: 7\r\n\r\n";
    let dates = "HTTP/1.1 503 Later\r\nDate: Sun, 22 Nov 2026 05:30:00 GMT\r\n\
        Retry-After: Sun, 22 Nov 2026 05:30:07 GMT\r\n\r\n";
    let pem = "-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n";
    vec![
        ("accepted", with(0, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")),
        ("cut-short", with(0, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")),
        ("no-content", with(0, "HTTP/1.1 204 No Content\r\n\r\n")),
        (
            "refused",
            with(0, "HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n[\"no\r\n\x1b thing\"]"),
        ),
        ("unauthorized", with(0, "HTTP/1.1 401 Unauthorized\r\n\r\n<html>")),
        (
            "chunked",
            with(
                0,
                "HTTP/1.1 422 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nA: b\r\n\r\n",
            ),
        ),
        ("moved", with(0, "HTTP/1.1 307 Moved\r\nLocation: http://elsewhere/\r\n\r\n")),
        ("interim", with(0, interim)),
        ("later", with(0, dates)),
        ("other", with(0, "SSH-2.0-OpenSSH\r\n")),
        ("endless-head", with(ENDLESS, "HTTP/1.1 200 OK\r\nA: b\r\n")),
        (
            "endless-body",
            with(ENDLESS, "HTTP/1.1 500 Oh\r\nContent-Length: 99999999999\r\n\r\n<html>"),
        ),
        (
            "endless-chunks",
            with(ENDLESS, "HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
        ),
        ("certificate", with(0, pem)),
        ("retry-after", with(0, "Sun, 22 Nov 2026 05:30:07 GMT\nSun, 22 Nov 2026 05:30:00 GMT")),
    ]
}
