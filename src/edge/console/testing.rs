//! A snapshot for tests.

use heapless::String;

use crate::engine::ident::{Cursor, NodeName, Role, ShareClass};
use crate::engine::status::{
    CloudStatus, DeclinedStatus, LaneStatus, MasterStatus, NodeStatus, PurgeStatus, ReplayStatus,
    ShareStatus, Status,
};
use crate::limits::NODES_MAX;

fn filled<const N: usize>() -> String<N> {
    let mut text = String::new();
    while text.push('"').is_ok() {}
    text
}

fn declined() -> DeclinedStatus {
    DeclinedStatus {
        records: u64::MAX,
        bytes: u64::MAX,
        complete: false,
        replay: ReplayStatus {
            number: u32::MAX,
            running: false,
            delivered: u64::MAX,
            refused: u64::MAX,
            reason: filled(),
        },
        purge: PurgeStatus {
            number: u32::MAX,
            running: false,
            records: u64::MAX,
            reason: filled(),
        },
    }
}

/// A snapshot; the longest possible one if `is_longest`.
pub(crate) fn status(is_longest: bool) -> Status {
    let name = NodeName::parse(&"n".repeat(32)).expect("a valid name");
    let cursor = Cursor { term: u32::MAX, segment: u32::MAX, offset: u32::MAX, seq: u64::MAX };
    let lane = LaneStatus {
        declined: u64::MAX,
        dropped: u64::MAX,
        cursor,
        journalled: u64::MAX,
        waiting: u64::MAX,
        backlog: false,
        delivered: u64::MAX,
        damaged: u64::MAX,
    };
    let node = NodeStatus {
        node: name.clone(),
        role: Role::Resigning,
        live: false,
        unseen: false,
        silent_ms: u64::MAX,
        skew_ms: i64::MIN,
        version: filled(),
        advertise: filled(),
    };
    let master = MasterStatus {
        node: name.clone(),
        term: u32::MAX,
        state: "released",
        silent_ms: u64::MAX,
        fenced: false,
        started_wall_ms: u64::MAX,
        advertise: filled(),
    };
    let mut status = Status {
        node: name,
        version: filled(),
        site_id: filled(),
        role: Role::Resigning,
        term: u32::MAX,
        fenced: false,
        lease_ms: u64::MAX,
        share: ShareStatus {
            open: false,
            class: Some(ShareClass::Doubtful),
            locked: false,
            stalled_ms: u64::MAX,
            fault: filled(),
        },
        master: Some(master),
        nodes: heapless::Vec::new(),
        journal: [lane; 2],
        declined: Some(declined()),
        cloud: CloudStatus {
            state: "waiting",
            failures: u32::MAX,
            status: u16::MAX,
            reason: filled(),
            wait_ms: u64::MAX,
        },
        conditions: heapless::Vec::new(),
    };
    if is_longest {
        while status.nodes.push(node.clone()).is_ok() {}
        while status.conditions.push("locks-do-not-exclude").is_ok() {}
        assert_eq!(status.nodes.len(), NODES_MAX);
    }
    status
}
