//! A site's life, by orders to real keepers: what was changed, and what was promised meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use edge_agent::edge::channel::Port;
use edge_agent::edge::cloud::pair::{BatchHead, Hello};
use edge_agent::edge::keeper::Place;
use edge_agent::edge::share::changes::{self, Change};
use edge_agent::edge::share::{self, Share};
use edge_agent::engine::ident::{Cursor, Lane, NodeName, ShareClass, SiteId, Term};
use edge_agent::engine::segment::{FIRST_OFFSET, GROUP_HEAD_BYTES, GroupHead, GroupOf};
use edge_agent::engine::share::{
    Append, Decline, Fetch, Fetched, LockWish, Poll, Proof, ProofLock, ProofVerdict, ShareOrder,
    ShareOutcome,
};
use edge_agent::engine::slot::{LaneMark, ReleaseReason, Slot, SlotState};
use edge_agent::engine::store::{PutBack, StoreOrder};
use edge_agent::sys::socket;

use crate::dice::Dice;

/// Masters that follow one another.
const TERMS: Term = 3;
/// Orders of a term.
const STEPS: u64 = 14;

/// A record: (term, lane, seq).
pub(crate) type Identity = (Term, usize, u64);

/// What an order was to do.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Site(SiteId),
    Claimed(Term),
    Slot(Box<Slot>),
    Appended(Identity),
    Declined(Identity),
    Forgotten(Identity),
    Purged(Identity),
}

/// What was promised, and when.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) what: What,
    /// Changes before its order,
    pub(crate) from: usize,
    /// and before its outcome.
    pub(crate) to: usize,
}

impl Fact {
    /// The outcome came before a crash after so many changes.
    pub(crate) fn is_certain(&self, count: usize) -> bool {
        self.to <= count
    }

    /// A part of it may be there.
    pub(crate) fn is_begun(&self, count: usize) -> bool {
        self.from < count
    }
}

/// The life of a site.
pub(crate) struct History {
    pub(crate) path: PathBuf,
    pub(crate) changes: Vec<Change>,
    pub(crate) facts: Vec<Fact>,
}

impl History {
    /// The one that this seed makes, in a data directory in this folder.
    pub(crate) fn of(seed: u64, folder: &Path) -> Self {
        let path = folder.join("data");
        std::fs::create_dir(&path).expect("an empty folder");
        changes::begin();
        let mut life = Life {
            dice: Dice::new(seed),
            path: path.clone(),
            facts: Vec::new(),
            cursors: [FIRST; 2],
            newest: BTreeMap::new(),
        };
        for term in 1..=TERMS {
            Master::begin(&mut life, term).live();
        }
        Self { path, changes: changes::end(), facts: life.facts }
    }

    /// How many there are of each kind.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let kinds = ["site", "claimed", "slot", "appended", "declined", "forgotten", "purged"];
        let mut counts: BTreeMap<_, _> = kinds.into_iter().map(|kind| (kind, 0)).collect();
        for fact in &self.facts {
            let kind = match fact.what {
                What::Site(_) => "site",
                What::Claimed(_) => "claimed",
                What::Slot(_) => "slot",
                What::Appended(_) => "appended",
                What::Declined(_) => "declined",
                What::Forgotten(_) => "forgotten",
                What::Purged(_) => "purged",
            };
            *counts.entry(kind).or_default() += 1;
        }
        counts
    }
}

/// Where a lane begins.
const FIRST: Cursor = Cursor { term: 1, segment: 1, offset: FIRST_OFFSET, seq: 1 };

/// The line of a record: no two are the same, nor of one length.
pub(crate) fn line(of: Identity) -> String {
    let padding = "x".repeat(usize::try_from(of.2 * 31 % 97).expect("short"));
    format!("{{\"term\":{},\"lane\":{},\"seq\":{},\"pad\":\"{padding}\"}}\n", of.0, of.1, of.2)
}

/// A keeper, and what it passes to its uplink.
pub(crate) struct Keeper {
    share: Share,
    uplink: Port,
}

