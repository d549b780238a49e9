//! A site's life, by orders to real keepers: what was changed, and what was promised meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use edge_agent::edge::channel::Port;
use edge_agent::edge::cloud::pair::{BatchHead, Hello};
use edge_agent::edge::keeper::Place;
use edge_agent::edge::share::changes::{self, Change, Mishap};
use edge_agent::edge::share::{self, Share};
use edge_agent::engine::ident::{Cursor, Lane, NodeName, ShareClass, SiteId, Term};
use edge_agent::engine::segment::{FIRST_OFFSET, GROUP_HEAD_BYTES, GroupHead, GroupOf};
use edge_agent::engine::share::{
    Append, Decline, Fetch, Fetched, LockWish, Poll, Proof, ProofLock, ProofVerdict, ShareOrder,
    ShareOutcome, Survey,
};
use edge_agent::engine::slot::{LaneMark, ReleaseReason, Slot, SlotState};
use edge_agent::engine::store::{PutBack, StoreOrder};
use edge_agent::sys::socket;

use crate::dice::Dice;

/// Masters that follow one another.
const MASTERS: u32 = 4;
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
    /// and before its outcome; `usize::MAX`: that was no success.
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
    /// Masters that ended by a mishap.
    pub(crate) gone: u32,
}

impl History {
    /// The one that this seed makes, in a data directory in this folder.
    pub(crate) fn of(seed: u64, folder: &Path) -> Self {
        let path = folder.join("data");
        std::fs::create_dir(&path).expect("an empty folder");
        changes::begin();
        let mut life = Life {
            dice: Dice::new(seed),
            declines: seed.is_multiple_of(4),
            path: path.clone(),
            facts: Vec::new(),
            gone: 0,
            cursors: [FIRST; 2],
            newest: BTreeMap::new(),
        };
        for number in 1..=MASTERS {
            changes::plan(life.mishap());
            let lived = Master::begin(&mut life, number).and_then(Master::live);
            // whoever is gone has met its mishap
            changes::plan(None);
            life.gone += u32::from(lived.is_err());
        }
        Self { path, changes: changes::end(), facts: life.facts, gone: life.gone }
    }

    /// How many there are of each kind.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let kinds = ["site", "claimed", "slot", "appended", "declined", "forgotten", "purged"];
        let mut counts: BTreeMap<_, _> = kinds.into_iter().map(|kind| (kind, 0)).collect();
        counts.insert("gone", self.gone as usize);
        let failed = self.changes.iter().filter(|it| matches!(it, Change::SyncFailed { .. }));
        counts.insert("sync failed", failed.count());
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
            *counts.entry(kind).or_default() += usize::from(fact.to < usize::MAX);
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
    /// It was killed.
    is_gone: bool,
}

/// A master is no more, by its mishap.
struct Gone;

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
            is_gone: false,
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
        let perform = || self.share.perform(order, body, None);
        let outcome = match catch_unwind(AssertUnwindSafe(perform)) {
            Ok(outcome) => outcome,
            Err(payload) if payload.is::<Mishap>() => {
                self.is_gone = true;
                return Err(format!("killed in {text}"));
            }
            Err(payload) => resume_unwind(payload),
        };
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
    gone: u32,
    /// The cloud refuses more than usual.
    declines: bool,
    cursors: [Cursor; 2],
    /// The newest segment of each (term, lane).
    newest: BTreeMap<(Term, usize), u32>,
}

impl Life {
    /// What is to befall the next master. The first file alone is made in some 260 changes.
    fn mishap(&mut self) -> Option<(u64, Mishap)> {
        match self.dice.below(6) {
            0 | 1 => None,
            2 | 3 => {
                let most = self.dice.pick(&[12, 120, 400]);
                Some((self.dice.below(most), Mishap::Killed))
            }
            _ => Some((self.dice.below(40), Mishap::SyncFails)),
        }
    }

    /// What a new master knows: what stands in the slots.
    fn survey(&mut self, survey: &Survey) {
        let begun = |cursor: Cursor| if cursor.term == 0 { FIRST } else { cursor };
        self.cursors = survey.cursors.map(begun);
        self.newest.clear();
        for mark in &survey.marks {
            for lane in Lane::ALL {
                let key = (mark.term, lane.index());
                self.newest.insert(key, mark.newest_segment[lane.index()]);
            }
        }
    }
}

struct Master<'a> {
    life: &'a mut Life,
    keeper: Keeper,
    slot: Slot,
    /// By lane: where the next group goes, and the seq of its first record.
    ends: [(u32, u64); 2],
}

