//! What the tests of these modules share: a data directory of their own, and records.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::directory::{self, Making, Root, Wanted};
use crate::engine::ident::{Lane, NodeName, ShareClass, SiteId, Term};
use crate::engine::segment::{GROUP_HEAD_BYTES, GroupHead, GroupOf};
use crate::engine::slot::{LaneMark, Slot, SlotState};

/// An empty folder that goes when the test ends.
pub(super) struct Folder {
    pub(super) path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("edge-agent-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self { path }
    }

    /// Made a data directory, or opened as the one that it is.
    pub(super) fn root(&self) -> Root {
        let wanted = Wanted {
            path: &self.path,
            making: Making::Here,
            expected: None::<SiteId>,
            network: false,
        };
        directory::open(wanted).expect("a data directory").0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(super) fn node(name: &str) -> NodeName {
    NodeName::parse(name).expect("a valid name")
}

/// An active slot that holds no lock.
pub(super) fn slot(term: Term, heartbeat: u64) -> Slot {
    Slot {
        term,
        node: node("gw-1"),
        nonce: 1,
        heartbeat,
        state: SlotState::Active,
        locked: 0,
        fenced: false,
        class: ShareClass::Local,
        heartbeat_ms: 1_000,
        fence_ms: 5_000,
        lanes: [LaneMark::default(); 2],
        started_wall_ms: 0,
        ended_wall_ms: 0,
    }
}

/// The record of a seq: its length differs from its neighbours'.
pub(super) fn record(seq: u64) -> String {
    let padding = "x".repeat(usize::try_from(seq * 7 % 23).expect("small"));
    format!("{{\"seq\":{seq},\"pad\":\"{padding}\"}}\n")
}

/// Whose groups those of these tests are.
pub(super) const GROUPS: GroupOf = GroupOf { term: 3, lane: Lane::Readings };

/// A sealed group of term 3, of the records from `first` on.
pub(super) fn group(first: u64, count: u32) -> Vec<u8> {
    group_of(GROUPS, first, count)
}

/// A sealed group of another term or lane.
pub(super) fn group_of(of: GroupOf, first: u64, count: u32) -> Vec<u8> {
    let mut bytes = vec![0; GROUP_HEAD_BYTES];
    for seq in first..first + u64::from(count) {
        bytes.extend_from_slice(record(seq).as_bytes());
    }
    GroupHead::seal(&mut bytes, of, first, count);
    bytes
}