impl Keeper {
    /// It opens the data directory, or makes it.
    pub(crate) fn open(path: &Path, node: &str) -> Result<(Self, SiteId), String> {
        let (ours, theirs) = socket::pair().expect("a pair");
        let mut keeper = Self {
            share: Share::new(Place {
                data_dir: path.to_owned(),
                config: None,
                expected_site: None,
                may_create: true,
                alone: false,
                require_network: false,
                node: NodeName::parse(node).expect("a name"),
                run_dir: path.to_owned(),
            }),
            uplink: Port::new(ours),
        };
        let ShareOutcome::Opened { site, .. } = keeper.order(ShareOrder::Open)? else {
            return Err("it was not opened".to_owned());
        };
        keeper.share.perform(ShareOrder::Attach, &[], Some(theirs));
        keeper.uplink.receive::<Hello>().expect("a greeting");
        Ok((keeper, site))
    }

    pub(crate) fn order(&mut self, order: ShareOrder) -> Result<ShareOutcome, String> {
        self.order_with(order, &[])
    }

    pub(crate) fn order_with(
        &mut self,
        order: ShareOrder,
        body: &[u8],
    ) -> Result<ShareOutcome, String> {
        let text = format!("{order:?}");
        let outcome = self.share.perform(order, body, None);
        if let ShareOutcome::Failed(error) = &outcome {
            return Err(format!("{text} failed: {error}"));
        }
        Ok(outcome)
    }

    /// Reads from a cursor, as far as `records_max`; and what the uplink would get.
    pub(crate) fn fetch(
        &mut self,
        lane: Lane,
        from: Cursor,
        records_max: u32,
    ) -> Result<(Fetched, Vec<u8>), String> {
        let order =
            Fetch { request: 1, lane, from, end: u32::MAX, records_max, bytes_max: 32 << 10 };
        let ShareOutcome::Fetched(fetched) = self.order(ShareOrder::Fetch(order))? else {
            return Err("nothing was fetched".to_owned());
        };
        let mut body = Vec::new();
        if fetched.count > 0 {
            self.uplink.receive::<BatchHead>().expect("a batch");
            body.extend_from_slice(self.uplink.body());
        }
        Ok((fetched, body))
    }

    /// Takes the next number that is free, and writes its slot; the term.
    pub(crate) fn take_term(&mut self) -> Result<Term, String> {
        let poll = Poll { lock: LockWish::Leave, all: true, newest: 0 };
        let ShareOutcome::Polled(seen) = self.order(ShareOrder::Poll(poll))? else {
            return Err("nothing was polled".to_owned());
        };
        let mut term = seen.newest.map_or(seen.taken, |slot| slot.term) + 1;
        while self.order(ShareOrder::Claim { term })? != (ShareOutcome::Claimed { created: true }) {
            term += 1;
        }
        Ok(term)
    }

    pub(crate) fn prove(&mut self, slot: Slot, create: [u32; 2]) -> Result<(), String> {
        let proof = Proof { slot, write_slot: true, all: true, lock: ProofLock::Leave, create };
        let outcome = self.order(ShareOrder::Prove(proof))?;
        let proven = matches!(&outcome, ShareOutcome::Proven(proven)
            if proven.verdict == ProofVerdict::Proven);
        if proven { Ok(()) } else { Err(format!("no proof: {outcome:?}")) }
    }

    /// Appends these records; the bytes that they took.
    pub(crate) fn append(
        &mut self,
        lane: Lane,
        place: (Term, u32, u32),
        seqs: std::ops::Range<u64>,
    ) -> Result<u32, String> {
        let (term, segment, offset) = place;
        let mut group = vec![0; GROUP_HEAD_BYTES];
        for seq in seqs.clone() {
            group.extend_from_slice(line((term, lane.index(), seq)).as_bytes());
        }
        let count = u32::try_from(seqs.end - seqs.start).expect("few");
        GroupHead::seal(&mut group, GroupOf { term, lane }, seqs.start, count);
        let bytes = u32::try_from(group.len()).expect("small");
        let order = Append { lane, term, segment, offset, bytes };
        self.order_with(ShareOrder::Append(order), &group).map(|_| bytes)
    }
}

/// A slot of a new term.
pub(crate) fn first_slot(term: Term, node: &str, cursors: [Cursor; 2]) -> Slot {
    let lanes = cursors.map(|cursor| LaneMark { cursor, ..LaneMark::default() });
    Slot {
        term,
        node: NodeName::parse(node).expect("a name"),
        nonce: u64::from(term),
        heartbeat: 1,
        state: SlotState::Active,
        locked: 0,
        fenced: true,
        class: ShareClass::Local,
        heartbeat_ms: 1_000,
        fence_ms: 5_000,
        lanes,
        started_wall_ms: 1_800_000_000_000,
        ended_wall_ms: 0,
    }
}

