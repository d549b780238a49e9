#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it is about")]
//! Whole engines on a share and a cloud in memory that do as they are told, unless a test
//! takes something away. Time is a number.

use std::collections::{BTreeMap, BTreeSet};

mod chaos;
mod declined;
mod distress;
mod names;
mod scenarios;
mod stored;

use super::cloud::{CloudOutcome, CloudRequest, Reason, Verdict};
use super::election::Ground;
use super::ident::Cursor;
use super::planted::LeftOut;
use super::segment::FIRST_OFFSET;
use super::share::{
    Fetched, LockSeen, LockWish, NodeRecord, Polled, ProofLock, ProofVerdict, Proven, ShareFault,
    Survey, TermMark,
};
use super::slot::{Slot, SlotState};
use super::*;

const RECORD_BYTES: u32 = 50;
const INODE: u64 = 99;

/// The records of a segment: how many from which seq.
type Segments = BTreeMap<(usize, Term, u32), Vec<(u64, u64)>>;

struct Share {
    declined: stored::Store,
    slots: BTreeMap<Term, Slot>,
    claims: BTreeSet<Term>,
    segments: Segments,
    records: BTreeMap<NodeName, NodeRecord>,
    /// Who wrote them last, by place and machine.
    writers: BTreeMap<NodeName, (usize, usize)>,
    /// What fails of them.
    rot: names::Rot,
    /// Every order for them, by place: whether it wrote, and what it read.
    looks: Vec<(usize, bool, share::NodesRead)>,
    /// Who holds the lock, by place in the site.
    lock: BTreeSet<usize>,
    frozen: bool,
    full: bool,
    /// Free space; only claims, proofs without a segment and the reserve ask for it.
    room: Option<u64>,
    reserve: bool,
    /// There is no data directory.
    gone: bool,
    /// Proofs find the lock file replaced.
    replaced: bool,
    class: ShareClass,
    /// Whoever asks is granted the lock.
    mount: MountJudgement,
    lies: bool,
}

struct Node {
    engine: Engine,
    /// Its machine's id: that of a cloned card is another's, too.
    machine: usize,
    /// How far its wall clock is ahead of the others'.
    wall_ahead_ms: u64,
    alive: bool,
    uplink: bool,
    term: Term,
    pushed: u64,
    /// Records handed to the keeper so far, and those that are with it now.
    flown: u64,
    flying: u64,
    durable: u64,
    exited: bool,
    orders: Vec<ShareOrder>,
    requests: Vec<CloudOrder>,
    /// What was sent for things, and when.
    things: Vec<(CloudRequest, u64)>,
    notes: Vec<String>,
    alerts: Vec<Alert>,
    /// The calls that were made, and when.
    calls: Vec<(Call, u64)>,
    calling: bool,
    lease_end_ms: u64,
    stopped: bool,
}

struct Site {
    now_ms: u64,
    share: Share,
    nodes: Vec<Node>,
    settings: Settings,
    /// (start, node, order), of every request that carried a batch.
    sent: Vec<(u64, usize, CloudOrder)>,
    cloud: Verdict,
    cloud_status: u16,
    /// A record that makes any batch bad content.
    poison: Option<(Term, u64)>,
    /// Calls get no answer.
    deaf: bool,
    /// What is said to things instead.
    thing: Option<(Verdict, u16)>,
    /// The secret file is another than before.
    secret_changed: bool,
    rereads: usize,
}

impl Site {
    fn new(nodes: usize) -> Self {
        let settings = Settings { configured: true, batch_age_ms_max: 100, ..Settings::default() };
        let nodes = (0..nodes).map(node).collect();
        let share = Share::new();
        let cloud = Verdict::Accepted;
        let cloud_status = 200;
        Self {
            now_ms: 1_000,
            share,
            nodes,
            settings,
            sent: Vec::new(),
            cloud,
            cloud_status,
            poison: None,
            deaf: false,
            thing: None,
            secret_changed: false,
            rereads: 0,
        }
    }

