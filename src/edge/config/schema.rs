//! The shape of `edge.json`, and a check of a text against it that knows positions.
//!
//! The check recurses as deep as the table below, whatever the text holds.

#[cfg(test)]
mod tests;

use super::check::{
    is_cloud_url, is_header_value, is_listen_address, is_pattern, is_proxy_url, is_proxy_user,
};
use super::{Fault, VERSION};
use crate::edge::json::{self, Kind, Scanner, Text, Value};
use crate::limits::{
    BATCH_BYTES_MAX, CLOUD_KEY_MAX, CONFIG_NAME_MAX, CONFIG_PATH_MAX, GROUP_BYTES_MAX, LISTEN_MAX,
    METRIC_MAX, PATTERN_MAX, SEGMENT_BYTES_MAX, SOURCES_MAX, THING_KEY_MAX, THINGS_MAX, UNIT_MAX,
    URL_MAX,
};

/// What a value must be.
pub(super) enum Shape {
    /// An object with these fields.
    Object(&'static [Field]),
    /// A list of at most so many.
    List(&'static Shape, usize),
    /// A string of 1 to so many bytes, without control characters.
    Text(usize),
    /// Such a string, of which the function is true.
    Special(usize, fn(&str) -> bool, &'static str),
    /// A whole number in this range.
    Whole(u64, u64),
    /// A number of at most this size either way; other than 0 if the flag says so.
    Number(f64, bool),
    /// `true` or `false`.
    Flag,
    /// One of these strings.
    Choice(&'static [&'static str]),
}

pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) shape: Shape,
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field { name, is_required: true, shape }
}