impl<'a> Master<'a> {
    fn begin(life: &'a mut Life, number: u32) -> Result<Self, Gone> {
        let node = format!("gw-{number}");
        let from = changes::count();
        let (keeper, site) = Keeper::open(&life.path, &node).map_err(|_| Gone)?;
        life.facts.push(Fact { what: What::Site(site), from, to: changes::count() });
        let slot = first_slot(0, &node, [FIRST; 2]);
        let mut master = Self { life, keeper, slot, ends: [(FIRST_OFFSET, 1); 2] };
        let seen = master.order([], |keeper| keeper.order(ShareOrder::Survey))?;
        let ShareOutcome::Surveyed(survey) = seen else { panic!("{seen:?}") };
        master.life.survey(&survey);
        let from = changes::count();
        let term = master.order([], Keeper::take_term)?;
        master.promise(from, changes::count(), [What::Claimed(term)]);
        master.slot = first_slot(term, &node, master.life.cursors);
        let slot = master.slot.clone();
        let announce = ShareOrder::Announce(slot.clone());
        master.order([What::Slot(Box::new(slot))], |keeper| keeper.order(announce.clone()))?;
        master.prove([1, 1])?;
        Ok(master)
    }

    /// Gives an order that is to do this. What failed is tried once more, and then succeeds.
    fn order<T>(
        &mut self,
        what: impl IntoIterator<Item = What>,
        act: impl Fn(&mut Keeper) -> Result<T, String>,
    ) -> Result<T, Gone> {
        let from = changes::count();
        let mut outcome = act(&mut self.keeper);
        if outcome.is_err() && !self.keeper.is_gone {
            outcome = Ok(act(&mut self.keeper).expect("one sync failed, and this is another"));
        }
        let to = if outcome.is_ok() { changes::count() } else { usize::MAX };
        self.promise(from, to, what);
        outcome.map_err(|_| Gone)
    }

    fn promise(&mut self, from: usize, to: usize, what: impl IntoIterator<Item = What>) {
        self.life.facts.extend(what.into_iter().map(|what| Fact { what, from, to }));
    }

    fn live(mut self) -> Result<(), Gone> {
        for _ in 0..STEPS {
            let lane = self.life.dice.pick(&[Lane::Readings, Lane::Readings, Lane::Alerts]);
            if self.life.declines && self.life.dice.one_in(2) {
                self.append(lane)?;
                self.decline(lane)?;
                continue;
            }
            match self.life.dice.below(13) {
                0..=3 => self.append(lane)?,
                4 => self.begin_segment(lane)?,
                5..=7 => self.forward(lane)?,
                8 => self.decline(lane)?,
                9 => self.sweep(lane)?,
                10 | 11 => self.replay()?,
                _ => self.prove([0, 0])?,
            }
        }
        match self.life.dice.below(3) {
            // it crashes
            0 => Ok(()),
            1 => self.purge(),
            _ => self.release(),
        }
    }

    fn prove(&mut self, create: [u32; 2]) -> Result<(), Gone> {
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
        self.order([What::Slot(Box::new(slot.clone()))], |keeper| {
            keeper.prove(slot.clone(), create)
        })
    }

    /// After a failed sync the segment is closed for good: here the master goes with it.
    fn append(&mut self, lane: Lane) -> Result<(), Gone> {
        let index = lane.index();
        let place = (self.slot.term, self.slot.lanes[index].newest_segment, self.ends[index].0);
        let first = self.ends[index].1;
        let seqs = first..first + self.life.dice.within(1, 12);
        let from = changes::count();
        let appended = self.keeper.append(lane, place, seqs.clone());
        let to = if appended.is_ok() { changes::count() } else { usize::MAX };
        self.promise(from, to, seqs.clone().map(|seq| What::Appended((place.0, index, seq))));
        self.ends[index] = (place.2 + appended.map_err(|_| Gone)?, seqs.end);
        Ok(())
    }

    fn begin_segment(&mut self, lane: Lane) -> Result<(), Gone> {
        let mut create = [0; 2];
        create[lane.index()] = self.slot.lanes[lane.index()].newest_segment + 1;
        self.prove(create)
    }

