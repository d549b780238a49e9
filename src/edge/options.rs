//! What the command line and the environment ask for.
//!
//! Decides nothing but what was meant. An option on the command line goes before its
//! `EDGE_*` variable; an empty variable counts as not set. Only the options that a command
//! knows are looked at, so that a bad `EDGE_CONSOLE` does not stop `status`.
//!
//! # Invariants
//!
//! - O1: whatever is unknown, given twice or out of its range is a [`Usage`] of one line that
//!   says what was expected.
//! - O2: every option stands once, in [`OPTIONS`]: parsing and help cannot disagree.

mod table;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use log::LevelFilter;

pub use self::table::help;
use self::table::{Known, OPTIONS};
use super::machine;
use crate::engine::ident::{NodeName, SiteId};
use crate::limits::ADVERTISE_MAX;

/// The data directory of a node that runs alone.
pub const ALONE_DATA_DIR: &str = "/var/lib/edge-agent";
/// Where the socket and the process id stand.
pub const RUN_DIR: &str = "/run/edge-agent";

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Carry out a command.
    Do(Command, Box<Options>),
    /// Print [`help`].
    Help(Option<Verb>),
    /// Print the version.
    Version,
}

/// A command with what belongs to it alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Be a node of the site.
    Run,
    /// Make a data directory.
    Init {
        /// Give an existing one a new site id.
        new_id: bool,
    },
    /// Look at configuration, share and cloud.
    Check {
        /// Together with another host, at the share alone.
        peer: bool,
    },
    /// Show the site at a glance.
    Status {
        /// As JSON.
        json: bool,
        /// Of this host's agent, or not at all.
        local: bool,
        /// Again and again.
        watch: bool,
    },
    /// Read every source once.
    Sources,
    /// Hand the mastership over.
    Switchover {
        /// To whom; `None`: to whoever is first.
        to: Option<NodeName>,
    },
    /// List the site's nodes.
    Nodes,
    /// Delete a node's record.
    Forget {
        /// Whose.
        node: NodeName,
    },
    /// Read the whole journal and report.
    JournalVerify,
    /// Show what the cloud refused.
    DeclinedList {
        /// As JSON.
        json: bool,
    },
    /// Send it again.
    DeclinedReplay,
    /// Delete it.
    DeclinedPurge,
}

/// What belongs to this host and process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The data directory; with [`Options::alone`], [`ALONE_DATA_DIR`].
    pub data_dir: PathBuf,
    /// No data directory was named: one node, no redundancy.
    pub alone: bool,
    /// This node's name.
    pub node: NodeName,
    /// The site id that the data directory must have.
    pub site: Option<SiteId>,
    /// Where our console can be reached from other hosts; empty: not said.
    pub advertise: heapless::String<ADVERTISE_MAX>,
    /// The console's TCP address; `None`: as the configuration says.
    pub console: Option<Listen>,
    /// A configuration file other than the data directory's `edge.json`.
    pub config: Option<PathBuf>,
    /// Where the socket stands.
    pub run_dir: PathBuf,
    /// Where `run` logs to.
    pub log: LogTo,
    /// What is logged.
    pub log_level: LevelFilter,
    /// Where the console's token stands if the configuration's file for it does not exist; made
    /// if it is missing.
    pub console_token_file: Option<PathBuf>,
    /// Refuse a data directory on a file system of this host alone.
    pub require_network_share: bool,
    /// Restart the agent whenever it ends by itself.
    pub supervise: bool,
    /// `EDGE_*` variables that mean nothing to us, to be warned of: a slip of the pen there
    /// could leave a node alone.
    pub unknown_variables: Vec<String>,
}

/// Where `run` logs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogTo {
    /// Standard error.
    Stderr,
    /// The system's log, by `/dev/log`.
    Syslog,
}

/// A TCP address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    /// None.
    Off,
    /// This one.
    At(SocketAddr),
}

impl Listen {
    /// What [`Listen::parse`] takes, for messages.
    pub const EXPECTED: &'static str = "ADDRESS:PORT or off, such as 127.0.0.1:8480 or [::1]:8480";

    /// Reads `ADDRESS:PORT` or `off`. No name but `localhost` is taken: looking one up blocks.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().ok()?;
            return Some(Self::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().ok().map(Self::At)
    }
}

