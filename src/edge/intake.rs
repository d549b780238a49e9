//! Readings that producers post: checks a body and makes records of it.
//!
//! A body is one event, `{"events":[event,…]}`, or events one after another, each begun on a
//! line of its own (NDJSON; blank lines are skipped). An event is
//! `{"timestamp":ms,"thing_key":"…","data":{…},"waypoint":[latitude,longitude]}`, its members
//! in any order; `timestamp` may be absent (now), and either `data` or `waypoint`.
//!
//! A record is one line, exactly as it is sent to the cloud later: members in the order above,
//! compact, ASCII, ended by `\n`. Numbers stay as they were written and members of `data` in
//! their order; whether two of those have the same name is not looked at.
//!
//! # Invariants
//!
//! - I1: all or nothing: after a refusal the output is as it was before.
//! - I2: a record holds just one line break, its last byte, and no byte above 127.
//! - I3: nothing is allocated but what the output grows by.

use std::fmt::{self, Write as _};

use super::json::{Fault, Kind, Scanner, Text, Value};
use crate::limits::{RECORD_BYTES_MAX, THING_KEY_MAX};

/// The latest timestamp, in ms since the epoch (in the year 2286): a later one is a slip of
/// the unit.
pub const TIMESTAMP_MAX: u64 = 9_999_999_999_999;

const EVENT_EXPECTED: &str = "an event with thing_key and data or waypoint";
const NAME_EXPECTED: &str = "timestamp, thing_key, data or waypoint";
const TIMESTAMP_EXPECTED: &str = "ms since 1970, a whole number from 0 to 9999999999999";
const KEY_EXPECTED: &str = "a thing_key of 1 to 64 bytes without control characters";
const WAYPOINT_EXPECTED: &str = "[latitude,longitude], two numbers";
const LENGTH_EXPECTED: &str = "an event of at most 32768 bytes";
const _: () = assert!(RECORD_BYTES_MAX == 32_768);

/// Why nothing of a body was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is not as it should be.
    Bad(Fault),
    /// One of its events is longer than a record may be.
    TooLarge(Fault),
    /// One of its events has no timestamp, and the clock is not set.
    NoClock,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Bad(fault)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(fault) | Self::TooLarge(fault) => fault.fmt(out),
            Self::NoClock => out.write_str("the clock is not set"),
        }
    }
}

/// Appends the records of `body` to `records` and tells how many they are: 1 at least.
///
/// An event without a timestamp is given `wall_ms`, ms since the epoch; `None`: it is refused.
pub fn read(body: &[u8], wall_ms: Option<u64>, records: &mut Vec<u8>) -> Result<u32, Refusal> {
    let before = records.len();
    let mut reader = Reader { body, scanner: Scanner::new(body), wall_ms, records, count: 0 };
    match reader.body() {
        Ok(()) => Ok(reader.count),
        Err(refusal) => {
            records.truncate(before);
            Err(refusal)
        }
    }
}

/// The members of an event.
#[derive(Default)]
struct Event<'a> {
    timestamp: Option<u64>,
    thing_key: Option<Value<'a>>,
    data: Option<Value<'a>>,
    waypoint: Option<[Value<'a>; 2]>,
}

struct Reader<'a, 'out> {
    body: &'a [u8],
    scanner: Scanner<'a>,
    wall_ms: Option<u64>,
    records: &'out mut Vec<u8>,
    count: u32,
}