    /// Reads on from the cursor, past the ends of segments and terms; what there is.
    fn look(&mut self, lane: Lane) -> Result<Option<Fetched>, Gone> {
        let index = lane.index();
        loop {
            let records_max = u32::try_from(self.life.dice.within(1, 20)).expect("few");
            let cursor = self.life.cursors[index];
            // a term that has no slot has nothing
            let newest = self.life.newest.get(&(cursor.term, index)).copied().unwrap_or(0);
            if newest > 0 {
                let fetch = |keeper: &mut Keeper| keeper.fetch(lane, cursor, records_max);
                let (fetched, _) = self.order([], fetch)?;
                assert!(!fetched.missing && fetched.damaged == 0, "{fetched:?}");
                if fetched.count > 0 {
                    return Ok(Some(fetched));
                }
            }
            self.life.cursors[index] = if cursor.segment < newest {
                Cursor { segment: cursor.segment + 1, offset: FIRST_OFFSET, ..cursor }
            } else if cursor.term < self.slot.term {
                Cursor { term: cursor.term + 1, ..FIRST }
            } else {
                return Ok(None);
            };
        }
    }

    /// A batch is accepted.
    fn forward(&mut self, lane: Lane) -> Result<(), Gone> {
        let Some(fetched) = self.look(lane)? else { return Ok(()) };
        self.life.cursors[lane.index()] = fetched.next;
        self.prove([0, 0])
    }

    /// Records are refused, kept, and passed.
    fn decline(&mut self, lane: Lane) -> Result<(), Gone> {
        let Some(fetched) = self.look(lane)? else { return Ok(()) };
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
        let order = ShareOrder::Decline(order);
        let seqs = from.seq..from.seq + u64::from(fetched.count);
        let kept = seqs.map(|seq| What::Declined((from.term, lane.index(), seq)));
        let outcome = self.order(kept, |keeper| keeper.order(order.clone()))?;
        let ShareOutcome::Declined(declined) = outcome else { panic!("{outcome:?}") };
        self.life.cursors[lane.index()] = declined.next;
        self.prove([0, 0])
    }

    fn sweep(&mut self, lane: Lane) -> Result<(), Gone> {
        // what the newest slot says is durable
        let before = self.slot.lanes[lane.index()].cursor;
        self.order([], |keeper| keeper.order(ShareOrder::Sweep { lane, before })).map(drop)
    }

    /// The oldest refused records are sent again, and accepted or refused once more.
    fn replay(&mut self) -> Result<(), Gone> {
        let there = listed(&self.life.path);
        let Some((through, first)) = there.first().copied() else { return Ok(()) };
        if self.life.dice.one_in(2) {
            let order = PutBack {
                through,
                status: 422,
                reason: "refused again".try_into().expect("short"),
                wall_ms: 1_800_000_000_001,
                bytes_max: 16 << 20,
            };
            let order = ShareOrder::Store(StoreOrder::PutBack(order));
            let kept = [What::Declined(first)];
            return self.order(kept, |keeper| keeper.order(order.clone())).map(drop);
        }
        let count = self.life.dice.place(there.len()) + 1;
        let order = ShareOrder::Store(StoreOrder::Forget { through: there[count - 1].0 });
        let later: BTreeSet<_> = there[count..].iter().map(|(_, identity)| *identity).collect();
        let gone = there[..count].iter().map(|(_, identity)| *identity);
        let gone: Vec<_> = gone.filter(|identity| !later.contains(identity)).collect();
        let gone = gone.into_iter().map(What::Forgotten);
        self.order(gone, |keeper| keeper.order(order.clone())).map(drop)
    }

    fn purge(&mut self) -> Result<(), Gone> {
        let there = listed(&self.life.path);
        let order = ShareOrder::Store(StoreOrder::Purge);
        let gone = there.into_iter().map(|(_, identity)| What::Purged(identity));
        self.order(gone, |keeper| keeper.order(order.clone())).map(drop)
    }

    /// What fails here ends the term all the same.
    fn release(&mut self) -> Result<(), Gone> {
        self.slot.heartbeat += 1;
        self.slot.state = SlotState::Released { reason: ReleaseReason::Stopped, successor: None };
        for lane in Lane::ALL {
            self.slot.lanes[lane.index()].last_seq = self.ends[lane.index()].1 - 1;
        }
        let slot = self.slot.clone();
        let from = changes::count();
        let outcome = self.keeper.order(ShareOrder::Release(Some(slot.clone())));
        let to = if outcome.is_ok() { changes::count() } else { usize::MAX };
        self.promise(from, to, [What::Slot(Box::new(slot))]);
        outcome.map(drop).map_err(|_| Gone)
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
