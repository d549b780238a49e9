//! Frames between our own processes.
//!
//! An input: what its heads are; flags; then the bytes that come. Flag 1: they are frames without
//! their lengths, each a head and a body with their own lengths before them, so that what lies
//! behind the frame's lengths is reached. The other flags: in what pieces they come.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use edge_agent::edge::channel::{Link, Port};
use edge_agent::edge::cloud::pair::{BatchHead, Hello};
use edge_agent::edge::collector::{CollectorAnswer, CollectorOrder};
use edge_agent::edge::config::Files;
use edge_agent::edge::keeper::{KeeperAnswer, KeeperOrder};
use edge_agent::edge::uplink::UplinkAnswer;
use edge_agent::engine::cloud::{CloudOrder, CloudOutcome, CloudRequest, Verdict};
use edge_agent::engine::ident::{Cursor, Lane, NodeName, Ranges, RecordRange, ShareClass, SiteId};
use edge_agent::engine::share::{
    Fetch, MountJudgement, ShareError, ShareFault, ShareOrder, ShareOutcome,
};
use edge_agent::limits::{FRAME_BODY_MAX, FRAME_HEAD_MAX};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::{Plan, piece};

const FRAMED: u8 = 1;
/// Bytes that a socket takes without anybody reading.
const BYTES_MAX: usize = 64 << 10;
/// The two lengths before a head.
const LENGTHS: usize = 8;

/// See the module.
pub fn try_one(input: &[u8]) {
    let mut plan = Plan::new(input);
    let (kind, flags) = (plan.u8(), plan.u8());
    let bytes = if flags & FRAMED != 0 { framed(&mut plan) } else { plan.rest().to_vec() };
    let bytes = &bytes[..bytes.len().min(BYTES_MAX)];
    let at_a_time = 1 + usize::from(flags >> 1) * 31;
    match kind % 9 {
        0 => check::<KeeperOrder>(bytes, at_a_time),
        1 => check::<KeeperAnswer>(bytes, at_a_time),
        2 => check::<CloudOrder>(bytes, at_a_time),
        3 => check::<UplinkAnswer>(bytes, at_a_time),
        4 => check::<CollectorOrder>(bytes, at_a_time),
        5 => check::<CollectorAnswer>(bytes, at_a_time),
        6 => check::<Hello>(bytes, at_a_time),
        7 => check::<BatchHead>(bytes, at_a_time),
        _ => check_files(bytes),
    }
}

/// Frames with the lengths that they should have.
fn framed(plan: &mut Plan<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !plan.is_done() {
        let (head, body) = (plan.piece(), plan.piece());
        bytes.extend(frame(head, body));
    }
    bytes
}

fn frame(head: &[u8], body: &[u8]) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).expect("short").to_le_bytes();
    let total = length(4 + head.len() + body.len());
    [&total[..], &length(head.len()), head, body].concat()
}

/// A frame that was taken: what its head says, and the whole of it as it is sent.
#[derive(PartialEq, Eq, Debug)]
struct Taken {
    head: String,
    sent: Vec<u8>,
}

/// Both ends take the same frames and end alike; what was taken is sent as it was.
fn check<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8], at_a_time: usize) {
    let (by_port, end) = taken_by_port::<T>(bytes);
    let (by_link, other_end) = taken_by_link::<T>(bytes, at_a_time);
    assert_eq!(by_port, by_link);
    assert_eq!(end, other_end);
    assert!(matches!(end, ErrorKind::UnexpectedEof | ErrorKind::InvalidData), "3: {end}");
    let mut rest = bytes;
    for taken in by_port {
        let length = whole(rest);
        let (came, behind) = rest.split_at(length);
        rest = behind;
        // a number may come longer than it is sent, never otherwise
        assert!(taken.sent.len() <= came.len(), "{taken:?}");
        assert!(taken.sent.len() < came.len() || taken.sent == came, "{taken:?}");
        let (again, end) = taken_by_port::<T>(&taken.sent);
        assert_eq!(end, ErrorKind::UnexpectedEof);
        assert_eq!(again, [taken]);
    }
    let is_cut = rest.len() < LENGTHS || rest.len() < whole(rest);
    assert!(end == ErrorKind::InvalidData || is_cut, "3: {} bytes are left", rest.len());
}

/// Bytes of the frame that these begin with.
fn whole(bytes: &[u8]) -> usize {
    let total = bytes[..4].try_into().expect("four bytes");
    4_usize.saturating_add(usize::try_from(u32::from_le_bytes(total)).expect("a u32"))
}

fn pair() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (ours, theirs.into())
}

/// How a frame is sent.
fn sent(head: &impl Serialize, body: &[u8]) -> Vec<u8> {
    let (mut ours, theirs) = pair();
    let mut port = Port::new(theirs);
    port.send(head, body).expect("what came goes back");
    drop(port);
    let mut bytes = Vec::new();
    ours.read_to_end(&mut bytes).expect("read");
    bytes
}

