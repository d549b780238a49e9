//! HA alerts as the Datonis API takes them.

use std::fmt::Write as _;

use super::json::write_text;
use super::logging::Utc;
use crate::engine::distress::Call;
use crate::engine::ident::{NodeName, Term};
use crate::engine::node_notes::ClockOff;
use crate::engine::notes::{Alert, Level};
use crate::engine::telling::Phase;
use crate::limits::ALERTS_UNSTAMPED_MAX;

/// What every alert of a node says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The thing that alerts are sent for.
    pub thing_key: &'a str,
    /// The site's name for people.
    pub site: &'a str,
    /// This node.
    pub node: &'a NodeName,
    /// Our term.
    pub term: Term,
}

/// Alerts that wait in memory for a clock that is set, and then bear the time of when they were
/// raised. At most [`ALERTS_UNSTAMPED_MAX`]: later ones are only logged.
#[derive(Debug, Default)]
pub struct Unstamped {
    alerts: Vec<(u64, Alert)>,
}

impl Unstamped {
    /// Takes one that was raised now, in ms of `CLOCK_BOOTTIME`.
    pub fn push(&mut self, now_ms: u64, alert: &Alert) {
        if self.alerts.len() < ALERTS_UNSTAMPED_MAX {
            self.alerts.push((now_ms, alert.clone()));
        }
    }

    /// The clock is set: gives all, each with the wall time of when it was raised.
    pub fn take(&mut self, now_ms: u64, wall_ms: u64) -> Vec<(u64, Alert)> {
        let mut alerts = std::mem::take(&mut self.alerts);
        for (at_ms, _) in &mut alerts {
            *at_ms = wall_ms.saturating_sub(now_ms - *at_ms);
        }
        alerts
    }
}

/// Writes an alert as one line, ended by `\n`.
pub fn write_line(alert: &Alert, sender: Sender<'_>, wall_ms: u64, line: &mut Vec<u8>) {
    let mut figures = String::new();
    write_figures(alert, &mut figures);
    let told = Told {
        level: alert.level(),
        message: &message(alert, sender.node),
        condition: alert.condition(),
        figures: &figures,
    };
    write(&told, sender, wall_ms, line);
}

/// Writes a node's own distress as one line, ended by `\n`. Its end is for information.
pub fn write_call(call: &Call, sender: Sender<'_>, line: &mut Vec<u8>) {
    let Call { condition, phase, lasted_ms, evidence, .. } = call;
    let (level, message) = match phase {
        Phase::Raise => {
            (condition.level(), format!("{}: {evidence}: {}", sender.node, condition.remedy()))
        }
        Phase::Clear => {
            let (name, seconds) = (condition.name(), lasted_ms / 1_000);
            (Level::Info, format!("{}: {name} is over after {seconds} s", sender.node))
        }
    };
    let mut detail = Vec::new();
    write_text(evidence, &mut detail);
    let detail = String::from_utf8_lossy(&detail);
    let state = phase.name();
    let figures = format!(",\"state\":\"{state}\",\"lasted_ms\":{lasted_ms},\"detail\":{detail}");
    let told = Told { level, message: &message, condition: condition.name(), figures: &figures };
    write(&told, sender, call.wall_ms, line);
}

/// What an alert says.
struct Told<'a> {
    level: Level,
    message: &'a str,
    condition: &'a str,
    /// Each begun by a comma.
    figures: &'a str,
}

fn write(told: &Told<'_>, sender: Sender<'_>, wall_ms: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(format!("{{\"alert\":{{\"timestamp\":{wall_ms},").as_bytes());
    line.extend_from_slice(b"\"thing_key\":");
    write_text(sender.thing_key, line);
    let alert_type = told.level.alert_type();
    line.extend_from_slice(format!(",\"alert_type\":{alert_type},\"message\":").as_bytes());
    write_text(told.message, line);
    line.extend_from_slice(b",\"data\":{\"site\":");
    write_text(sender.site, line);
    let Sender { node, term, .. } = sender;
    let condition = told.condition;
    let data = format!(",\"node\":\"{node}\",\"term\":{term},\"condition\":\"{condition}\"");
    line.extend_from_slice(data.as_bytes());
    line.extend_from_slice(told.figures.as_bytes());
    line.extend_from_slice(b"}}}\n");
}

