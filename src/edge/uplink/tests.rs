use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::*;
use crate::edge::cloud::way::Host;
use crate::engine::ident::NodeName;
use crate::sys::socket;

const READINGS: RecordRange =
    RecordRange { term: 3, lane: Lane::Readings, first_seq: 5, last_seq: 6 };
const ALERT: RecordRange = RecordRange { term: 4, lane: Lane::Alerts, first_seq: 1, last_seq: 1 };

fn setup(url: String) -> CloudSetup {
    CloudSetup {
        kind: CloudKind::Datonis,
        host: Host::of_url(&url).unwrap_or_default(),
        url,
        access_key: "the-access-key".into(),
        secret_key: "testsecretkey0000000000000000000000000001".into(),
        proxy: None,
        timeout_ms: 10_000,
        ca: None,
        things: vec![ThingSetup { thing_key: "7t38b9dbt9".into(), name: "Compressor".into() }],
        site: "plant-7".into(),
        site_id: "00112233445566778899aabbccddeeff".into(),
        node: NodeName::parse("gw-1").expect("a valid name"),
    }
}

/// A server that answers `count` requests with 200 and gives what it read.
fn cloud(count: usize) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let serve = move || {
        let request = |_| {
            let (mut socket, _) = listener.accept().expect("a connection");
            let request = read_request(&mut socket);
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("answered");
            request
        };
        (0..count).map(request).collect()
    };
    (url, std::thread::spawn(serve))
}

fn read_request(socket: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4_096];
        let count = socket.read(&mut more).expect("a request");
        assert!(count > 0, "a whole request");
        bytes.extend_from_slice(&more[..count]);
        let text = String::from_utf8(bytes.clone()).expect("a request is ASCII");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("Content-Length: ").nth(1).expect("a length");
        let length = length.split("\r\n").next().expect("a line");
        if body.len() == length.parse::<usize>().expect("a number") {
            return text;
        }
    }
}

/// An uplink on a thread, with the agent's and the keeper's ends of its channels.
struct Bench {
    agent: Port,
    keeper: Option<Port>,
    uplink: JoinHandle<io::Result<()>>,
}

fn bench(setup: CloudSetup, lease_ms: u64, has_keeper: bool) -> Bench {
    let (ours, theirs) = socket::pair().expect("a pair");
    let (keeper, batches) = has_keeper.then(|| socket::pair().expect("a pair")).unzip();
    let lease = Lease::new(boottime_ms()).expect("a lease");
    lease.set(boottime_ms() + lease_ms);
    let uplink = std::thread::spawn(move || serve(Port::new(theirs), batches, &lease, &setup));
    Bench { agent: Port::new(ours), keeper: keeper.map(Port::new), uplink }
}

impl Bench {
    fn keeper(&mut self) -> &mut Port {
        self.keeper.as_mut().expect("this bench has a keeper")
    }

    fn answer(&mut self) -> UplinkAnswer {
        self.agent.receive().expect("an answer")
    }

    fn outcome(&mut self, request: u32, what: CloudRequest) -> CloudOutcome {
        self.agent.send(&CloudOrder { request, term: 9, what }, &[]).expect("sent");
        match self.answer() {
            UplinkAnswer::Outcome(outcome) => outcome,
            UplinkAnswer::Ready { .. } => panic!("it was ready already"),
        }
    }
}

fn accepted(request: u32, status: u16) -> CloudOutcome {
    let verdict = Verdict::Accepted;
    CloudOutcome { request, verdict, status, retry_after_ms: None, reason: Reason::new() }
}

#[test]
fn batches_go_out_signed_under_their_identities() {
    let (url, cloud) = cloud(2);
    let mut bench = bench(setup(url), 60_000, true);
    bench.keeper().send(&Hello { locked: false }, &[]).expect("sent");
    assert_eq!(bench.answer(), UplinkAnswer::Ready { locked: false });
    // a batch that nobody orders, larger than a socket's buffer, is taken off the pair and dropped
    bench.keeper().send(&BatchHead { request: 1 }, &vec![b'x'; 1 << 20]).expect("sent");
    let lines = b"{\"timestamp\":1600000000000,\"thing_key\":\"7t38b9dbt9\",\"data\":{\"pressure\":42}}\n{\"timestamp\":1600000001000,\"thing_key\":\"7t38b9dbt9\",\"data\":{\"pressure\":43}}\n";
    bench.keeper().send(&BatchHead { request: 2 }, lines).expect("sent");
    let what = CloudRequest::Batch { range: READINGS };
    assert_eq!(bench.outcome(2, what), accepted(2, 200));
    bench.keeper().send(&BatchHead { request: 3 }, b"{\"alert\":{}}\n").expect("sent");
    assert_eq!(bench.outcome(3, CloudRequest::Batch { range: ALERT }), accepted(3, 200));
    let requests = cloud.join().expect("served");
    for part in [
        "POST /api/v3/things/event.json HTTP/1.1\r\n",
        "Content-Type: application/json\r\n",
        "X-Access-Key: the-access-key\r\n",
        "X-Dtn-Signature: f06d36aa53e709f72a31c54e0f218d94ab50e712f4135789b042276e7780a0c0\r\n",
        "X-Edge-Site: 00112233445566778899aabbccddeeff\r\n",
        "X-Edge-Node: gw-1\r\n",
        "X-Edge-Term: 9\r\n",
        "X-Edge-Records: 3/readings/5-6\r\n",
        "\r\n\r\n{\"events\":[{\"timestamp\":1600000000000,",
    ] {
        assert!(requests[0].contains(part), "{part} in {}", requests[0]);
    }
    assert!(requests[1].starts_with("POST /api/v3/alerts.json HTTP/1.1\r\n"));
    assert!(requests[1].contains("X-Edge-Records: 4/alerts/1-1\r\n"));
    assert!(requests[1].ends_with("\r\n\r\n{\"alert\":{}}"));
}

