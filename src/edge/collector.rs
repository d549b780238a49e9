//! The collector: a child that reads files and devices, one after another, as the agent asks.
//!
//! It decides nothing and knows no times: a source that takes long (a one-wire sensor: 0.75 s)
//! holds up those asked for after it, and nothing else; a pipe is waited for until its writer
//! has closed it. The agent kills a collector that takes too long. It ends when the agent is
//! gone.

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use heapless::String as Text;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::channel::Port;
use super::config::{self, Config, FileSource};
use crate::limits::{SOURCE_BYTES_MAX, SOURCE_VALUE_MAX};

/// Bytes of a fault's text.
const FAULT_MAX: usize = 120;

/// What the agent asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CollectorOrder {
    /// Read this source, by its place in [`file_sources`].
    Read {
        /// The source.
        source: u16,
    },
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CollectorAnswer {
    /// The source.
    pub source: u16,
    /// What was read.
    pub outcome: Outcome,
}

/// What was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The number, as it stands in the file.
    Value(Text<SOURCE_VALUE_MAX>),
    /// Why there is none.
    Fault(Text<FAULT_MAX>),
}

impl Outcome {
    /// A failure, cut to what fits.
    pub fn fault(why: &str) -> Self {
        Self::Fault(text(why))
    }
}

/// The sources that are files, with their things' keys: the order that gives each its number.
pub fn file_sources(config: &Config) -> impl Iterator<Item = (&str, &FileSource)> {
    config.things.iter().flat_map(|thing| {
        let files = thing.sources.iter().filter_map(|source| source.file.as_ref());
        files.map(|file| (thing.thing_key.as_str(), file))
    })
}

/// Runs as a child until the agent is gone. Relative paths count from `folder`, the
/// configuration file's.
pub fn run(mut port: Port, config: &Config, folder: &Path) {
    let files: Vec<Reader<'_>> = file_sources(config).map(|(_, file)| Reader::new(file)).collect();
    let mut buffer = Vec::with_capacity(SOURCE_BYTES_MAX);
    while let Ok(CollectorOrder::Read { source }) = port.receive() {
        let outcome = match files.get(usize::from(source)) {
            Some(file) => file.read(folder, &mut buffer),
            None => Outcome::fault("no such source in this configuration"),
        };
        if port.send(&CollectorAnswer { source, outcome }, &[]).is_err() {
            return;
        }
    }
}

/// A source, its pattern made ready.
struct Reader<'a> {
    file: &'a FileSource,
    pattern: Option<Regex>,
}

impl<'a> Reader<'a> {
    fn new(file: &'a FileSource) -> Self {
        let pattern = file.pattern.as_deref().and_then(config::pattern);
        assert_eq!(pattern.is_some(), file.pattern.is_some(), "F1: a valid pattern");
        Self { file, pattern }
    }

    fn read(&self, folder: &Path, buffer: &mut Vec<u8>) -> Outcome {
        buffer.clear();
        if let Err(error) = fill(&folder.join(self.file.path.as_str()), buffer) {
            return Outcome::fault(&format!("cannot be read: {error}"));
        }
        let found = match &self.pattern {
            Some(pattern) => find(pattern, buffer),
            None => word(self.file.field.unwrap_or(1), buffer),
        };
        found.map_or_else(|fault| Outcome::fault(&fault), Outcome::Value)
    }
}

fn word(place: u32, bytes: &[u8]) -> Result<Text<SOURCE_VALUE_MAX>, String> {
    let index = usize::try_from(place).unwrap_or(usize::MAX).saturating_sub(1);
    let mut words = bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let word =
        words.nth(index).ok_or_else(|| format!("has no word {place} in its first 64 KiB"))?;
    let word = std::str::from_utf8(word).ok().and_then(|word| Text::try_from(word).ok());
    word.ok_or_else(|| format!("word {place} is no number"))
}

fn find(pattern: &Regex, bytes: &[u8]) -> Result<Text<SOURCE_VALUE_MAX>, String> {
    let text: Cow<'_, str> = String::from_utf8_lossy(bytes);
    let found = pattern.captures(&text).and_then(|groups| groups.get(1));
    let found = found.ok_or("the pattern is not in its first 64 KiB")?;
    let found = Text::try_from(found.as_str().trim()).ok();
    Ok(found.ok_or("what the pattern finds is no number")?)
}

/// Reads the beginning of a file.
fn fill(path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOCTTY).open(path)?;
    let limit = u64::try_from(SOURCE_BYTES_MAX).expect("64 KiB");
    file.take(limit).read_to_end(buffer)?;
    Ok(())
}