fn taken_by_port<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) -> (Vec<Taken>, ErrorKind) {
    let (mut ours, theirs) = pair();
    ours.write_all(bytes).expect("room for all");
    drop(ours);
    let mut port = Port::new(theirs);
    let mut taken = Vec::new();
    loop {
        match port.receive::<T>() {
            Ok(head) => {
                assert!(port.body().len() <= FRAME_BODY_MAX && port.take_fd().is_none());
                taken.push(Taken { head: format!("{head:?}"), sent: sent(&head, port.body()) });
            }
            Err(error) => {
                assert!(port.body().is_empty());
                return (taken, error.kind());
            }
        }
    }
}

/// The same, where only so many bytes come at a time.
fn taken_by_link<T: Serialize + DeserializeOwned + Debug>(
    bytes: &[u8],
    at_a_time: usize,
) -> (Vec<Taken>, ErrorKind) {
    let (ours, theirs) = pair();
    let mut link = Link::new(theirs).expect("a link");
    let mut ours = Some(ours);
    let mut pieces = bytes.chunks(at_a_time.max(bytes.len() / 64));
    let mut taken = Vec::new();
    loop {
        match link.receive::<T>() {
            Ok(Some(head)) => {
                taken.push(Taken { head: format!("{head:?}"), sent: sent(&head, link.body()) });
            }
            Ok(None) => match pieces.next() {
                Some(piece) => {
                    let ours = ours.as_mut().expect("there is more");
                    ours.write_all(piece).expect("room");
                }
                None => drop(ours.take().expect("1: it ends with the other side")),
            },
            Err(error) => return (taken, error.kind()),
        }
    }
}

/// The files that a keeper hands over.
fn check_files(bytes: &[u8]) {
    let Some(files) = Files::from_bytes(bytes) else { return };
    let again = files.to_bytes();
    assert!(Files::from_bytes(&again).as_ref() == Some(&files));
    let is_text = files.fault.as_ref().is_none_or(|fault| !fault.contains('\u{fffd}'));
    assert!(!is_text || again == bytes);
}

fn head_of(head: &impl Serialize) -> Vec<u8> {
    let bytes = sent(head, &[]);
    assert!(bytes.len() <= LENGTHS + FRAME_HEAD_MAX);
    bytes[LENGTHS..].to_vec()
}

/// Answers of a keeper, with a body.
fn keeper_answers() -> Vec<(Vec<u8>, &'static [u8])> {
    let site = SiteId([7; 16]);
    let opened = ShareOutcome::Opened {
        site,
        class: ShareClass::Nfs4,
        free_bytes: u64::MAX,
        mount: MountJudgement::default(),
    };
    let text = heapless::String::try_from("share: cannot open edge.lock").expect("short");
    let failed = ShareOutcome::Failed(ShareError { fault: ShareFault::Stale, errno: 116, text });
    vec![opened, failed, ShareOutcome::Loaded]
        .into_iter()
        .map(|outcome| (head_of(&KeeperAnswer { number: 1, outcome }), &b"files"[..]))
        .collect()
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let of = |kind: u8, frames: &[(Vec<u8>, &[u8])]| {
        let mut bytes = vec![kind, FRAMED];
        for (head, body) in frames {
            bytes.extend(piece(head));
            bytes.extend(piece(body));
        }
        bytes
    };
    let node = NodeName::parse("gw-1").expect("a name");
    let from = Cursor { term: 3, segment: 1, offset: 64, seq: 300 };
    let fetch = Fetch {
        request: 7,
        lane: Lane::Readings,
        from,
        end: u32::MAX,
        records_max: 500,
        bytes_max: 65_536,
    };
    let orders = [ShareOrder::Open, ShareOrder::Fetch(fetch), ShareOrder::Forget { node }];
    let orders: Vec<_> = (1..)
        .zip(orders)
        .map(|(number, order)| (head_of(&KeeperOrder { number, order }), &b""[..]))
        .collect();
    let answers = keeper_answers();
    let range = RecordRange { term: 3, lane: Lane::Alerts, first_seq: 1, last_seq: 9 };
    let what = CloudRequest::Batch { lane: Lane::Alerts, ranges: Ranges::of(range) };
    let order = CloudOrder { request: 7, term: 3, what };
    let reason = heapless::String::try_from("answer 503").expect("short");
    let outcome = CloudOutcome {
        request: 7,
        verdict: Verdict::Retry,
        status: 503,
        retry_after_ms: Some(1_000),
        reason,
    };
    let files = Files {
        config: Some(b"{}".to_vec()),
        token: Some(b"t".to_vec()),
        fault: Some("no".into()),
        ..Files::default()
    };
    let mut plain = vec![7, 0];
    plain.extend(frame(&head_of(&BatchHead { request: 7 }), b"{\"a\":1}\n"));
    vec![
        ("keeper-orders", of(0, &orders)),
        ("keeper-answers", of(1, &answers)),
        ("cloud-order", of(2, &[(head_of(&order), b"")])),
        (
            "uplink-answers",
            of(
                3,
                &[
                    (head_of(&UplinkAnswer::Ready { locked: true }), b""),
                    (head_of(&UplinkAnswer::Outcome(outcome)), b""),
                ],
            ),
        ),
        ("collector-order", of(4, &[(head_of(&CollectorOrder::Read { source: 300 }), b"")])),
        ("hello", of(6, &[(head_of(&Hello { locked: true }), b"")])),
        ("batch", plain),
        ("files", [&[8, 0][..], &files.to_bytes()].concat()),
    ]
}
