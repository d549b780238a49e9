//! What the engine has to say of nodes, and of our own name.

use core::fmt;

use heapless::String;

use super::ident::NodeName;
use super::notes::Level;
use crate::limits::HOST_NAME_MAX;

/// What happened to a node.
#[derive(Clone, PartialEq, Hash, Debug)]
#[allow(missing_docs, reason = "the text of each stands in `Display`")]
pub enum NodeNote {
    Lost { node: NodeName, silent_ms: u64, stopped: bool },
    Returned { node: NodeName },
    Forgotten { node: NodeName, silent_ms: u64 },
    ClockSkew { node: NodeName, skew_ms: i64 },
    ClockSkewOver { node: NodeName },
    Name { node: NodeName, host: String<HOST_NAME_MAX>, here: bool, what: NameNote },
}

/// What happened to our own name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NameNote {
    /// Another node has it: we wait.
    Taken,
    /// Another lives under it too: it is to yield.
    Disputed,
    /// Another lives under it too: we wait.
    Yielded,
    /// We need to wait no longer.
    Free,
    /// The other is gone.
    Undisputed,
}

/// Whose wall clock is off, and how far, for people.
#[derive(Clone, Copy, Hash, Debug)]
pub struct ClockOff<'a> {
    /// Which node.
    pub node: &'a NodeName,
    /// How far it is ahead of ours, in ms; negative: behind.
    pub skew_ms: i64,
}

impl NodeNote {
    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Returned { .. }
            | Self::Forgotten { .. }
            | Self::ClockSkewOver { .. }
            | Self::Name { what: NameNote::Free | NameNote::Undisputed, .. } => Level::Info,
            Self::Lost { .. } | Self::ClockSkew { .. } => Level::Warning,
            Self::Name {
                what: NameNote::Taken | NameNote::Disputed | NameNote::Yielded, ..
            } => Level::Error,
        }
    }
}

impl fmt::Display for NodeNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { node, stopped: true, .. } => write!(out, "site: {node} was stopped"),
            Self::Lost { node, silent_ms, .. } => {
                write!(out, "site: {node} has been silent for {silent_ms} ms")
            }
            Self::Returned { node } => write!(out, "site: {node} is back"),
            Self::Forgotten { node, silent_ms } => write!(
                out,
                "site: {node} was not seen for {} s; its record is deleted",
                silent_ms / 1_000
            ),
            Self::ClockSkew { node, skew_ms } => {
                write!(out, "{}", ClockOff { node, skew_ms: *skew_ms })
            }
            Self::ClockSkewOver { node } => write!(out, "clock-skew: over for {node}"),
            Self::Name { node, host, here, what } => {
                what.write(out, node, if *here { "this host" } else { host.as_str() })
            }
        }
    }
}

impl NameNote {
    fn write(self, out: &mut fmt::Formatter<'_>, node: &NodeName, host: &str) -> fmt::Result {
        let host = if host.is_empty() { "another host" } else { host };
        let remedy = "give one of the two another name (--node, EDGE_NODE)";
        match self {
            Self::Taken => write!(
                out,
                "name-taken: an agent on {host} is known as {node}: waiting until it stops or is \
                 silent; {remedy}"
            ),
            Self::Disputed => write!(
                out,
                "name-taken: an agent on {host} lives as {node}, too: it has to wait; {remedy}"
            ),
            Self::Yielded => write!(
                out,
                "name-taken: an agent on {host} lives as {node}, too, and goes on: waiting until \
                 it stops or is silent; {remedy}"
            ),
            Self::Free => write!(out, "name-taken: over: {node} is free, taking part"),
            Self::Undisputed => write!(out, "name-taken: over: {node} is this agent alone"),
        }
    }
}

impl fmt::Display for ClockOff<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, skew_ms } = self;
        let side = if *skew_ms < 0 { "behind" } else { "ahead of" };
        let seconds = skew_ms.unsigned_abs() / 1_000;
        write!(out, "clock-skew: the clock of {node} is {seconds} s {side} ours")
    }
}