/// As much of a text as fits.
fn text(from: &str) -> Text<FAULT_MAX> {
    let mut text = Text::new();
    for letter in from.chars() {
        if text.push(letter).is_err() {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::channel::Link;
    use crate::edge::config::{Origin, parse};
    use crate::sys::poll::{PollFd, poll};
    use crate::sys::socket::pair;
    use std::os::fd::AsFd;

    fn config(sources: &str) -> Config {
        let text = format!(
            "{{\"site\":\"s\",\"cloud\":{{\"kind\":\"stdout\"}},\"things\":[\
             {{\"thing_key\":\"a\",\"sources\":[{sources}]}},{{\"thing_key\":\"b\"}}]}}"
        );
        parse(text.as_bytes(), Origin::Named("edge.json")).expect("a valid configuration")
    }

    fn source(path: &str, field: u32) -> String {
        format!(
            "{{\"file\":{{\"path\":\"{path}\",\"field\":{field},\"metric\":\"m\",\"every_ms\":1000}}}}"
        )
    }

    #[test]
    fn words_are_counted_from_one_and_faults_told() {
        let folder = std::env::temp_dir().join(format!("edge-collector-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a scratch folder");
        std::fs::write(folder.join("load"), "0.42 0.31\t0.25 1/123\n\n 4567\n").expect("room");
        std::fs::write(folder.join("long"), vec![b'9'; SOURCE_BYTES_MAX + 9]).expect("room");
        std::fs::write(folder.join("bytes"), b"\xff\xfe").expect("room");
        let read_one = |path: &str, field: u32| {
            let config = config(&source(path, field));
            let (_, file) = file_sources(&config).next().expect("one");
            match Reader::new(file).read(&folder, &mut Vec::new()) {
                Outcome::Value(value) => Ok(value.as_str().to_owned()),
                Outcome::Fault(fault) => Err(fault.as_str().to_owned()),
            }
        };
        assert_eq!(read_one("load", 1), Ok("0.42".to_owned()));
        assert_eq!(read_one("load", 3), Ok("0.25".to_owned()));
        assert_eq!(read_one("load", 5), Ok("4567".to_owned()));
        let absolute = folder.join("load").display().to_string();
        assert_eq!(read_one(&absolute, 2), Ok("0.31".to_owned()));
        for (path, field, fault) in [
            ("load", 6, "has no word 6"),
            ("missing", 1, "cannot be read: No such file"),
            (".", 1, "cannot be read: Is a directory"),
            ("long", 1, "word 1 is no number"),
            ("bytes", 1, "word 1 is no number"),
        ] {
            let found = read_one(path, field).expect_err(path);
            assert!(found.starts_with(fault), "{path}: {found}");
        }
        std::fs::remove_dir_all(&folder).expect("ours");
    }

    #[test]
    fn a_pattern_finds_its_group() {
        let pattern = |text: &str| config::pattern(text).expect("a pattern");
        let bytes = b"4b 01 crc=9b YES\n4b 01 t=-21312\xff\n";
        let found = |text: &str| find(&pattern(text), bytes).map(|found| found.as_str().to_owned());
        assert_eq!(found("t=(-?[0-9]+)"), Ok("-21312".to_owned()));
        assert_eq!(found("(?s)YES.*t=( *-?\\d\\d)"), Ok("-21".to_owned()));
        let missing = found("NO.*t=([0-9]+)");
        assert_eq!(missing, Err("the pattern is not in its first 64 KiB".to_owned()));
        assert!(found("a|t=(x)").is_err(), "a group that took no part");
        let long = find(&pattern("(.*)"), &[b'9'; SOURCE_VALUE_MAX + 1]);
        assert_eq!(long, Err("what the pattern finds is no number".to_owned()));
    }

    #[test]
    fn it_answers_in_order_until_the_agent_is_gone() {
        let config = config(&[source("/proc/uptime", 1), source("/nowhere", 1)].join(","));
        let (ours, theirs) = pair().expect("sockets");
        let child = std::thread::spawn(move || run(Port::new(theirs), &config, Path::new("/")));
        let mut link = Link::new(ours).expect("a socket");
        for source in [0, 1, 7] {
            link.send(&CollectorOrder::Read { source }, &[], None).expect("room");
        }
        let mut answers = Vec::new();
        while answers.len() < 3 {
            poll(&mut [PollFd::new(link.as_fd(), true, false)], Some(5_000)).expect("poll works");
            while let Some(answer) = link.receive::<CollectorAnswer>().expect("it lives") {
                answers.push(answer);
            }
        }
        assert_eq!(answers.iter().map(|answer| answer.source).collect::<Vec<_>>(), [0, 1, 7]);
        assert!(matches!(answers[0].outcome, Outcome::Value(_)));
        assert!(matches!(answers[1].outcome, Outcome::Fault(_)));
        assert!(matches!(answers[2].outcome, Outcome::Fault(_)));
        drop(link);
        child.join().expect("it ends");
    }
}
