//! Answers, written into a buffer that is there already.

use std::fmt::Write as _;
use std::ops::Range;

use heapless::String;
use serde::Serialize;

use super::request::Refusal;
use super::{metrics, page};
use crate::edge::json::Fault;
use crate::edge::tally::Tally;
use crate::engine::ident::{NodeName, Role, Term};
use crate::engine::status::Status;
use crate::limits::REPLY_BYTES_MAX;

/// Bytes kept free for the head before the body is known.
const HEAD_ROOM: usize = 768;

/// What the agent answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// 200: the snapshot.
    Status(&'a Status),
    /// 200: the snapshot and counters as a monitoring system reads them.
    Metrics(&'a Status, &'a Tally),
    /// 200: that we are alive, and how.
    Health {
        /// What this node is doing.
        role: Role,
        /// Names of the conditions that hold now.
        conditions: &'a [&'static str],
    },
    /// 200 on the master under a lease, else 503.
    Master {
        /// Whether we are.
        is_master: bool,
        /// This node.
        node: &'a NodeName,
        /// The newest term known.
        term: Term,
    },
    /// 204: the readings are durable.
    Durable,
    /// 503: the request goes to another node.
    Elsewhere {
        /// The master; `None`: not known.
        master: Option<&'a NodeName>,
        /// Where its console can be reached; empty: not said.
        advertise: &'a str,
    },
    /// 503: whether the readings are durable is not known.
    Unknown,
    /// 429: there is no room for the readings now.
    Full,
    /// 400: the body is not as it should be; nothing of it was taken.
    Bad(Fault),
    /// 413: a reading is longer than a record may be; nothing of the body was taken.
    TooLarge(Fault),
    /// 202: the switchover was passed on.
    HandingOver {
        /// The term that shall end.
        term: Term,
    },
    /// 202: it has begun; the status tells how it goes.
    Begun {
        /// The number by which the status knows it.
        number: u32,
        /// The term that it belongs to.
        term: Term,
    },
    /// 409: one is under way.
    UnderWay,
    /// 503: the request cannot be carried out now.
    Unable {
        /// Why.
        reason: &'a str,
    },
}

/// What the head of an answer says beyond the body.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    /// HEAD: leave the body out.
    pub(super) is_bare: bool,
    /// Say that the connection ends.
    pub(super) closes: bool,
}

/// The status line, and what belongs to the status.
#[derive(Clone, Copy)]
struct Outline {
    status: u16,
    /// Say when to come again.
    retries: bool,
    /// The methods that are allowed; empty: not said.
    allow: &'static str,
    kind: &'static str,
    /// Further header lines.
    lines: &'static str,
}

impl Outline {
    const fn new(status: u16) -> Self {
        Self { status, retries: false, allow: "", kind: "application/json", lines: "" }
    }

    const fn retry(status: u16) -> Self {
        Self { retries: true, ..Self::new(status) }
    }
}

/// Writes an answer; tells where it stands in the buffer.
pub(super) fn write(buffer: &mut [u8], frame: Frame, answer: Answer<'_>) -> Range<usize> {
    let mut json = |outline, body: &dyn Body| {
        let length = body.write(buffer.get_mut(HEAD_ROOM..).unwrap_or_default());
        finish(buffer, frame, outline, length)
    };
    match answer {
        Answer::Status(status) => json(Outline::new(200), status),
        Answer::Metrics(status, tally) => {
            let room = buffer.get_mut(HEAD_ROOM..).unwrap_or_default();
            let length = metrics::write(room, status, tally);
            finish(buffer, frame, Outline { kind: metrics::KIND, ..Outline::new(200) }, length)
        }
        Answer::Health { role, conditions } => {
            json(Outline::new(200), &Health { role, conditions })
        }
        Answer::Master { is_master, node, term } => {
            let status = if is_master { 200 } else { 503 };
            json(Outline::new(status), &Mastership { node, is_master, term })
        }
        Answer::Durable => finish(buffer, frame, Outline::new(204), Some(0)),
        Answer::Elsewhere { master, advertise } => {
            json(Outline::retry(503), &Elsewhere { master, advertise })
        }
        Answer::Unknown => json(Outline::retry(503), &Reason { reason: UNKNOWN }),
        Answer::Full => json(Outline::retry(429), &Reason { reason: "no room for readings now" }),
        Answer::Bad(fault) => json(Outline::new(400), &Place::of(fault)),
        Answer::TooLarge(fault) => json(Outline::new(413), &Place::of(fault)),
        Answer::HandingOver { term } => json(Outline::new(202), &HandingOver { term }),
        Answer::Begun { number, term } => json(Outline::new(202), &Begun { number, term }),
        Answer::UnderWay => json(Outline::new(409), &Reason { reason: UNDER_WAY }),
        Answer::Unable { reason } => json(Outline::retry(503), &Reason { reason }),
    }
}

