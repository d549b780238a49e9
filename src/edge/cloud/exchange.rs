//! One HTTP exchange by minreq: a connection, a request, and what its answer means.
//!
//! minreq takes for answers what is none: an empty one (as 503), `100 Continue`, and one cut
//! short. Here the first is Unknown, the second is read past, the third is Unknown too.
//! Its own time-outs start threads and are never used: the agent ends an uplink whose deadline
//! has passed.

use std::io::{self, Read};

use minreq::ResponseLazy;

use super::reason::{clipped, of_failure, shown};
use super::verdict::{remedy, retry_after_ms, verdict};
use crate::engine::cloud::{Reason, Verdict};
use crate::limits::ANSWER_BYTES_MAX;

/// What came of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What it means for the records.
    pub verdict: Verdict,
    /// The HTTP status; 0: none.
    pub status: u16,
    /// `Retry-After`, in ms.
    pub retry_after_ms: Option<u32>,
    /// Why, if it was not accepted.
    pub reason: Reason,
}

impl Answer {
    /// No answer at all.
    pub fn none((verdict, reason): (Verdict, Reason)) -> Self {
        Self { verdict, status: 0, retry_after_ms: None, reason }
    }
}

/// Sends a request and waits for its answer, however long that takes. `wall_ms` is this
/// gateway's clock, for the reason.
pub fn exchange(request: minreq::Request, host: &str, wall_ms: u64) -> Answer {
    match request.with_follow_redirects(false).send_lazy() {
        Ok(response) => of_response(response, host, wall_ms),
        Err(failure) => Answer::none(of_failure(&failure, host, wall_ms)),
    }
}

/// What minreq says in place of a status line that it could not read.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

fn of_response(mut response: ResponseLazy, host: &str, wall_ms: u64) -> Answer {
    if response.status_code == 503 && response.reason_phrase == NO_STATUS_LINE {
        let reason = clipped(format_args!("connection closed without an HTTP answer by {host}"));
        return Answer::none((Verdict::Unknown, reason));
    }
    let interim = (100..200).contains(&response.status_code);
    if let Some(answer) = interim.then(|| behind_interim(&mut response, wall_ms)).flatten() {
        return answer;
    }
    let status = response.status_code;
    let date = header(&response, "date");
    let retry_after_ms =
        header(&response, "retry-after").and_then(|text| retry_after_ms(text, date, wall_ms));
    let verdict = verdict(status);
    if verdict == Verdict::Accepted {
        if is_cut_short(&mut response) {
            let reason = clipped(format_args!("answer {status} cut short, from {host}"));
            return Answer { verdict: Verdict::Unknown, status, retry_after_ms: None, reason };
        }
        return Answer { verdict, status, retry_after_ms: None, reason: Reason::new() };
    }
    let reason = match header(&response, "location") {
        Some(location) if (300..400).contains(&status) => {
            clipped(format_args!("answer {status}, redirected to {}", shown(location.as_bytes())))
        }
        Some(_) | None => {
            let phrase = shown(response.reason_phrase.as_bytes());
            let excerpt = excerpt(&mut response);
            clipped(format_args!("answer {status} {phrase}{}: {excerpt}", remedy(status)))
        }
    };
    Answer { verdict, status, retry_after_ms, reason: without_colon(reason) }
}

fn header<'a>(response: &'a ResponseLazy, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Whether less came than the answer announced. Only small bodies are read: what became of the
/// records stands in the status line.
fn is_cut_short(response: &mut ResponseLazy) -> bool {
    let announced =
        header(response, "content-length").and_then(|length| length.trim().parse().ok());
    match announced {
        Some(length) if response.status_code != 204 && length <= ANSWER_BYTES_MAX as u64 => {
            let read = io::copy(&mut Read::take(response, length), &mut io::sink());
            read.ok() != Some(length)
        }
        Some(_) | None => false,
    }
}

/// Characters of an error's body that are shown.
const EXCERPT_BYTES_MAX: usize = 80;

/// The beginning of an error's body. One that says nothing of its length is not read: it may
/// never end.
fn excerpt(response: &mut ResponseLazy) -> String {
    let is_bounded = header(response, "content-length").is_some()
        || header(response, "transfer-encoding").is_some();
    let mut bytes = [0; EXCERPT_BYTES_MAX];
    let count = if is_bounded { response.read(&mut bytes).unwrap_or(0) } else { 0 };
    shown(&bytes[..count])
}

fn without_colon(mut reason: Reason) -> Reason {
    while reason.ends_with([':', ' ']) {
        reason.pop();
    }
    reason
}

