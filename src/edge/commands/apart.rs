//! Work that may hang, done apart in a child.
//!
//! A share that hangs would hang this process beyond any signal; so would a path of the
//! configuration. The child tells what it finds, piece by piece, and is given up once it has told
//! nothing for a while. It dies with this process, or as soon as the share lets it.

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use heapless::String;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::edge::channel::{Link, Port};
use crate::edge::children;
use crate::limits::SURVEY_MS_MAX;
use crate::sys::poll::{PollFd, poll};

/// The head of a frame from the child; what it found is the body.
#[derive(Serialize, Deserialize)]
struct Found {
    /// Why it found nothing; empty: it did.
    fault: String<240>,
}

/// Why there is nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not answer within so many ms.
    Silent(u32),
    /// What is wrong.
    Fault(std::string::String),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(limit_ms) => write!(out, "no answer within {} s", limit_ms / 1_000),
            Self::Fault(text) => out.write_str(text),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Fault(error.to_string())
    }
}

/// What a child tells with.
pub(super) struct Teller(Port);

impl Teller {
    /// Tells a piece, or why there is none. If the command is gone, nobody wants to know.
    pub(super) fn tell(&mut self, found: Result<&[u8], &str>) {
        let mut fault = String::new();
        let body = found.unwrap_or_else(|text| {
            text.chars().take(fault.capacity() / 4).for_each(|letter| {
                // a letter has four bytes at most
                let _ = fault.push(letter);
            });
            b""
        });
        let _ = self.0.send(&Found { fault }, body);
    }
}

/// A child at work.
pub(super) struct Work {
    link: Link,
}

impl Work {
    /// Starts a child; `name` is what `ps` shows.
    pub(super) fn begin(name: &str, work: impl FnOnce(&mut Teller)) -> Result<Self, Failure> {
        let child = children::spawn(name, &[], |port| work(&mut Teller(port)))?;
        Ok(Self { link: child.link })
    }

    /// What it tells next, within so many ms; `None`: it is done.
    pub(super) fn next(&mut self, limit_ms: u32) -> Result<Option<Vec<u8>>, Failure> {
        match receive::<Found>(&mut self.link, limit_ms)? {
            None => Ok(None),
            Some(found) if found.fault.is_empty() => Ok(Some(self.link.body().to_vec())),
            Some(found) => Err(Failure::Fault(found.fault.as_str().to_owned())),
        }
    }
}

/// A child's next frame, within so many ms; `None`: it ended.
pub(super) fn receive<T: DeserializeOwned>(
    link: &mut Link,
    limit_ms: u32,
) -> Result<Option<T>, Failure> {
    let begin = Instant::now();
    let limit = Duration::from_millis(u64::from(limit_ms));
    loop {
        match link.receive::<T>() {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let left = limit.checked_sub(begin.elapsed()).ok_or(Failure::Silent(limit_ms))?;
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(0) + 1;
        poll(&mut [PollFd::new(link.as_fd(), true, false)], Some(left_ms))?;
    }
}

/// Does one thing apart, within [`SURVEY_MS_MAX`].
pub(super) fn apart(
    name: &str,
    work: impl FnOnce() -> Result<Vec<u8>, std::string::String>,
) -> Result<Vec<u8>, Failure> {
    let mut child = Work::begin(name, |teller| {
        let found = work();
        teller.tell(found.as_deref().map_err(std::string::String::as_str));
    })?;
    let found = child.next(SURVEY_MS_MAX)?;
    found.ok_or_else(|| Failure::Fault("the child that looked ended without a word".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_finds_comes_piece_by_piece() {
        let mut work = Work::begin("edge-test", |teller| {
            teller.tell(Ok(b"one"));
            teller.tell(Err("broken"));
            teller.tell(Ok(b""));
        })
        .expect("a child");
        assert_eq!(work.next(10_000).expect("told"), Some(b"one".to_vec()));
        let broken = work.next(10_000).expect_err("told");
        assert!(matches!(broken, Failure::Fault(ref text) if text == "broken"), "{broken}");
        assert_eq!(work.next(10_000).expect("told"), Some(Vec::new()));
        assert_eq!(work.next(10_000).expect("it ended"), None);
    }

    #[test]
    fn a_child_that_says_nothing_is_given_up() {
        let mut work = Work::begin("edge-test", |_| {
            std::thread::sleep(Duration::from_secs(600));
        })
        .expect("a child");
        let silent = work.next(100).expect_err("it says nothing");
        assert!(matches!(silent, Failure::Silent(100)), "{silent}");
    }
}
