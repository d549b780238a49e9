//! The collector: a child that reads files and devices, one after another, as the agent asks.
//!
//! It decides nothing and knows no times: a source that takes long (a one-wire sensor: 0.75 s)
//! holds up those asked for after it, and nothing else. It ends when the agent is gone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use heapless::String as Text;
use serde::{Deserialize, Serialize};

use super::channel::Port;
use super::config::{Config, FileSource};
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
    /// The word, as it stands in the file.
    Value(Text<SOURCE_VALUE_MAX>),
    /// Why there is none.
    Fault(Text<FAULT_MAX>),
}

/// The sources that are files, with their things' keys: the order that gives each its number.
pub fn file_sources(config: &Config) -> impl Iterator<Item = (&str, &FileSource)> {
    config.things.iter().flat_map(|thing| {
        let files = thing.sources.iter().filter_map(|source| source.file.as_ref());
        files.map(|file| (thing.thing_key.as_str(), file))
    })
}

/// Whether there is anything for a collector to do.
pub fn is_needed(config: &Config) -> bool {
    file_sources(config).next().is_some()
}

/// Runs as a child until the agent is gone. Relative paths count from `folder`, the
/// configuration file's.
pub fn run(mut port: Port, config: &Config, folder: &Path) {
    let files: Vec<&FileSource> = file_sources(config).map(|(_, file)| file).collect();
    let mut buffer = Vec::with_capacity(SOURCE_BYTES_MAX);
    while let Ok(CollectorOrder::Read { source }) = port.receive() {
        let outcome = match files.get(usize::from(source)) {
            Some(file) => read(file, folder, &mut buffer),
            None => Outcome::Fault(text("no such source in this configuration")),
        };
        if port.send(&CollectorAnswer { source, outcome }, &[]).is_err() {
            return;
        }
    }
}

fn read(file: &FileSource, folder: &Path, buffer: &mut Vec<u8>) -> Outcome {
    buffer.clear();
    if let Err(error) = fill(&folder.join(file.path.as_str()), buffer) {
        return Outcome::Fault(text(&format!("cannot be read: {error}")));
    }
    let place = usize::try_from(file.field).unwrap_or(usize::MAX).saturating_sub(1);
    let mut words = buffer.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(word) = words.nth(place) else {
        return Outcome::Fault(text(&format!("has no word {} in its first 64 KiB", file.field)));
    };
    match std::str::from_utf8(word).ok().and_then(|word| Text::try_from(word).ok()) {
        Some(value) => Outcome::Value(value),
        None => Outcome::Fault(text(&format!("word {} is no number", file.field))),
    }
}

/// Reads the beginning of a file.
fn fill(path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
    // a pipe without a writer must not hold up the others
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
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
            match read(file, &folder, &mut Vec::new()) {
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
    fn it_answers_in_order_until_the_agent_is_gone() {
        let config = config(&[source("/proc/uptime", 1), source("/nowhere", 1)].join(","));
        assert!(is_needed(&config));
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