/// The final answer behind `100 Continue` and its like (RFC 9110 15.2), which minreq leaves in
/// the body; `None`: there is none.
fn behind_interim(response: &mut ResponseLazy, wall_ms: u64) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut start = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(&bytes[start..]).ok()? {
            httparse::Status::Complete(length) => {
                let status = head.code?;
                if !(100..200).contains(&status) {
                    return Some(of_head(status, &head, wall_ms));
                }
                start += length;
            }
            httparse::Status::Partial => {
                let mut more = [0; 512];
                let count = response.read(&mut more).ok()?;
                if count == 0 || bytes.len() > ANSWER_BYTES_MAX {
                    return None;
                }
                bytes.extend_from_slice(&more[..count]);
            }
        }
    }
}

fn of_head(status: u16, head: &httparse::Response<'_, '_>, wall_ms: u64) -> Answer {
    let find = |name: &str| {
        let line = head.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name));
        line.and_then(|line| core::str::from_utf8(line.value).ok())
    };
    let retry_after =
        find("retry-after").and_then(|text| retry_after_ms(text, find("date"), wall_ms));
    let verdict = verdict(status);
    let phrase = shown(head.reason.unwrap_or_default().as_bytes());
    let reason = match verdict {
        Verdict::Accepted => Reason::new(),
        Verdict::BadContent
        | Verdict::BadCredentials
        | Verdict::TooLarge
        | Verdict::Retry
        | Verdict::Unknown => {
            without_colon(clipped(format_args!("answer {status} {phrase}{}", remedy(status))))
        }
    };
    Answer { verdict, status, retry_after_ms: retry_after, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::TcpListener;

    /// What comes of a server that reads a request, answers so, and closes.
    fn answer_to(bytes: &'static [u8]) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a connection");
            let mut request = [0; 4_096];
            let _count = socket.read(&mut request).expect("a request");
            socket.write_all(bytes).expect("an answer");
        });
        let url = format!("http://{address}/");
        let answer = exchange(minreq::post(url).with_body("{}"), "the-host", 0);
        server.join().expect("joined");
        answer
    }

    #[test]
    fn answers_have_verdict_status_and_reason() {
        for (bytes, verdict, status, reason) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..], Verdict::Accepted, 200, ""),
            (b"HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n", Verdict::Accepted, 204, ""),
            (b"HTTP/1.1 202 Accepted\r\n\r\n", Verdict::Accepted, 202, ""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Verdict::Unknown, 200,
                "answer 200 cut short, from the-host"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", Verdict::Accepted, 200, ""),
            (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\n[\"no\r\n\x1b thing\"]",
                Verdict::BadContent, 400, "answer 400 Bad Request: [\"no thing\"]"),
            (b"HTTP/1.1 401 Unauthorized\r\n\r\n<html>", Verdict::BadCredentials, 401,
                "answer 401 Unauthorized (see cloud.access_key and the secret key)"),
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", Verdict::BadCredentials, 404,
                "answer 404 Not Found (see cloud.url): no"),
            (b"HTTP/1.1 422 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
                Verdict::BadContent, 422, "answer 422 : no"),
            (b"HTTP/1.1 413 Too Large\r\n\r\n", Verdict::TooLarge, 413, "answer 413 Too Large"),
            (b"HTTP/1.1 307 Moved\r\nLocation: http://elsewhere/\r\n\r\n", Verdict::Retry, 307,
                "answer 307, redirected to http://elsewhere/"),
            (b"HTTP/1.1 304 Not Modified\r\n\r\n", Verdict::Retry, 304, "answer 304 Not Modified"),
            (b"", Verdict::Unknown, 0, "connection closed without an HTTP answer by the-host"),
            (b"SSH-2.0-OpenSSH\r\n", Verdict::Unknown, 0,
                "connection closed without an HTTP answer by the-host"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Verdict::Unknown, 0,
                "no usable answer (non-usize content length) from the-host"),
            (b"HTTP/1.1 200 OK\r\n\xff: x\r\n\r\n", Verdict::Unknown, 0,
                "no usable answer (response contained invalid utf-8 where valid utf-8 was expected) from the-host"),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                Verdict::Accepted, 200, ""),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Verdict::Retry, 100, "answer 100 Continue"),
        ] {
            let answer = answer_to(bytes);
            let found = (answer.verdict, answer.status, answer.reason.as_str());
            assert_eq!(found, (verdict, status, reason), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn retry_after_is_honoured() {
        let busy = answer_to(b"HTTP/1.1 429 Busy\r\nRetry-After: 7\r\n\r\n");
        assert_eq!((busy.verdict, busy.retry_after_ms), (Verdict::Retry, Some(7_000)));
        let later = answer_to(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Later\r\nretry-after: 9999\r\n\r\n",
        );
        assert_eq!((later.status, later.retry_after_ms), (503, Some(3_600_000)));
        assert_eq!(later.reason, "answer 503 Later");
    }

    #[test]
    fn a_port_where_nothing_listens_is_said_to_refuse() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let answer = exchange(minreq::post(format!("http://{address}/")), "the-host", 0);
        assert_eq!((answer.verdict, answer.status), (Verdict::Retry, 0));
        assert_eq!(answer.reason, "connection refused, nothing listens at the-host");
    }
}