    fn event(&mut self, place: usize, event: Event<'_>) {
        let wall_ms = 1_600_000_000_000 + self.now_ms + self.nodes[place].wall_ahead_ms;
        let now = Now { ms: self.now_ms, wall_ms };
        let mut effects = Vec::new();
        self.nodes[place].engine.handle(now, event, &mut |effect| effects.push(effect));
        for effect in effects {
            self.perform(place, effect);
        }
    }

    fn perform(&mut self, place: usize, effect: Effect) {
        let node = &mut self.nodes[place];
        match effect {
            Effect::Share(order) => {
                assert!(node.engine.has_name() || order.wants_no_name(), "N1: {order:?}");
                if let (ShareOrder::Append(append), 0) = (&order, node.flying) {
                    node.flying = u64::from(append.bytes / RECORD_BYTES);
                    node.flown += node.flying;
                }
                node.orders.push(order);
            }
            Effect::StartKeeper => self.event(place, Event::KeeperStarted),
            Effect::StartUplink => {
                assert!(!node.uplink, "N2: two uplinks");
                node.uplink = true;
            }
            Effect::KillUplink => {
                node.uplink = false;
                node.requests.clear();
                self.event(place, Event::UplinkGone);
            }
            Effect::Cloud(order) => {
                assert!(self.now_ms < node.lease_end_ms, "F2: a request without a lease");
                if let CloudRequest::Batch { .. } = order.what {
                    self.sent.push((self.now_ms, place, order.clone()));
                } else {
                    node.things.push((order.what.clone(), self.now_ms));
                }
                self.nodes[place].requests.push(order);
            }
            Effect::Call(call) => {
                assert!(!node.calling, "A1: two callers");
                node.calling = true;
                node.calls.push((call, self.now_ms));
            }
            Effect::EndCall => {
                node.calling = false;
                self.event(place, Event::CallerGone);
            }
            Effect::Lease { end_ms } => node.lease_end_ms = end_ms,
            Effect::Collect { term } => {
                (node.term, node.pushed, node.flown, node.flying) = (term, 0, 0, 0);
            }
            Effect::StopCollecting => node.term = 0,
            Effect::Durable { lane, through_seq } => {
                if lane == Lane::Readings {
                    node.durable = through_seq;
                }
            }
            Effect::OutcomeUnknown => node.durable = 0,
            Effect::Note(said) => node.notes.push(said.to_string()),
            Effect::Alert(alert) => node.alerts.push(alert),
            Effect::Exit => node.exited = true,
        }
    }

    /// Gives the name of a node to another, before both start.
    fn share_name(&mut self, from: usize, to: usize) {
        self.nodes[to].engine.host.node = self.nodes[from].engine.host.node.clone();
    }

    /// A node's process starts again: another nonce, the same machine and run directory.
    fn restart(&mut self, place: usize, nonce_ahead: u64) {
        let machine = self.nodes[place].machine;
        let mut host = self.nodes[place].engine.host.clone();
        host.nonce = 1_000 + place as u64 + nonce_ahead;
        self.nodes[place] = Node { engine: Engine::new(host), machine, ..node(place) };
    }

    /// Lets everything that is due happen until then.
    fn run_for(&mut self, span_ms: u64) {
        let end_ms = self.now_ms + span_ms;
        while self.now_ms <= end_ms {
            for place in 0..self.nodes.len() {
                self.turn(place);
            }
            self.now_ms += 10;
        }
        self.now_ms = end_ms;
    }

