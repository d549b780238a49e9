//! What a client of the console sends.
//!
//! An input: the door (the Unix socket, TCP, TCP with a token) and flags; in what pieces it comes;
//! then the bytes. Whoever sends them says then that nothing more comes.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use edge_agent::edge::console::{Answer, Ask, ConnectionId, Console, SOCKET, Token};
use edge_agent::edge::intake::{self, Refusal};
use edge_agent::edge::options::Listen;
use edge_agent::engine::ident::{NodeName, Role};
use edge_agent::limits::REQUEST_BODY_MAX;
use edge_agent::sys::poll::poll;

use super::folder::Folder;
use super::plan::Plan;

const TOKEN: &str = "s3cret";
/// What is sent at most: as much as a socket takes.
const BYTES_MAX: usize = 64 << 10;
/// Turns of the agent's loop in which a client must be answered, and rid of.
const TURNS_MAX: u32 = 2_000;
const CLOSED_INTAKE: u8 = 4;
/// Connections after which another TCP port is taken: each closed one holds its pair of ports for a
/// minute.
const CONNECTIONS_MAX: u32 = 4_096;

/// See the module.
pub fn try_one(input: &[u8]) {
    let mut plan = Plan::new(input);
    let (flags, at_a_time) = (plan.u8(), 1 + usize::from(plan.u8()));
    let bytes = plan.bytes(BYTES_MAX);
    CONSOLES.with_borrow_mut(|consoles| {
        let consoles = consoles.get_or_insert_with(Consoles::new);
        let door = Door::of(flags);
        let console =
            if door == Door::Guarded { &mut consoles.guarded } else { &mut consoles.plain };
        console.console.set_intake(flags & CLOSED_INTAKE == 0);
        let whole = console.play(door, &[bytes]);
        check_asks(door, &whole, bytes);
        check_replies(&whole);
        if door == Door::Unix {
            let pieces: Vec<&[u8]> = bytes.chunks(at_a_time.max(bytes.len() / 64)).collect();
            let in_pieces = console.play(door, &pieces);
            assert_eq!(in_pieces.asks, whole.asks, "{at_a_time} at a time");
            assert_eq!(in_pieces.final_replies(), whole.final_replies(), "{at_a_time} at a time");
        }
    });
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Unix,
    /// TCP without a token.
    Plain,
    /// TCP with one.
    Guarded,
}

impl Door {
    const fn of(flags: u8) -> Self {
        match flags & 3 {
            1 => Self::Plain,
            2 => Self::Guarded,
            _ => Self::Unix,
        }
    }
}

/// What came of a connection.
#[derive(Default, Debug)]
struct Played {
    asks: Vec<(Ask, Vec<u8>)>,
    replies: Vec<u8>,
}

impl Played {
    /// The replies without invitations to send a body: a body that is there already is not invited.
    fn final_replies(&self) -> Vec<String> {
        replies_of(&self.replies)
            .into_iter()
            .filter(|reply| !reply.starts_with("HTTP/1.1 100"))
            .collect()
    }
}

thread_local! {
    static CONSOLES: RefCell<Option<Consoles>> = const { RefCell::new(None) };
}

struct Consoles {
    plain: Served,
    guarded: Served,
}

impl Consoles {
    fn new() -> Self {
        Self { plain: Served::new(None), guarded: Served::new(Token::read(TOKEN.as_bytes())) }
    }
}

/// A console, and its agent.
struct Served {
    folder: Folder,
    console: Console,
    /// Connections to the port that is listened on.
    connected: u32,
    now_ms: u64,
    seq: u64,
}

impl Served {
    fn new(token: Option<Token>) -> Self {
        let folder = Folder::new();
        let mut console = Console::open(folder.path());
        console.guard(token);
        console.watch(&mut Vec::new(), 0);
        Self { folder, console, connected: CONNECTIONS_MAX, now_ms: 1, seq: 0 }
    }

    /// The TCP address, for one connection.
    fn address(&mut self) -> SocketAddr {
        self.connected += 1;
        if self.connected > CONNECTIONS_MAX {
            self.connected = 0;
            self.console.listen(Listen::Off);
            self.console.listen(Listen::At("127.0.0.1:0".parse().expect("an address")));
            self.console.watch(&mut Vec::new(), self.now_ms);
        }
        self.console.address().expect("a port")
    }

