//! Metrics and alert rules as a real Prometheus takes them.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::http::{ask_tcp, free_port};
use crate::support::producer::Producer;
use crate::support::site::{Part, Plan};
use crate::{Beside, NODES, Seen, have};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/prometheus-rules.yml");
const RULE_TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/console/rules-test.yml");
const LIMIT: Duration = Duration::from_secs(10);

/// A Prometheus that scrapes both nodes twice a second.
struct Prometheus {
    port: u16,
    _server: Beside,
}

impl Prometheus {
    fn start(seen: &Seen) -> Self {
        let (scratch, port) = (seen.site.scratch().to_owned(), free_port());
        let targets = seen.ports.map(|port| format!("\"127.0.0.1:{port}\"")).join(", ");
        let config = format!(
            "global:\n  scrape_interval: 500ms\n  evaluation_interval: 500ms\n\
             rule_files:\n  - {RULES}\n\
             scrape_configs:\n  - job_name: edge-agent\n    static_configs:\n\
             \x20     - targets: [{targets}]\n"
        );
        let file = scratch.join("prometheus.yml");
        fs::write(&file, config).expect("written");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", scratch.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let server = Beside::start(&mut command, &scratch.join("prometheus.log"));
        Self { port, _server: server }
    }

    /// The value of an expression that gives one whole number.
    fn ask(&self, expression: &str) -> Option<u64> {
        let query: String = expression
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                _ => format!("%{byte:02X}"),
            })
            .collect();
        let target = format!("/api/v1/query?query={query}");
        let reply = ask_tcp(self.port, "GET", &target, "", b"", LIMIT).ok()?;
        let answer = reply.json()?;
        let results = answer["data"]["result"].as_array()?;
        match &results[..] {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Waits until an expression has this value.
    fn wait(&self, seen: &Seen, expression: &str, value: u64) {
        let mut last = None;
        seen.site.wait(&format!("{expression} to be {value}"), 60, |_| {
            last = self.ask(expression);
            (last == Some(value)).then_some(())
        });
    }
}

fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn metrics(port: u16) -> String {
    let reply = ask_tcp(port, "GET", "/metrics", "", b"", LIMIT).expect("the agent answers");
    assert_eq!(reply.status, 200, "{}", reply.head);
    reply.text()
}

#[test]
fn the_alert_rules_are_good_and_fire() {
    if !have(&["promtool"], "the_alert_rules_are_good_and_fire") {
        return;
    }
    for (verb, file) in [("check", RULES), ("test", RULE_TESTS)] {
        let (is_good, text) = run("promtool", &[verb, "rules", file], "");
        assert!(is_good, "promtool {verb} rules: {text}");
        println!("promtool {verb} rules: {}", text.replace('\n', " "));
    }
}

/// The rules use no metric that there is not, and no condition.
#[test]
fn the_alert_rules_name_what_there_is() {
    let rules = fs::read_to_string(RULES).expect("read");
    let metrics = include_str!("../../src/edge/console/metrics.rs");
    let page = include_str!("../../src/edge/console/page.html");
    let names = rules.split("edge_agent_").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        &rest[..end.unwrap_or(rest.len())]
    });
    for name in names {
        assert!(metrics.contains(&format!("\"{name}\"")), "edge_agent_{name}");
    }
    let conditions = rules.split("condition=~\"").skip(1).map(|rest| rest.split('"').next());
    for condition in conditions.flatten().flat_map(|list| list.split('|')) {
        assert!(page.contains(&format!("'{condition}':")), "{condition}");
    }
}

#[test]
fn a_prometheus_follows_a_takeover() {
    if !have(&["prometheus", "promtool"], "a_prometheus_follows_a_takeover") {
        return;
    }
    let mut seen = Seen::new(&Plan::default());
    seen.start_both();
    let prometheus = Prometheus::start(&seen);
    let producer = Producer::start(seen.site.sockets(&NODES), 200);
    prometheus.wait(&seen, "sum(up)", 2);
    prometheus.wait(&seen, "sum(edge_agent_master)", 1);
    prometheus.wait(&seen, "max(edge_agent_nodes_live)", 2);
    for port in seen.ports {
        let (is_good, text) = run("promtool", &["check", "metrics"], &metrics(port));
        assert!(is_good && text.is_empty(), "promtool check metrics: {text}");
    }
    let delivered = "edge_agent_records_delivered_total{lane=\"readings\"}";
    seen.site.wait("readings of the first master", 60, |_| {
        prometheus.ask(&format!("max({delivered})")).filter(|count| *count > 200)
    });

    seen.site.kill(NODES[0], Part::Agent);
    prometheus.wait(&seen, "sum(up)", 1);
    prometheus.wait(&seen, "count(ALERTS{alertname=\"EdgeNodeDown\"})", 1);
    prometheus.wait(&seen, "sum(edge_agent_master)", 1);
    prometheus.wait(&seen, "max(edge_agent_term)", 2);
    prometheus.wait(&seen, "edge_agent_condition{condition=\"redundancy-lost\"}", 1);
    let sent = producer.stop();
    let total = sent.acknowledged.len();
    // what the new master has counted is what the receiver had from it, but for one alert or so
    seen.site.wait("all that was sent to be counted", 60, |site| {
        let counted = prometheus.ask(&format!("max({delivered})"))?;
        let waiting =
            prometheus.ask("sum(edge_agent_journal_waiting_records{lane=\"readings\"})")?;
        let status = site.status(NODES[1])?;
        let own = status["journal"][0]["delivered"].as_u64()?;
        (waiting == 0 && counted == own && counted > 0).then_some(())
    });
    let ledger = seen.receiver.ledger().readings();
    assert!(ledger >= total, "{ledger} of {total} arrived");
    let both = format!("sum(max_over_time({delivered}[10m]))");
    let counted = prometheus.ask(&both).expect("both nodes were scraped");
    // its last deliveries died with the old master's process; a batch may have come again
    println!("prometheus: {counted} of {ledger} delivered records were seen in its scrapes");
    assert!(
        counted <= ledger as u64 + u64::from(Plan::default().batch_records),
        "{counted} counted, {ledger} delivered"
    );
    prometheus.wait(&seen, "sum(max_over_time(edge_agent_terms_total[10m]))", 2);
    seen.start(0);
    prometheus.wait(&seen, "sum(up)", 2);
    prometheus.wait(&seen, "max(edge_agent_nodes_live)", 2);
}
