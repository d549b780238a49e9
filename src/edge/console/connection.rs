//! One client: takes its requests one after another, and gives it their answers.
//!
//! ```text
//! Head ──► Body ──► Ready ──► Asked ──► Waiting ──► Reply ──► Head
//!   └────────┴── refused ───────┴────────────────────►┘ └──► Linger ──► ended
//! ```
//!
//! # Invariants
//!
//! - C1: nothing here waits: what cannot be read or written now is left for the next turn.
//! - C2: in every state there is a deadline.
//! - C3: in a state in which it is not read, a connection is not watched for reading, so that
//!   a client that sends on cannot keep the agent awake.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::access::{Access, Origin};
use super::bodies::Bodies;
use super::reply::{self, Answer, Frame};
use super::request::{Head, Parsed, Refusal, Route, parse, read_switchover};
use super::stream::Stream;
use crate::engine::ident::NodeName;
use crate::limits::{
    CONNECTION_IDLE_MS, CONNECTION_SPARE_MS, LINGER_BYTES_MAX, LINGER_MS, REQUEST_MS_MAX,
};

/// What a client asks of the agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The snapshot.
    Status,
    /// The snapshot and counters, for a monitoring system.
    Metrics,
    /// Whether we are alive, and how.
    Health,
    /// Whether we are the master under a lease.
    Master,
    /// To take these readings: the body is there to be read until the answer.
    Readings,
    /// To take readings while the intake is closed: there is no body.
    ReadingsElsewhere,
    /// To hand the mastership over.
    Switchover {
        /// To whom; `None`: to whoever is first.
        to: Option<NodeName>,
    },
    /// To send the declined records again.
    Replay,
    /// To delete the declined records.
    Purge,
}

/// The connection is to be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended(pub(super) &'static str);

/// Buffers of one connection, allocated once, and what its requests are judged by.
pub(super) struct Buffers<'a> {
    pub(super) head: &'a mut [u8],
    pub(super) reply: &'a mut [u8],
    pub(super) access: &'a Access,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// Reading a head, or waiting for one.
    Head,
    /// Reading the body of readings into `body`, so far `filled` bytes.
    Body { filled: usize },
    /// Reading a short body into the head's buffer.
    ShortBody,
    /// To be taken by the agent.
    Ready(Ask),
    /// The agent owes an answer.
    Asked,
    /// The answer is due once this record is durable.
    Waiting { through_seq: u64 },
    /// Writing this part of the reply buffer.
    Reply(Range<usize>),
    /// Reading what still comes, so that the answer is not lost to a reset.
    Linger { until_ms: u64, left: usize },
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    pub(super) origin: Origin,
    state: State,
    /// Bytes in the head's buffer.
    filled: usize,
    /// The current request.
    head: Head,
    body: Option<Vec<u8>>,
    /// When the current request's first byte came.
    began_ms: u64,
    /// When something was last sent or taken.
    moved_ms: u64,
    /// Where [`super::Console::watch`] put it.
    pub(super) watched: Option<usize>,
    /// To end after this answer.
    closes: bool,
}

