//! What was asked of the share before a host was lost is done long after.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use edge_agent::engine::ident::Term;
use edge_agent::engine::slot::Slot;

use crate::bench::{Bench, NODES, PATIENCE, plan, seconds};
use crate::gate::{Deed, Fault, Kind};
use crate::support::receiver::Behaviour;
use crate::support::scene::is_long;
use crate::support::site::{Master, Part};

/// The bytes of a slot's page.
const PAGE: usize = 4_096;

/// How late: a write in flight completed 44 s after a cut.
fn late() -> Deed {
    Deed::Late(seconds(8, 44))
}

/// A dead master's slot is written under its successor.
pub(crate) fn a_dead_masters_slot_lands_late() {
    dead_master("edge.terms");
}

/// A group of a dead master is appended under its successor.
pub(crate) fn a_dead_masters_group_lands_late() {
    dead_master("journal/");
}

/// A write below this path is under way when its host is lost.
fn dead_master(below: &'static str) {
    let (mut bench, master) = Bench::started(&plan());
    let (mark, side) = (bench.scene.mark(), Bench::side_of(&master.node));
    // what is delivered is swept, and nobody would see what lands in it
    bench.scene.receiver.behave(Behaviour::HangUp);
    bench.wait_load();
    bench.share.impose(side, Fault::of(&[Kind::Write], late()).below(below));
    bench.site().wait("a write under way", PATIENCE, |_| {
        bench.share.holds(side, Kind::Write, below).then_some(())
    });
    bench.lose(&master.node);
    let next = bench.site().wait_fenced(master.term);
    assert!(!bench.share.held().is_empty(), "landed before the takeover");
    let before = written_by(&bench, master.term);
    bench.wait_landed();
    let after = written_by(&bench, master.term);
    let has_landed = after.iter().any(|(path, bytes)| before.get(path) != Some(bytes));
    assert!(has_landed, "nothing has landed");
    bench.scene.receiver.behave(Behaviour::Answer(200));
    bench.scene.wait_delivery_since(bench.scene.mark());
    bench.check_master(&next);
    bench.share.heal_all();
    bench.scene.site.start(&master.node);
    bench.finish();
    bench.check_repeats(mark, 1);
}

/// What this term's master alone writes: its slot's page, its segments.
fn written_by(bench: &Bench, term: Term) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = bench.share.folder();
    let slots = folder.join("edge.terms");
    let page = usize::try_from(Slot::page_offset(term)).expect("it is small");
    let bytes = fs::read(&slots).expect("it stands there")[page..page + PAGE].to_vec();
    let mut written = BTreeMap::from([(slots, bytes)]);
    for lane in ["readings", "alerts"] {
        let names = fs::read_dir(folder.join("journal").join(lane)).expect("listed").flatten();
        let is_its = |name: &OsString| name.to_string_lossy().starts_with(&format!("{term:08}-"));
        for path in names.filter(|entry| is_its(&entry.file_name())).map(|entry| entry.path()) {
            // it may be swept meanwhile
            written.extend(fs::read(&path).ok().map(|bytes| (path, bytes)));
        }
    }
    written
}

/// The exclusive create of a dead claimant is done when another has long made that name.
pub(crate) fn a_dead_claimants_create_lands_late() {
    let fault = Fault::of(&[Kind::Create], late()).below("claims/");
    let case = DeadClaimant::new(fault, Kind::Create, "claims/");
    assert_eq!(case.next.term, case.old.term + 1, "the number was free");
    assert!(!case.bench.share.held().is_empty(), "landed before the takeover");
    case.finish();
}

/// A claimant dies between its claim and its slot. Its number is burnt: the slot of the term below
/// the next master's was never seen, so that what that term may have written is looked for by a
/// listing, and on a share that is not local a listing counts a minute after the master was fenced.
/// Delivery waits for that; nothing is lost, and collecting goes on.
pub(crate) fn a_dead_claimants_claim_holds_delivery_up_for_a_minute_at_most() {
    let time = Deed::Late(Duration::from_secs(44));
    let fault = Fault::of(&[Kind::Write], time).below("edge.terms");
    let case = DeadClaimant::new(fault, Kind::Write, "edge.terms");
    let fenced = Instant::now();
    assert_eq!(case.next.term, case.old.term + 2, "the claimed number is burnt");
    case.bench.wait_load();
    let receiver = &case.bench.scene.receiver;
    let readings = receiver.ledger().readings();
    let more = receiver
        .wait(Duration::from_secs(90), |ledger| (ledger.readings() > readings).then_some(()));
    assert!(more.is_some(), "nothing was delivered\n{}", case.bench.site().report());
    println!("delivered {:.1} s after the master was fenced", fenced.elapsed().as_secs_f64());
    case.finish();
}

/// A claimant whose host was lost with an operation of its claim under way, and who came instead.
struct DeadClaimant {
    bench: Bench,
    mark: usize,
    claimant: &'static str,
    old: Master,
    next: Master,
}

impl DeadClaimant {
    /// The claimant's operations of this kind below this path meet the fault.
    fn new(fault: Fault, kind: Kind, below: &str) -> Self {
        let (mut bench, old) = Bench::started(&plan());
        let (mark, claimant) = (bench.scene.mark(), Bench::other(&old.node));
        let side = Bench::side_of(claimant);
        bench.share.impose(side, fault);
        bench.scene.site.kill(&old.node, Part::Agent);
        bench.site().wait("a claim under way", PATIENCE, |_| {
            bench.share.holds(side, kind, below).then_some(())
        });
        bench.lose(claimant);
        bench.scene.site.start(&old.node);
        let next = bench.site().wait_fenced(old.term);
        Self { bench, mark, claimant, old, next }
    }

    /// What it left under way lands, and changes nothing.
    fn finish(mut self) {
        self.bench.wait_landed();
        self.bench.share.heal_all();
        self.bench.scene.site.start(self.claimant);
        let last = self.bench.finish();
        assert_eq!(last, self.next, "{}", self.bench.site().report());
        self.bench.check_repeats(self.mark, 1);
    }
}

/// Each operation takes its time, answers of the cloud too, and agents die with a request in
/// flight: none starts after the next master's first.
pub(crate) fn agents_killed_with_a_busy_uplink_on_a_slow_share() {
    let mut slow = plan();
    (slow.heartbeat, slow.fence, slow.seize) = (500, 3_000, 10_000);
    let (mut bench, _) = Bench::started(&slow);
    let time = Deed::Late(Duration::from_millis(20));
    bench.share.impose_on_all(&Fault::of(&[Kind::Write, Kind::Sync, Kind::Create], time));
    bench.scene.receiver.behave(Behaviour::Delay(Duration::from_millis(400)));
    for _ in 0..if is_long() { 50 } else { 2 } {
        let master = bench.steady();
        let mark = bench.scene.mark();
        bench.lose(&master.node);
        bench.site().wait_fenced(master.term);
        bench.scene.wait_delivery_since(mark);
        bench.check_repeats_of_terms(mark, master.term);
        bench.scene.site.start(&master.node);
        bench.site().wait_standby(&master.node);
    }
    bench.scene.receiver.behave(Behaviour::Answer(200));
    assert_eq!(bench.site().running(), NODES);
    bench.finish();
}