/// The text for people.
fn message(alert: &Alert, node: &NodeName) -> String {
    match alert {
        Alert::MasterChanged { from: Some(from), ground, gap_ms } => format!(
            "{node} took over from {from} ({}); nobody was master for {gap_ms} ms",
            ground.name()
        ),
        Alert::MasterChanged { from: None, ground, .. } => {
            format!("{node} is master ({})", ground.name())
        }
        Alert::RedundancyLost => "no live standby: the next failure stops the site".to_owned(),
        Alert::RedundancyRestored => "a standby is live again".to_owned(),
        Alert::NodeLost { node, stopped: true, .. } => format!("{node} was stopped"),
        Alert::NodeLost { node, silent_ms, .. } => {
            format!("{node} has been silent for {} s", silent_ms / 1_000)
        }
        Alert::NodeReturned { node } => format!("{node} is back"),
        Alert::NodeForgotten { node } => format!("{node} is gone for good: its record is deleted"),
        Alert::ClockSkew { node, skew_ms } => ClockOff { node, skew_ms: *skew_ms }.to_string(),
        Alert::ClockSkewOver { node } => format!("clock-skew: over for {node}"),
        Alert::CloudDeclining { status: 401 | 403, reason } => {
            format!("the cloud refuses our credentials: {reason}")
        }
        Alert::CloudDeclining { status: 404 | 405 | 410, reason } => {
            format!("the cloud knows no such address: {reason}")
        }
        Alert::CloudDeclining { reason, .. } => {
            format!("the cloud refuses records: {reason}; they are kept in the declined store")
        }
        Alert::CloudAccepting => "the cloud accepts records again".to_owned(),
        Alert::JournalFill { told, bytes, bytes_max } => {
            format!("the journal, {bytes} of {bytes_max} bytes: {}", told.text())
        }
        Alert::DeclinedDropping { records } => {
            format!("the declined store is full: its oldest {records} records were dropped")
        }
        Alert::GroupDamaged { stretches, bytes, records } => format!(
            "{bytes} damaged bytes in {stretches} places of the journal were set aside; \
             {records} records are missing"
        ),
        Alert::Source { phase: Phase::Raise, thing_key, metric, fault, failing, .. } => {
            format!("{metric} of {thing_key} cannot be read: {fault}; {failing} sources fail")
        }
        Alert::Source { phase: Phase::Clear, thing_key, metric, lasted_ms, .. } => {
            format!("{metric} of {thing_key} is read again, after {} s", lasted_ms / 1_000)
        }
        Alert::Clock { phase: Phase::Raise, .. } => format!(
            "the clock of {node} is not set: readings without a timestamp are held back or refused"
        ),
        Alert::Clock { phase: Phase::Clear, lasted_ms } => {
            format!("the clock of {node} is set again, after {} s", lasted_ms / 1_000)
        }
        Alert::Certificates { phase: Phase::Raise, expiring, of, first_ms } => format!(
            "{expiring} of {of} certificates of ca_file expire soon or have expired, the first on \
             {}: renew them",
            Utc(*first_ms).day()
        ),
        Alert::Certificates { phase: Phase::Clear, of, .. } => {
            format!("all {of} certificates of ca_file are good for a while")
        }
    }
}