const fn optional(name: &'static str, shape: Shape) -> Field {
    Field { name, is_required: false, shape }
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// A pebibyte.
const STORE_BYTES_MAX: u64 = 1 << 50;

pub(super) const EDGE: Shape = Shape::Object(&[
    optional("version", Shape::Whole(1, u32::MAX as u64)),
    required("site", Shape::Text(CONFIG_NAME_MAX)),
    required("cloud", CLOUD),
    optional("alerts", ALERTS),
    optional("ha", HA),
    optional("journal", JOURNAL),
    optional("declined", DECLINED),
    optional("things", Shape::List(&THING, THINGS_MAX)),
    optional("intake", Shape::Object(&[optional("enabled", Shape::Flag)])),
    optional("console", CONSOLE),
]);

const CLOUD: Shape = Shape::Object(&[
    optional("kind", Shape::Choice(&["datonis", "stdout"])),
    optional("url", Shape::Special(URL_MAX, is_cloud_url, URL_EXPECTED)),
    optional(
        "access_key",
        Shape::Special(CLOUD_KEY_MAX, is_header_value, "visible ASCII characters"),
    ),
    optional("secret_key", Shape::Text(CLOUD_KEY_MAX)),
    optional("secret_key_file", Shape::Text(CONFIG_PATH_MAX)),
    optional("ca_file", Shape::Text(CONFIG_PATH_MAX)),
    optional("proxy", Shape::Special(URL_MAX, is_proxy_url, PROXY_EXPECTED)),
    optional(
        "proxy_user",
        Shape::Special(CLOUD_KEY_MAX, is_proxy_user, "visible ASCII characters without a colon"),
    ),
    optional("proxy_password", Shape::Text(CLOUD_KEY_MAX)),
    optional("proxy_password_file", Shape::Text(CONFIG_PATH_MAX)),
    optional("timeout_ms", Shape::Whole(100, 10 * 60_000)),
    optional("batch_records_max", Shape::Whole(1, 1_000_000)),
    optional("batch_bytes_max", Shape::Whole(1_024, BATCH_BYTES_MAX as u64)),
    optional("batch_age_ms_max", Shape::Whole(0, HOUR_MS)),
]);

const URL_EXPECTED: &str = "https://HOST[:PORT][/PATH], or http:// to localhost or 127.0.0.1, \
     without user, query or IPv6 address";

const PROXY_EXPECTED: &str = "http://HOST:PORT, without user or password: see proxy_user";

const ALERTS: Shape = Shape::Object(&[
    optional("thing_key", Shape::Text(THING_KEY_MAX)),
    optional("level_min", Shape::Choice(&["info", "warning", "error", "critical"])),
]);

const HA: Shape = Shape::Object(&[
    optional("poll_ms", Shape::Whole(10, 60_000)),
    optional("heartbeat_ms", Shape::Whole(10, 60_000)),
    optional("fence_ms", Shape::Whole(30, HOUR_MS)),
    optional("seize_ms", Shape::Whole(31, DAY_MS)),
]);

const JOURNAL: Shape = Shape::Object(&[
    optional("bytes_max", Shape::Whole(2 * SEGMENT_BYTES_MAX as u64, STORE_BYTES_MAX)),
    optional("when_full", Shape::Choice(&["drop-oldest", "refuse-newest"])),
    optional("sync_ms", Shape::Whole(0, 60_000)),
]);

const DECLINED: Shape =
    Shape::Object(&[optional("bytes_max", Shape::Whole(GROUP_BYTES_MAX as u64, STORE_BYTES_MAX))]);

const THING: Shape = Shape::Object(&[
    required("thing_key", Shape::Text(THING_KEY_MAX)),
    optional("name", Shape::Text(CONFIG_NAME_MAX)),
    optional("alive_every_ms", Shape::Whole(1_000, DAY_MS)),
    optional("sources", Shape::List(&SOURCE, SOURCES_MAX)),
]);

const SOURCE: Shape = Shape::Object(&[optional("file", FILE)]);

/// Of scale and offset: beyond it, a slip of the pen.
const FACTOR_MAX: f64 = 1e15;

const PATTERN_EXPECTED: &str =
    "a regular expression with one capture group, the number, such as MemFree: +([0-9]+)";

const FILE: Shape = Shape::Object(&[
    required("path", Shape::Text(CONFIG_PATH_MAX)),
    optional("field", Shape::Whole(1, 100_000)),
    optional("pattern", Shape::Special(PATTERN_MAX, is_pattern, PATTERN_EXPECTED)),
    optional("scale", Shape::Number(FACTOR_MAX, true)),
    optional("offset", Shape::Number(FACTOR_MAX, false)),
    optional("unit", Shape::Text(UNIT_MAX)),
    required("metric", Shape::Text(METRIC_MAX)),
    optional("every_ms", Shape::Whole(10, DAY_MS)),
]);

const CONSOLE: Shape = Shape::Object(&[
    optional("listen", Shape::Special(LISTEN_MAX, is_listen_address, "ADDRESS:PORT or off")),
    optional("token_file", Shape::Text(CONFIG_PATH_MAX)),
]);

/// Checks a text against the shape of `edge.json`; gives the warnings of a newer version.
pub(super) fn check(text: &[u8], file: &str) -> Result<Vec<Fault>, Fault> {
    let mut walk = Walk {
        text,
        scanner: Scanner::new(text),
        file,
        path: String::new(),
        is_newer: version_of(text).is_some_and(|version| version > u64::from(VERSION)),
        warnings: Vec::new(),
    };
    walk.value(&EDGE)?;
    walk.scanner.finish().map_err(|fault| walk.of_scan(&fault))?;
    Ok(walk.warnings)
}

/// The version that a text states before its first fault.
fn version_of(text: &[u8]) -> Option<u64> {
    let mut scanner = Scanner::new(text);
    scanner.open(Kind::Object).ok()?;
    while let Ok(Some(key)) = scanner.next_key() {
        let value = scanner.value().ok()?;
        if key.is("version") {
            return value.whole_number();
        }
    }
    None
}

/// Unknown fields of a newer version beyond this many are not listed.
const WARNINGS_MAX: usize = 16;

struct Walk<'a> {
    text: &'a [u8],
    scanner: Scanner<'a>,
    file: &'a str,
    path: String,
    is_newer: bool,
    warnings: Vec<Fault>,
}

