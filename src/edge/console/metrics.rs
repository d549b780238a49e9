//! `/metrics`: the snapshot and the counters in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Names are `edge_agent_*` in base units. What only a master knows is left out elsewhere, so
//! that a standby's zero is not taken for a fact. Counters begin anew with the agent's process.

use std::fmt::{self, Display, Write};

use crate::edge::logging;
use crate::edge::tally::{LaneTally, Tally, VERDICTS};
use crate::engine::ident::{Lane, Role};
use crate::engine::status::{LaneStatus, Status};

/// The media type.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all of them; `None`: they do not fit.
pub(super) fn write(room: &mut [u8], status: &Status, tally: &Tally) -> Option<usize> {
    let mut page = Page { room, length: 0 };
    let written = write_all(&mut page, status, tally);
    written.ok().map(|()| page.length)
}

fn write_all(page: &mut Page<'_>, status: &Status, tally: &Tally) -> fmt::Result {
    node(page, status)?;
    share(page, status, tally)?;
    journal(page, status, tally)?;
    cloud(page, status, tally)?;
    sources(page, status)?;
    page.family("condition", GAUGE, "Conditions that hold now, see the handbook.")?;
    for name in &status.conditions {
        page.sample("condition", &[("condition", name)], &1)?;
    }
    Ok(())
}

fn node(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    page.family("build_info", GAUGE, "1; what this agent is.")?;
    let labels = [
        ("version", &*status.version),
        ("node", status.node.as_str()),
        ("site_id", &*status.site_id),
    ];
    page.sample("build_info", &labels, &1)?;
    let start_ms = status.agent.wall_ms.saturating_sub(status.agent.up_ms);
    page.one(
        "start_time_seconds",
        GAUGE,
        "When the agent started, since the Unix epoch.",
        &Seconds(start_ms),
    )?;
    page.family("role", GAUGE, "1 for what this node is doing, 0 for what it is not.")?;
    for role in [Role::Standby, Role::Claiming, Role::Master, Role::Resigning] {
        page.sample("role", &[("role", role.name())], &u8::from(status.role == role))?;
    }
    let is_master = status.role == Role::Master && status.lease_ms > 0;
    page.one("master", GAUGE, "Whether this node is master under a lease.", &u8::from(is_master))?;
    page.one("fenced", GAUGE, "Whether this node is free to forward.", &u8::from(status.fenced))?;
    page.one(
        "lease_seconds",
        GAUGE,
        "What is left of this node's lease.",
        &Seconds(status.lease_ms),
    )?;
    if let Some(master) = &status.master {
        page.one("term", GAUGE, "The newest term that is known.", &master.term)?;
        page.one(
            "master_silent_seconds",
            GAUGE,
            "For how long the newest term's slot has not changed.",
            &Seconds(master.silent_ms),
        )?;
    }
    if status.alone {
        return Ok(());
    }
    let live = status.nodes.iter().filter(|node| node.live && node.role != Role::Stopped);
    page.one("nodes", GAUGE, "Nodes of the site that are known.", &status.nodes.len())?;
    page.one("nodes_live", GAUGE, "Nodes of the site that run, this one among them.", &live.count())
}

fn share(page: &mut Page<'_>, status: &Status, tally: &Tally) -> fmt::Result {
    let share = &status.share;
    page.one("share_open", GAUGE, "Whether the data directory is open.", &u8::from(share.open))?;
    page.one(
        "share_locked",
        GAUGE,
        "Whether this node holds the share lock.",
        &u8::from(share.locked),
    )?;
    page.one(
        "share_stalled_seconds",
        GAUGE,
        "For how long an operation on the share has been outstanding, once that is a stall.",
        &Seconds(share.stalled_ms),
    )?;
    page.family("share_operation_seconds", SUMMARY, "Time that operations on the share took.")?;
    page.sample("share_operation_seconds_sum", &[], &Seconds(tally.operation_ms))?;
    page.sample("share_operation_seconds_count", &[], &tally.operations)?;
    page.one(
        "share_operation_seconds_max",
        GAUGE,
        "The longest operation on the share since the agent's start.",
        &Seconds(tally.operation_ms_max),
    )?;
    page.one(
        "share_operations_failed_total",
        COUNTER,
        "Operations on the share that failed.",
        &tally.operations_failed,
    )?;
    page.one(
        "log_lines_dropped_total",
        COUNTER,
        "Log lines that nobody took in time.",
        &logging::dropped(),
    )
}

fn journal(page: &mut Page<'_>, status: &Status, tally: &Tally) -> fmt::Result {
    page.one("terms_total", COUNTER, "Terms in which this node was master.", &tally.terms)?;
    for (name, help, count) in COUNTERS {
        by_lane(page, name, COUNTER, help, |lane| count(&tally.lanes[lane.index()]))?;
    }
    if status.role != Role::Master {
        return Ok(());
    }
    for (name, help, value) in GAUGES {
        by_lane(page, name, GAUGE, help, |lane| value(&status.journal[lane.index()]))?;
    }
    let Some(declined) = &status.declined else { return Ok(()) };
    page.one(
        "declined_store_records",
        GAUGE,
        "Records in the declined store, as far as they are counted.",
        &declined.records,
    )?;
    page.one("declined_store_bytes", GAUGE, "Bytes of the declined store.", &declined.bytes)
}

fn by_lane(
    page: &mut Page<'_>,
    name: &str,
    kind: &str,
    help: &str,
    value: impl Fn(Lane) -> u64,
) -> fmt::Result {
    page.family(name, kind, help)?;
    Lane::ALL.iter().try_for_each(|lane| page.sample(name, &[("lane", lane.name())], &value(*lane)))
}