/// A command's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// `run`
    Run,
    /// `init`
    Init,
    /// `check`
    Check,
    /// `status`
    Status,
    /// `switchover`
    Switchover,
    /// `nodes`
    Nodes,
    /// `declined`
    Declined,
    /// `journal`
    Journal,
    /// `sources`
    Sources,
}

impl Verb {
    const ALL: [Self; 9] = [
        Self::Run,
        Self::Init,
        Self::Check,
        Self::Status,
        Self::Switchover,
        Self::Nodes,
        Self::Declined,
        Self::Journal,
        Self::Sources,
    ];

    /// As it is typed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Init => "init",
            Self::Check => "check",
            Self::Status => "status",
            Self::Switchover => "switchover",
            Self::Nodes => "nodes",
            Self::Declined => "declined",
            Self::Journal => "journal",
            Self::Sources => "sources",
        }
    }

    /// The words that may follow it; empty: none.
    const fn words(self) -> &'static str {
        match self {
            Self::Run
            | Self::Init
            | Self::Check
            | Self::Status
            | Self::Switchover
            | Self::Sources => "",
            Self::Nodes => "[forget NODE]",
            Self::Declined => "list|replay|purge",
            Self::Journal => "verify",
        }
    }

    const fn summary(self) -> &'static str {
        match self {
            Self::Run => "be a node of the site",
            Self::Init => "make a data directory and print its site id",
            Self::Check => "try configuration, share and cloud",
            Self::Status => "the site at a glance",
            Self::Switchover => "hand the mastership over",
            Self::Nodes => "list the site's nodes, or forget one",
            Self::Declined => "list what the cloud refused, send it again, delete it",
            Self::Journal => "read the whole journal and report",
            Self::Sources => "read every source once, print what would be recorded",
        }
    }

    fn parse(text: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| text == verb.name())
    }
}

/// A command line or variable that cannot be carried out; one line, for standard error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Usage(String);

impl fmt::Display for Usage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Reads a command line without the program's name, and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &[(OsString, OsString)],
) -> Result<Asked, Usage> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut given = Given { environment, options: Vec::new(), words: Vec::new() };
    let mut verb = None;
    loop {
        let argument = parser.next().map_err(|error| Usage(error.to_string()))?;
        match argument {
            None => break,
            Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => {
                return Ok(Asked::Help(verb));
            }
            Some(lexopt::Arg::Long("version") | lexopt::Arg::Short('V')) => {
                return Ok(Asked::Version);
            }
            Some(lexopt::Arg::Long(long)) => {
                let known = known(long)?;
                let value = match known.value {
                    Some(_) => parser.value().map_err(|_| no_value(known))?,
                    None => OsString::new(),
                };
                given.add(known, value)?;
            }
            Some(lexopt::Arg::Short(letter)) => {
                return Err(Usage(format!("-{letter} is not an option; see --help")));
            }
            Some(lexopt::Arg::Value(word)) => match verb {
                None => verb = Some(first_word(&word)?),
                Some(verb) if verb.words().is_empty() => return Err(unwanted(verb, &word)),
                Some(_) => given.words.push(word),
            },
        }
    }
    let Some(verb) = verb else {
        return Err(Usage(format!("expected a command: {}; see --help", all_verbs())));
    };
    given.check_verb(verb)?;
    Ok(Asked::Do(command(verb, &given)?, Box::new(options(verb, &given)?)))
}

fn known(long: &str) -> Result<&'static Known, Usage> {
    OPTIONS
        .iter()
        .find(|known| known.long == long)
        .ok_or_else(|| Usage(format!("--{long} is not an option; see --help")))
}

fn no_value(known: &Known) -> Usage {
    Usage(format!("--{}: expected {}", known.long, known.value.unwrap_or_default()))
}

fn first_word(word: &OsStr) -> Result<Verb, Usage> {
    let shown = word.to_string_lossy();
    Verb::parse(word)
        .ok_or_else(|| Usage(format!("{shown:?} is not a command; expected {}", all_verbs())))
}

