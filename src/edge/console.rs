//! The HTTP/1.1 server in the agent's loop: page, status, metrics, health, readings, switchover,
//! what is to be done about declined records.
//!
//! The agent's loop goes: [`Console::watch`], `poll(2)` until [`Console::deadline_ms`] at the
//! latest, [`Console::turn`], then [`Console::next`] and [`Console::answer`] until there is
//! nothing more to answer. What needs no agent (a wrong path, a broken request) is answered
//! here. The Unix socket is for whoever may open it; over TCP the console only shows, and only to
//! this host, unless there is a token.
//!
//! # Invariants
//!
//! - H1: nothing waits: every socket is non-blocking, a slow client has a deadline
//!   ([`CONNECTION_IDLE_MS`](crate::limits::CONNECTION_IDLE_MS),
//!   [`REQUEST_MS_MAX`](crate::limits::REQUEST_MS_MAX)) and is then dropped.
//! - H2: after [`Console::open`] only bodies of readings are allocated, at most
//!   [`BODIES_MAX`](crate::limits::BODIES_MAX), and only while the intake is open.
//! - H3: TCP clients leave room for the Unix socket; a client without a request makes room
//!   for a new one.
//! - H4: readings are acknowledged only by [`Console::durable`].

mod access;
mod bodies;
mod connection;
mod host_token;
mod listener;
mod metrics;
mod page;
mod reply;
mod request;
mod stream;

use std::net::SocketAddr;
use std::path::Path;

use log::debug;

pub use self::access::Token;
use self::access::{Access, Origin, host_of_url};
use self::bodies::Bodies;
pub use self::connection::Ask;
use self::connection::{Buffers, Connection, Ended};
pub use self::host_token::host_token;
use self::listener::Door;
pub use self::listener::SOCKET;
pub use self::reply::Answer;
use super::options::Listen;
use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_TCP_MAX, REPLY_BYTES_MAX, REQUEST_HEAD_MAX};
use crate::sys::poll::PollFd;

/// Bytes of the buffers of a connection.
const BUFFERS_BYTES: usize = REQUEST_HEAD_MAX + REPLY_BYTES_MAX;

/// The console.
#[derive(Debug)]
pub struct Console {
    /// Unix first.
    doors: [Door; 2],
    places: Vec<Place>,
    /// Of all places, one after another; pages never used are never there.
    buffers: Vec<u8>,
    bodies: Bodies,
    access: Access,
    now_ms: u64,
    /// Where [`Console::next`] goes on looking.
    next: usize,
}

/// Room for a connection.
#[derive(Debug)]
struct Place {
    connection: Option<Connection>,
    /// Counts the connections that were here.
    visit: u32,
}

/// A connection that asked something; once it has ended, answers to it go nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId {
    place: usize,
    visit: u32,
}

impl Console {
    /// A console on `agent.sock` in the run directory, opened by the first
    /// [`Console::watch`] or [`Console::has_socket`]; what cannot be listened on is logged and tried again.
    pub fn open(run_dir: &Path) -> Self {
        let mut places = Vec::with_capacity(CONNECTIONS_MAX);
        places.resize_with(CONNECTIONS_MAX, || Place { connection: None, visit: 0 });
        Self {
            doors: [Door::unix(run_dir), Door::nowhere()],
            places,
            buffers: vec![0; CONNECTIONS_MAX * BUFFERS_BYTES],
            bodies: Bodies::new(),
            access: Access::default(),
            now_ms: 0,
            next: 0,
        }
    }

    /// Whether we listen on the socket in the run directory: then no other agent runs in it.
    pub fn has_socket(&mut self, now_ms: u64) -> bool {
        let door = &mut self.doors[0];
        door.tick(now_ms);
        door.fd().is_some()
    }

    /// Listens on this TCP address too, in place of any other.
    pub fn listen(&mut self, tcp: Listen) {
        let wanted = match tcp {
            Listen::Off => Door::nowhere(),
            Listen::At(address) => Door::tcp(address),
        };
        if !self.doors[1].is_for_the_same(&wanted) {
            self.doors[1].close();
            self.doors[1] = wanted;
        }
        self.judge_door();
    }

    /// Takes this token for whoever comes by TCP, in place of any other. Only with one is an
    /// address listened on that other hosts can reach.
    pub fn guard(&mut self, token: Option<Token>) {
        self.access.token = token;
        self.judge_door();
    }

    /// The URL at which other hosts reach us; they may name its host.
    pub fn advertise(&mut self, url: &str) {
        host_of_url(url).clone_into(&mut self.access.advertised);
    }

    fn judge_door(&mut self) {
        let is_barred = self.doors[1].is_for_others() && self.access.token.is_none();
        self.doors[1].bar(is_barred);
    }

