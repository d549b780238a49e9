//! The snapshot as a command reads it: the other end of [`crate::engine::status`].
//!
//! What is missing has its default, and what is not known is left out, so that a command and an
//! agent of different versions understand each other as far as they can.

use heapless::{String, Vec};
use serde::Deserialize;

use crate::engine::ident::Cursor;
use crate::limits::{CONFIG_NAME_MAX, NODES_MAX, TERMS_SHOWN_MAX};

/// See [`crate::engine::status::Status`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Snapshot {
    pub(super) node: String<32>,
    pub(super) version: String<16>,
    pub(super) site_id: String<32>,
    pub(super) role: String<16>,
    pub(super) term: u32,
    pub(super) fenced: bool,
    pub(super) lease_ms: u64,
    pub(super) share: Share,
    pub(super) master: Option<Master>,
    pub(super) nodes: Vec<Node, NODES_MAX>,
    pub(super) journal: [Lane; 2],
    pub(super) declined: Option<Declined>,
    pub(super) cloud: Cloud,
    pub(super) conditions: Vec<String<32>, 32>,
    pub(super) agent: Agent,
}

/// See [`crate::engine::status::AgentStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Agent {
    pub(super) site: String<CONFIG_NAME_MAX>,
    pub(super) terms: Vec<Term, TERMS_SHOWN_MAX>,
    pub(super) sources: u32,
    pub(super) sources_failing: u32,
    pub(super) sources_dropped: u64,
}

/// See [`crate::engine::status::TermStatus`].
#[allow(clippy::struct_field_names, reason = "the names of the snapshot")]
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Term {
    pub(super) term: u32,
    pub(super) node: String<32>,
    pub(super) reason: String<16>,
    pub(super) started_wall_ms: u64,
    pub(super) ended_wall_ms: u64,
    pub(super) gap_ms: Option<u64>,
}

/// See [`crate::engine::status::ShareStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Share {
    pub(super) open: bool,
    pub(super) class: Option<String<16>>,
    pub(super) locked: bool,
    pub(super) stalled_ms: u64,
    pub(super) fault: String<200>,
}

/// See [`crate::engine::status::MasterStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Master {
    pub(super) node: String<32>,
    pub(super) term: u32,
    pub(super) state: String<16>,
    pub(super) silent_ms: u64,
    pub(super) heartbeat_ms: u32,
    pub(super) fenced: bool,
    pub(super) started_wall_ms: u64,
    pub(super) advertise: String<96>,
}

/// See [`crate::engine::status::NodeStatus`].
#[allow(clippy::struct_field_names, reason = "the names of the snapshot")]
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    pub(super) node: String<32>,
    pub(super) role: String<16>,
    pub(super) live: bool,
    pub(super) unseen: bool,
    pub(super) silent_ms: u64,
    pub(super) skew_ms: i64,
    pub(super) version: String<16>,
    pub(super) advertise: String<96>,
}

/// See [`crate::engine::status::LaneStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lane {
    pub(super) cursor: Cursor,
    pub(super) journalled: u64,
    pub(super) waiting: u64,
    pub(super) backlog: bool,
    pub(super) delivered: u64,
    pub(super) declined: u64,
    pub(super) dropped: u64,
    pub(super) damaged: u64,
}

/// See [`crate::engine::status::DeclinedStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Declined {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) complete: bool,
    pub(super) replay: Replay,
    pub(super) purge: Purge,
}

/// See [`crate::engine::status::ReplayStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replay {
    pub(super) number: u32,
    pub(super) running: bool,
    pub(super) delivered: u64,
    pub(super) refused: u64,
    pub(super) reason: String<120>,
}

/// See [`crate::engine::status::PurgeStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Purge {
    pub(super) number: u32,
    pub(super) running: bool,
    pub(super) records: u64,
    pub(super) reason: String<120>,
}

/// See [`crate::engine::status::CloudStatus`].
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Cloud {
    pub(super) state: String<16>,
    pub(super) failures: u32,
    pub(super) status: u16,
    pub(super) reason: String<120>,
    pub(super) wait_ms: u64,
}

impl Snapshot {
    /// Reads a snapshot; `None`: it is none.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let mut scratch = [0; 512];
        serde_json_core::from_slice_escaped(text, &mut scratch).ok().map(|(snapshot, _)| snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::console::testing::status;
    use crate::limits::REPLY_BYTES_MAX;

    #[test]
    fn what_the_console_writes_is_read() {
        for is_longest in [false, true] {
            let status = status(is_longest);
            let mut text = vec![0; REPLY_BYTES_MAX];
            let length = serde_json_core::to_slice(&status, &mut text).expect("it fits");
            let snapshot = Snapshot::parse(&text[..length]).expect("a snapshot");
            assert_eq!(snapshot.node, status.node.as_str());
            assert_eq!(snapshot.share.fault, status.share.fault.as_str(), "escapes are resolved");
            assert_eq!(snapshot.cloud.reason, status.cloud.reason.as_str());
            assert_eq!(snapshot.nodes.len(), status.nodes.len());
            assert_eq!(snapshot.conditions.len(), status.conditions.len());
            assert_eq!(snapshot.journal[1].cursor, status.journal[1].cursor);
            let declined = snapshot.declined.expect("a master tells");
            assert_eq!((declined.records, declined.replay.number), (u64::MAX, u32::MAX));
            let master = snapshot.master.expect("it has one");
            assert_eq!((master.term, master.started_wall_ms), (u32::MAX, u64::MAX));
        }
    }

    #[test]
    fn other_versions_are_understood_as_far_as_possible() {
        let text = br#"{"node":"gw-1","later":{"a":[1,{"b":null}]},"role":"master"}"#;
        let snapshot = Snapshot::parse(text).expect("a snapshot");
        assert_eq!((snapshot.node.as_str(), snapshot.role.as_str()), ("gw-1", "master"));
        assert_eq!(snapshot.master, None);
        assert_eq!(Snapshot::parse(b"<html>"), None);
    }
}
