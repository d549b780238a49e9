//! A snapshot for tests.

use heapless::String;

use crate::engine::ident::{Cursor, NodeName, Role, ShareClass};
use crate::engine::status::{
    AgentStatus, CloudStatus, DeclinedStatus, LaneStatus, MasterStatus, NodeStatus, PurgeStatus,
    ReplayStatus, ShareStatus, SourceStatus, Status, TermStatus,
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

fn agent() -> AgentStatus {
    let term = TermStatus {
        term: u32::MAX,
        node: NodeName::parse(&"n".repeat(32)).expect("a valid name"),
        state: "released",
        reason: "switchover",
        started_wall_ms: u64::MAX,
        ended_wall_ms: u64::MAX,
        gap_ms: Some(u64::MAX),
    };
    let source = SourceStatus {
        thing_key: filled(),
        metric: filled(),
        value: filled(),
        age_ms: u64::MAX,
        fault: filled(),
    };
    let mut agent = AgentStatus {
        site: filled(),
        wall_ms: u64::MAX,
        up_ms: u64::MAX,
        sources: u32::MAX,
        sources_failing: u32::MAX,
        sources_dropped: u64::MAX,
        ..AgentStatus::default()
    };
    while agent.terms.push(term.clone()).is_ok() {}
    while agent.depths.push(Some(u64::MAX)).is_ok() {}
    while agent.shown_sources.push(source.clone()).is_ok() {}
    agent
}

fn lane() -> LaneStatus {
    LaneStatus {
        bytes: u64::MAX,
        declined: u64::MAX,
        dropped: u64::MAX,
        cursor: Cursor { term: u32::MAX, segment: u32::MAX, offset: u32::MAX, seq: u64::MAX },
        journalled: u64::MAX,
        waiting: u64::MAX,
        backlog: false,
        delivered: u64::MAX,
        damaged: u64::MAX,
    }
}

/// A snapshot; the longest possible one if `is_longest`.
pub(crate) fn status(is_longest: bool) -> Status {
    let name = NodeName::parse(&"n".repeat(32)).expect("a valid name");
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
        heartbeat_ms: u32::MAX,
        fenced: false,
        started_wall_ms: u64::MAX,
        advertise: filled(),
    };
    let mut status = Status {
        node: name,
        version: filled(),
        alone: false,
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
        journal: [lane(); 2],
        declined: Some(declined()),
        cloud: CloudStatus {
            state: "waiting",
            failures: u32::MAX,
            status: u16::MAX,
            reason: filled(),
            wait_ms: u64::MAX,
        },
        conditions: heapless::Vec::new(),
        agent: AgentStatus::default(),
    };
    if is_longest {
        while status.nodes.push(node.clone()).is_ok() {}
        while status.conditions.push("locks-do-not-exclude").is_ok() {}
        status.agent = agent();
        assert_eq!(status.nodes.len(), NODES_MAX);
    }
    status
}
