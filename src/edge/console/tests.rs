//! The console over real sockets, its time made up.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::*;
use crate::edge::json::Fault;
use crate::edge::tally::Tally;
use crate::engine::ident::{NodeName, Role};
use crate::limits::{
    BODIES_MAX, CONNECTION_IDLE_MS, CONNECTION_SPARE_MS, LINGER_MS, LISTEN_WAIT_MS,
    REQUEST_BODY_MAX, REQUEST_MS_MAX,
};
use crate::sys::poll::poll;

/// A console, an agent that answers for it, and the time.
struct Rig {
    folder: PathBuf,
    console: Console,
    now_ms: u64,
    /// What was asked, with the bodies.
    asked: Vec<(ConnectionId, Ask, Vec<u8>)>,
    /// Whether asks are answered at once.
    answers: bool,
}

impl Rig {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("edge-console-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        let mut console = Console::open(&folder);
        console.listen(Listen::parse("127.0.0.1:0").expect("an address"));
        console.watch(&mut Vec::new(), 1_000);
        Self { folder, console, now_ms: 1_000, asked: Vec::new(), answers: true }
    }

    fn unix(&self) -> UnixStream {
        let client = UnixStream::connect(self.folder.join(SOCKET)).expect("it listens");
        client.set_nonblocking(true).expect("a socket");
        client
    }

    fn tcp(&self) -> TcpStream {
        let address = self.console.address().expect("it listens");
        let client = TcpStream::connect(address).expect("it listens");
        client.set_nonblocking(true).expect("a socket");
        client
    }

    /// One turn of the agent's loop.
    fn turn(&mut self) -> usize {
        let own = std::io::stdin();
        let mut fds = vec![PollFd::new(own.as_fd(), false, false)];
        self.console.watch(&mut fds, self.now_ms);
        let ready = poll(&mut fds[1..], Some(1)).expect("poll works");
        self.console.turn(&fds[1..], self.now_ms);
        while let Some((id, ask)) = self.console.next() {
            let body = self.console.body(id).to_vec();
            if self.answers {
                self.answer(id, &ask);
            }
            self.asked.push((id, ask, body));
        }
        ready
    }

    fn answer(&mut self, id: ConnectionId, ask: &Ask) {
        let node = NodeName::parse("gw-1").expect("a valid name");
        let (status, tally) = (testing::status(false), Tally::default());
        let answer = match ask {
            Ask::Status => Answer::Status(&status),
            Ask::Metrics => Answer::Metrics(&status, &tally),
            Ask::Health => Answer::Health { role: Role::Standby, conditions: &[] },
            Ask::Master => Answer::Master { is_master: false, node: &node, term: 7 },
            Ask::Readings => Answer::Durable,
            Ask::ReadingsElsewhere => Answer::Elsewhere { master: Some(&node), advertise: "" },
            Ask::Switchover { .. } => Answer::HandingOver { term: 7 },
            Ask::Replay => Answer::Begun { number: 1, term: 7 },
            Ask::Purge => Answer::UnderWay,
        };
        self.console.answer(id, answer);
    }