    fn play(&mut self, door: Door, pieces: &[&[u8]]) -> Played {
        match door {
            Door::Unix => {
                let path = self.folder.path().join(SOCKET);
                let client = UnixStream::connect(path).expect("connected");
                client.set_nonblocking(true).expect("set");
                self.serve(&client, || client.shutdown(Shutdown::Write), pieces)
            }
            Door::Plain | Door::Guarded => {
                let client = TcpStream::connect(self.address()).expect("connected");
                client.set_nonblocking(true).expect("set");
                self.serve(&client, || client.shutdown(Shutdown::Write), pieces)
            }
        }
    }

    fn serve<S>(
        &mut self,
        client: &S,
        end: impl FnOnce() -> std::io::Result<()>,
        pieces: &[&[u8]],
    ) -> Played
    where
        for<'a> &'a S: Read + Write,
    {
        let mut played = Played::default();
        self.now_ms += 1;
        let mut is_open = true;
        for piece in pieces {
            is_open = is_open && (&mut &*client).write_all(piece).is_ok();
            while self.turn(0, &mut played) {}
            let _end = take(client, &mut played.replies);
        }
        // it is closed already
        let _gone = end();
        for _ in 0..TURNS_MAX {
            self.turn(5, &mut played);
            if take(client, &mut played.replies) {
                return played;
            }
        }
        panic!("H1: it is still there after its end");
    }

    /// A turn of the agent's loop; whether anything happened.
    fn turn(&mut self, wait_ms: u64, played: &mut Played) -> bool {
        let mut fds = Vec::new();
        self.console.watch(&mut fds, self.now_ms);
        let ready = poll(&mut fds, Some(wait_ms)).expect("polled");
        self.console.turn(&fds, self.now_ms);
        let mut is_asked = false;
        while let Some((connection, ask)) = self.console.next() {
            let body = self.console.body(connection).to_vec();
            assert!(body.len() <= REQUEST_BODY_MAX);
            self.answer(connection, &ask, &body);
            played.asks.push((ask, body));
            is_asked = true;
        }
        ready > 0 || is_asked
    }

    fn answer(&mut self, connection: ConnectionId, ask: &Ask, body: &[u8]) {
        let node = NodeName::parse("gw-1").expect("a name");
        let answer = match ask {
            Ask::Status | Ask::Metrics | Ask::Health => {
                Answer::Health { role: Role::Master, conditions: &[] }
            }
            Ask::Master => Answer::Master { is_master: true, node: &node, term: 3 },
            Ask::ReadingsElsewhere => Answer::Elsewhere { master: Some(&node), advertise: "" },
            Ask::Switchover { .. } => Answer::HandingOver { term: 3 },
            Ask::Replay => Answer::Begun { number: 1, term: 3 },
            Ask::Purge => Answer::UnderWay,
            Ask::Readings => match intake::read(body, Some(1), &mut Vec::new()) {
                Ok(count) => {
                    self.seq += u64::from(count);
                    self.console.wait_durable(connection, self.seq);
                    self.console.durable(self.seq);
                    return;
                }
                Err(Refusal::Bad(fault)) => Answer::Bad(fault),
                Err(Refusal::TooLarge(fault)) => Answer::TooLarge(fault),
                Err(Refusal::NoClock) => panic!("there is a clock"),
            },
        };
        self.console.answer(connection, answer);
    }
}