fn cloud(page: &mut Page<'_>, status: &Status, tally: &Tally) -> fmt::Result {
    page.family("cloud_requests_total", COUNTER, "Requests to the cloud that had an outcome.")?;
    for ((_, verdict), count) in VERDICTS.iter().zip(&tally.requests) {
        page.sample("cloud_requests_total", &[("verdict", verdict)], count)?;
    }
    page.one(
        "cloud_request_seconds_total",
        COUNTER,
        "Time that those requests took.",
        &Seconds(tally.request_ms),
    )?;
    if status.role == Role::Master {
        page.one(
            "cloud_failures",
            GAUGE,
            "Requests that failed since the last success.",
            &status.cloud.failures,
        )?;
        page.one(
            "cloud_wait_seconds",
            GAUGE,
            "Until the next try after a failure.",
            &Seconds(status.cloud.wait_ms),
        )?;
    }
    Ok(())
}

fn sources(page: &mut Page<'_>, status: &Status) -> fmt::Result {
    let agent = &status.agent;
    if status.role == Role::Master {
        page.one("sources", GAUGE, "Sources of the configuration.", &agent.sources)?;
        page.one("sources_failing", GAUGE, "Sources that cannot be read.", &agent.sources_failing)?;
    }
    page.one(
        "source_values_dropped_total",
        COUNTER,
        "Values of sources for which there was no room.",
        &agent.sources_dropped,
    )
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";
const SUMMARY: &str = "summary";

/// A name, its help, and how it is told of a lane.
type OfLane<T> = (&'static str, &'static str, fn(&T) -> u64);

/// What is counted of each lane's records.
const COUNTERS: [OfLane<LaneTally>; 5] = [
    ("records_journalled_total", "Records made durable.", |lane| lane.journalled),
    ("records_delivered_total", "Records that the cloud accepted.", |lane| lane.delivered),
    (
        "records_declined_total",
        "Records that the cloud refused: kept in the declined store.",
        |lane| lane.declined,
    ),
    ("records_dropped_total", "Records given up because the journal was full.", |lane| {
        lane.dropped
    }),
    ("journal_damaged_total", "Damaged stretches of the journal that were set aside.", |lane| {
        lane.damaged
    }),
];

/// What a master knows of each lane.
const GAUGES: [OfLane<LaneStatus>; 3] = [
    ("journal_waiting_bytes", "Bytes of the journal that are not forwarded yet.", |lane| {
        lane.bytes
    }),
    ("journal_waiting_records", "Records of this term that are not forwarded yet.", |lane| {
        lane.waiting
    }),
    ("journal_backlog", "Whether segments of older terms are not forwarded yet.", |lane| {
        u64::from(lane.backlog)
    }),
];

/// A span or a moment of so many ms.
struct Seconds(u64);

impl Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

/// The buffer as far as it is filled.
struct Page<'a> {
    room: &'a mut [u8],
    length: usize,
}

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        write!(self, "# HELP edge_agent_{name} {help}\n# TYPE edge_agent_{name} {kind}\n")
    }

    /// A label's value is never in need of escapes: names, versions and our own words.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &dyn Display) -> fmt::Result {
        write!(self, "edge_agent_{name}")?;
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            write!(self, "{before}{label}=\"{text}\"")?;
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(self, "{after} {value}")
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: &dyn Display) -> fmt::Result {
        self.family(name, kind, help)?;
        self.sample(name, &[], value)
    }
}

impl Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.room.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::console::testing::status;
    use crate::limits::REPLY_BYTES_MAX;

    fn text(status: &Status, tally: &Tally) -> String {
        let mut room = vec![0; REPLY_BYTES_MAX];
        let length = write(&mut room, status, tally).expect("it fits");
        room.truncate(length);
        String::from_utf8(room).expect("text")
    }

    /// The names of samples, in their order.
    fn names(text: &str) -> Vec<&str> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.split(['{', ' ']).next().expect("a name")).collect()
    }

    #[test]
    fn a_master_tells_more_than_a_standby() {
        let mut status = status(true);
        let tally = Tally::default();
        (status.role, status.lease_ms) = (Role::Master, 4_050);
        let master = text(&status, &tally);
        assert!(master.contains("\nedge_agent_master 1\n"), "{master}");
        assert!(master.contains("\nedge_agent_lease_seconds 4.050\n"), "{master}");
        assert!(master.contains(
            "\nedge_agent_journal_waiting_bytes{lane=\"alerts\"} 18446744073709551615\n"
        ));
        assert!(master.contains("edge_agent_condition{condition=\"locks-do-not-exclude\"} 1\n"));
        status.role = Role::Standby;
        let standby = text(&status, &tally);
        assert!(standby.contains("\nedge_agent_master 0\n"), "{standby}");
        assert!(!standby.contains("waiting") && !standby.contains("sources_failing"));
    }

    #[test]
    fn every_sample_is_of_a_family_that_was_described() {
        let mut status = status(true);
        status.role = Role::Master;
        let text = text(&status, &Tally::default());
        let mut families: Vec<&str> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').expect("a type");
            assert!(!families.contains(&name), "{name} twice");
            assert_eq!(kind == COUNTER, name.ends_with("_total"), "{name}");
            families.push(name);
        }
        for name in names(&text) {
            let base = ["_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            assert!(
                families.contains(&name) || base.is_some_and(|it| families.contains(&it)),
                "{name}"
            );
        }
        assert_eq!(text.matches("# HELP ").count(), families.len());
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert_eq!(write(&mut [0; 100], &status(false), &Tally::default()), None);
    }
}