    fn turn(&mut self, place: usize) {
        if !self.nodes[place].alive || self.nodes[place].exited || self.nodes[place].stopped {
            return;
        }
        for step in 0.. {
            assert!(step < 1_000, "a busy loop in node {place}: {:?}", self.nodes[place].orders);
            if let Some(order) = self.nodes[place].requests.pop() {
                let (verdict, status) = self.verdict(&order);
                let outcome = CloudOutcome {
                    request: order.request,
                    verdict,
                    status,
                    retry_after_ms: None,
                    reason: Reason::new(),
                };
                self.event(place, Event::Cloud(&outcome));
            } else if self.nodes[place].calling && !self.deaf {
                self.answer_call(place);
            } else if !self.share.frozen && !self.nodes[place].orders.is_empty() {
                let order = self.nodes[place].orders.remove(0);
                self.answer(place, order);
            } else if self.nodes[place].engine.deadline_ms(self.now_ms) <= self.now_ms {
                self.event(place, Event::Tick);
            } else {
                break;
            }
        }
    }

    /// The share answers, or time goes on; the cloud says nothing.
    fn turn_share(&mut self, place: usize) {
        if self.nodes[place].orders.is_empty() {
            self.now_ms += 10;
            self.event(place, Event::Tick);
        } else {
            let order = self.nodes[place].orders.remove(0);
            self.answer(place, order);
        }
    }

    /// The cloud answers a call, and its process ends.
    fn answer_call(&mut self, place: usize) {
        let outcome = CloudOutcome {
            request: 0,
            verdict: self.cloud,
            status: self.cloud_status,
            retry_after_ms: None,
            reason: Reason::new(),
        };
        self.nodes[place].calling = false;
        self.event(place, Event::Call(&outcome));
        self.event(place, Event::CallerGone);
    }

    fn verdict(&self, order: &CloudOrder) -> (Verdict, u16) {
        match (&order.what, self.poison) {
            (CloudRequest::Batch { lane, ranges }, Some((term, seq)))
                if ranges.has(term, *lane, seq) =>
            {
                (Verdict::BadContent, 400)
            }
            (CloudRequest::Register { .. } | CloudRequest::Alive { .. }, _) => {
                self.thing.unwrap_or((self.cloud, self.cloud_status))
            }
            _ => (self.cloud, self.cloud_status),
        }
    }

    fn answer(&mut self, place: usize, order: ShareOrder) {
        let reread = matches!(order, ShareOrder::Reread);
        self.rereads += usize::from(reread);
        let changed = reread && std::mem::take(&mut self.secret_changed);
        if matches!(order, ShareOrder::Load) || changed {
            let settings = self.settings.clone();
            self.event(place, Event::Configured(&settings));
        }
        let attach = matches!(order, ShareOrder::Attach);
        let outcome = self.share.perform(place, order, &mut self.nodes[place]);
        self.event(place, Event::Share(&outcome));
        if attach {
            let locked = self.share.holds(place);
            self.event(place, Event::UplinkReady { locked });
        }
    }

    /// Pushes readings into whichever node collects; gives its place.
    fn push(&mut self, records: u64) -> usize {
        let place = self.nodes.iter().position(|node| node.alive && node.term > 0);
        let place = place.expect("a master");
        self.push_at(place, records);
        place
    }

    fn push_at(&mut self, place: usize, records: u64) {
        let node = &mut self.nodes[place];
        node.pushed += records;
        let bytes = u32::try_from(node.pushed - node.flown).expect("few") * RECORD_BYTES;
        let through_seq = node.pushed;
        self.event(place, Event::Gathered { lane: Lane::Readings, bytes, through_seq });
    }

    fn kill(&mut self, place: usize) {
        self.nodes[place].alive = false;
        self.share.unlock(place);
    }

    fn delivered(&self) -> BTreeSet<(Term, u64)> {
        self.sent.iter().flat_map(|(_, _, order)| readings_of(&order.what)).collect()
    }

    fn role(&self, place: usize) -> Role {
        self.nodes[place].engine.role()
    }

    fn status(&self, place: usize) -> status::Status {
        self.nodes[place].engine.status(self.now_ms)
    }
}

impl Engine {
    /// As after a write that failed: what comes next goes to new ones.
    fn close_segments(&mut self) {
        self.journal.append_failed(Lane::Readings);
    }

    fn own_term(&self) -> Term {
        self.mandate.as_ref().map_or(0, Mandate::term)
    }
}