const UNDER_WAY: &str = "a replay or a purge is under way";
const UNKNOWN: &str = "not known whether the readings are durable: send them again";

/// Writes that a request is not carried out.
pub(super) fn refuse(buffer: &mut [u8], frame: Frame, refusal: Refusal) -> Range<usize> {
    let body = Expected { expected: refusal.expected };
    let length = body.write(buffer.get_mut(HEAD_ROOM..).unwrap_or_default());
    let outline = Outline { allow: refusal.allow, ..Outline::new(refusal.status) };
    finish(buffer, frame, outline, length)
}

/// Writes the page.
pub(super) fn page(buffer: &mut [u8], frame: Frame) -> Range<usize> {
    let body = page::HTML.as_bytes();
    buffer[HEAD_ROOM..HEAD_ROOM + body.len()].copy_from_slice(body);
    let outline = Outline { kind: page::KIND, lines: page::LINES, ..Outline::new(200) };
    finish(buffer, frame, outline, Some(body.len()))
}
const _: () = assert!(HEAD_ROOM + page::HTML.len() <= REPLY_BYTES_MAX);

/// Writes a number as text.
pub(super) fn number(buffer: &mut [u8], frame: Frame, number: u64) -> Range<usize> {
    let mut text = String::<21>::new();
    writeln!(text, "{number}").expect("20 digits hold any u64");
    buffer[HEAD_ROOM..HEAD_ROOM + text.len()].copy_from_slice(text.as_bytes());
    let outline = Outline { kind: "text/plain", ..Outline::new(200) };
    finish(buffer, frame, outline, Some(text.len()))
}

/// A body; `None`: it does not fit.
trait Body {
    fn write(&self, room: &mut [u8]) -> Option<usize>;
}

impl<T: Serialize> Body for T {
    fn write(&self, room: &mut [u8]) -> Option<usize> {
        serde_json_core::to_slice(self, room).ok()
    }
}

/// Puts the head right before the body.
fn finish(buffer: &mut [u8], frame: Frame, outline: Outline, body: Option<usize>) -> Range<usize> {
    let (outline, length) = match body {
        Some(length) => (outline, length),
        None => (Outline::new(500), 0),
    };
    let mut head = String::<HEAD_ROOM>::new();
    write_head(&mut head, frame, outline, length).expect("a head is shorter than its room");
    let from = HEAD_ROOM - head.len();
    buffer[from..HEAD_ROOM].copy_from_slice(head.as_bytes());
    let to = if frame.is_bare { HEAD_ROOM } else { HEAD_ROOM + length };
    from..to
}

fn write_head(
    head: &mut String<HEAD_ROOM>,
    frame: Frame,
    outline: Outline,
    length: usize,
) -> std::fmt::Result {
    let Outline { status, retries, allow, kind, lines } = outline;
    write!(head, "HTTP/1.1 {status} {}\r\nCache-Control: no-store\r\n", phrase(status))?;
    // RFC 9110 8.6: none with 204
    if status != 204 {
        write!(head, "Content-Type: {kind}\r\nContent-Length: {length}\r\n")?;
    }
    if retries {
        head.write_str("Retry-After: 1\r\n")?;
    }
    if !allow.is_empty() {
        write!(head, "Allow: {allow}\r\n")?;
    }
    // RFC 9110 11.6.1; Basic first: browsers ask for it
    if status == 401 {
        head.write_str(concat!(
            "WWW-Authenticate: Basic realm=\"edge-agent\", ",
            "Bearer realm=\"edge-agent\"\r\n"
        ))?;
    }
    head.write_str(lines)?;
    if frame.closes {
        head.write_str("Connection: close\r\n")?;
    }
    head.write_str("\r\n")
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Internal Server Error",
    }
}

#[derive(Serialize)]
struct Health<'a> {
    role: Role,
    conditions: &'a [&'static str],
}

#[derive(Serialize)]
struct Mastership<'a> {
    node: &'a NodeName,
    is_master: bool,
    term: Term,
}

#[derive(Serialize)]
struct Elsewhere<'a> {
    master: Option<&'a NodeName>,
    advertise: &'a str,
}

#[derive(Serialize)]
struct HandingOver {
    term: Term,
}

#[derive(Serialize)]
struct Begun {
    number: u32,
    term: Term,
}

