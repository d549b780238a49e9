//! `edge.json`: the site's configuration, one for all nodes.
//!
//! [`parse`] takes a file as a whole or says in which line, column and field it is not as
//! it should be, and what was expected. A bounded scan against [`schema`] comes first, since
//! serde-json-core knows no positions, lets a number overflow, and recurses into what it
//! ignores; what the scan let pass, serde-json-core turns into [`Config`].
//!
//! # Invariants
//!
//! - F1: a [`Config`] that exists is valid: ranges, relations between times, required keys.
//! - F2: no fault, warning or `Debug` text shows the value of any field.
//! - F3: an unknown field is a fault; in a file of a newer version only a warning.
//!
//! Not for files that the configuration names: the keeper reads those into [`Files`].

mod check;
mod fields;
mod files;
#[cfg(test)]
mod manual;
mod schema;
#[cfg(test)]
mod tests;

use core::fmt;

use heapless::String as Text;
use serde::Deserialize;

pub use check::pattern;
pub use fields::{
    Alerts, Cloud, CloudKind, Console, Declined, FileSource, Ha, Intake, Journal, Level, Secret,
    Source, Thing,
};
use fields::{list, version};
pub use files::{Files, NamedFiles};
use schema::Step;

use super::json;
use crate::engine::settings::Settings;
pub use crate::engine::settings::WhenFull;
use crate::limits::{
    ALIVE_EVERY_MS_DEFAULT, CONFIG_BYTES_MAX, CONFIG_NAME_MAX, SOURCES_MAX, THING_KEY_MAX,
    THINGS_MAX,
};

/// The version of `edge.json` that this program knows in full.
pub const VERSION: u32 = 1;
/// The whole of `edge.json`, defaults filled in. Times are in ms.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Config {
    /// The version that the file was written for.
    #[serde(default = "version")]
    pub version: u32,
    /// The site's name, for people.
    pub site: Text<CONFIG_NAME_MAX>,
    /// Where to forward to.
    pub cloud: Cloud,
    /// HA alerts.
    #[serde(default)]
    pub alerts: Alerts,
    /// The election's times.
    #[serde(default)]
    pub ha: Ha,
    /// The journal.
    #[serde(default)]
    pub journal: Journal,
    /// The declined store.
    #[serde(default)]
    pub declined: Declined,
    /// The things and what is read for them.
    #[serde(default, deserialize_with = "list")]
    pub things: Vec<Thing>,
    /// Readings that others post.
    #[serde(default)]
    pub intake: Intake,
    /// The console.
    #[serde(default)]
    pub console: Console,
    /// Fields that this version does not know, in a file of a newer version (F3).
    #[serde(skip)]
    pub warnings: Vec<Fault>,
}

impl Config {
    /// The part that the engine goes by. `alive_every_ms` has the order of
    /// [`Self::registered_things`].
    pub fn settings(&self) -> Settings {
        Settings {
            configured: true,
            poll_ms: self.ha.poll_ms,
            heartbeat_ms: self.ha.heartbeat_ms,
            fence_ms: self.ha.fence_ms,
            seize_ms: self.ha.seize_ms,
            sync_ms: self.journal.sync_ms,
            timeout_ms: self.cloud.timeout_ms,
            batch_records_max: self.cloud.batch_records_max,
            batch_bytes_max: self.cloud.batch_bytes_max,
            batch_age_ms_max: self.cloud.batch_age_ms_max,
            journal_bytes_max: self.journal.bytes_max,
            when_full: self.journal.when_full,
            declined_bytes_max: self.declined.bytes_max,
            alerts: self.alerts.thing_key.as_ref().map(|_| self.alerts.level_min.into()),
            alive_every_ms: self.registered_things().map(|thing| thing.alive_every_ms).collect(),
        }
    }

