//! Processes as `/proc` shows them, and signals to those that we started.

use std::fs;
use std::process::{Command, Stdio};

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its name, as prctl(2) set it.
    pub name: String,
    /// Its state, `Z` for a dead one that is not yet reaped.
    pub state: char,
    /// Processor time so far, in ticks of 10 ms.
    pub ticks: u64,
}

/// One process; `None`: there is none of this number.
pub fn find(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<_> = tail.split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        name,
        state: fields.first()?.chars().next()?,
        ticks: number(11)? + number(12)?,
    })
}

/// A process and everything below it, the process itself first.
pub fn tree(root: u32) -> Vec<Process> {
    let Some(first) = find(root) else { return Vec::new() };
    let all = everything();
    let mut found = vec![first];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next].pid;
        found.extend(all.iter().filter(|process| process.parent == parent).cloned());
        next += 1;
    }
    found
}

fn everything() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(find).collect()
}

/// The numbers of all processes whose name is wanted.
pub fn named(wanted: impl Fn(&str) -> bool) -> Vec<u32> {
    everything().iter().filter(|process| wanted(&process.name)).map(|process| process.pid).collect()
}

/// Whether it runs: it is there and not merely waiting to be reaped.
pub fn is_running(pid: u32) -> bool {
    find(pid).is_some_and(|process| !matches!(process.state, 'Z' | 'X'))
}

/// Sends a signal, by its name, to all of these at once.
pub fn signal(name: &str, pids: &[u32]) {
    if pids.is_empty() {
        return;
    }
    let numbers = pids.iter().map(ToString::to_string);
    // the shell's own `kill`: no other program need be there
    let done = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$@\"", name])
        .args(numbers)
        .stderr(Stdio::null())
        .status();
    assert!(done.is_ok(), "signal: cannot run sh: {done:?}");
}

/// How many threads it has; `None`: it is gone.
pub fn threads(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    // the last has ended, its process not yet
    field(&status, "Threads:")?.try_into().ok().filter(|count| *count > 0)
}

/// The most memory that a process ever had resident, in kB; `None`: it is gone.
pub fn peak_kb(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmHWM:")
}

/// Memory in kB.
#[derive(Clone, Copy, Default, Debug)]
pub struct Memory {
    /// Its share of all pages.
    pub pss: u64,
    /// Pages of its own.
    pub private: u64,
}

/// The memory of these processes together.
pub fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        sum.pss += field(&text, "Pss:").unwrap_or(0);
        sum.private += field(&text, "Private_Clean:").unwrap_or(0);
        sum.private += field(&text, "Private_Dirty:").unwrap_or(0);
    }
    sum
}

/// Processor time of these processes together, in us, finer than ticks.
pub fn processor_us(pids: &[u32]) -> u64 {
    let time = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    pids.iter().filter_map(time).sum::<u64>() / 1_000
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