fn unwanted(verb: Verb, word: &OsStr) -> Usage {
    let (name, shown) = (verb.name(), word.to_string_lossy());
    match verb.words() {
        "" => Usage(format!("{name} takes no argument, not {shown:?}")),
        words => Usage(format!("{name}: expected {words}, not {shown:?}")),
    }
}

fn all_verbs() -> String {
    Verb::ALL.map(Verb::name).join(", ")
}

/// The options of a command line, and the variables behind them.
struct Given<'a> {
    environment: &'a [(OsString, OsString)],
    options: Vec<(&'static Known, OsString)>,
    /// What follows the command.
    words: Vec<OsString>,
}

impl Given<'_> {
    fn add(&mut self, known: &'static Known, value: OsString) -> Result<(), Usage> {
        if self.options.iter().any(|(other, _)| other.long == known.long) {
            return Err(Usage(format!("--{} is given twice", known.long)));
        }
        self.options.push((known, value));
        Ok(())
    }

    fn check_verb(&self, verb: Verb) -> Result<(), Usage> {
        match self.options.iter().find(|(known, _)| !known.verbs.contains(&verb)) {
            Some((known, _)) => {
                Err(Usage(format!("{} does not know --{}; see --help", verb.name(), known.long)))
            }
            None => Ok(()),
        }
    }

    /// The value of an option and how to name it, if it was given and `verb` knows it.
    fn find(&self, verb: Verb, long: &str) -> Option<Value<'_>> {
        let known = OPTIONS.iter().find(|known| known.long == long).expect("O2: options in table");
        if !known.verbs.contains(&verb) {
            return None;
        }
        if let Some((_, value)) = self.options.iter().find(|(other, _)| other.long == long) {
            return Some(Value { text: value, name: format!("--{long}"), typed: true });
        }
        let variable = known.variable?;
        let (_, value) =
            self.environment.iter().find(|(name, value)| name == variable && !value.is_empty())?;
        Some(Value { text: value, name: variable.to_owned(), typed: false })
    }
}

/// A value with the name that messages give it.
struct Value<'a> {
    text: &'a OsStr,
    name: String,
    /// On the command line.
    typed: bool,
}