impl<'a> Reader<'a, '_> {
    fn body(&mut self) -> Result<(), Refusal> {
        if self.stands_at() == self.body.len() {
            return Err(self.scanner.fault(EVENT_EXPECTED).into());
        }
        loop {
            let begin = self.stands_at();
            self.scanner.open(Kind::Object)?;
            let first = self.scanner.next_key()?;
            if self.count == 0 && first.is_some_and(|key| key.is("events")) {
                self.list()?;
                return Ok(self.scanner.finish()?);
            }
            let end = self.event(begin, first)?;
            let next = self.stands_at();
            if next == self.body.len() {
                return Ok(());
            }
            if !self.body[end..next].contains(&b'\n') {
                return Err(self.scanner.fault("a line break between two events").into());
            }
        }
    }

    /// What follows `{"events":`.
    fn list(&mut self) -> Result<(), Refusal> {
        self.scanner.open(Kind::Array)?;
        while self.scanner.next_item()? {
            let begin = self.stands_at();
            self.scanner.open(Kind::Object)?;
            let first = self.scanner.next_key()?;
            self.event(begin, first)?;
        }
        if self.count == 0 {
            return Err(self.scanner.fault("at least one event in the list").into());
        }
        match self.scanner.next_key()? {
            None => Ok(()),
            Some(key) => Err(self.fault_at(key, "`}` after the list of events").into()),
        }
    }

    /// Makes a record of the event that began at `begin` and whose first key was read; tells
    /// where it ended.
    fn event(&mut self, begin: usize, first: Option<Text<'a>>) -> Result<usize, Refusal> {
        let mark = self.scanner.mark();
        let mut event = Event::default();
        let mut key = first;
        while let Some(name) = key {
            self.member(name, &mut event)?;
            key = self.scanner.next_key()?;
        }
        let rest = self.scanner.since(mark);
        let record = self.records.len();
        let timestamp = event.timestamp.or(self.wall_ms).ok_or(Refusal::NoClock)?;
        if !event.write(timestamp, self.records) {
            return Err(Fault::new(self.body, begin, EVENT_EXPECTED).into());
        }
        if self.records.len() - record > RECORD_BYTES_MAX {
            return Err(Refusal::TooLarge(Fault::new(self.body, begin, LENGTH_EXPECTED)));
        }
        self.count += 1;
        Ok(rest.offset() + rest.bytes().len())
    }

    fn member(&mut self, name: Text<'a>, event: &mut Event<'a>) -> Result<(), Fault> {
        let is_repeated = if name.is("timestamp") {
            event.timestamp.replace(self.timestamp()?).is_some()
        } else if name.is("thing_key") {
            event.thing_key.replace(self.thing_key()?).is_some()
        } else if name.is("data") {
            event.data.replace(self.data()?).is_some()
        } else if name.is("waypoint") {
            event.waypoint.replace(self.waypoint()?).is_some()
        } else {
            return Err(self.fault_at(name, NAME_EXPECTED));
        };
        if is_repeated {
            return Err(self.fault_at(name, "each member of an event only once"));
        }
        Ok(())
    }

    fn timestamp(&mut self) -> Result<u64, Fault> {
        let value = self.scanner.value()?;
        let number = value.whole_number().filter(|number| *number <= TIMESTAMP_MAX);
        number.ok_or_else(|| value.fault(TIMESTAMP_EXPECTED))
    }

    fn thing_key(&mut self) -> Result<Value<'a>, Fault> {
        let value = self.scanner.value()?;
        let length = value.text().and_then(|text| {
            text.chars().try_fold(0, |length, letter| {
                (!letter.is_control()).then_some(length + letter.len_utf8())
            })
        });
        match length {
            Some(1..=THING_KEY_MAX) => Ok(value),
            Some(_) | None => Err(value.fault(KEY_EXPECTED)),
        }
    }

    fn data(&mut self) -> Result<Value<'a>, Fault> {
        if self.scanner.kind()? != Kind::Object {
            return Err(self.scanner.fault("an object of metrics"));
        }
        self.scanner.value()
    }

    fn waypoint(&mut self) -> Result<[Value<'a>; 2], Fault> {
        let mark = self.scanner.mark();
        self.scanner.open(Kind::Array)?;
        let mut pair = [None; 2];
        let mut count = 0;
        while self.scanner.next_item()? {
            let kind = self.scanner.kind()?;
            let value = self.scanner.value()?;
            if kind != Kind::Number || count == 2 {
                return Err(value.fault(WAYPOINT_EXPECTED));
            }
            pair[count] = Some(value);
            count += 1;
        }
        match pair {
            [Some(latitude), Some(longitude)] => Ok([latitude, longitude]),
            _ => Err(self.scanner.since(mark).fault(WAYPOINT_EXPECTED)),
        }
    }

    /// The offset of whatever comes next.
    fn stands_at(&mut self) -> usize {
        let mark = self.scanner.mark();
        self.scanner.since(mark).offset()
    }

    fn fault_at(&self, key: Text<'a>, expected: &'static str) -> Fault {
        let offset = key.raw().as_ptr().addr() - self.body.as_ptr().addr();
        Fault::new(self.body, offset.saturating_sub(1), expected)
    }
}

impl Event<'_> {
    /// Writes the record; false if something that it needs is missing.
    fn write(&self, timestamp: u64, out: &mut Vec<u8>) -> bool {
        let Some(thing_key) = self.thing_key else {
            return false;
        };
        if self.data.is_none() && self.waypoint.is_none() {
            return false;
        }
        out.extend_from_slice(b"{\"timestamp\":");
        push_number(timestamp, out);
        out.extend_from_slice(b",\"thing_key\":");
        thing_key.write_compact(out);
        if let Some(data) = self.data {
            out.extend_from_slice(b",\"data\":");
            data.write_compact(out);
        }
        if let Some([latitude, longitude]) = self.waypoint {
            out.extend_from_slice(b",\"waypoint\":[");
            out.extend_from_slice(latitude.bytes());
            out.push(b',');
            out.extend_from_slice(longitude.bytes());
            out.push(b']');
        }
        out.extend_from_slice(b"}\n");
        true
    }
}