struct Life {
    dice: Dice,
    path: PathBuf,
    facts: Vec<Fact>,
    cursors: [Cursor; 2],
    /// The newest segment of each (term, lane).
    newest: BTreeMap<(Term, usize), u32>,
}

struct Master<'a> {
    life: &'a mut Life,
    keeper: Keeper,
    slot: Slot,
    /// By lane: where the next group goes, and the seq of its first record.
    ends: [(u32, u64); 2],
}

impl<'a> Master<'a> {
    fn begin(life: &'a mut Life, term: Term) -> Self {
        let node = format!("gw-{term}");
        let from = changes::count();
        let (keeper, site) = Keeper::open(&life.path, &node).expect("opened");
        life.facts.push(Fact { what: What::Site(site), from, to: changes::count() });
        let slot = first_slot(term, &node, life.cursors);
        let mut master = Self { life, keeper, slot, ends: [(FIRST_OFFSET, 1); 2] };
        let (taken, from) = master.at(|master| master.keeper.take_term().expect("claimed"));
        assert_eq!(taken, term, "nobody else takes numbers");
        master.promise(from, [What::Claimed(term)]);
        let slot = master.slot.clone();
        let order = ShareOrder::Announce(slot.clone());
        let (_, from) = master.at(|master| master.keeper.order(order).expect("announced"));
        master.promise(from, [What::Slot(Box::new(slot))]);
        master.prove([1, 1]);
        master
    }

    /// Does something; with how many changes there were before it.
    fn at<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> (T, usize) {
        let from = changes::count();
        (act(self), from)
    }

    fn promise(&mut self, from: usize, what: impl IntoIterator<Item = What>) {
        let to = changes::count();
        self.life.facts.extend(what.into_iter().map(|what| Fact { what, from, to }));
    }

    fn live(mut self) {
        for _ in 0..STEPS {
            let lane = self.life.dice.pick(&[Lane::Readings, Lane::Readings, Lane::Alerts]);
            match self.life.dice.below(13) {
                0..=3 => self.append(lane),
                4 => self.begin_segment(lane),
                5..=7 => self.forward(lane),
                8 => self.decline(lane),
                9 => self.sweep(lane),
                10 | 11 => self.replay(),
                _ => self.prove([0, 0]),
            }
        }
        match self.life.dice.below(3) {
            // it crashes
            0 => {}
            1 => self.purge(),
            _ => self.release(),
        }
    }

    fn prove(&mut self, create: [u32; 2]) {
        self.slot.heartbeat += 1;
        for lane in Lane::ALL {
            let index = lane.index();
            let mark = &mut self.slot.lanes[index];
            mark.cursor = self.life.cursors[index];
            if create[index] > 0 {
                mark.newest_segment = create[index];
                self.life.newest.insert((self.slot.term, index), create[index]);
                self.ends[index].0 = FIRST_OFFSET;
            }
        }
        let slot = self.slot.clone();
        let ((), from) = self.at(|master| {
            master.keeper.prove(master.slot.clone(), create).expect("proven");
        });
        self.promise(from, [What::Slot(Box::new(slot))]);
    }

    fn append(&mut self, lane: Lane) {
        let index = lane.index();
        let place = (self.slot.term, self.slot.lanes[index].newest_segment, self.ends[index].0);
        let first = self.ends[index].1;
        let seqs = first..first + self.life.dice.within(1, 12);
        let (bytes, from) =
            self.at(|master| master.keeper.append(lane, place, seqs.clone()).expect("appended"));
        self.promise(from, seqs.clone().map(|seq| What::Appended((place.0, index, seq))));
        self.ends[index] = (place.2 + bytes, seqs.end);
    }

    fn begin_segment(&mut self, lane: Lane) {
        let mut create = [0; 2];
        create[lane.index()] = self.slot.lanes[lane.index()].newest_segment + 1;
        self.prove(create);
    }

