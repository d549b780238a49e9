//! One HTTP exchange by minreq: a connection, a request, and what its answer means.
//!
//! minreq takes for answers what is none: an empty one (as 503), `100 Continue`, and one cut
//! short. Here the first is Unknown, the second is read past, the third is Unknown too.
//! Its own time-outs start threads and are never used: the agent ends an uplink whose deadline
//! has passed.

use std::io::{self, ErrorKind, Read};

use minreq::ResponseLazy;

use super::head::final_head;
use super::reason::{clipped, of_failure, shown};
use super::verdict::{remedy, retry_after_ms, verdict};
use super::way::Way;
use crate::engine::cloud::{Reason, Verdict};
use crate::limits::ANSWER_BYTES_MAX;
use crate::sys::dial::dialled_by;

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

/// Sends a request on its way and waits for its answer, however long that takes. `wall_ms` is
/// this gateway's clock, for the reason.
pub fn exchange(request: minreq::Request, way: &Way<'_>, host: &str, wall_ms: u64) -> Answer {
    let mut no_way = None;
    let dial = || match way.open() {
        Ok(opened) => Ok(opened.stream),
        Err(why) => {
            no_way = Some(why.reason);
            Err(ErrorKind::ConnectionAborted.into())
        }
    };
    let sent = dialled_by(dial, || request.with_follow_redirects(false).send_lazy());
    let answer = match (sent, no_way) {
        (_, Some(reason)) => Answer::none((Verdict::Retry, clipped(format_args!("{reason}")))),
        (Ok(response), None) => of_response(response, host, wall_ms),
        (Err(failure), None) => Answer::none(of_failure(&failure, host, wall_ms)),
    };
    if answer.status != 0 {
        way.answered();
    }
    answer
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

/// The final answer behind `100 Continue` and its like, which minreq leaves in the body; `None`:
/// there is none.
fn behind_interim(response: &mut ResponseLazy, wall_ms: u64) -> Option<Answer> {
    let head = final_head(|room| response.read(room)).ok()?;
    let verdict = verdict(head.status);
    let reason = match verdict {
        Verdict::Accepted => Reason::new(),
        Verdict::BadContent
        | Verdict::BadCredentials
        | Verdict::TooLarge
        | Verdict::Retry
        | Verdict::Unknown => without_colon(clipped(format_args!(
            "answer {} {}{}",
            head.status,
            head.phrase,
            remedy(head.status)
        ))),
    };
    let retry_after_ms = head
        .retry_after
        .as_deref()
        .and_then(|text| retry_after_ms(text, head.date.as_deref(), wall_ms));
    Some(Answer { verdict, status: head.status, retry_after_ms, reason })
}

#[cfg(test)]
mod tests;