impl Walk<'_> {
    fn value(&mut self, shape: &Shape) -> Result<(), Fault> {
        match shape {
            Shape::Object(fields) => self.object(fields),
            Shape::List(item, count_max) => self.list(item, *count_max),
            Shape::Text(_)
            | Shape::Special(..)
            | Shape::Whole(..)
            | Shape::Number(..)
            | Shape::Flag
            | Shape::Choice(_) => self.scalar(shape),
        }
    }

    fn object(&mut self, fields: &'static [Field]) -> Result<(), Fault> {
        let start = self.scanner.offset();
        self.scanner.open(Kind::Object).map_err(|fault| self.of_scan(&fault))?;
        let mut seen = 0_u32;
        loop {
            let offset = self.scanner.offset();
            let Some(key) = self.scanner.next_key().map_err(|fault| self.of_scan(&fault))? else {
                break;
            };
            let outside = self.path.len();
            push_key(&mut self.path, key);
            match fields.iter().position(|field| key.is(field.name)) {
                Some(at) if seen & 1 << at != 0 => {
                    return Err(self.fault_at_key(offset, "stands here twice".into()));
                }
                Some(at) => {
                    seen |= 1 << at;
                    self.value(&fields[at].shape)?;
                }
                None => self.unknown(offset, fields)?,
            }
            self.path.truncate(outside);
        }
        let is_missing = |(at, field): &(usize, &Field)| field.is_required && seen & 1 << at == 0;
        if let Some((_, field)) = fields.iter().enumerate().find(is_missing) {
            push_name(&mut self.path, field.name);
            return Err(self.fault(start, "expected this field".into()));
        }
        Ok(())
    }

    fn unknown(&mut self, offset: usize, fields: &[Field]) -> Result<(), Fault> {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let problem = format!("unknown field; expected one of {}", names.join(", "));
        let fault = self.fault_at_key(offset, problem);
        if !self.is_newer {
            return Err(fault);
        }
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(fault);
        }
        self.scanner.value().map(|_| ()).map_err(|fault| self.of_scan(&fault))
    }

    fn list(&mut self, item: &Shape, count_max: usize) -> Result<(), Fault> {
        self.scanner.open(Kind::Array).map_err(|fault| self.of_scan(&fault))?;
        let mut count = 0;
        while self.scanner.next_item().map_err(|fault| self.of_scan(&fault))? {
            let outside = self.path.len();
            push_item(&mut self.path, count);
            if count == count_max {
                let offset = self.scanner.offset();
                return Err(self.fault(offset, format!("expected at most {count_max} of them")));
            }
            self.value(item)?;
            self.path.truncate(outside);
            count += 1;
        }
        Ok(())
    }

    fn scalar(&mut self, shape: &Shape) -> Result<(), Fault> {
        let value = self.scanner.value().map_err(|fault| self.of_scan(&fault))?;
        match problem_of(&value, shape) {
            Some(problem) => Err(self.fault(value.offset(), problem)),
            None => Ok(()),
        }
    }

    fn of_scan(&self, fault: &json::Fault) -> Fault {
        self.fault(fault.offset, format!("expected {}", fault.expected))
    }

    /// A fault at the first key from `offset` on.
    fn fault_at_key(&self, offset: usize, problem: String) -> Fault {
        let key = self.text[offset..].iter().position(|&byte| byte == b'"').unwrap_or(0);
        self.fault(offset + key, problem)
    }

    fn fault(&self, offset: usize, problem: String) -> Fault {
        let place = json::Fault::new(self.text, offset, "");
        Fault {
            file: self.file.into(),
            line: place.line,
            column: place.column,
            field: self.path.clone(),
            problem,
        }
    }
}

