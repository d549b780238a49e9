//! The snapshot made from the share, while no agent runs on this host.

use std::fmt;
use std::path::Path;

use heapless::{String, Vec};

use super::apart::{Failure, apart};
use crate::edge::share::{Looked, look};
use crate::engine::ident::{NodeName, Role};
use crate::engine::slot::Slot;
use crate::engine::status::{
    AgentStatus, CloudStatus, LaneStatus, MasterStatus, NodeStatus, ShareStatus, Status,
};
use crate::limits::REPLY_BYTES_MAX;

/// Looks at a data directory, [`SURVEY_MS_MAX`](crate::limits::SURVEY_MS_MAX) at most; gives the
/// snapshot as JSON.
pub(super) fn survey(data_dir: &Path, own: &NodeName) -> Result<std::vec::Vec<u8>, Failure> {
    apart("edge-survey", || {
        let looked = look(data_dir).map_err(|error| error.to_string())?;
        let mut text = vec![0; REPLY_BYTES_MAX];
        let length = serde_json_core::to_slice(&snapshot(&looked, own), &mut text)
            .map_err(|_| "the snapshot is too long".to_owned())?;
        text.truncate(length);
        Ok(text)
    })
}

fn snapshot(looked: &Looked, own: &NodeName) -> Status {
    let mut site_id = String::new();
    fmt::write(&mut site_id, format_args!("{}", looked.site)).expect("32 digits fit");
    let mut nodes = Vec::new();
    for page in looked.nodes.iter().take(nodes.capacity()) {
        let record = &page.record;
        let node = NodeStatus {
            node: record.node.clone(),
            role: record.role,
            live: false,
            unseen: false,
            silent_ms: 0,
            skew_ms: 0,
            version: record.version.clone(),
            advertise: record.advertise.clone(),
        };
        nodes.push(node).unwrap_or_else(|_| unreachable!("no more than fit were taken"));
    }
    Status {
        node: own.clone(),
        version: String::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
        alone: false,
        site_id,
        role: Role::Stopped,
        term: 0,
        fenced: false,
        lease_ms: 0,
        share: ShareStatus {
            open: true,
            class: Some(looked.class),
            locked: false,
            stalled_ms: 0,
            fault: String::new(),
        },
        master: looked.newest.as_ref().map(|slot| master(slot, looked)),
        nodes,
        journal: looked.newest.as_ref().map(journal).unwrap_or_default(),
        declined: None,
        cloud: CloudStatus {
            state: "off",
            failures: 0,
            status: 0,
            reason: String::new(),
            wait_ms: 0,
        },
        conditions: Vec::new(),
        agent: AgentStatus::default(),
    }
}

fn master(slot: &Slot, looked: &Looked) -> MasterStatus {
    let record = looked.nodes.iter().map(|page| &page.record).find(|one| one.node == slot.node);
    MasterStatus {
        node: slot.node.clone(),
        term: slot.term,
        state: slot.state.name(),
        silent_ms: 0,
        heartbeat_ms: slot.heartbeat_ms,
        fenced: slot.fenced,
        started_wall_ms: slot.started_wall_ms,
        advertise: record.map(|record| record.advertise.clone()).unwrap_or_default(),
    }
}

fn journal(slot: &Slot) -> [LaneStatus; 2] {
    slot.lanes.map(|lane| LaneStatus { cursor: lane.cursor, ..LaneStatus::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::commands::snapshot::Snapshot;
    use crate::edge::share::init;

    #[test]
    fn a_data_directory_is_shown_and_a_missing_one_told() {
        let folder = std::env::temp_dir().join(format!("edge-survey-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let own = NodeName::parse("gw-1").expect("a valid name");
        let missing = survey(&folder, &own).expect_err("there is none");
        assert!(matches!(missing, Failure::Fault(ref text) if !text.is_empty()), "{missing:?}");
        let site = init(&folder, false, false).expect("room");
        let text = survey(&folder, &own).expect("a snapshot");
        let snapshot = Snapshot::parse(&text).expect("a snapshot");
        assert_eq!(snapshot.site_id, site.to_string().as_str());
        assert_eq!(snapshot.master, None);
        std::fs::remove_dir_all(&folder).expect("ours");
    }
}