impl Value<'_> {
    fn read<T>(&self, expected: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, Usage> {
        self.text.to_str().and_then(read).ok_or_else(|| self.wrong(expected))
    }

    fn path(&self) -> Result<PathBuf, Usage> {
        if self.text.is_empty() {
            return Err(self.wrong("a path"));
        }
        Ok(Path::new(self.text).to_owned())
    }

    fn is_set(&self) -> Result<bool, Usage> {
        if self.typed {
            return Ok(true);
        }
        self.read("1 or 0", |text| match text {
            "1" | "true" | "yes" | "on" => Some(true),
            "0" | "false" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    fn wrong(&self, expected: &str) -> Usage {
        Usage(format!("{}: expected {expected}, not {:?}", self.name, self.text.to_string_lossy()))
    }
}

const NAME_EXPECTED: &str = "1 to 32 of a-z, 0-9 and -";

fn command(verb: Verb, given: &Given<'_>) -> Result<Command, Usage> {
    Ok(match verb {
        Verb::Run => Command::Run,
        Verb::Init => Command::Init { new_id: given.find(verb, "new-id").is_some() },
        Verb::Check => Command::Check { peer: given.find(verb, "peer").is_some() },
        Verb::Status => {
            let is_given = |long| given.find(verb, long).is_some();
            let (json, local) = (is_given("json"), is_given("local"));
            Command::Status { json, local, watch: is_given("watch") }
        }
        Verb::Sources => Command::Sources,
        Verb::Switchover => {
            let to = given.find(verb, "to");
            let to = to.map(|value| value.read(NAME_EXPECTED, NodeName::parse)).transpose()?;
            Command::Switchover { to }
        }
        Verb::Nodes => nodes(given)?,
        Verb::Declined => declined(given)?,
        Verb::Journal => match given.words.as_slice() {
            [word] if word == "verify" => Command::JournalVerify,
            [] => return Err(Usage(format!("journal: expected {}", verb.words()))),
            [.., word] => return Err(unwanted(verb, word)),
        },
    })
}

fn nodes(given: &Given<'_>) -> Result<Command, Usage> {
    match given.words.as_slice() {
        [] => Ok(Command::Nodes),
        [word, node] if word == "forget" => {
            let node = Value { text: node, name: "nodes forget".to_owned(), typed: true };
            Ok(Command::Forget { node: node.read(NAME_EXPECTED, NodeName::parse)? })
        }
        [word] if word == "forget" => Err(Usage("nodes forget: expected NODE".to_owned())),
        [word, ..] if word != "forget" => Err(unwanted(Verb::Nodes, word)),
        [.., word] => Err(unwanted(Verb::Nodes, word)),
    }
}

fn declined(given: &Given<'_>) -> Result<Command, Usage> {
    let json = given.find(Verb::Declined, "json").is_some();
    let words = Verb::Declined.words();
    let command = match given.words.as_slice() {
        [word] if word == "list" => return Ok(Command::DeclinedList { json }),
        [word] if word == "replay" => Command::DeclinedReplay,
        [word] if word == "purge" => Command::DeclinedPurge,
        [] => return Err(Usage(format!("declined: expected {words}"))),
        [.., word] => return Err(unwanted(Verb::Declined, word)),
    };
    if json {
        return Err(Usage("--json: only declined list prints JSON".to_owned()));
    }
    Ok(command)
}

fn options(verb: Verb, given: &Given<'_>) -> Result<Options, Usage> {
    let find = |long| given.find(verb, long);
    let path = |long| find(long).map(|value| value.path()).transpose();
    let flag = |long| find(long).map_or(Ok(false), |value| value.is_set());
    let data_dir = path("datadirpath")?;
    let node = find("node").map(|value| value.read(NAME_EXPECTED, NodeName::parse)).transpose()?;
    let site = find("site-id")
        .map(|value| value.read("a site id of 32 hex digits", SiteId::parse))
        .transpose()?;
    let advertise = find("advertise")
        .map(|value| value.read("an http:// or https:// URL of at most 96 bytes", read_url))
        .transpose()?;
    let console =
        find("console").map(|value| value.read(Listen::EXPECTED, Listen::parse)).transpose()?;
    let log = find("log").map(|value| value.read("stderr or syslog", read_log)).transpose()?;
    let log_level = find("log-level")
        .map(|value| value.read("error, warn, info or debug", read_level))
        .transpose()?;
    let level_default = if verb == Verb::Run { LevelFilter::Info } else { LevelFilter::Warn };
    Ok(Options {
        alone: data_dir.is_none(),
        data_dir: data_dir.unwrap_or_else(|| ALONE_DATA_DIR.into()),
        node: node.unwrap_or_else(machine::default_node),
        site,
        advertise: advertise.unwrap_or_default(),
        console,
        config: path("config")?,
        run_dir: path("run-dir")?.unwrap_or_else(|| RUN_DIR.into()),
        log: log.unwrap_or(LogTo::Stderr),
        log_level: log_level.unwrap_or(level_default),
        console_token_file: path("console-token-file")?,
        require_network_share: flag("require-network-share")?,
        supervise: flag("supervise")?,
        unknown_variables: unknown_variables(given.environment),
    })
}

fn read_url(text: &str) -> Option<heapless::String<ADVERTISE_MAX>> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))?;
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    if rest.is_empty() || !rest.bytes().all(fits) {
        return None;
    }
    heapless::String::try_from(text).ok()
}

fn read_log(text: &str) -> Option<LogTo> {
    match text {
        "stderr" => Some(LogTo::Stderr),
        "syslog" => Some(LogTo::Syslog),
        _ => None,
    }
}

fn read_level(text: &str) -> Option<LevelFilter> {
    match text {
        "error" => Some(LevelFilter::Error),
        "warn" => Some(LevelFilter::Warn),
        "info" => Some(LevelFilter::Info),
        "debug" => Some(LevelFilter::Debug),
        _ => None,
    }
}

fn unknown_variables(environment: &[(OsString, OsString)]) -> Vec<String> {
    let ours = |name: &str| OPTIONS.iter().any(|known| known.variable == Some(name));
    environment
        .iter()
        .filter_map(|(name, _)| name.to_str())
        .filter(|name| name.starts_with("EDGE_") && !ours(name))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests;