impl Connection {
    pub(super) fn new(stream: Stream, origin: Origin, now_ms: u64) -> Self {
        let none = Refusal::new(400, "");
        let head = Head {
            what: Err(none),
            bytes: 0,
            length: 0,
            is_bare: false,
            keeps: false,
            expects: false,
        };
        Self {
            stream,
            origin,
            state: State::Head,
            filled: 0,
            head,
            body: None,
            began_ms: now_ms,
            moved_ms: now_ms,
            watched: None,
            closes: false,
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether it is to be read, and written (C3).
    pub(super) fn wants(&self) -> (bool, bool) {
        match self.state {
            State::Head | State::Body { .. } | State::ShortBody | State::Linger { .. } => {
                (true, false)
            }
            State::Ready(_) | State::Asked | State::Waiting { .. } => (false, false),
            State::Reply(_) => (false, true),
        }
    }

    /// When it is to be dropped (C2).
    pub(super) fn deadline_ms(&self) -> u64 {
        let idle_ms = self.moved_ms + u64::from(CONNECTION_IDLE_MS);
        let request_ms = self.began_ms + u64::from(REQUEST_MS_MAX);
        match self.state {
            State::Head if self.filled == 0 => idle_ms,
            State::Head | State::Body { .. } | State::ShortBody | State::Reply(_) => {
                idle_ms.min(request_ms)
            }
            State::Ready(_) | State::Asked | State::Waiting { .. } => request_ms,
            State::Linger { until_ms, .. } => until_ms,
        }
    }

    /// From when on it may be dropped for another's sake, if it waits for a request.
    pub(super) fn spare_ms(&self) -> Option<u64> {
        let is_idle = self.state == State::Head && self.filled == 0;
        is_idle.then_some(self.moved_ms + u64::from(CONNECTION_SPARE_MS))
    }

    /// Reads or writes, as it is ready for.
    pub(super) fn turn(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        is_broken: bool,
        now_ms: u64,
    ) -> Result<(), Ended> {
        match self.state {
            State::Head | State::ShortBody => self.read_head(buffers, bodies, now_ms),
            State::Body { filled } => self.read_body(filled, now_ms),
            State::Reply(_) => self.write(buffers, bodies, now_ms),
            State::Linger { until_ms, left } => self.linger(buffers, until_ms, left),
            State::Ready(_) | State::Asked | State::Waiting { .. } if is_broken => {
                Err(Ended("its client hung up before the answer"))
            }
            State::Ready(_) | State::Asked | State::Waiting { .. } => Ok(()),
        }
    }

    fn read_head(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        let room = &mut buffers.head[self.filled..];
        match self.stream.read(room) {
            Ok(None) => Ok(()),
            Ok(Some(0)) => Err(Ended("its client is done")),
            Ok(Some(count)) => {
                if self.filled == 0 {
                    self.began_ms = now_ms;
                }
                self.filled += count;
                self.moved_ms = now_ms;
                self.advance(buffers, bodies, now_ms)
            }
            Err(_) => Err(Ended("reading from it failed")),
        }
    }

    fn read_body(&mut self, filled: usize, now_ms: u64) -> Result<(), Ended> {
        let body = self.body.as_mut().expect("a body is being read");
        match self.stream.read(&mut body[filled..]) {
            Ok(None) => Ok(()),
            Ok(Some(0)) => Err(Ended("its client ended within a body")),
            Ok(Some(count)) => {
                self.moved_ms = now_ms;
                let filled = filled + count;
                self.state = if filled == body.len() {
                    State::Ready(Ask::Readings)
                } else {
                    State::Body { filled }
                };
                Ok(())
            }
            Err(_) => Err(Ended("reading from it failed")),
        }
    }

    /// Goes as far as the bytes in the head's buffer allow.
    fn advance(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        if self.state == State::ShortBody {
            return self.take_short_body(buffers, bodies, now_ms);
        }
        if self.filled == 0 {
            return Ok(());
        }
        match parse(&buffers.head[..self.filled], self.origin, buffers.access) {
            Parsed::Partial => Ok(()),
            Parsed::Bad(refusal) => {
                self.head.is_bare = false;
                self.closes = true;
                self.refuse(buffers, bodies, refusal, now_ms)
            }
            Parsed::Whole(head) => {
                self.head = head;
                self.closes = !head.keeps;
                self.drop_front(buffers, head.bytes);
                match head.what {
                    Ok(route) => self.route(route, buffers, bodies, now_ms),
                    Err(refusal) => self.refuse(buffers, bodies, refusal, now_ms),
                }
            }
        }
    }

    fn route(
        &mut self,
        route: Route,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        match route {
            Route::Page => {
                let range = reply::page(buffers.reply, self.frame());
                return self.begin_reply(range, buffers, bodies, now_ms);
            }
            Route::Status => self.state = State::Ready(Ask::Status),
            Route::Metrics => self.state = State::Ready(Ask::Metrics),
            Route::Health => self.state = State::Ready(Ask::Health),
            Route::Master => self.state = State::Ready(Ask::Master),
            Route::Replay => self.state = State::Ready(Ask::Replay),
            Route::Purge => self.state = State::Ready(Ask::Purge),
            Route::Readings => return self.begin_readings(buffers, bodies, now_ms),
            Route::Switchover => {
                self.invite()?;
                self.state = State::ShortBody;
                return self.take_short_body(buffers, bodies, now_ms);
            }
            Route::Allocations => {
                let count = crate::sys::alloc::allocations();
                let range = reply::number(buffers.reply, self.frame(), count);
                return self.begin_reply(range, buffers, bodies, now_ms);
            }
        }
        Ok(())
    }

    fn begin_readings(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        if !bodies.is_open() {
            self.closes |= self.head.length > 0;
            self.state = State::Ready(Ask::ReadingsElsewhere);
            return Ok(());
        }
        let Some(mut body) = bodies.take(self.head.length) else {
            self.closes = true;
            return self.answer(Answer::Full, buffers, bodies, now_ms);
        };
        self.invite()?;
        let filled = self.filled.min(body.len());
        body[..filled].copy_from_slice(&buffers.head[..filled]);
        self.drop_front(buffers, filled);
        let is_whole = filled == body.len();
        self.body = Some(body);
        self.state = if is_whole { State::Ready(Ask::Readings) } else { State::Body { filled } };
        Ok(())
    }

    /// Says that the body may come, if the client waits to be told: RFC 9110 10.1.1.
    fn invite(&mut self) -> Result<(), Ended> {
        const LINE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if !self.head.expects || self.head.length == 0 || self.filled > 0 {
            return Ok(());
        }
        match self.stream.write(LINE) {
            Ok(Some(count)) if count == LINE.len() => Ok(()),
            Ok(_) | Err(_) => Err(Ended("it took no invitation to send its body")),
        }
    }

    fn take_short_body(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        let length = self.head.length;
        if self.filled < length {
            return Ok(());
        }
        let read = read_switchover(&buffers.head[..length]);
        self.drop_front(buffers, length);
        match read {
            Ok(to) => {
                self.state = State::Ready(Ask::Switchover { to });
                Ok(())
            }
            Err(refusal) => self.refuse(buffers, bodies, refusal, now_ms),
        }
    }

    fn drop_front(&mut self, buffers: &mut Buffers<'_>, count: usize) {
        buffers.head.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// What is asked, once.
    pub(super) fn take_ask(&mut self) -> Option<Ask> {
        let State::Ready(ask) = &mut self.state else {
            return None;
        };
        let ask = std::mem::replace(ask, Ask::Status);
        self.state = State::Asked;
        Some(ask)
    }

    pub(super) fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// Puts the answer off until a record is durable.
    pub(super) fn wait(&mut self, through_seq: u64, bodies: &mut Bodies) {
        if self.state == State::Asked {
            self.release_body(bodies);
            self.state = State::Waiting { through_seq };
        }
    }

    /// The record that the answer waits for.
    pub(super) fn waits_for(&self) -> Option<u64> {
        match self.state {
            State::Waiting { through_seq } => Some(through_seq),
            State::Head
            | State::Body { .. }
            | State::ShortBody
            | State::Ready(_)
            | State::Asked
            | State::Reply(_)
            | State::Linger { .. } => None,
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        self.state == State::Asked
    }

    pub(super) fn release_body(&mut self, bodies: &mut Bodies) {
        if let Some(body) = self.body.take() {
            bodies.give_back(body);
        }
    }

    fn frame(&self) -> Frame {
        Frame { is_bare: self.head.is_bare, closes: self.closes }
    }

    pub(super) fn answer(
        &mut self,
        answer: Answer<'_>,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        self.release_body(bodies);
        let range = reply::write(buffers.reply, self.frame(), answer);
        self.begin_reply(range, buffers, bodies, now_ms)
    }

    fn refuse(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        refusal: Refusal,
        now_ms: u64,
    ) -> Result<(), Ended> {
        let range = reply::refuse(buffers.reply, self.frame(), refusal);
        self.begin_reply(range, buffers, bodies, now_ms)
    }

    fn begin_reply(
        &mut self,
        range: Range<usize>,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        self.state = State::Reply(range);
        self.moved_ms = now_ms;
        self.write(buffers, bodies, now_ms)
    }

    fn write(
        &mut self,
        buffers: &mut Buffers<'_>,
        bodies: &mut Bodies,
        now_ms: u64,
    ) -> Result<(), Ended> {
        let State::Reply(range) = &mut self.state else {
            return Ok(());
        };
        match self.stream.write(&buffers.reply[range.clone()]) {
            Ok(None) => return Ok(()),
            Ok(Some(count)) => range.start += count,
            Err(_) => return Err(Ended("writing to it failed")),
        }
        self.moved_ms = now_ms;
        if range.start < range.end {
            return Ok(());
        }
        if self.closes {
            self.stream.end_writing().map_err(|_| Ended("it is closed already"))?;
            let until_ms = now_ms + u64::from(LINGER_MS);
            self.state = State::Linger { until_ms, left: LINGER_BYTES_MAX };
            return Ok(());
        }
        self.state = State::Head;
        self.began_ms = now_ms;
        self.advance(buffers, bodies, now_ms)
    }

    fn linger(
        &mut self,
        buffers: &mut Buffers<'_>,
        until_ms: u64,
        left: usize,
    ) -> Result<(), Ended> {
        match self.stream.read(buffers.head) {
            Ok(None) => Ok(()),
            Ok(Some(count)) if count > 0 && count < left => {
                self.state = State::Linger { until_ms, left: left - count };
                Ok(())
            }
            Ok(Some(_)) => Err(Ended("its last answer is given")),
            Err(_) => Err(Ended("reading from it failed")),
        }
    }
}
