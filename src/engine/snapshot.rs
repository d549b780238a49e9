//! The engine's status: a copy, taken when somebody asks.

use core::fmt::Write as _;

use heapless::{String, Vec};

use super::distress::Condition;
use super::forward::Presence;
use super::ident::{Lane, NodeName, Term};
use super::room::Told;
use super::slot::Slot;
use super::status::{AgentStatus, LaneStatus, MasterStatus, NodeStatus, ShareStatus, Status};
use super::{Engine, Stage};
use crate::limits::{CONDITIONS_MAX, NODES_MAX};

impl Engine {
    /// The site at a glance, as this node sees it.
    pub fn status(&self, now_ms: u64) -> Status {
        let mandate = self.mandate.as_ref();
        let mut site_id = String::new();
        if let Some(site) = self.site {
            // 32 digits fit.
            let _ = write!(site_id, "{site}");
        }
        Status {
            node: self.host.node.clone(),
            version: self.host.version.clone(),
            alone: self.host.alone,
            site_id,
            role: self.role(),
            term: mandate.map_or(0, super::Mandate::term),
            fenced: mandate.is_some_and(|mandate| mandate.slot().fenced) && self.tenure.fenced_told,
            lease_ms: mandate.map_or(0, |own| own.lease_end_ms().saturating_sub(now_ms)),
            share: self.share_status(now_ms),
            master: self.master_status(now_ms),
            nodes: self.node_statuses(),
            journal: Lane::ALL.map(|lane| self.lane_status(lane)),
            declined: self.declined_status(),
            cloud: self.forward.status(now_ms, self.stage == Stage::Master),
            conditions: self.conditions(),
            agent: AgentStatus::default(),
        }
    }

    /// A lane of the journal, and the term of ours that its counts belong to.
    pub fn lane(&self, lane: Lane) -> (Term, LaneStatus) {
        (self.journal.term(), self.lane_status(lane))
    }

    fn lane_status(&self, lane: Lane) -> LaneStatus {
        let status = self.journal.status(lane);
        if self.stage != Stage::Master {
            return status;
        }
        let passed = u64::from(status.cursor.offset);
        LaneStatus { bytes: self.room.lane_bytes(lane).saturating_sub(passed), ..status }
    }

    /// The newest slot that is known: our own while we have a term.
    pub fn newest_slot(&self) -> Option<&Slot> {
        self.mandate.as_ref().map(super::Mandate::slot).or(self.sight.newest())
    }

    /// The newest term's master by name, and where its console can be reached, for redirects.
    pub fn master(&self) -> Option<(&NodeName, &str)> {
        let slot = self.sight.newest().filter(|slot| !slot.is_released())?;
        Some((&slot.node, self.roster.advertised(&slot.node)))
    }

    fn share_status(&self, now_ms: u64) -> ShareStatus {
        let open = !matches!(self.stage, Stage::Closed);
        let held = match &self.mandate {
            Some(mandate) => mandate.slot().locked != 0,
            None => self.sight.locked() != 0,
        };
        let stalled = self.keeper.asked.filter(|_| self.keeper.stalled);
        ShareStatus {
            open,
            class: open.then_some(self.class),
            locked: held,
            stalled_ms: stalled.map_or(0, |(_, start_ms)| now_ms - start_ms),
            fault: self.faults.first().map_or_else(String::new, |error| error.text.clone()),
        }
    }

    fn master_status(&self, now_ms: u64) -> Option<MasterStatus> {
        let slot = self.sight.newest()?;
        let own = self.mandate.as_ref().filter(|mandate| mandate.term() == slot.term);
        let silent_ms = own.map_or(self.sight.silent_ms(), |_| self.sight.seen_ago_ms(now_ms));
        let advertise = if slot.node == self.host.node {
            self.host.advertise.as_str()
        } else {
            self.roster.advertised(&slot.node)
        };
        Some(MasterStatus {
            node: slot.node.clone(),
            term: slot.term,
            state: slot.state.name(),
            silent_ms,
            heartbeat_ms: slot.heartbeat_ms,
            fenced: slot.fenced,
            started_wall_ms: slot.started_wall_ms,
            advertise: String::try_from(advertise).unwrap_or_default(),
        })
    }

    fn node_statuses(&self) -> Vec<NodeStatus, NODES_MAX> {
        let ours = NodeStatus {
            node: self.host.node.clone(),
            role: self.role(),
            live: true,
            unseen: false,
            silent_ms: 0,
            skew_ms: 0,
            version: self.host.version.clone(),
            advertise: self.host.advertise.clone(),
        };
        core::iter::once(ours).chain(self.roster.status()).take(NODES_MAX).collect()
    }

    fn is_cloud_unreachable(&self) -> bool {
        self.stage == Stage::Master && self.forward.is_unreachable()
    }

    fn conditions(&self) -> Vec<&'static str, CONDITIONS_MAX> {
        let holds = [
            ("share-failing", self.stage != Stage::Closed && self.faults.first().is_some()),
            ("not-configured", self.stage != Stage::Closed && !self.settings.configured),
            ("clock-skew", self.roster.is_any_clock_off()),
            ("redundancy-lost", self.tenure.redundancy_lost && self.stage == Stage::Master),
            ("journal-high", self.room.told() == Told::High),
            ("journal-dropping", self.room.told() == Told::Dropping),
            (
                "segment-missing",
                self.stage == Stage::Master && self.journal.is_waiting_for_segment(),
            ),
            ("cloud-declining", self.tenure.declining.holds() && self.stage == Stage::Master),
            ("cloud-unreachable", self.is_cloud_unreachable()),
            ("uplink-not-reaped", self.forward.presence == Presence::Dying),
        ];
        let own =
            Condition::ALL.map(|condition| (condition.name(), self.distress.holds(condition)));
        let all = own.into_iter().chain(holds);
        all.filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
    }
}
