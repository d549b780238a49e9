//! `sources`: reads every source once and prints what would be recorded.
//!
//! The configuration and the sources are read by children, each read under a time limit: any of
//! them may hang. A child that was killed and does not end is left behind; after
//! [`COLLECTORS_ABANDONED_MAX`] of those the rest is not read.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::apart::{Failure, receive};
use super::{exit, fail, print};
use crate::edge::channel::Port;
use crate::edge::children::{self, Child};
use crate::edge::collector::{self, CollectorAnswer, CollectorOrder, Outcome};
use crate::edge::config::{self, Config, FileSource, Origin};
use crate::edge::options::Options;
use crate::edge::share;
use crate::edge::value::{Figures, value};
use crate::limits::{COLLECTORS_ABANDONED_MAX, SOURCE_MS_MAX, SURVEY_MS_MAX};
use crate::sys::process::{self, Pid};
use crate::sys::signals::Signal;

/// A killed child that has not ended after this long hangs.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Whether the configuration was read; if so, it is the frame's body.
#[derive(Serialize, Deserialize)]
enum Found {
    Bytes,
    /// Somebody has to mend something.
    Wrong(heapless::String<200>),
    /// It may pass.
    Failed(heapless::String<200>),
}

pub(super) fn sources(options: &Options) -> i32 {
    let (path, is_named) = match &options.config {
        Some(path) => (path.clone(), true),
        None => (options.data_dir.join("edge.json"), false),
    };
    let bytes = match read_config(&path) {
        Ok(bytes) => bytes,
        Err((code, why)) => return fail(code, &format!("{}: {why}", path.display())),
    };
    let name = path.to_string_lossy();
    let origin = if is_named { Origin::Named(&name) } else { Origin::DataDirectory };
    match config::parse(&bytes, origin) {
        Ok(config) => {
            for warning in &config.warnings {
                log::warn!("config: {warning}");
            }
            show_all(&config, path.parent().unwrap_or(Path::new(".")))
        }
        Err(fault) => fail(exit::CONFIGURATION, &fault.to_string()),
    }
}