/// The readings that a request carries.
fn readings_of(what: &CloudRequest) -> Vec<(Term, u64)> {
    match what {
        CloudRequest::Batch { lane: Lane::Readings, ranges } => ranges
            .iter()
            .flat_map(|range| (range.first_seq..=range.last_seq).map(|seq| (range.term, seq)))
            .collect(),
        _ => Vec::new(),
    }
}

fn node(place: usize) -> Node {
    let host = Host {
        node: NodeName::parse(&format!("gw-{place}")).expect("a name"),
        nonce: 1_000 + place as u64,
        advertise: heapless::String::new(),
        version: heapless::String::new(),
        alone: false,
        run_dir_ours: true,
        left_out: LeftOut::default(),
    };
    Node {
        machine: place,
        wall_ahead_ms: 0,
        engine: Engine::new(host),
        alive: true,
        uplink: false,
        term: 0,
        pushed: 0,
        flown: 0,
        flying: 0,
        durable: 0,
        exited: false,
        orders: Vec::new(),
        requests: Vec::new(),
        things: Vec::new(),
        notes: Vec::new(),
        alerts: Vec::new(),
        calls: Vec::new(),
        calling: false,
        lease_end_ms: 0,
        stopped: false,
    }
}

impl Share {
    fn new() -> Self {
        Self {
            declined: stored::Store::default(),
            slots: BTreeMap::new(),
            claims: BTreeSet::new(),
            segments: Segments::new(),
            records: BTreeMap::new(),
            writers: BTreeMap::new(),
            rot: names::Rot::default(),
            looks: Vec::new(),
            lock: BTreeSet::new(),
            frozen: false,
            full: false,
            room: None,
            reserve: false,
            gone: false,
            replaced: false,
            class: ShareClass::Local,
            mount: MountJudgement::default(),
            lies: false,
        }
    }

    fn perform(&mut self, place: usize, order: ShareOrder, node: &mut Node) -> ShareOutcome {
        if self.full && order.wants_space() {
            return failed(ShareFault::NoSpace, "no space");
        }
        if self.gone {
            return failed(ShareFault::Missing, "no data directory");
        }
        if self.room == Some(0) && matches!(order, ShareOrder::Claim { .. } | ShareOrder::Prove(_))
        {
            return failed(ShareFault::NoSpace, "no space");
        }
        match order {
            ShareOrder::Reserve(order) => ShareOutcome::Reserve(self.keep_reserve(order)),
            ShareOrder::Open => {
                self.unlock(place);
                // a lock file that is missing is made
                self.replaced = false;
                ShareOutcome::Opened {
                    site: SiteId([1; 16]),
                    class: self.class,
                    free_bytes: u64::MAX,
                    mount: self.mount.clone(),
                }
            }
            ShareOrder::Load => ShareOutcome::Loaded,
            ShareOrder::Reread => ShareOutcome::Reread,
            ShareOrder::Poll(poll) => {
                let lock = self.try_lock(place, poll.lock == LockWish::Try);
                let newest = self.slots.values().next_back().cloned();
                ShareOutcome::Polled(Polled { lock, newest, taken: 0 })
            }
            ShareOrder::Claim { term } => {
                ShareOutcome::Claimed { created: self.claims.insert(term) }
            }
            ShareOrder::Announce(slot) => {
                self.slots.insert(slot.term, slot);
                ShareOutcome::Surveyed(self.survey())
            }
            ShareOrder::Survey => ShareOutcome::Surveyed(self.survey()),
            ShareOrder::Prove(proof) => ShareOutcome::Proven(self.prove(place, &proof)),
            ShareOrder::Append(append) => self.append(append, node),
            ShareOrder::Fetch(fetch) => ShareOutcome::Fetched(self.fetch(&fetch)),
            ShareOrder::Decline(order) => {
                ShareOutcome::Declined(self.declined.decline(node.engine.own_term(), &order))
            }
            ShareOrder::Store(order) => {
                ShareOutcome::Store(self.declined.perform(node.engine.own_term(), &order))
            }
            ShareOrder::Nodes(order) => self.nodes(place, order, node),
            ShareOrder::Forget { node } => {
                self.records.remove(&node);
                ShareOutcome::Done
            }
            ShareOrder::Newest { .. } => ShareOutcome::Newest { segment: 0 },
            ShareOrder::Sweep { lane, before } => {
                let mark = (before.term, before.segment);
                self.segments.retain(|key, _| key.0 != lane.index() || (key.1, key.2) >= mark);
                ShareOutcome::Swept { journal_bytes: self.journal_bytes(lane.index()) }
            }
            ShareOrder::Release(slot) => {
                if let Some(slot) = slot {
                    self.slots.insert(slot.term, slot);
                }
                self.unlock(place);
                ShareOutcome::Done
            }
            ShareOrder::Attach | ShareOrder::Tidy { .. } => ShareOutcome::Done,
        }
    }