#[test]
fn things_are_registered_and_kept_alive() {
    let (url, cloud) = cloud(2);
    let mut bench = bench(setup(url), 60_000, true);
    bench.keeper().send(&Hello { locked: false }, &[]).expect("sent");
    bench.answer();
    assert_eq!(bench.outcome(1, CloudRequest::Register { thing: 0 }), accepted(1, 200));
    assert_eq!(bench.outcome(2, CloudRequest::Alive { thing: 0 }), accepted(2, 200));
    let unknown = bench.outcome(3, CloudRequest::Alive { thing: 1 });
    assert_eq!((unknown.verdict, unknown.status), (Verdict::BadContent, 0));
    let requests = cloud.join().expect("served");
    assert!(requests[0].starts_with("POST /api/v3/things/register.json HTTP/1.1\r\n"));
    let body = "{\"thing_key\":\"7t38b9dbt9\",\"name\":\"Compressor\",\"description\":\"plant-7\",";
    assert!(requests[0].contains(body) && !requests[0].contains("X-Edge-Records"));
    assert!(requests[1].starts_with("POST /api/v3/things/heartbeat.json HTTP/1.1\r\n"));
}

#[test]
fn nothing_is_sent_without_a_lease() {
    // nothing listens there: a request would say so
    let mut bench = bench(setup("http://127.0.0.1:1".into()), 0, true);
    bench.keeper().send(&Hello { locked: false }, &[]).expect("sent");
    bench.answer();
    bench.keeper().send(&BatchHead { request: 1 }, b"{}\n").expect("sent");
    let outcome = bench.outcome(1, CloudRequest::Batch { range: READINGS });
    assert_eq!(outcome.verdict, Verdict::Retry);
    assert_eq!(outcome.reason, "the lease had ended before it was sent");
}

#[test]
fn the_copy_of_the_lock_is_held_until_the_end() {
    let mut bench = bench(setup(String::new()), 60_000, true);
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let fd = Some(theirs.as_fd());
    bench.keeper().send_with_fd(&Hello { locked: true }, &[], fd).expect("sent");
    drop(theirs);
    assert_eq!(bench.answer(), UplinkAnswer::Ready { locked: true });
    ours.set_nonblocking(true).expect("set");
    let end = |mut ours: &UnixStream| ours.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(end(&ours), Err(ErrorKind::WouldBlock), "U2: the copy is open");
    bench.keeper = None;
    let ended = bench.uplink.join().expect("joined").expect_err("the keeper is gone");
    assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
    assert_eq!(end(&ours), Ok(0), "the copy went with the uplink");
}

#[test]
fn a_greeting_that_lies_about_the_lock_ends_it() {
    let mut bench = bench(setup(String::new()), 60_000, true);
    bench.keeper().send(&Hello { locked: true }, &[]).expect("sent");
    let ended = bench.uplink.join().expect("joined").expect_err("no descriptor came");
    assert_eq!(ended.kind(), ErrorKind::InvalidData);
}

#[test]
fn without_a_keeper_requests_carry_no_term() {
    let (url, cloud) = cloud(1);
    let mut bench = bench(setup(url), 0, false);
    assert_eq!(bench.answer(), UplinkAnswer::Ready { locked: false });
    assert_eq!(bench.outcome(1, CloudRequest::Alive { thing: 0 }), accepted(1, 200));
    assert!(cloud.join().expect("served")[0].contains("X-Edge-Term: none\r\n"));
    let refused = bench.outcome(2, CloudRequest::Batch { range: READINGS });
    assert_eq!(refused.verdict, Verdict::Retry);
    drop(bench.agent);
    let ended = bench.uplink.join().expect("joined").expect_err("the agent is gone");
    assert_eq!(ended.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn alerts_in_one_batch_are_halved() {
    let setup = setup(String::new());
    let lease = Lease::new(0).expect("a page");
    let sender = Sender::new(&setup, &lease, false);
    let what = CloudRequest::Batch { range: ALERT };
    let order = CloudOrder { request: 1, term: 9, what };
    assert_eq!(sender.send_batch(&order, ALERT, b"{}\n{}\n").verdict, Verdict::TooLarge);
}

#[test]
fn stdout_takes_things_silently() {
    let setup = CloudSetup { kind: CloudKind::Stdout, ..setup(String::new()) };
    let lease = Lease::new(0).expect("a page");
    let sender = Sender::new(&setup, &lease, false);
    let order = CloudOrder { request: 1, term: 9, what: CloudRequest::Alive { thing: 0 } };
    assert_eq!(sender.send_of_thing(&order, 0, "", |_| Vec::new()), accepted(1, 0));
}

#[test]
fn proxies_and_time_outs_of_the_environment_are_unwanted() {
    for unwanted in ["https_proxy", "HTTPS_PROXY", "all_proxy", "No_Proxy", "MINREQ_TIMEOUT"] {
        assert!(is_unwanted(OsStr::new(unwanted)), "{unwanted}");
    }
    for wanted in ["PATH", "SSL_CERT_FILE", "PROXY", "EDGE_SITE"] {
        assert!(!is_unwanted(OsStr::new(wanted)), "{wanted}");
    }
}

#[test]
fn the_host_of_a_url_is_said_with_its_port() {
    assert_eq!(host_of("https://api.datonis.io"), "api.datonis.io");
    assert_eq!(host_of("http://127.0.0.1:80/a/b"), "127.0.0.1:80");
}