/// Writes a number in decimal digits.
pub(super) fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = heapless::String::<20>::new();
    write!(digits, "{number}").expect("20 digits hold any u64");
    out.extend_from_slice(digits.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_MS: u64 = 1_700_000_000_000;

    fn records(body: &str) -> Result<String, String> {
        let mut out = b"before\n".to_vec();
        let outcome = read(body.as_bytes(), Some(WALL_MS), &mut out);
        let text = String::from_utf8(out).expect("records are ASCII");
        let added = text.strip_prefix("before\n").expect("what was there stays");
        match outcome {
            Ok(count) => {
                assert_eq!(added.lines().count(), count as usize, "I2: {body}");
                assert!(added.is_ascii() && added.ends_with('\n'), "I2: {body}");
                Ok(added.to_owned())
            }
            Err(refusal) => {
                assert_eq!(added, "", "I1: {body}");
                Err(refusal.to_string())
            }
        }
    }

    #[test]
    fn events_become_records_in_one_form() {
        let plain = "{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{\"x\":1}}\n";
        for (body, expected) in [
            (r#"{"timestamp":1,"thing_key":"a","data":{"x":1}}"#, plain.to_owned()),
            ("{\"data\" : { \"x\" :\t1 },\n\"thing_key\":\"a\",\"timestamp\":1}\r\n", plain.into()),
            (r#"{"events":[{"timestamp":1,"thing_key":"a","data":{"x":1}}]}"#, plain.into()),
            (
                r#" {"events":[ {"timestamp":1,"thing_key":"a","data":{"x":1}},
                    {"data":{"x":1},"timestamp":1,"thing_key":"a"} ] } "#,
                plain.repeat(2),
            ),
            (
                "\n{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{\"x\":1}}\r\n \n\
                 {\"timestamp\":1,\"thing_key\":\"a\",\n\"data\":{\"x\":1}}\n\n",
                plain.repeat(2),
            ),
            (
                r#"{"thing_key":"a","data":{}}"#,
                "{\"timestamp\":1700000000000,\"thing_key\":\"a\",\"data\":{}}\n".into(),
            ),
            (
                r#"{"timestamp":0,"thing_key":"a","waypoint":[ 19.076 , -7.2877e1 ]}"#,
                "{\"timestamp\":0,\"thing_key\":\"a\",\"waypoint\":[19.076,-7.2877e1]}\n".into(),
            ),
            (
                r#"{"waypoint":[1,2],"data":{"m":{"n":[1,"b c",null,true]}},"thing_key":"ä"}"#,
                "{\"timestamp\":1700000000000,\"thing_key\":\"\\u00e4\",\
                 \"data\":{\"m\":{\"n\":[1,\"b c\",null,true]}},\"waypoint\":[1,2]}\n"
                    .into(),
            ),
            (
                r#"{"timestamp":1,"thing_key":"a","data":{"😀\n":1.50}}"#,
                "{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{\"\\ud83d\\ude00\\n\":1.50}}\n"
                    .into(),
            ),
        ] {
            assert_eq!(records(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        let event = |members: &str| format!("{{\"thing_key\":\"a\",\"data\":{{}}{members}}}");
        let long_key = format!("{{\"thing_key\":\"{}\",\"data\":{{}}}}", "ä".repeat(33));
        let cases: Vec<(String, &str)> = vec![
            (String::new(), "1, column 1: expected an event with"),
            (" \n ".into(), "2, column 2: expected an event with"),
            ("{}".into(), "1, column 1: expected an event with"),
            ("[]".into(), "1, column 1: expected an object"),
            (r#"{"thing_key":"a"}"#.into(), "1, column 1: expected an event with"),
            (r#"{"data":{}}"#.into(), "1, column 1: expected an event with"),
            (r#"{"events":[]}"#.into(), "1, column 13: expected at least one event"),
            (r#"{"events":{}}"#.into(), "1, column 11: expected a list"),
            (format!("{{\"events\":[{}],\"x\":1}}", event("")), "1, column 41: expected `}` after"),
            (format!("{{\"events\":[{}]}}x", event("")), "1, column 41: expected nothing more"),
            (
                format!("{}\n{{\"events\":[{}]}}", event(""), event("")),
                "2, column 2: expected timestamp,",
            ),
            (format!("{}{}", event(""), event("")), "1, column 28: expected a line break"),
            (format!("{}\nx", event("")), "2, column 1: expected a value"),
            (event(",\"metric\":1"), "1, column 28: expected timestamp,"),
            (event(",\n\"data\":{}"), "2, column 1: expected each member"),
            (event(",\"thing_key\":\"b\""), "1, column 28: expected each member"),
            (event(",\"timestamp\":-1"), "1, column 40: expected ms since"),
            (event(",\"timestamp\":1.0"), "1, column 40: expected ms since"),
            (event(",\"timestamp\":\"1\""), "1, column 40: expected ms since"),
            (event(",\"timestamp\":10000000000000"), "1, column 40: expected ms since"),
            (event(",\"timestamp\":99999999999999999999999"), "1, column 40: expected ms since"),
            (event(",\"waypoint\":[1]"), "1, column 39: expected [latitude"),
            (event(",\"waypoint\":[1,2,3]"), "1, column 44: expected [latitude"),
            (event(",\"waypoint\":[1,\"2\"]"), "1, column 42: expected [latitude"),
            (event(",\"waypoint\":{}"), "1, column 39: expected a list"),
            (r#"{"thing_key":"a","data":[]}"#.into(), "1, column 25: expected an object of"),
            (r#"{"thing_key":1,"data":{}}"#.into(), "1, column 14: expected a thing_key"),
            (r#"{"thing_key":"","data":{}}"#.into(), "1, column 14: expected a thing_key"),
            (r#"{"thing_key":"a\n","data":{}}"#.into(), "1, column 14: expected a thing_key"),
            (r#"{"thing_key":"\u0085","data":{}}"#.into(), "1, column 14: expected a thing_key"),
            (long_key, "1, column 14: expected a thing_key"),
            (r#"{"thing_key":"a","data":{"x":01}}"#.into(), "1, column 30: expected a number"),
            (r#"{"thing_key":"a","data":{"x":1}"#.into(), "1, column 32: expected `,` or `}`"),
        ];
        for (body, expected) in cases {
            let refusal = records(&body).expect_err(&body);
            assert!(refusal.starts_with(&format!("line {expected}")), "{body}: {refusal}");
        }
    }

    #[test]
    fn a_key_may_be_64_bytes() {
        let body = format!("{{\"thing_key\":\"{}\",\"data\":{{}}}}", "ä".repeat(32));
        assert!(records(&body).is_ok());
    }

    #[test]
    fn a_record_just_too_long_is_told_apart_and_nothing_is_kept() {
        let mut out = Vec::new();
        let of_length = |length: usize| {
            let frame = "{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{\"x\":\"\"}}\n".len();
            let text = "y".repeat(length - frame);
            format!("{{\"timestamp\":1,\"thing_key\":\"a\",\"data\":{{\"x\":\"{text}\"}}}}\n")
        };
        let fits = of_length(RECORD_BYTES_MAX);
        assert_eq!(read(fits.as_bytes(), None, &mut out), Ok(1));
        assert_eq!(out, fits.as_bytes());
        let body = format!("{}{}", of_length(100), of_length(RECORD_BYTES_MAX + 1));
        match read(body.as_bytes(), None, &mut out) {
            Err(Refusal::TooLarge(fault)) => assert_eq!((fault.line, fault.column), (2, 1)),
            other => panic!("{other:?}"),
        }
        assert_eq!(out, fits.as_bytes(), "I1");
    }

    #[test]
    fn without_a_clock_only_what_brings_its_time_is_taken() {
        let mut out = Vec::new();
        let stamped = "{\"timestamp\":7,\"thing_key\":\"a\",\"data\":{}}\n";
        assert_eq!(read(stamped.as_bytes(), None, &mut out), Ok(1));
        assert_eq!(out, stamped.as_bytes(), "the producer knows its own time");
        let body = [stamped, "{\"thing_key\":\"a\",\"data\":{}}\n"].concat();
        assert_eq!(read(body.as_bytes(), None, &mut out), Err(Refusal::NoClock));
        assert_eq!(out, stamped.as_bytes(), "I1");
    }

    #[test]
    fn no_body_makes_it_panic() {
        let seeds = [
            r#"{"events":[{"timestamp":1,"thing_key":"a","data":{"x":"ä😀"},"waypoint":[1,2]}]}"#,
            "{\"timestamp\":1,\"thing_key\":\"\\u00e4\",\"data\":{\"x\":[1]}}\n{\"thing_key\":\"b\"",
        ];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("below a usize")
        };
        let bytes = b"{}[]\",:\\u0e1-+.\n \xc3\xa4\x00";
        let mut out = Vec::new();
        for round in 0..20_000 {
            let mut body = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..=random(3) {
                let at = random(body.len());
                match random(3) {
                    0 => body[at] = bytes[random(bytes.len())],
                    1 => drop(body.remove(at)),
                    _ => body.insert(at, bytes[random(bytes.len())]),
                }
            }
            let before = out.len();
            match read(&body, Some(WALL_MS), &mut out) {
                Ok(_) => assert!(out[before..].is_ascii(), "I2: {body:?}"),
                Err(_) => assert_eq!(out.len(), before, "I1: {body:?}"),
            }
            out.clear();
        }
    }
}