    /// The things that the cloud is told of: those configured, then the one that HA alerts
    /// are sent for, if it is not among them. At most [`THINGS_MAX`].
    pub fn registered_things(&self) -> impl Iterator<Item = RegisteredThing<'_>> {
        let configured = self.things.iter().map(|thing| RegisteredThing {
            thing_key: &thing.thing_key,
            name: &thing.name,
            alive_every_ms: thing.alive_every_ms,
        });
        let is_other =
            |key: &&Text<THING_KEY_MAX>| self.things.iter().all(|thing| thing.thing_key != **key);
        let of_alerts = self.alerts.thing_key.as_ref().filter(is_other);
        configured.chain(of_alerts.map(|key| RegisteredThing {
            thing_key: key,
            name: &self.site,
            alive_every_ms: ALIVE_EVERY_MS_DEFAULT,
        }))
    }

    /// The files that it names; their paths are relative to the configuration file.
    pub fn named_files(&self) -> NamedFiles<'_> {
        NamedFiles {
            secret_key: self.cloud.secret_key_file.as_deref(),
            ca: self.cloud.ca_file.as_deref(),
            proxy_password: self.cloud.proxy_password_file.as_deref(),
            token: &self.console.token_file,
        }
    }
}

/// A thing as the cloud is told of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RegisteredThing<'a> {
    /// Its key.
    pub thing_key: &'a str,
    /// Its name for people.
    pub name: &'a str,
    /// How often its heartbeat is sent.
    pub alive_every_ms: u32,
}

/// Where a configuration came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin<'a> {
    /// `edge.json` of the data directory.
    DataDirectory,
    /// The file that `--config` names; only this one may be of kind `stdout`.
    Named(&'a str),
}

impl<'a> Origin<'a> {
    const fn file(self) -> &'a str {
        match self {
            Self::DataDirectory => "edge.json",
            Self::Named(file) => file,
        }
    }
}

/// What is wrong in a configuration file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The character in that line, from 1.
    pub column: u32,
    /// The field, like `things[0].sources[1].file.path`; empty: the file as a whole.
    pub field: String,
    /// What was expected, or what else is wrong.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, field, problem } = self;
        let separator = if field.is_empty() { "" } else { ": " };
        write!(out, "{file}:{line}:{column}: {field}{separator}{problem}")
    }
}

impl std::error::Error for Fault {}

/// Takes a configuration as a whole, or says what is wrong with it (F1).
pub fn parse(bytes: &[u8], origin: Origin<'_>) -> Result<Config, Fault> {
    let file = origin.file();
    if bytes.len() > CONFIG_BYTES_MAX {
        let problem = format!("expected at most {CONFIG_BYTES_MAX} bytes, found {}", bytes.len());
        return Err(Fault { file: file.into(), line: 1, column: 1, field: String::new(), problem });
    }
    let warnings = schema::check(bytes, file)?;
    let text = json::without_pairs(bytes);
    let mut unescaped = vec![0; text.len()];
    let (mut config, _) = serde_json_core::from_slice_escaped::<Config>(&text, &mut unescaped)
        .map_err(|error| fault_at(bytes, file, &[], format!("cannot be read: {error}")))?;
    config.warnings = warnings;
    while config.cloud.url.ends_with('/') {
        config.cloud.url.pop();
    }
    for thing in &mut config.things {
        if thing.name.is_empty() {
            thing.name = Text::try_from(thing.thing_key.as_str()).expect("a key fits a name");
        }
    }
    let checked = check_times(&config)
        .and_then(|()| check_cloud(&config, origin))
        .and_then(|()| check_things(&config));
    match checked {
        Ok(()) => Ok(config),
        Err((steps, problem)) => Err(fault_at(bytes, file, &steps, problem)),
    }
}

/// A field, and what is wrong with it.
type Objection = (Vec<Step>, String);

fn check_times(config: &Config) -> Result<(), Objection> {
    let Ha { poll_ms, heartbeat_ms, fence_ms, seize_ms } = config.ha;
    let objection = |field, problem| Err((vec![Step::Key("ha"), Step::Key(field)], problem));
    if poll_ms > heartbeat_ms {
        return objection("poll_ms", format!("expected at most heartbeat_ms ({heartbeat_ms})"));
    }
    if u64::from(heartbeat_ms) * 3 > u64::from(fence_ms) {
        let problem = format!("expected at least 3 times heartbeat_ms ({heartbeat_ms})");
        return objection("fence_ms", problem);
    }
    if fence_ms >= seize_ms {
        return objection("seize_ms", format!("expected more than fence_ms ({fence_ms})"));
    }
    Ok(())
}

