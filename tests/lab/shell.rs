//! Commands of the machine.

use std::process::{Command, Stdio};

/// Runs a line of shell; what it printed, if it succeeded.
pub(crate) fn try_run(enter: &[String], line: &str) -> Result<String, String> {
    let mut words = enter.iter().map(String::as_str).chain(["sh", "-c", line]);
    let mut command = Command::new(words.next().expect("the shell at least"));
    command.args(words).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{line}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let text = text.trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{line}: {text}")) }
}

/// Runs a line of shell that must succeed.
pub(crate) fn run(line: &str) -> String {
    try_run(&[], line).unwrap_or_else(|error| panic!("{error}"))
}