    /// The TCP address listened on, with the port that was given for port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        self.doors[1].address()
    }

    /// Whether bodies of readings are wanted. While they are not, [`Ask::ReadingsElsewhere`]
    /// comes in place of [`Ask::Readings`]; bodies already begun still come.
    pub fn set_intake(&mut self, is_open: bool) {
        self.bodies.set_open(is_open);
    }

    /// Adds what is to be waited for.
    pub fn watch(&mut self, fds: &mut Vec<PollFd>, now_ms: u64) {
        self.tick(now_ms);
        let first = fds.len();
        let mut add = |fd: PollFd| {
            fds.push(fd);
            fds.len() - 1 - first
        };
        for door in [0, 1] {
            let has_room = self.has_room(door);
            let door = &mut self.doors[door];
            let fd = door.fd().filter(|_| has_room).map(|fd| PollFd::new(fd, true, false));
            door.watched = fd.map(&mut add);
        }
        for connection in self.connections() {
            let (read, write) = connection.wants();
            connection.watched = Some(add(PollFd::new(connection.fd(), read, write)));
        }
    }

    /// When [`Console::turn`] is due at the latest.
    pub fn deadline_ms(&self) -> Option<u64> {
        let doors = self.doors.iter().filter_map(Door::deadline_ms);
        let connections = self.places.iter().filter_map(|place| place.connection.as_ref());
        let connections = connections.map(Connection::deadline_ms);
        doors.chain(connections).chain(self.room_ms()).min()
    }

    /// Reads, writes, accepts and drops; `fds` begins with what [`Console::watch`] added, after
    /// `poll(2)`.
    pub fn turn(&mut self, fds: &[PollFd], now_ms: u64) {
        self.tick(now_ms);
        self.answer_late();
        for place in 0..self.places.len() {
            let found = self.places[place].connection.as_mut().and_then(|connection| {
                let watched = connection.watched.take()?;
                fds.get(watched)
            });
            if let Some(fd) =
                found.filter(|fd| fd.is_readable() || fd.is_writable() || fd.is_broken())
            {
                let is_broken = fd.is_broken();
                self.with(place, |connection, buffers, bodies| {
                    connection.turn(buffers, bodies, is_broken, now_ms)
                });
            }
        }
        for place in 0..self.places.len() {
            self.with(place, |connection, _, _| {
                if connection.deadline_ms() <= now_ms {
                    Err(Ended("it is too slow"))
                } else {
                    Ok(())
                }
            });
        }
        for door in [0, 1] {
            let watched = self.doors[door].watched.take().and_then(|watched| fds.get(watched));
            if watched.is_some_and(PollFd::is_readable) {
                self.accept(door);
            }
        }
    }

    /// What is asked next; to be answered by [`Console::answer`] or [`Console::wait_durable`],
    /// now or later.
    #[allow(clippy::should_implement_trait, reason = "it borrows what it gives: no iterator")]
    pub fn next(&mut self) -> Option<(ConnectionId, Ask)> {
        let count = self.places.len();
        for place in (0..count).map(|step| (self.next + step) % count) {
            let visit = self.places[place].visit;
            let connection = self.places[place].connection.as_mut();
            if let Some(ask) = connection.and_then(Connection::take_ask) {
                self.next = place + 1;
                return Some((ConnectionId { place, visit }, ask));
            }
        }
        None
    }

    /// The body of [`Ask::Readings`]; empty once it was answered or put off.
    pub fn body(&self, id: ConnectionId) -> &[u8] {
        self.places
            .get(id.place)
            .filter(|place| place.visit == id.visit)
            .and_then(|place| place.connection.as_ref())
            .map_or(&[], Connection::body)
    }

    /// Answers what was asked.
    pub fn answer(&mut self, id: ConnectionId, answer: Answer<'_>) {
        if self.is_asked(id) {
            let now_ms = self.now_ms;
            self.with(id.place, |connection, buffers, bodies| {
                connection.answer(answer, buffers, bodies, now_ms)
            });
        }
    }

    /// Readings were taken: the answer follows once the record of this seq is durable.
    pub fn wait_durable(&mut self, id: ConnectionId, through_seq: u64) {
        if self.is_asked(id) {
            self.with(id.place, |connection, _, bodies| {
                connection.wait(through_seq, bodies);
                Ok(())
            });
        }
    }

    /// Everything up to this seq is durable: 204 to whoever waited for it (H4).
    pub fn durable(&mut self, through_seq: u64) {
        self.answer_waiting(|seq| seq <= through_seq, Answer::Durable);
    }

    /// The term ended: 503 to whoever still waits.
    pub fn outcome_unknown(&mut self) {
        self.answer_waiting(|_| true, Answer::Unknown);
    }

    fn answer_waiting(&mut self, fits: impl Fn(u64) -> bool, answer: Answer<'_>) {
        let now_ms = self.now_ms;
        for place in 0..self.places.len() {
            self.with(place, |connection, buffers, bodies| match connection.waits_for() {
                Some(seq) if fits(seq) => connection.answer(answer, buffers, bodies, now_ms),
                Some(_) | None => Ok(()),
            });
        }
    }

    /// Readings that are not durable by the end of their request: nobody knows (503).
    fn answer_late(&mut self) {
        let now_ms = self.now_ms;
        for place in 0..self.places.len() {
            self.with(place, |connection, buffers, bodies| {
                if connection.waits_for().is_some() && connection.deadline_ms() <= now_ms {
                    return connection.answer(Answer::Unknown, buffers, bodies, now_ms);
                }
                Ok(())
            });
        }
    }

    fn tick(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        for door in &mut self.doors {
            door.tick(now_ms);
        }
    }

    fn is_asked(&self, id: ConnectionId) -> bool {
        self.places.get(id.place).is_some_and(|place| {
            place.visit == id.visit && place.connection.as_ref().is_some_and(Connection::is_asked)
        })
    }

    fn connections(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.places.iter_mut().filter_map(|place| place.connection.as_mut())
    }

    /// Does something with a connection, if there is one, and drops it if that says so.
    fn with(
        &mut self,
        place: usize,
        act: impl FnOnce(&mut Connection, &mut Buffers<'_>, &mut Bodies) -> Result<(), Ended>,
    ) {
        let Some(connection) = self.places[place].connection.as_mut() else {
            return;
        };
        let own = &mut self.buffers[place * BUFFERS_BYTES..(place + 1) * BUFFERS_BYTES];
        let (head, reply) = own.split_at_mut(REQUEST_HEAD_MAX);
        let mut buffers = Buffers { head, reply, access: &self.access };
        if let Err(Ended(why)) = act(connection, &mut buffers, &mut self.bodies) {
            debug!("console: a connection was dropped: {why}");
            self.drop_connection(place);
        }
    }

    fn drop_connection(&mut self, place: usize) {
        if let Some(mut connection) = self.places[place].connection.take() {
            connection.release_body(&mut self.bodies);
        }
    }

    fn count(&self, fits: impl Fn(&Connection) -> bool) -> usize {
        let connections = self.places.iter().filter_map(|place| place.connection.as_ref());
        connections.filter(|connection| fits(connection)).count()
    }

    /// Whether a door may let somebody in (H3).
    fn has_room(&self, door: usize) -> bool {
        let is_full = self.count(|_| true) == CONNECTIONS_MAX || self.is_tcp_full(door);
        !is_full || self.longest_idle(self.is_tcp_full(door)).is_some()
    }

    fn is_tcp_full(&self, door: usize) -> bool {
        door == 1 && self.count(is_tcp) >= CONNECTIONS_TCP_MAX
    }

    /// The place of the client that has been without a request for longest, if that is long.
    fn longest_idle(&self, tcp_only: bool) -> Option<usize> {
        let idle = self.places.iter().enumerate().filter_map(|(index, place)| {
            let connection = place.connection.as_ref()?;
            let counts = !tcp_only || is_tcp(connection);
            connection.spare_ms().filter(|_| counts).map(|spare_ms| (spare_ms, index))
        });
        idle.min().filter(|(spare_ms, _)| *spare_ms <= self.now_ms).map(|(_, index)| index)
    }

    /// When there will be room for another client, if there is none now.
    fn room_ms(&self) -> Option<u64> {
        if self.has_room(0) && self.has_room(1) {
            return None;
        }
        let connections = self.places.iter().filter_map(|place| place.connection.as_ref());
        connections
            .filter_map(Connection::spare_ms)
            .filter(|spare_ms| *spare_ms > self.now_ms)
            .min()
    }

    /// Lets in whoever waits at a door: a few at a time.
    fn accept(&mut self, door: usize) {
        for _ in 0..CONNECTIONS_MAX {
            if !self.has_room(door) {
                return;
            }
            let Some((stream, origin)) = self.doors[door].accept(self.now_ms) else {
                return;
            };
            if self.is_tcp_full(door) || self.count(|_| true) == CONNECTIONS_MAX {
                let idle = self.longest_idle(self.is_tcp_full(door));
                self.drop_connection(idle.expect("has_room found one"));
            }
            let free = self.places.iter_mut().find(|place| place.connection.is_none());
            let place = free.expect("H3: room was made");
            place.visit = place.visit.wrapping_add(1);
            place.connection = Some(Connection::new(stream, origin, self.now_ms));
        }
    }
}

impl Drop for Console {
    /// Takes the socket's file away.
    fn drop(&mut self) {
        for door in &mut self.doors {
            door.close();
        }
    }
}

fn is_tcp(connection: &Connection) -> bool {
    matches!(connection.origin, Origin::Tcp(_))
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
