//! Bodies of readings: an input is the body of `POST /readings`.

use edge_agent::edge::cloud::datonis::readings_body;
use edge_agent::edge::gather::Gather;
use edge_agent::edge::intake::{Refusal, TIMESTAMP_MAX, read};
use edge_agent::edge::json::{self, Fault};
use edge_agent::engine::ident::Lane;
use edge_agent::engine::segment::{GROUP_HEAD_BYTES, GroupHead, GroupOf};
use edge_agent::limits::{GROUP_BYTES_MAX, RECORD_BYTES_MAX, REQUEST_BODY_MAX, THING_KEY_MAX};
use serde_json::Value;

const WALL_MS: u64 = 1_800_000_000_000;
/// What stands in the buffer already.
const BEFORE: &[u8] = b"{\"before\":1}\n";
const OF: GroupOf = GroupOf { term: 3, lane: Lane::Readings };

/// See the module.
pub fn try_one(input: &[u8]) {
    let body = &input[..input.len().min(REQUEST_BODY_MAX)];
    let mut records = BEFORE.to_vec();
    let with_clock = read(body, Some(WALL_MS), &mut records);
    let taken = records.strip_prefix(BEFORE).expect("I1: what was there stays").to_vec();
    match with_clock {
        Ok(count) => {
            check_records(&taken, count);
            check_meaning(body, &taken);
            check_again(&taken, count);
            check_journalled(&taken, count);
        }
        Err(refusal) => {
            assert!(taken.is_empty(), "I1: {refusal}");
            check_refusal(refusal, body);
        }
    }
    let mut without_clock = Vec::new();
    match (read(body, None, &mut without_clock), with_clock) {
        (Ok(count), with_clock) => {
            assert_eq!((Ok(count), &without_clock), (with_clock, &taken), "each brought its time");
        }
        (Err(refusal), with_clock) => {
            assert!(without_clock.is_empty(), "I1");
            assert!(refusal == Refusal::NoClock || with_clock == Err(refusal), "{refusal}");
        }
    }
}

/// I2, and the limit.
fn check_records(taken: &[u8], count: u32) {
    assert!(count > 0 && taken.is_ascii() && taken.ends_with(b"\n"), "I2");
    let lines: Vec<&[u8]> = taken.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), usize::try_from(count).expect("a u32"), "I2");
    for line in lines {
        assert!(line.len() <= RECORD_BYTES_MAX, "{} bytes", line.len());
        let record = &line[..line.len() - 1];
        assert!(record.iter().all(|&byte| byte >= b' '), "I2");
        assert!(json::check(record).is_ok(), "N1");
        let parsed: Value = serde_json::from_slice(record).expect("JSON");
        let timestamp = parsed["timestamp"].as_u64().expect("a timestamp");
        assert!(timestamp <= TIMESTAMP_MAX);
        let key = parsed["thing_key"].as_str().expect("a key");
        assert!((1..=THING_KEY_MAX).contains(&key.len()) && !key.contains(char::is_control));
        assert!(parsed.get("data").is_none_or(Value::is_object));
        assert!(parsed.get("data").is_some() || parsed.get("waypoint").is_some());
    }
}

/// The records say what the body says.
fn check_meaning(body: &[u8], taken: &[u8]) {
    let mut said = Vec::new();
    for document in serde_json::Deserializer::from_slice(body).into_iter::<Value>() {
        let mut document = document.expect("what was taken is JSON");
        match document.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => said.extend(events),
            Some(_) | None => said.push(document),
        }
    }
    for event in &mut said {
        let members = event.as_object_mut().expect("an event is an object");
        members.entry("timestamp").or_insert_with(|| WALL_MS.into());
    }
    let recorded: Vec<Value> = serde_json::Deserializer::from_slice(taken)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("JSON");
    assert_eq!(recorded, said);
}

/// Records are a body themselves, and come to the same; also as the cloud gets them.
fn check_again(taken: &[u8], count: u32) {
    let mut again = Vec::new();
    assert_eq!(read(taken, None, &mut again), Ok(count));
    assert_eq!(again, taken);
    let sent = readings_body(taken);
    again.clear();
    assert_eq!(read(&sent, None, &mut again), Ok(count), "{}", sent.escape_ascii());
    assert_eq!(again, taken);
}

/// The journal takes all of them, in whole groups, or none.
fn check_journalled(taken: &[u8], count: u32) {
    let mut gather = Gather::default();
    gather.begin(OF);
    if gather.push(taken).is_err() {
        assert!(gather.bytes() == 0 && gather.through_seq() == 0, "3");
        // a body may be short and its records long: each event without a time is given one
        assert!(taken.len() > GROUP_BYTES_MAX, "there was room");
        return;
    }
    assert_eq!(gather.through_seq(), u64::from(count), "1");
    let announced = gather.bytes();
    let mut groups = gather.take();
    assert_eq!(groups.len(), usize::try_from(announced).expect("a u32"));
    let (mut journalled, mut seq) = (Vec::new(), 1);
    while !groups.is_empty() {
        let head = GroupHead::decode(groups).expect("a head");
        let (group, rest) = groups.split_at(head.group_bytes());
        let records = &group[GROUP_HEAD_BYTES..];
        assert!(head.matches(OF, group, records) && records.len() <= GROUP_BYTES_MAX);
        assert_eq!(head.first_seq, seq, "1");
        seq += u64::from(head.count);
        journalled.extend_from_slice(records);
        groups = rest;
    }
    assert_eq!(journalled, taken);
}

fn check_refusal(refusal: Refusal, body: &[u8]) {
    match refusal {
        Refusal::Bad(fault) | Refusal::TooLarge(fault) => {
            assert!(fault.offset <= body.len(), "{fault}");
            assert_eq!(Fault::new(body, fault.offset, fault.expected), fault);
        }
        Refusal::NoClock => panic!("there was a clock"),
    }
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let one = r#"{"timestamp":1,"thing_key":"a","data":{"x":1}}"#;
    let list = r#" {"events":[ {"timestamp":1,"thing_key":"a","data":{"x":"ä😀","y":[1.50,-2e3,null,true]}},
        {"waypoint":[ 19.076 , -7.2877e1 ],"thing_key":"\u00e4\ud83d\ude00"} ] } "#;
    let lines = "\n{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{\"x\":1}}\r\n \n\
        {\"data\" : { \"x\" :\t{\"n\":[1,\"b c\"]} },\n\"thing_key\":\"a\",\"timestamp\":9999999999999}\n\n";
    vec![("one", one.into()), ("list", list.into()), ("lines", lines.into())]
}