#[derive(Serialize)]
struct Reason<'a> {
    reason: &'a str,
}

#[derive(Serialize)]
struct Expected {
    expected: &'static str,
}

#[derive(Serialize)]
struct Place {
    line: u32,
    column: u32,
    expected: &'static str,
}

impl Place {
    const fn of(fault: Fault) -> Self {
        Self { line: fault.line, column: fault.column, expected: fault.expected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::console::testing::status;

    const PLAIN: Frame = Frame { is_bare: false, closes: false };

    fn text(answer: Answer<'_>, frame: Frame) -> std::string::String {
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        let range = write(&mut buffer, frame, answer);
        std::str::from_utf8(&buffer[range]).expect("answers are text").to_owned()
    }

    #[test]
    fn answers_have_status_length_and_body() {
        let master = NodeName::parse("gw-2").expect("a valid name");
        let fault = Fault { offset: 0, line: 2, column: 3, expected: "a \"key\"" };
        let head = |status: &str, length: usize| {
            format!(
                "HTTP/1.1 {status}\r\nCache-Control: no-store\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n"
            )
        };
        let retry = "Retry-After: 1\r\n";
        let elsewhere = Answer::Elsewhere { master: Some(&master), advertise: "http://b" };
        let nowhere = Answer::Elsewhere { master: None, advertise: "" };
        let health = Answer::Health { role: Role::Standby, conditions: &["share-stalled"] };
        let is_master = Answer::Master { is_master: true, node: &master, term: 7 };
        for (answer, head, body) in [
            (health, head("200 OK", 49), r#"{"role":"standby","conditions":["share-stalled"]}"#),
            (is_master, head("200 OK", 41), r#"{"node":"gw-2","is_master":true,"term":7}"#),
            (
                elsewhere,
                head("503 Service Unavailable", 40) + retry,
                r#"{"master":"gw-2","advertise":"http://b"}"#,
            ),
            (
                nowhere,
                head("503 Service Unavailable", 30) + retry,
                r#"{"master":null,"advertise":""}"#,
            ),
            (
                Answer::Bad(fault),
                head("400 Bad Request", 44),
                r#"{"line":2,"column":3,"expected":"a \"key\""}"#,
            ),
            (Answer::HandingOver { term: 7 }, head("202 Accepted", 10), r#"{"term":7}"#),
            (
                Answer::Begun { number: 2, term: 7 },
                head("202 Accepted", 21),
                r#"{"number":2,"term":7}"#,
            ),
            (
                Answer::UnderWay,
                head("409 Conflict", 45),
                r#"{"reason":"a replay or a purge is under way"}"#,
            ),
        ] {
            assert_eq!(text(answer, PLAIN), format!("{head}\r\n{body}"));
        }
        assert_eq!(
            text(Answer::Durable, PLAIN),
            "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n"
        );
    }

    #[test]
    fn a_bare_answer_tells_the_length_of_what_it_leaves_out() {
        let frame = Frame { is_bare: true, closes: true };
        let bare = text(Answer::HandingOver { term: 7 }, frame);
        assert!(bare.contains("Content-Length: 10\r\n"), "{bare}");
        assert!(bare.ends_with("Connection: close\r\n\r\n"), "{bare}");
    }

    #[test]
    fn the_longest_snapshot_fits() {
        let status = status(true);
        let text = text(Answer::Status(&status), PLAIN);
        assert!(text.starts_with("HTTP/1.1 200"), "{}", &text[..40]);
        assert!(text.len() > 10_000);
    }

    #[test]
    fn what_does_not_fit_is_said_not_cut() {
        let status = status(true);
        let mut buffer = vec![0; 1_024];
        let range = write(&mut buffer, PLAIN, Answer::Status(&status));
        assert!(buffer[range].starts_with(b"HTTP/1.1 500 Internal Server Error\r\n"));
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_expected() {
        let mut buffer = vec![0; REPLY_BYTES_MAX];
        let refusal = Refusal { allow: "POST", ..Refusal::new(405, "POST") };
        let range = refuse(&mut buffer, PLAIN, refusal);
        let text = std::str::from_utf8(&buffer[range]).expect("answers are text");
        assert!(text.contains("\r\nAllow: POST\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\n{\"expected\":\"POST\"}"), "{text}");
        let closing = Frame { closes: true, ..PLAIN };
        let range = refuse(&mut buffer, closing, Refusal::new(401, "the token"));
        let text = std::str::from_utf8(&buffer[range]).expect("answers are text");
        assert!(text.contains("\r\nWWW-Authenticate: Basic realm=\"edge-agent\", "), "{text}");
    }
}