/// The configuration's bytes; or the exit code and why there are none.
fn read_config(path: &Path) -> Result<Vec<u8>, (i32, String)> {
    let failed = |error: io::Error| (exit::TEMPORARY, error.to_string());
    let owned: PathBuf = path.to_owned();
    let mut child =
        children::spawn("edge-config", &[], move |port| hand_over(port, &owned)).map_err(failed)?;
    let silent = |failure: Failure| (exit::TEMPORARY, failure.to_string());
    match receive(&mut child.link, SURVEY_MS_MAX).map_err(silent)? {
        Some(Found::Bytes) => Ok(child.link.body().to_vec()),
        Some(Found::Wrong(why)) => Err((exit::CONFIGURATION, why.as_str().to_owned())),
        Some(Found::Failed(why)) => Err((exit::TEMPORARY, why.as_str().to_owned())),
        None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// In the child.
fn hand_over(mut port: Port, path: &Path) {
    let (found, bytes) = match share::read_config(path) {
        Ok(bytes) => (Found::Bytes, bytes),
        Err(error) => {
            let why = error.to_string();
            let why = why.as_str().try_into().unwrap_or_default();
            let may_pass = matches!(error.raw_os_error(), Some(libc::EIO | libc::ESTALE));
            (if may_pass { Found::Failed(why) } else { Found::Wrong(why) }, Vec::new())
        }
    };
    // if the command is gone, nobody wants to know
    let _ = port.send(&found, &bytes);
}

fn show_all(config: &Config, folder: &Path) -> i32 {
    if collector::file_sources(config).next().is_none() {
        return print("no sources are configured\n");
    }
    let widths = collector::file_sources(config).map(|(_, file)| file.metric.chars().count());
    let widest = widths.max().unwrap_or(0);
    let mut crew = Crew { config, folder, child: None, abandoned: Vec::new() };
    let mut place = 0;
    let mut failures = 0;
    for thing in &config.things {
        let mut heading = format!("{} ({})\n", thing.name, thing.thing_key);
        for file in thing.sources.iter().filter_map(|source| source.file.as_ref()) {
            let begin = Instant::now();
            let outcome = crew.read(place);
            let (line, is_good) = line(file, &outcome, begin.elapsed(), widest);
            let printed = print(&(std::mem::take(&mut heading) + &line));
            if printed != exit::OK {
                return printed;
            }
            place += 1;
            failures += u32::from(!is_good);
        }
    }
    match failures {
        0 => exit::OK,
        1 => fail(exit::TEMPORARY, "one source failed"),
        count => fail(exit::TEMPORARY, &format!("{count} sources failed")),
    }
}

/// What is printed of a source, and whether a value would be recorded.
fn line(file: &FileSource, outcome: &Outcome, took: Duration, widest: usize) -> (String, bool) {
    let figures = Figures { scale: file.scale, offset: file.offset };
    let (shown, remark, is_good) = match outcome {
        Outcome::Fault(fault) => ("failed".to_owned(), fault.as_str().to_owned(), false),
        Outcome::Value(word) => match value(word, figures) {
            Ok(value) if file.unit.is_empty() => {
                (value.as_str().to_owned(), format!("from {word:?}"), true)
            }
            Ok(value) => (format!("{value} {}", file.unit), format!("from {word:?}"), true),
            Err(fault) => ("failed".to_owned(), format!("{word:?} {fault}"), false),
        },
    };
    let took_ms = took.as_secs_f64() * 1_000.0;
    let metric = file.metric.as_str();
    (format!("  {metric:<widest$}  {shown:<20}  {took_ms:>7.1} ms  {remark}\n"), is_good)
}

/// Collectors, one at a time.
struct Crew<'a> {
    config: &'a Config,
    folder: &'a Path,
    child: Option<Child>,
    /// Killed and not ended.
    abandoned: Vec<Pid>,
}

impl Crew<'_> {
    fn read(&mut self, source: u16) -> Outcome {
        match self.ask(source) {
            Ok(Some(outcome)) => return outcome,
            Ok(None) => {}
            Err(error) => {
                self.dismiss();
                return Outcome::fault(&format!("its reader failed: {error}"));
            }
        }
        self.dismiss();
        Outcome::fault(&format!("took longer than {} s", SOURCE_MS_MAX / 1_000))
    }

    /// `None`: it took too long.
    fn ask(&mut self, source: u16) -> io::Result<Option<Outcome>> {
        let child = match &mut self.child {
            Some(child) => child,
            None if self.abandoned.len() >= COLLECTORS_ABANDONED_MAX => {
                return Err(io::Error::other("too many of them hang and cannot be ended"));
            }
            None => {
                let (config, folder) = (self.config, self.folder);
                let body = |port| collector::run(port, config, folder);
                self.child.insert(children::spawn("edge-collector", &[], body)?)
            }
        };
        child.link.send(&CollectorOrder::Read { source }, &[], None)?;
        match receive::<CollectorAnswer>(&mut child.link, SOURCE_MS_MAX) {
            Ok(Some(answer)) => Ok(Some(answer.outcome)),
            Ok(None) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(Failure::Silent(_)) => Ok(None),
            Err(Failure::Fault(text)) => Err(io::Error::other(text)),
        }
    }

    /// Kills the collector and waits a little for its end.
    fn dismiss(&mut self) {
        let Some(child) = self.child.take() else { return };
        if let Err(error) = process::kill(child.pid, Signal::Kill) {
            log::warn!("collector: cannot be ended: {error}");
        }
        self.abandoned.push(child.pid);
        let begin = Instant::now();
        while self.abandoned.contains(&child.pid) && begin.elapsed() < END_LIMIT {
            thread::sleep(Duration::from_millis(5));
            while let Some((pid, _)) = process::reap() {
                self.abandoned.retain(|other| *other != pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(figures: &str) -> FileSource {
        let text = format!(
            "{{\"site\":\"s\",\"cloud\":{{\"kind\":\"stdout\"}},\"things\":[{{\"thing_key\":\"a\",\
             \"sources\":[{{\"file\":{{\"path\":\"/x\",\"metric\":\"t\"{figures}}}}}]}}]}}"
        );
        let config = config::parse(text.as_bytes(), Origin::Named("x")).expect("valid");
        config.things[0].sources[0].file.clone().expect("a file")
    }

    #[test]
    fn a_line_tells_value_unit_time_and_origin() {
        let took = Duration::from_micros(751_240);
        let word = |word: &str| Outcome::Value(word.try_into().expect("short"));
        let scaled = file(",\"scale\":0.001,\"unit\":\"°C\"");
        for (file, outcome, expected) in [
            (&scaled, word("21312"), "  t    21.312 °C               751.2 ms  from \"21312\"\n"),
            (&file(""), word("4.20"), "  t    4.20                    751.2 ms  from \"4.20\"\n"),
            (
                &scaled,
                word("YES"),
                "  t    failed                  751.2 ms  \"YES\" is not a finite number\n",
            ),
            (&scaled, Outcome::fault("gone"), "  t    failed                  751.2 ms  gone\n"),
        ] {
            let is_good = !expected.contains("failed");
            assert_eq!(line(file, &outcome, took, 3), (expected.to_owned(), is_good));
        }
    }
}