/// The figures of an alert's `data`, each begun by a comma. Names are `[a-z0-9-]`.
fn write_figures(alert: &Alert, data: &mut String) {
    let written = match alert {
        Alert::MasterChanged { from, ground, gap_ms } => {
            let from = from.as_ref().map_or("", NodeName::as_str);
            write!(data, ",\"from\":\"{from}\",\"why\":\"{}\",\"gap_ms\":{gap_ms}", ground.name())
        }
        Alert::RedundancyLost | Alert::RedundancyRestored | Alert::CloudAccepting => Ok(()),
        Alert::CloudDeclining { status, .. } => write!(data, ",\"status\":{status}"),
        Alert::JournalFill { bytes, bytes_max, .. } => {
            write!(data, ",\"bytes\":{bytes},\"bytes_max\":{bytes_max}")
        }
        Alert::DeclinedDropping { records } => write!(data, ",\"records\":{records}"),
        Alert::NodeLost { node, silent_ms, stopped } => {
            write!(data, ",\"lost\":\"{node}\",\"silent_ms\":{silent_ms},\"stopped\":{stopped}")
        }
        Alert::NodeReturned { node } => write!(data, ",\"returned\":\"{node}\""),
        Alert::NodeForgotten { node } => write!(data, ",\"forgotten\":\"{node}\""),
        Alert::ClockSkew { node, skew_ms } => {
            write!(data, ",\"whose\":\"{node}\",\"skew_ms\":{skew_ms}")
        }
        Alert::ClockSkewOver { node } => write!(data, ",\"whose\":\"{node}\""),
        Alert::GroupDamaged { stretches, bytes, records } => {
            write!(data, ",\"stretches\":{stretches},\"bytes\":{bytes},\"records\":{records}")
        }
        Alert::Source { phase, thing_key, metric, lasted_ms, failing, .. } => {
            let (mut key, mut name) = (Vec::new(), Vec::new());
            write_text(thing_key, &mut key);
            write_text(metric, &mut name);
            let (key, name) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&name));
            let state = phase.name();
            write!(
                data,
                ",\"state\":\"{state}\",\"source_thing\":{key},\"metric\":{name},\
                 \"lasted_ms\":{lasted_ms},\"failing\":{failing}"
            )
        }
        Alert::Clock { phase, lasted_ms } => {
            write!(data, ",\"state\":\"{}\",\"lasted_ms\":{lasted_ms}", phase.name())
        }
        Alert::Certificates { phase, expiring, of, first_ms } => write!(
            data,
            ",\"state\":\"{}\",\"expiring\":{expiring},\"of\":{of},\"first_ms\":{first_ms}",
            phase.name()
        ),
    };
    written.expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::json;
    use crate::engine::distress::Condition;
    use crate::engine::election::Ground;

    #[test]
    fn alerts_wait_for_a_clock_and_are_stamped_back() {
        let mut unstamped = Unstamped::default();
        unstamped.push(1_000, &Alert::RedundancyLost);
        unstamped.push(4_000, &Alert::RedundancyRestored);
        let expected = [
            (1_699_999_991_000, Alert::RedundancyLost),
            (1_699_999_994_000, Alert::RedundancyRestored),
        ];
        assert_eq!(unstamped.take(10_000, 1_700_000_000_000), expected);
        assert_eq!(unstamped.take(10_000, 1_700_000_000_000), []);
        (0..100).for_each(|at_ms| unstamped.push(at_ms, &Alert::RedundancyLost));
        assert_eq!(unstamped.take(100, 1_700_000_000_000).len(), ALERTS_UNSTAMPED_MAX);
    }

    #[test]
    fn distress_is_one_line_of_json() {
        let node = NodeName::parse("gw-2").expect("a name");
        let sender = Sender { thing_key: "ha", site: "s", node: &node, term: 0 };
        let mut call = Call {
            condition: Condition::ShareMissing,
            phase: Phase::Raise,
            wall_ms: 1_600_000_000_000,
            lasted_ms: 4_000,
            evidence: heapless::String::try_from("\"/mnt\" is gone").expect("short"),
            term: 0,
            deadline_ms: 1,
        };
        let mut line = Vec::new();
        write_call(&call, sender, &mut line);
        assert_eq!(
            String::from_utf8(line).expect("ASCII"),
            "{\"alert\":{\"timestamp\":1600000000000,\"thing_key\":\"ha\",\"alert_type\":2,\
             \"message\":\"gw-2: \\\"/mnt\\\" is gone: see that the share is mounted and is the \
             right one\",\"data\":{\"site\":\"s\",\"node\":\"gw-2\",\"term\":0,\"condition\":\
             \"share-missing\",\"state\":\"raised\",\"lasted_ms\":4000,\"detail\":\"\\\"/mnt\\\" is \
             gone\"}}}\n"
        );
        call.phase = Phase::Clear;
        let mut line = Vec::new();
        write_call(&call, sender, &mut line);
        let text = String::from_utf8(line).expect("ASCII");
        assert!(
            text.contains("\"alert_type\":0,") && text.contains("\"state\":\"cleared\""),
            "{text}"
        );
        assert!(text.contains("share-missing is over after 4 s"), "{text}");
    }

    #[test]
    fn an_alert_is_one_line_of_json() {
        let node = NodeName::parse("gw-2").expect("a name");
        let from = NodeName::parse("gw-1");
        let sender = Sender { thing_key: "ha\"1", site: "plant 7", node: &node, term: 8 };
        let mut line = Vec::new();
        let alert = Alert::MasterChanged { from, ground: Ground::LockFree, gap_ms: 420 };
        write_line(&alert, sender, 1_600_000_000_000, &mut line);
        let text = String::from_utf8(line).expect("ASCII");
        assert_eq!(
            text,
            "{\"alert\":{\"timestamp\":1600000000000,\"thing_key\":\"ha\\\"1\",\"alert_type\":1,\
             \"message\":\"gw-2 took over from gw-1 (process gone); nobody was master for 420 ms\",\
             \"data\":{\"site\":\"plant 7\",\"node\":\"gw-2\",\"term\":8,\
             \"condition\":\"master-changed\",\"from\":\"gw-1\",\"why\":\"process gone\",\
             \"gap_ms\":420}}}\n"
        );
        assert!(json::check(text.as_bytes()).is_ok());
    }
}