fn check_cloud(config: &Config, origin: Origin<'_>) -> Result<(), Objection> {
    let cloud = &config.cloud;
    let objection =
        |field, problem: &str| Err((vec![Step::Key("cloud"), Step::Key(field)], problem.into()));
    match (cloud.kind, origin) {
        (CloudKind::Datonis, _) => {}
        (CloudKind::Stdout, Origin::Named(_)) => return Ok(()),
        (CloudKind::Stdout, Origin::DataDirectory) => {
            return objection(
                "kind",
                "expected datonis: stdout is only for a file named by --config",
            );
        }
    }
    if cloud.url.is_empty() {
        return objection("url", "expected this field");
    }
    if cloud.access_key.reveal().is_empty() {
        return objection("access_key", "expected this field");
    }
    match (&cloud.secret_key, &cloud.secret_key_file) {
        (None, None) => objection("secret_key_file", "expected this field, or secret_key"),
        (Some(_), Some(_)) => {
            objection("secret_key", "expected only one of it and secret_key_file")
        }
        (Some(_), None) | (None, Some(_)) => match check_proxy(cloud) {
            Some((field, problem)) => objection(field, problem),
            None => Ok(()),
        },
    }
}

/// The field that does not go with the others, and why.
fn check_proxy(cloud: &Cloud) -> Option<(&'static str, &'static str)> {
    let password = match (&cloud.proxy_password, &cloud.proxy_password_file) {
        (Some(_), Some(_)) => {
            return Some(("proxy_password", "expected only one of it and proxy_password_file"));
        }
        (Some(_), None) => Some("proxy_password"),
        (None, Some(_)) => Some("proxy_password_file"),
        (None, None) => None,
    };
    match (&cloud.proxy, &cloud.proxy_user, password) {
        // http:// is for this host alone, which a proxy is not
        (Some(_), ..) if !cloud.url.starts_with("https://") => {
            Some(("proxy", "expected https:// in url beside it"))
        }
        (None, Some(_), _) => Some(("proxy_user", "expected proxy beside it")),
        (_, None, Some(field)) => Some((field, "expected proxy_user beside it")),
        _ => None,
    }
}

fn check_things(config: &Config) -> Result<(), Objection> {
    let mut sources = 0;
    for (at, thing) in config.things.iter().enumerate() {
        let here = [Step::Key("things"), Step::Item(at)];
        if config.things[..at].iter().any(|other| other.thing_key == thing.thing_key) {
            let steps = [&here[..], &[Step::Key("thing_key")]].concat();
            return Err((steps, "expected a key that no other thing has".into()));
        }
        sources += thing.sources.len();
        if sources > SOURCES_MAX {
            let steps = [&here[..], &[Step::Key("sources")]].concat();
            return Err((steps, format!("expected at most {SOURCES_MAX} sources in all")));
        }
        for (place, source) in thing.sources.iter().enumerate() {
            let here = [&here[..], &[Step::Key("sources"), Step::Item(place)]].concat();
            check_source(source, config.version, here)?;
        }
    }
    if config.registered_things().count() > THINGS_MAX {
        let problem = format!("expected at most {THINGS_MAX} things, that of the alerts included");
        return Err((vec![Step::Key("things")], problem));
    }
    Ok(())
}

fn check_source(source: &Source, version: u32, here: Vec<Step>) -> Result<(), Objection> {
    match &source.file {
        None if version <= VERSION => Err((here, "expected a kind of source: file".into())),
        Some(FileSource { field: Some(_), pattern: Some(_), .. }) => {
            let steps = [&here[..], &[Step::Key("file"), Step::Key("pattern")]].concat();
            Err((steps, "expected only one of it and field".into()))
        }
        Some(_) | None => Ok(()),
    }
}

fn fault_at(text: &[u8], file: &str, steps: &[Step], problem: String) -> Fault {
    let place = json::Fault::new(text, schema::place(text, steps), "");
    let (line, column) = (place.line, place.column);
    Fault { file: file.into(), line, column, field: schema::path(steps), problem }
}