    /// Turns until the client has an answer of at least so many bytes or the end.
    fn read(&mut self, client: &mut impl Read, bytes: usize) -> String {
        let mut got = Vec::new();
        for _ in 0..2_000 {
            self.turn();
            let mut room = [0; 4_096];
            match client.read(&mut room) {
                Ok(0) => break,
                Ok(count) => got.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock && got.len() >= bytes => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&got)),
            }
        }
        String::from_utf8(got).expect("answers are text")
    }

    /// Sends a request and gives the answer.
    fn exchange<S: Read + Write>(&mut self, client: &mut S, request: &[u8]) -> String {
        client.write_all(request).expect("the socket has room");
        self.read(client, 1)
    }

    /// Whether the other side has ended the connection.
    fn has_ended(&mut self, client: &mut impl Read) -> bool {
        self.turn();
        self.turn();
        match client.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    fn connection_count(&self) -> usize {
        self.console.count(|_| true)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\n";

fn post(body: &[u8], more: &str) -> Vec<u8> {
    let length = body.len();
    let mut request =
        format!("POST /readings HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {length}\r\n\r\n")
            .into_bytes();
    request.extend_from_slice(body);
    request
}

#[test]
fn both_doors_answer_and_keep_the_connection() {
    let mut rig = Rig::new("doors");
    let (mut unix, mut tcp) = (rig.unix(), rig.tcp());
    for _ in 0..3 {
        assert!(rig.exchange(&mut unix, GET).starts_with(OK));
        assert!(rig.exchange(&mut tcp, GET).starts_with(OK));
    }
    assert_eq!(rig.connection_count(), 2);
    let status = rig.exchange(&mut tcp, b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(status.contains("\r\n\r\n{\"node\":"), "{status}");
    let metrics = rig.exchange(&mut tcp, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(metrics.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{metrics}");
    let page = rig.exchange(&mut tcp, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(page.contains("\r\nContent-Security-Policy: default-src 'none'; "), "{page}");
    assert!(page.ends_with("</html>\n"), "{page}");
    let master = rig.exchange(&mut unix, b"GET /master HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(master.starts_with("HTTP/1.1 503 "), "{master}");
    let head = rig.exchange(&mut unix, b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with(OK) && head.ends_with("\r\n\r\n"), "{head}");
}

#[test]
fn a_head_may_come_byte_by_byte_and_requests_in_a_row() {
    let mut rig = Rig::new("bytes");
    let mut client = rig.unix();
    for byte in GET {
        client.write_all(&[*byte]).expect("room");
        rig.turn();
        rig.now_ms += 10;
    }
    assert!(rig.read(&mut client, 1).starts_with(OK));
    let row = GET.repeat(60);
    client.write_all(&row).expect("room");
    let mut got = String::new();
    while got.matches(OK).count() < 60 {
        let more = rig.read(&mut client, 1);
        assert!(!more.is_empty(), "only {} answers", got.matches(OK).count());
        got.push_str(&more);
    }
    assert_eq!(got.matches(OK).count(), 60);
    assert_eq!(rig.asked.len(), 61);
}

#[test]
fn a_connection_ends_when_asked_to_or_after_nonsense() {
    let mut rig = Rig::new("ends");
    for (request, status) in [
        (&b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..], "200 "),
        (b"GET /healthz HTTP/1.0\r\n\r\n", "200 "),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400 "),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405 "),
    ] {
        let mut client = rig.unix();
        let answer = rig.exchange(&mut client, request);
        let status = if status == "405 " { "200 " } else { status };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
        assert!(rig.has_ended(&mut client));
    }
    let mut kept = rig.unix();
    assert!(rig.exchange(&mut kept, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").contains(" 404 "));
    assert!(rig.exchange(&mut kept, GET).starts_with(OK), "a wrong path does no harm");
    rig.now_ms += u64::from(LINGER_MS);
    rig.turn();
    assert_eq!(rig.connection_count(), 1, "those that lingered are gone");
}

#[test]
fn readings_that_are_not_durable_in_time_are_answered_with_503() {
    let mut rig = Rig::new("late");
    rig.console.set_intake(true);
    rig.answers = false;
    let mut client = rig.unix();
    client.write_all(&post(b"{}", "")).expect("room");
    while rig.asked.is_empty() {
        rig.turn();
    }
    let id = rig.asked[0].0;
    rig.console.wait_durable(id, 1);
    rig.turn();
    rig.now_ms += u64::from(REQUEST_MS_MAX);
    assert!(rig.read(&mut client, 1).starts_with("HTTP/1.1 503 "));
}

#[test]
fn readings_are_handed_over_and_acknowledged_once_durable() {
    let mut rig = Rig::new("durable");
    rig.console.set_intake(true);
    rig.answers = false;
    let mut clients = [rig.unix(), rig.unix(), rig.unix()];
    for (index, client) in clients.iter_mut().enumerate() {
        let body = vec![b'0' + u8::try_from(index).expect("small"); 10_000];
        client.write_all(&post(&body, "")).expect("room");
    }
    while rig.asked.len() < 3 {
        rig.turn();
    }
    let mut ids = [None; 3];
    for (id, ask, body) in &rig.asked {
        assert_eq!((ask, body.len()), (&Ask::Readings, 10_000));
        ids[usize::from(body[0] - b'0')] = Some(*id);
    }
    for (seq, id) in (1..).zip(ids.into_iter().flatten()) {
        rig.console.wait_durable(id, seq * 10);
        assert_eq!(rig.console.body(id), b"");
    }
    assert_eq!(rig.console.bodies.take(1).map(|body| body.len()), Some(1), "one came back");
    assert_eq!(rig.turn(), 0, "C3");
    rig.console.durable(20);
    for client in &mut clients[..2] {
        assert!(rig.read(client, 1).starts_with("HTTP/1.1 204 "));
    }
    assert_eq!(rig.turn(), 0, "H4: the third waits");
    rig.console.outcome_unknown();
    assert!(rig.read(&mut clients[2], 1).starts_with("HTTP/1.1 503 "));
}

#[test]
fn where_readings_go_elsewhere_no_body_is_read() {
    let mut rig = Rig::new("elsewhere");
    let mut client = rig.unix();
    let answer = rig
        .exchange(&mut client, b"POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
    assert!(answer.ends_with("{\"master\":\"gw-1\",\"advertise\":\"\"}"), "{answer}");
    assert_eq!(rig.asked[0].1, Ask::ReadingsElsewhere);
    client.write_all(&[b' '; 99]).expect("it lingers to read this");
    assert!(rig.has_ended(&mut client));
    assert_eq!(rig.console.bodies.spare_count(), 0);
}

#[test]
fn a_body_is_invited_if_the_client_waits_for_that() {
    let mut rig = Rig::new("invite");
    rig.console.set_intake(true);
    let mut client = rig.unix();
    let request = post(b"{}", "Expect: 100-continue\r\n");
    let (head, body) = request.split_at(request.len() - 2);
    assert_eq!(rig.exchange(&mut client, head), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(rig.exchange(&mut client, body).starts_with("HTTP/1.1 204 "));
    assert_eq!(rig.asked[0].2, b"{}");
    assert!(rig.exchange(&mut client, &request).starts_with("HTTP/1.1 204 "), "it did not wait");
}

#[test]
fn bodies_are_bounded_and_the_next_producer_is_told_to_come_again() {
    let mut rig = Rig::new("bodies");
    rig.console.set_intake(true);
    let whole = post(&vec![b' '; REQUEST_BODY_MAX], "");
    let mut clients: Vec<_> = (0..BODIES_MAX).map(|_| rig.unix()).collect();
    for client in &mut clients {
        client.write_all(&whole[..5_000]).expect("room");
        rig.turn();
        rig.turn();
    }
    let mut late = rig.unix();
    let answer = rig.exchange(&mut late, &post(b"{}", ""));
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    drop(clients.pop());
    rig.turn();
    let mut later = rig.unix();
    assert!(rig.exchange(&mut later, &post(b"{}", "")).starts_with("HTTP/1.1 204 "));
}

#[test]
fn the_largest_body_is_taken_and_a_larger_one_refused() {
    let mut rig = Rig::new("largest");
    rig.console.set_intake(true);
    let mut client = rig.unix();
    let body: Vec<u8> = (0..=255).cycle().take(REQUEST_BODY_MAX).collect();
    let request = post(&body, "");
    let mut sent = 0;
    while rig.asked.is_empty() {
        match client.write(&request[sent..]) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        rig.turn();
    }
    assert!(rig.asked[0].2 == body, "whole and in order");
    assert!(rig.read(&mut client, 1).starts_with("HTTP/1.1 204 "));
    let answer = rig.exchange(
        &mut client,
        b"POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(rig.has_ended(&mut client));
}

#[test]
fn faults_of_a_body_are_told_and_the_connection_kept() {
    let mut rig = Rig::new("faults");
    rig.console.set_intake(true);
    rig.answers = false;
    let mut client = rig.unix();
    let fault = Fault { offset: 0, line: 2, column: 5, expected: "an event" };
    for (answer, begin) in [
        (Answer::Bad(fault), "HTTP/1.1 400 "),
        (Answer::TooLarge(fault), "HTTP/1.1 413 "),
        (Answer::Full, "HTTP/1.1 429 "),
    ] {
        client.write_all(&post(b"[]", "")).expect("room");
        rig.asked.clear();
        while rig.asked.is_empty() {
            rig.turn();
        }
        rig.console.answer(rig.asked[0].0, answer);
        assert!(rig.read(&mut client, 1).starts_with(begin));
    }
}

#[test]
fn a_switchover_is_passed_on_from_the_socket_alone() {
    let mut rig = Rig::new("switchover");
    let mut client = rig.unix();
    let request = b"POST /switchover HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n";
    client.write_all(request).expect("room");
    rig.turn();
    rig.turn();
    assert!(rig.asked.is_empty(), "its body is to come");
    assert!(rig.exchange(&mut client, b"{\"to\":\"gw-2\"}").starts_with("HTTP/1.1 202 "));
    assert_eq!(rig.asked[0].1, Ask::Switchover { to: NodeName::parse("gw-2") });
    let bare = b"POST /switchover HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert!(rig.exchange(&mut client, bare).starts_with("HTTP/1.1 202 "));
    assert_eq!(rig.asked[1].1, Ask::Switchover { to: None });
    let mut tcp = rig.tcp();
    assert!(rig.exchange(&mut tcp, bare).starts_with("HTTP/1.1 403 "));
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn what_is_done_about_declined_records_is_asked_as_a_switchover_is() {
    let mut rig = Rig::new("declined");
    let replay = b"POST /declined/replay HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let purge = b"POST /declined/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let mut client = rig.unix();
    assert!(rig.exchange(&mut client, replay).starts_with("HTTP/1.1 202 "));
    assert!(rig.exchange(&mut client, purge).starts_with("HTTP/1.1 409 "));
    let asks: Vec<_> = rig.asked.iter().map(|(_, ask, _)| ask.clone()).collect();
    assert_eq!(asks, [Ask::Replay, Ask::Purge]);
    for request in [&replay[..], purge] {
        let mut tcp = rig.tcp();
        assert!(rig.exchange(&mut tcp, request).starts_with("HTTP/1.1 403 "));
    }
    assert_eq!(rig.asked.len(), 2);
}

#[test]
fn slow_clients_are_dropped_at_their_deadline_and_not_before() {
    let mut rig = Rig::new("slow");
    let idle_ms = u64::from(CONNECTION_IDLE_MS);
    assert_eq!(rig.console.deadline_ms(), None, "no busy wake-ups");
    let mut silent = rig.unix();
    rig.turn();
    rig.turn();
    assert_eq!(rig.console.deadline_ms(), Some(1_000 + idle_ms));
    rig.now_ms += idle_ms - 1;
    assert!(!rig.has_ended(&mut silent));
    rig.now_ms += 1;
    assert!(rig.has_ended(&mut silent));
    assert_eq!(rig.console.deadline_ms(), None);

    let mut dripping = rig.unix();
    let begin_ms = rig.now_ms;
    let mut ended_ms = 0;
    for byte in GET.iter().cycle().filter(|byte| **byte != b'\n') {
        if dripping.write_all(&[*byte]).is_err() || rig.has_ended(&mut dripping) {
            ended_ms = rig.now_ms;
            break;
        }
        rig.now_ms = (rig.now_ms + idle_ms - 1).min(rig.console.deadline_ms().expect("C2"));
    }
    assert_eq!(ended_ms - begin_ms, u64::from(REQUEST_MS_MAX), "a byte now and then is no help");
}

#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let mut rig = Rig::new("full");
    let mut client = rig.unix();
    let status = b"GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n";
    while rig.connection_count() == 0 {
        rig.turn();
    }
    let mut asked = 0;
    loop {
        match client.write(status) {
            Ok(count) => assert_eq!(count, status.len()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                rig.turn();
                if rig.asked.len() == asked {
                    break;
                }
                asked = rig.asked.len();
            }
        }
    }
    assert_eq!(rig.turn(), 0, "no busy wake-ups");
    assert_eq!(rig.console.deadline_ms(), Some(rig.now_ms + u64::from(CONNECTION_IDLE_MS)));
    rig.now_ms += u64::from(CONNECTION_IDLE_MS);
    rig.turn();
    assert_eq!(rig.connection_count(), 0);
}

#[test]
fn late_answers_to_clients_that_left_go_nowhere() {
    let mut rig = Rig::new("late");
    rig.console.set_intake(true);
    rig.answers = false;
    let mut client = rig.unix();
    client.write_all(GET).expect("room");
    while rig.asked.is_empty() {
        rig.turn();
    }
    drop(client);
    rig.turn();
    assert_eq!(rig.connection_count(), 0);
    let mut other = rig.unix();
    other.write_all(GET).expect("room");
    while rig.asked.len() < 2 {
        rig.turn();
    }
    let (gone, ask, _) = rig.asked[0].clone();
    rig.answer(gone, &ask);
    rig.console.wait_durable(gone, 1);
    rig.turn();
    assert_eq!(other.read(&mut [0; 9]).expect_err("no answer").kind(), ErrorKind::WouldBlock);
    let (there, ask, _) = rig.asked[1].clone();
    rig.answer(there, &ask);
    rig.answer(there, &ask);
    assert_eq!(rig.read(&mut other, 1).matches("HTTP/1.1").count(), 1, "one answer a request");
}

#[test]
fn a_half_closed_client_still_gets_its_answer() {
    let mut rig = Rig::new("half");
    let mut client = rig.tcp();
    client.write_all(GET).expect("room");
    client.shutdown(std::net::Shutdown::Write).expect("connected");
    assert!(rig.read(&mut client, usize::MAX).starts_with(OK));
}

#[test]
fn full_of_clients_it_still_answers_new_ones() {
    let mut rig = Rig::new("crowd");
    let mut tcp: Vec<_> = (0..CONNECTIONS_TCP_MAX).map(|_| rig.tcp()).collect();
    for client in &mut tcp {
        rig.now_ms += 1;
        rig.turn();
        client.write_all(b"GET /hea").expect("room");
        rig.turn();
    }
    rig.turn();
    assert_eq!(rig.connection_count(), CONNECTIONS_TCP_MAX);
    let mut waiting = rig.tcp();
    waiting.write_all(GET).expect("room");
    assert_eq!(rig.turn(), 0, "no room and nobody idle: it waits outside, and wakes nobody");
    let mut unix: Vec<_> = (0..CONNECTIONS_MAX).map(|_| rig.unix()).collect();
    for client in &mut unix {
        client.write_all(GET).expect("room");
    }
    rig.turn();
    rig.turn();
    assert_eq!(rig.turn(), 0, "new ones are not dropped for newer ones");
    assert_eq!(rig.console.deadline_ms(), Some(rig.now_ms + u64::from(CONNECTION_SPARE_MS)));
    for client in &mut unix {
        assert!(rig.read(client, 1).starts_with(OK), "H3");
        rig.now_ms += u64::from(CONNECTION_SPARE_MS);
    }
    assert_eq!(rig.connection_count(), CONNECTIONS_MAX);
    drop(tcp.pop());
    assert!(rig.read(&mut waiting, 1).starts_with(OK));
}

#[test]
fn nothing_is_allocated_while_the_intake_is_closed() {
    let mut rig = Rig::new("allocations");
    let mut client = rig.unix();
    let text = rig.exchange(&mut client, b"GET /allocations HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(text.starts_with(OK) && text.contains("text/plain"), "{text}");
    let body = text.lines().last().expect("a body");
    assert!(body.parse::<u64>().is_ok(), "{body}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let mut rig = Rig::new("stale");
    let path = rig.folder.join(SOCKET);
    let mut second = Console::open(&rig.folder);
    second.watch(&mut Vec::new(), 5_000);
    assert_eq!(second.deadline_ms(), Some(5_000 + u64::from(LISTEN_WAIT_MS)));
    let mut client = rig.unix();
    assert!(rig.exchange(&mut client, GET).starts_with(OK), "the first still has it");
    let mut first = std::mem::replace(&mut rig.console, Console::open(&rig.folder));
    first.doors = [Door::nowhere(), Door::nowhere()];
    assert!(path.exists(), "a crash leaves the file");
    second.turn(&[], 5_000 + u64::from(LISTEN_WAIT_MS));
    assert_eq!(second.deadline_ms(), None);
    rig.console = second;
    let mut client = rig.unix();
    assert!(rig.exchange(&mut client, GET).starts_with(OK));
    drop(std::mem::replace(&mut rig.console, Console::open(&rig.folder)));
    assert!(!path.exists(), "a clean stop does not");
}

#[test]
fn an_address_that_others_can_reach_is_refused_and_another_taken() {
    let nowhere = Path::new("/nonexistent");
    let listen = |console: &mut Console, text: &str| {
        console.listen(Listen::parse(text).expect("an address"));
        console.watch(&mut Vec::new(), 0);
        console.address()
    };
    let mut console = Console::open(nowhere);
    assert_eq!(listen(&mut console, "0.0.0.0:0"), None);
    let address = listen(&mut console, "localhost:0").expect("it listens");
    assert_eq!(listen(&mut console, "localhost:0"), Some(address), "the same");
    let mut taken = Console::open(nowhere);
    assert_eq!(listen(&mut taken, &address.to_string()), None);
    assert_eq!(listen(&mut console, "off"), None);
    assert_eq!(taken.deadline_ms(), Some(u64::from(LISTEN_WAIT_MS)));
    taken.watch(&mut Vec::new(), u64::from(LISTEN_WAIT_MS));
    assert_eq!(taken.address(), Some(address));
}

#[test]
fn a_token_opens_the_door_to_others_and_its_loss_shuts_it() {
    let mut rig = Rig::new("token");
    rig.console.listen(Listen::parse("0.0.0.0:0").expect("an address"));
    rig.turn();
    assert_eq!(rig.console.address(), None);
    rig.console.guard(Token::read(b"s3cret\n"));
    rig.turn();
    let port = rig.console.address().expect("it listens").port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.set_nonblocking(true).expect("a socket");
    let status = |token: &str| {
        format!("GET /status.json HTTP/1.1\r\nHost: localhost\r\n{token}\r\n").into_bytes()
    };
    let bare = rig.exchange(&mut client, &status(""));
    assert!(bare.starts_with("HTTP/1.1 401 "), "{bare}");
    assert!(bare.contains("\r\nWWW-Authenticate: "), "{bare}");
    assert!(rig.exchange(&mut client, &status("Authorization: Bearer s3cret\r\n")).starts_with(OK));
    assert!(rig.exchange(&mut client, GET).starts_with(OK), "load balancers know no token");
    let switchover = b"POST /switchover HTTP/1.1\r\nHost: localhost\r\n\
                       Authorization: Basic YTpzM2NyZXQ=\r\n\r\n";
    assert!(rig.exchange(&mut client, switchover).starts_with("HTTP/1.1 202 "));
    rig.console.guard(Token::read(b"another"));
    assert!(rig.exchange(&mut client, switchover).starts_with("HTTP/1.1 401 "));
    rig.console.guard(None);
    rig.turn();
    assert_eq!(rig.console.address(), None);
    assert!(rig.exchange(&mut client, switchover).starts_with("HTTP/1.1 403 "));
    TcpStream::connect(("127.0.0.1", port)).expect_err("nothing listens");
}
