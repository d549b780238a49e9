//! What arrived at the receiver, and what must hold of it.
//!
//! Checked on every request, and kept in `faults` when broken:
//!
//! - L1: the signature is that of the body.
//! - L2: `X-Edge-Records` names as many records as the body holds.
//! - L3: an identity always carries the same record.
//! - L4: a reading (known by its number `n`) has one identity only.
//! - L5: all requests are of one site.
//!
//! Asked for by the tests: what was lost (L6), how many batches came again (L7), whether
//! requests of an older term came after those of a newer (L8).
//!
//! It does not judge what the agents say about themselves.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// A record's name within its site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Identity {
    /// The term that journalled it.
    pub term: u32,
    /// `readings` or `alerts`.
    pub lane: &'static str,
    /// Its number within term and lane.
    pub seq: u64,
}

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its connection was taken from the listening socket: connections queue there in
    /// the order in which they were made.
    pub accepted_ns: u64,
    /// Its path.
    pub path: String,
    /// The sender.
    pub node: String,
    /// The sender's term; `None` for a node's own distress.
    pub term: Option<u32>,
    /// `X-Edge-Records`, as text.
    pub records: String,
    /// How many records it carried.
    pub count: usize,
    /// How many of them had been delivered before.
    pub repeated: usize,
    /// What was answered; 0: nothing.
    pub status: u16,
}

/// A request's head and body, before it is judged.
pub struct Incoming {
    /// See [`Request::accepted_ns`].
    pub accepted_ns: u64,
    /// Its path.
    pub path: String,
    /// `X-Edge-Site`.
    pub site: String,
    /// `X-Edge-Node`.
    pub node: String,
    /// `X-Edge-Term`.
    pub term: String,
    /// `X-Edge-Records`.
    pub records: String,
    /// Whether the signature was that of the body.
    pub signed: bool,
    /// The body.
    pub body: Vec<u8>,
    /// What will be answered; 0: nothing.
    pub status: u16,
}

struct Delivery {
    record: Value,
    request: usize,
}

/// Everything that arrived.
#[derive(Default)]
pub struct Ledger {
    /// All requests, in the order in which they were read whole.
    pub requests: Vec<Request>,
    /// What should never be.
    pub faults: Vec<String>,
    /// The alerts, repeats left out: identity and the object under `alert`.
    pub alerts: Vec<(Identity, Value)>,
    /// Alerts that named no record: nodes' own distress, by node, as they came.
    pub distress: Vec<(String, Value)>,
    /// Records delivered again.
    pub repeated_records: u64,
    delivered: HashMap<Identity, Delivery>,
    numbers: HashMap<u64, Identity>,
    /// (request that brought a repeat, request that had brought it before)
    repeats: BTreeSet<(usize, usize)>,
    site: Option<String>,
}

impl Ledger {
    /// Enters a request.
    pub fn enter(&mut self, incoming: Incoming) {
        let index = self.requests.len();
        if !incoming.signed {
            self.fault(index, "its signature is not that of its body (L1)");
        }
        if *self.site.get_or_insert_with(|| incoming.site.clone()) != incoming.site {
            self.fault(index, "it names another site (L5)");
        }
        let bodies = match bodies_of(&incoming.path, &incoming.body) {
            Ok(bodies) => bodies,
            Err(reason) => return self.fault(index, reason),
        };
        let Some(identities) = identities_of(&incoming.records) else {
            return self.fault(index, "its X-Edge-Records cannot be read (L2)");
        };
        let distress = incoming.term == "none" && identities.is_empty();
        if identities.len() != bodies.len() && !distress {
            let text = format!(
                "X-Edge-Records {:?} names {} records, the body holds {} (L2)",
                incoming.records,
                identities.len(),
                bodies.len()
            );
            return self.fault(index, &text);
        }
        let accepted = incoming.status == 0 || (200..300).contains(&incoming.status);
        let mut repeated = 0;
        if accepted && distress && incoming.path == "/api/v3/alerts.json" {
            self.distress.extend(bodies.iter().map(|body| (incoming.node.clone(), body.clone())));
        }
        if accepted {
            for (identity, body) in identities.iter().zip(bodies) {
                repeated += usize::from(self.deliver(*identity, body, index));
            }
        }
        self.requests.push(Request {
            accepted_ns: incoming.accepted_ns,
            path: incoming.path,
            node: incoming.node,
            term: incoming.term.parse().ok(),
            records: incoming.records,
            count: identities.len(),
            repeated,
            status: incoming.status,
        });
    }

    /// Notes a fault that the receiver itself found.
    pub fn fault(&mut self, request: usize, reason: &str) {
        self.faults.push(format!("request {request}: {reason}"));
    }

    /// Enters a record; says whether it is a repeat.
    fn deliver(&mut self, identity: Identity, record: Value, request: usize) -> bool {
        if let Some(before) = self.delivered.get_mut(&identity) {
            self.repeats.insert((request, before.request));
            before.request = request;
            self.repeated_records += 1;
            if before.record != record {
                let text = format!("{identity:?} was {} and is {record} (L3)", before.record);
                self.fault(request, &text);
            }
            return true;
        }
        if let Some(number) = record["data"]["n"].as_u64()
            && let Some(other) = self.numbers.insert(number, identity)
        {
            let text = format!("reading {number} is both {other:?} and {identity:?} (L4)");
            self.fault(request, &text);
        }
        if identity.lane == "alerts" {
            self.alerts.push((identity, record.clone()));
        }
        self.delivered.insert(identity, Delivery { record, request });
        false
    }

