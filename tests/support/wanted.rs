//! The command line of a test program that has a `main` of its own, read as that of all others.
//!
//! `cargo test WORDS -- OPTIONS` gives both to every test program, whichever they are meant for. So
//! an option that others know is taken, though it may mean nothing here, and one that nobody knows is
//! an error. Words that no test here matches may well be meant for others: that is said, and fails
//! only where nothing may be left out (`left_out`).

use std::process::exit;

use super::left_out::leave_out;

/// Options of other test programs that take a value and mean nothing here.
const OTHERS_WITH_VALUE: [&str; 5] = ["--color", "--format", "--logfile", "--shuffle-seed", "-Z"];
/// Those without.
const OTHERS: [&str; 10] = [
    "--test",
    "--bench",
    "--include-ignored",
    "--exclude-should-panic",
    "--force-run-in-process",
    "--quiet",
    "-q",
    "--report-time",
    "--ensure-time",
    "--shuffle",
];
/// `EX_USAGE` of sysexits.
const USAGE: i32 = 64;

/// What is to be tried, and how.
#[derive(Default, Debug)]
pub struct Wanted {
    words: Vec<String>,
    without: Vec<String>,
    exact: bool,
    /// Nothing of ours is ignored.
    ignored: bool,
    /// Names alone are asked for.
    pub list: bool,
    /// What tests print is shown at once.
    pub nocapture: bool,
    /// How many are tried beside each other.
    pub threads: Option<usize>,
}

impl Wanted {
    /// Of this process. Ends it if that makes no sense.
    pub fn of_command_line() -> Self {
        Self::parse(std::env::args().skip(1)).unwrap_or_else(|fault| {
            eprintln!(
                "{fault}; options are those of other tests: cargo test --test tidy -- --help"
            );
            exit(USAGE)
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut wanted = Self::default();
        while let Some(argument) = arguments.next() {
            let (name, given) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut value = || given.clone().or_else(|| arguments.next());
            match name {
                "--exact" => wanted.exact = true,
                "--ignored" => wanted.ignored = true,
                "--list" => wanted.list = true,
                "--nocapture" | "--no-capture" | "--show-output" => wanted.nocapture = true,
                "--skip" => wanted.without.extend(value()),
                "--test-threads" => {
                    let count = value().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
                    wanted.threads = Some(count.ok_or("--test-threads wants a number")?);
                }
                name if OTHERS_WITH_VALUE.contains(&name) => drop(value()),
                name if OTHERS.contains(&name) => {}
                name if name.starts_with('-') => return Err(format!("unknown option {argument}")),
                word => wanted.words.push(word.to_owned()),
            }
        }
        Ok(wanted)
    }

    /// Whether the test of this name is to be tried.
    pub fn wants(&self, name: &str) -> bool {
        let is_it =
            |part: &String| if self.exact { name == part } else { name.contains(part.as_str()) };
        let named = self.words.is_empty() || self.words.iter().any(is_it);
        named && !self.without.iter().any(is_it) && !self.ignored
    }

    /// Says so if the words match no test.
    pub fn say_if_none(&self, chosen: usize, all: usize) {
        if chosen == 0 && !self.words.is_empty() && !self.ignored {
            leave_out(&format!("0 of {all} tests match {:?}", self.words));
        }
    }
}