/// Takes what came; whether that was all.
fn take<S>(client: &S, replies: &mut Vec<u8>) -> bool
where
    for<'a> &'a S: Read,
{
    let mut room = [0; 4_096];
    loop {
        match (&mut &*client).read(&mut room) {
            Ok(0) => return true,
            Ok(count) => replies.extend_from_slice(&room[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            // what was not read anymore
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return true,
            Err(error) => panic!("{error}"),
        }
    }
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
}

/// Whether any Host in it is one that cannot have been pointed at us, or none is needed.
fn names_us(bytes: &[u8]) -> bool {
    let is_ours = |line: &[u8]| {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let Some(host) = line.trim().strip_prefix("host:").map(str::trim) else { return false };
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => return address.parse::<Ipv6Addr>().is_ok(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<Ipv4Addr>().is_ok()
    };
    holds(bytes, b"HTTP/1.0") || bytes.split(|&byte| byte == b'\n').any(is_ours)
}

/// Q1, Q2: nothing is asked that the bytes give no right to.
fn check_asks(door: Door, played: &Played, bytes: &[u8]) {
    for (ask, body) in &played.asks {
        let is_change = match ask {
            Ask::Status | Ask::Metrics | Ask::Health | Ask::Master => false,
            Ask::Readings
            | Ask::ReadingsElsewhere
            | Ask::Switchover { .. }
            | Ask::Replay
            | Ask::Purge => true,
        };
        let is_open = matches!(ask, Ask::Health | Ask::Master);
        let shows = holds(bytes, TOKEN.as_bytes()) || holds(bytes, b"basic ");
        assert!(!is_change || door != Door::Plain, "Q1: {ask:?}");
        assert!(is_open || door != Door::Guarded || shows, "Q1: {ask:?}");
        assert!(!is_change || holds(bytes, b"POST "), "{ask:?}");
        // where a token guards the console any Host will do
        assert!(door != Door::Plain || names_us(bytes), "Q2: {ask:?}");
        assert!(body.is_empty() || *ask == Ask::Readings);
        assert!(body.len() > 512 || body.is_empty() || holds(bytes, body), "{ask:?}");
    }
}

/// Each answer is whole, and each ask has one.
fn check_replies(played: &Played) {
    let replies = replies_of(&played.replies);
    let final_ones = replies.iter().filter(|reply| !reply.starts_with("HTTP/1.1 100")).count();
    assert!(final_ones >= played.asks.len(), "{played:?}");
    for (count, reply) in replies.iter().enumerate() {
        let closes = reply.contains("\r\nConnection: close\r\n");
        assert!(!closes || count + 1 == replies.len(), "Q3: {reply}");
    }
}

/// Cut into answers. One without the body that it tells of answers a HEAD.
fn replies_of(mut bytes: &[u8]) -> Vec<String> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let mut lines = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut lines);
        let parsed = head.parse(bytes).expect("an answer");
        let httparse::Status::Complete(mut length) = parsed else {
            panic!("cut short: {}", bytes.escape_ascii());
        };
        let told = head.headers.iter().find(|line| line.name == "Content-Length");
        let told = told.map_or(0, |line| {
            let digits = std::str::from_utf8(line.value).expect("digits");
            digits.parse::<usize>().expect("digits")
        });
        let behind = &bytes[length..];
        if !behind.is_empty() && !behind.starts_with(b"HTTP/1.1 ") {
            length += told;
        }
        let (reply, rest) = bytes.split_at_checked(length).expect("a whole answer");
        replies.push(String::from_utf8(reply.to_vec()).expect("answers are text"));
        bytes = rest;
    }
    replies
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let with = |flags: u8, text: &str| [&[flags, 6][..], text.as_bytes()].concat();
    let get = "GET /status.json?x=1 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    let event = "{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{}}\n";
    let post = format!(
        "POST /readings HTTP/1.1\r\nHost: edge\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n{event}",
        event.len()
    );
    let bad = "POST /readings HTTP/1.1\r\nHost: edge\r\nContent-Length: 3\r\n\r\n{}\n";
    let switchover =
        "POST /switchover HTTP/1.1\r\nHost: a\r\nContent-Length: 13\r\n\r\n{\"to\":\"gw-2\"}";
    let head = "HEAD /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    let old = "GET /master HTTP/1.0\r\n\r\n";
    let guarded = "POST /declined/replay HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 0\r\n\
        Origin: http://[::1]:80\r\nAuthorization: Bearer s3cret\r\n\r\n";
    let basic = "POST /declined/purge HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic OnMzY3JldA==\r\n\r\n";
    let many = [get, &post, bad, switchover, head].concat();
    let chunked =
        "POST /readings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    vec![
        ("get", with(0, get)),
        ("get-tcp", with(1, &[get, head].concat())),
        ("post", with(0, &post)),
        ("pipelined", with(0, &many)),
        ("closed-intake", with(CLOSED_INTAKE, &many)),
        ("old", with(1, old)),
        ("guarded", with(2, &[guarded, basic].concat())),
        ("chunked", with(0, chunked)),
        (
            "other",
            with(
                0,
                "PUT /x HTTP/1.1\r\nHost: a\r\n\r\nDELETE /readings HTTP/1.1\r\nHost: a\r\n\r\n",
            ),
        ),
    ]
}