    fn keep_reserve(&mut self, order: share::ReserveOrder) -> share::ReserveSeen {
        use share::{ReserveOrder, ReserveSeen};
        match (order, self.reserve, self.room) {
            (ReserveOrder::Make, true, _) => ReserveSeen::There,
            (ReserveOrder::Make, false, Some(room)) if room < 2 => ReserveSeen::NoRoom,
            (ReserveOrder::Make, false, room) => {
                self.room = room.map(|room| room - 1);
                self.reserve = true;
                ReserveSeen::Made
            }
            (ReserveOrder::GiveUp, true, room) => {
                self.room = room.map(|room| room + 1);
                self.reserve = false;
                ReserveSeen::GivenUp
            }
            (ReserveOrder::GiveUp, false, _) => ReserveSeen::Nothing,
        }
    }

    fn journal_bytes(&self, lane: usize) -> u64 {
        let groups = self.segments.iter().filter(|(key, _)| key.0 == lane).flat_map(|(_, all)| all);
        groups.map(|(_, count)| count * u64::from(RECORD_BYTES)).sum()
    }

    fn append(&mut self, append: share::Append, node: &mut Node) -> ShareOutcome {
        let count = std::mem::take(&mut node.flying);
        assert_eq!(count, u64::from(append.bytes / RECORD_BYTES));
        let key = (append.lane.index(), append.term, append.segment);
        // A newer master may have swept it while we were frozen.
        let newest = self.slots.keys().next_back().copied().unwrap_or(0);
        let Some(segment) = self.segments.get_mut(&key) else {
            assert!(newest > append.term, "B1: a segment that was never made");
            return failed(ShareFault::Other, "no such segment");
        };
        segment.push((node.flown - count + 1, count));
        ShareOutcome::Done
    }

    fn try_lock(&mut self, place: usize, wanted: bool) -> LockSeen {
        if !wanted {
            self.unlock(place);
            return LockSeen::Left;
        }
        if self.lock.is_empty() || self.lies {
            self.lock.insert(place);
        }
        if self.holds(place) { LockSeen::Held { inode: INODE } } else { LockSeen::Busy }
    }

    fn unlock(&mut self, place: usize) {
        self.lock.remove(&place);
    }

    fn holds(&self, place: usize) -> bool {
        self.lock.contains(&place)
    }

    /// An operation of a keeper that is gone lands after all.
    fn land_late(&mut self, term: Term, order: ShareOrder) {
        let slot = match order {
            ShareOrder::Decline(order) => {
                self.declined.decline(term, &order);
                return;
            }
            ShareOrder::Store(order) => {
                self.declined.perform(term, &order);
                return;
            }
            ShareOrder::Claim { term } => {
                self.claims.insert(term);
                return;
            }
            ShareOrder::Announce(slot) => slot,
            ShareOrder::Prove(proof) => {
                self.create(&proof);
                proof.slot
            }
            _ => return,
        };
        let known = self.slots.get(&slot.term).map_or(0, |known| known.heartbeat);
        if slot.heartbeat > known {
            self.slots.insert(slot.term, slot);
        }
    }