    /// Reads on from the cursor, past the ends of segments and terms; what there is.
    fn look(&mut self, lane: Lane) -> Option<Fetched> {
        let index = lane.index();
        loop {
            let records_max = u32::try_from(self.life.dice.within(1, 20)).expect("few");
            let cursor = self.life.cursors[index];
            let (fetched, _) = self.keeper.fetch(lane, cursor, records_max).expect("fetched");
            assert!(!fetched.missing && fetched.damaged == 0, "{fetched:?}");
            if fetched.count > 0 {
                return Some(fetched);
            }
            let newest = self.life.newest[&(cursor.term, index)];
            self.life.cursors[index] = if cursor.segment < newest {
                Cursor { segment: cursor.segment + 1, offset: FIRST_OFFSET, ..cursor }
            } else if cursor.term < self.slot.term {
                Cursor { term: cursor.term + 1, ..FIRST }
            } else {
                return None;
            };
        }
    }

    /// A batch is accepted.
    fn forward(&mut self, lane: Lane) {
        if let Some(fetched) = self.look(lane) {
            self.life.cursors[lane.index()] = fetched.next;
            self.prove([0, 0]);
        }
    }

    /// Records are refused, kept, and passed.
    fn decline(&mut self, lane: Lane) {
        let Some(fetched) = self.look(lane) else { return };
        let from = self.life.cursors[lane.index()];
        let order = Decline {
            lane,
            from,
            end: u32::MAX,
            records: fetched.count,
            status: 400,
            reason: "refused".try_into().expect("short"),
            wall_ms: 1_800_000_000_000,
            bytes_max: 16 << 20,
        };
        let (outcome, begun) =
            self.at(|master| master.keeper.order(ShareOrder::Decline(order)).expect("declined"));
        let ShareOutcome::Declined(declined) = outcome else { panic!("{outcome:?}") };
        let seqs = from.seq..from.seq + u64::from(fetched.count);
        self.promise(begun, seqs.map(|seq| What::Declined((from.term, lane.index(), seq))));
        self.life.cursors[lane.index()] = declined.next;
        self.prove([0, 0]);
    }

    fn sweep(&mut self, lane: Lane) {
        // what the newest slot says is durable
        let before = self.slot.lanes[lane.index()].cursor;
        self.keeper.order(ShareOrder::Sweep { lane, before }).expect("swept");
    }

    /// The oldest refused records are sent again, and accepted or refused once more.
    fn replay(&mut self) {
        let there = listed(&self.life.path);
        let Some((through, first)) = there.first().copied() else { return };
        if self.life.dice.one_in(2) {
            let order = PutBack {
                through,
                status: 422,
                reason: "refused again".try_into().expect("short"),
                wall_ms: 1_800_000_000_001,
                bytes_max: 16 << 20,
            };
            let order = ShareOrder::Store(StoreOrder::PutBack(order));
            let (_, from) = self.at(|master| master.keeper.order(order).expect("put back"));
            self.promise(from, [What::Declined(first)]);
            return;
        }
        let count = self.life.dice.place(there.len()) + 1;
        let through = there[count - 1].0;
        let order = ShareOrder::Store(StoreOrder::Forget { through });
        let (_, from) = self.at(|master| master.keeper.order(order).expect("forgotten"));
        let later: BTreeSet<_> = there[count..].iter().map(|(_, identity)| *identity).collect();
        let gone = there[..count].iter().map(|(_, identity)| *identity);
        let gone: Vec<_> = gone.filter(|identity| !later.contains(identity)).collect();
        self.promise(from, gone.into_iter().map(What::Forgotten));
    }

    fn purge(&mut self) {
        let there = listed(&self.life.path);
        let order = ShareOrder::Store(StoreOrder::Purge);
        let (_, from) = self.at(|master| master.keeper.order(order).expect("purged"));
        self.promise(from, there.into_iter().map(|(_, identity)| What::Purged(identity)));
    }

    fn release(&mut self) {
        self.slot.heartbeat += 1;
        self.slot.state = SlotState::Released { reason: ReleaseReason::Stopped, successor: None };
        for lane in Lane::ALL {
            self.slot.lanes[lane.index()].last_seq = self.ends[lane.index()].1 - 1;
        }
        let slot = self.slot.clone();
        let order = ShareOrder::Release(Some(slot.clone()));
        let (_, from) = self.at(|master| master.keeper.order(order).expect("released"));
        self.promise(from, [What::Slot(Box::new(slot))]);
    }
}

type Listed = Vec<(edge_agent::engine::store::Position, Identity)>;

/// The declined store, as a command lists it.
fn listed(path: &Path) -> Listed {
    let entries = share::declined(path).expect("listed");
    entries
        .map(|entry| entry.expect("read"))
        .map(|(position, entry)| (position, (entry.term, entry.lane.index(), entry.seq)))
        .collect()
}