/// What is wrong with a value that must be a scalar of this shape.
fn problem_of(value: &Value<'_>, shape: &Shape) -> Option<String> {
    match shape {
        Shape::Text(bytes_max) => text_of(value, *bytes_max).err(),
        Shape::Special(bytes_max, is_good, expected) => match text_of(value, *bytes_max) {
            Ok(text) if is_good(&text) => None,
            Ok(_) => Some(format!("expected {expected}")),
            Err(problem) => Some(problem),
        },
        Shape::Whole(min, max) => {
            let is_in_range = |number: u64| (*min..=*max).contains(&number);
            let problem = || format!("expected a whole number from {min} to {max}");
            (!value.whole_number().is_some_and(is_in_range)).then(problem)
        }
        Shape::Number(size_max, other_than_zero) => {
            let is_good =
                |number: f64| number.abs() <= *size_max && !(*other_than_zero && number == 0.0);
            let but = if *other_than_zero { ", not 0" } else { "" };
            let problem = || format!("expected a number from -{size_max:e} to {size_max:e}{but}");
            (!value.number().is_some_and(is_good)).then(problem)
        }
        Shape::Flag => value.flag().is_none().then(|| "expected true or false".into()),
        Shape::Choice(choices) => {
            let text = value.text();
            let is_chosen = |choice: &&str| text.is_some_and(|text| text.is(choice));
            let problem = || format!("expected one of {}", choices.join(", "));
            (!choices.iter().any(is_chosen)).then(problem)
        }
        Shape::Object(_) | Shape::List(..) => Some("expected a scalar".into()),
    }
}

fn text_of(value: &Value<'_>, bytes_max: usize) -> Result<String, String> {
    let problem =
        || format!("expected a text of 1 to {bytes_max} bytes without control characters");
    let text = value.text().ok_or_else(problem)?;
    let bytes: usize = text.chars().map(char::len_utf8).sum();
    if bytes == 0 || bytes > bytes_max || text.chars().any(char::is_control) {
        return Err(problem());
    }
    Ok(text.chars().collect())
}

/// A step on the way to a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// To the member of this name.
    Key(&'static str),
    /// To the item of this index.
    Item(usize),
}

/// The steps as faults name them.
pub(super) fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Key(name) => push_name(&mut path, name),
            Step::Item(at) => push_item(&mut path, *at),
        }
    }
    path
}

/// The offset in a checked text of the value at the end of the steps, or of the innermost
/// one on the way that is there.
pub(super) fn place(text: &[u8], steps: &[Step]) -> usize {
    let mut scanner = Scanner::new(text);
    let mut place = scanner.offset();
    for step in steps {
        if !matches!(go(&mut scanner, *step), Ok(true)) {
            break;
        }
        place = scanner.offset();
    }
    place
}

fn go(scanner: &mut Scanner<'_>, step: Step) -> Result<bool, json::Fault> {
    match step {
        Step::Key(name) => {
            scanner.open(Kind::Object)?;
            while let Some(key) = scanner.next_key()? {
                if key.is(name) {
                    return Ok(true);
                }
                scanner.value()?;
            }
        }
        Step::Item(at) => {
            scanner.open(Kind::Array)?;
            let mut count = 0;
            while scanner.next_item()? {
                if count == at {
                    return Ok(true);
                }
                scanner.value()?;
                count += 1;
            }
        }
    }
    Ok(false)
}

/// Characters of an unknown key that are shown.
const KEY_SHOWN_MAX: usize = 40;

fn push_key(path: &mut String, key: Text<'_>) {
    let shown: String = key.chars().take(KEY_SHOWN_MAX).flat_map(char::escape_debug).collect();
    push_name(path, &shown);
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

fn push_item(path: &mut String, at: usize) {
    path.push('[');
    path.push_str(&at.to_string());
    path.push(']');
}