    fn create(&mut self, proof: &share::Proof) {
        for (lane, number) in proof.create.into_iter().enumerate().filter(|made| made.1 > 0) {
            self.segments.entry((lane, proof.slot.term, number)).or_default();
        }
    }

    fn prove(&mut self, place: usize, proof: &share::Proof) -> Proven {
        let term = proof.slot.term;
        let newest = self.slots.keys().next_back().copied().unwrap_or(0);
        if newest > term {
            return Proven {
                verdict: ProofVerdict::Superseded { by: newest },
                lock: LockSeen::Left,
            };
        }
        if self.replaced {
            return Proven { verdict: ProofVerdict::Replaced, lock: LockSeen::Left };
        }
        let lock = match proof.lock {
            ProofLock::Write if !self.holds(place) => {
                return Proven { verdict: ProofVerdict::LockLost, lock: LockSeen::Lost };
            }
            ProofLock::Write | ProofLock::Leave => LockSeen::Left,
            ProofLock::Try => self.try_lock(place, true),
        };
        self.create(proof);
        self.slots.insert(term, proof.slot.clone());
        Proven { verdict: ProofVerdict::Proven, lock }
    }

    fn survey(&self) -> Survey {
        let newest = self.slots.values().next_back().cloned();
        let before = newest.as_ref().and_then(|slot| self.slots.get(&(slot.term - 1))).cloned();
        let mut cursors = [Cursor::default(); 2];
        for slot in self.slots.values() {
            for (cursor, lane) in cursors.iter_mut().zip(&slot.lanes) {
                if lane.cursor.is_past(cursor) {
                    *cursor = lane.cursor;
                }
            }
        }
        let marks = self.slots.values().map(|slot| TermMark {
            term: slot.term,
            newest_segment: slot.lanes.map(|lane| lane.newest_segment),
            last_seq: slot.lanes.map(|lane| lane.last_seq),
        });
        Survey { newest, before, fence_ms_max: 5_000, cursors, marks: marks.collect() }
    }

    fn fetch(&self, fetch: &share::Fetch) -> Fetched {
        let from = fetch.from;
        let segment = self.segments.get(&(fetch.lane.index(), from.term, from.segment));
        let last = segment.and_then(|groups| groups.last()).map_or(0, |(first, n)| first + n - 1);
        let first = segment.and_then(|groups| groups.first()).map_or(1, |(first, _)| *first);
        let first_seq = from.seq.max(first);
        let there = (last + 1).saturating_sub(first_seq);
        let count = u32::try_from(there).expect("few").min(fetch.records_max);
        let seq = first_seq + u64::from(count);
        let offset = FIRST_OFFSET + u32::try_from(seq - first).expect("few") * RECORD_BYTES;
        Fetched {
            request: fetch.request,
            first_seq,
            count,
            bytes: count * RECORD_BYTES,
            next: Cursor { seq: if count > 0 { seq } else { from.seq }, offset, ..from },
            at_end: u64::from(count) == there,
            missing: segment.is_none(),
            damaged: 0,
            damaged_bytes: 0,
        }
    }
}

fn failed(fault: ShareFault, text: &str) -> ShareOutcome {
    let text = heapless::String::try_from(text).expect("short");
    ShareOutcome::Failed(share::ShareError { fault, errno: 0, text })
}

impl ShareOrder {
    fn wants_no_name(&self) -> bool {
        match self {
            Self::Open | Self::Load | Self::Release(None) => true,
            Self::Nodes(order) => order.write.is_none(),
            _ => false,
        }
    }

    fn wants_space(&self) -> bool {
        match self {
            Self::Append(_) => true,
            Self::Store(order) => {
                matches!(order, store::StoreOrder::Forget { .. } | store::StoreOrder::PutBack(_))
            }
            Self::Prove(proof) => proof.create != [0, 0],
            _ => false,
        }
    }
}