    /// The identity under which a reading was delivered.
    pub fn identity_of(&self, number: u64) -> Option<Identity> {
        self.numbers.get(&number).copied()
    }

    /// Whether reading `n` was delivered.
    pub fn has(&self, number: u64) -> bool {
        self.numbers.contains_key(&number)
    }

    /// How many different readings with a number were delivered.
    pub fn readings(&self) -> usize {
        self.numbers.len()
    }

    /// The different records of all kinds that were delivered, in no order.
    pub fn contents(&self) -> impl Iterator<Item = &Value> {
        self.delivered.values().map(|delivery| &delivery.record)
    }

    /// How many different records of all kinds were delivered.
    pub fn records(&self) -> usize {
        self.delivered.len()
    }

    /// Those of `acknowledged` that were not delivered (L6).
    pub fn missing(&self, acknowledged: &[u64]) -> Vec<u64> {
        acknowledged.iter().copied().filter(|number| !self.has(*number)).collect()
    }

    /// How many batches the requests from number `mark` on brought again (L7).
    pub fn batches_repeated_since(&self, mark: usize) -> usize {
        let again = self.repeats.iter().filter(|(request, _)| *request >= mark);
        again.map(|(_, before)| *before).collect::<BTreeSet<_>>().len()
    }

    /// The first request that came after one of a newer term (L8).
    pub fn order_fault(&self) -> Option<String> {
        let mut requests: Vec<_> =
            self.requests.iter().filter_map(|r| Some((r.accepted_ns, r.term?, &r.node))).collect();
        requests.sort_unstable();
        let late = requests.windows(2).find(|pair| pair[1].1 < pair[0].1)?;
        Some(format!(
            "term {} of {} came {} us after term {} of {} (L8)",
            late[1].1,
            late[1].2,
            (late[1].0 - late[0].0) / 1_000,
            late[0].1,
            late[0].2
        ))
    }

    /// The first request of a term, by when its connection was made.
    pub fn first_of_term(&self, term: u32) -> Option<&Request> {
        let of_term = self.requests.iter().filter(|request| request.term == Some(term));
        of_term.min_by_key(|request| request.accepted_ns)
    }

    /// The newest term that was heard of; 0: none.
    pub fn newest_term(&self) -> u32 {
        self.requests.iter().filter_map(|request| request.term).max().unwrap_or(0)
    }

    /// The alerts whose `data.condition` is this.
    pub fn alerts_of(&self, condition: &str) -> Vec<&Value> {
        let alerts = self.alerts.iter().map(|(_, alert)| alert);
        alerts.filter(|alert| alert["data"]["condition"] == condition).collect()
    }

    /// The distress of a node in this condition: `data.state` of each, in the order in which
    /// they came.
    pub fn distress_of(&self, node: &str, condition: &str) -> Vec<&str> {
        let of_node = self.distress.iter().filter(|(by, _)| by == node);
        let data = of_node.map(|(_, alert)| &alert["data"]);
        let of_condition = data.filter(|data| data["condition"] == condition);
        of_condition.filter_map(|data| data["state"].as_str()).collect()
    }

    /// The last requests, for the message of a failed test.
    pub fn tail(&self) -> String {
        let from = self.requests.len().saturating_sub(8);
        let lines: Vec<_> = self.requests[from..].iter().map(|r| format!("  {r:?}")).collect();
        lines.join("\n") + "\n"
    }
}

/// The records in a body, as JSON.
pub fn bodies_of(path: &str, body: &[u8]) -> Result<Vec<Value>, &'static str> {
    if !body.is_ascii() {
        return Err("its body is not ASCII");
    }
    let mut value: Value = serde_json::from_slice(body).map_err(|_| "its body is not JSON")?;
    match path {
        "/api/v3/things/event.json" => match value.get_mut("events").map(Value::take) {
            Some(Value::Array(events)) => Ok(events),
            Some(_) => Err("its events are not a list"),
            None => Ok(vec![value]),
        },
        "/api/v3/alerts.json" => match value.get_mut("alert").map(Value::take) {
            Some(alert) => Ok(vec![alert]),
            None => Err("it holds no alert"),
        },
        "/api/v3/things/register.json" | "/api/v3/things/heartbeat.json" => {
            if value["thing_key"].is_string() { Ok(Vec::new()) } else { Err("it names no thing") }
        }
        _ => Err("its path is none of the cloud's"),
    }
}

/// Every identity that an `X-Edge-Records` names; an empty text names none.
fn identities_of(text: &str) -> Option<Vec<Identity>> {
    let mut identities = Vec::new();
    if text.is_empty() || text == "none" {
        return Some(identities);
    }
    let ranges: Vec<_> = text.split(',').collect();
    if ranges.len() > 16 {
        return None;
    }
    for range in ranges {
        let mut parts = range.trim().split('/');
        let term = parts.next()?.parse().ok()?;
        let lane = match parts.next()? {
            "readings" => "readings",
            "alerts" => "alerts",
            _ => return None,
        };
        let (first, last) = parts.next()?.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        if first == 0 || last < first || last - first > 1_000_000 || parts.next().is_some() {
            return None;
        }
        identities.extend((first..=last).map(|seq| Identity { term, lane, seq }));
    }
    Some(identities)
}
