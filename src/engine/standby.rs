//! The stages before mastership: opening the share, standing by, claiming.

use super::cloud::CloudOutcome;
use super::election::{Decision, Ground};
use super::forward::Presence;
use super::ident::{Cursor, NodeName, Role, ShareClass, SiteId, Term};
use super::mandate::Mandate;
use super::node_notes::NodeNote;
use super::notes::{Alert, Note, TermNote};
use super::planted::Rule;
use super::roster::Look;
use super::share::{
    FaultClass, LockWish, MountJudgement, NodeRecord, NodesOrder, NodesRead, NodesSeen, Poll,
    Polled, ShareError, ShareOrder, Survey,
};
use super::tenure::Tenure;
use super::{Asked, Effect, Engine, Now, Out, Stage};
use crate::limits::{
    NODE_LIST_EVERY_MS, NODE_RECORD_EVERY_MS, RESIGN_WAIT_MS_MIN, SURVEY_EVERY_MS,
};

impl Engine {
    pub(super) fn order_open(&mut self, now: Now, out: &mut Out<'_>) {
        if now.ms >= self.poll_due_ms && self.stopping_since_ms.is_none() {
            self.ask(now, Asked::Open, ShareOrder::Open, out);
        }
    }

    pub(super) fn opened(
        &mut self,
        site: SiteId,
        class: ShareClass,
        mount: &MountJudgement,
        out: &mut Out<'_>,
    ) {
        if self.site.is_some_and(|known| known != site) {
            // Another site altogether: nothing that we saw before holds.
            self.sight = super::election::Sight::default();
            self.roster = super::roster::Roster::default();
            self.naming = super::naming::Naming::default();
        }
        self.naming.look_again();
        self.nodes_due_ms = 0;
        self.sight.break_off();
        if self.class != class {
            self.sight.trust_lock();
        }
        self.site = Some(site);
        self.class = class;
        self.faults.begin_anew();
        self.all_due_ms = 0;
        self.list_due_ms = 0;
        self.stage = Stage::Loading;
        out(Effect::Note(Note::Opened { site, class }));
        self.judge_mount(mount, out);
    }

    /// A mount whose options make its locks worthless is as a lock that does not exclude. Alone,
    /// this host's own locks are enough.
    fn judge_mount(&mut self, mount: &MountJudgement, out: &mut Out<'_>) {
        if self.host.alone {
            return;
        }
        self.sight.judge_mount(mount.unsafe_because.is_none());
        if self.mount == *mount {
            return;
        }
        self.mount.clone_from(mount);
        for remark in mount.unsafe_because.iter().chain(&mount.remarks) {
            let is_unsafe = mount.unsafe_because.as_ref() == Some(remark);
            out(Effect::Note(Note::Mount { text: remark.clone(), is_unsafe }));
        }
    }

    pub(super) fn open_failed(&mut self, now: Now) {
        self.poll_due_ms = now.ms + u64::from(RESIGN_WAIT_MS_MIN);
    }

    /// A standby's next order: what is late first, then our name, the poll, the records.
    pub(super) fn order_standby(&mut self, now: Now, out: &mut Out<'_>) {
        if self.stopping_since_ms.is_some() {
            if !self.record_left && self.has_name() {
                self.order_nodes(now, NodesRead::Nothing, out);
            }
            return;
        }
        if self.reserve.gives_up() {
            self.order_give_up(now, out);
        } else if self.reload {
            self.reload = false;
            self.ask(now, Asked::Load, ShareOrder::Load, out);
        } else if !self.has_name() {
            self.order_look(now, out);
        } else if self.naming.is_record_due() {
            // The first poll waits for this: the others are looked at with the next one.
            self.order_nodes(now, NodesRead::Nothing, out);
        } else if now.ms >= self.poll_due_ms {
            self.order_poll(now, out);
        } else if now.ms >= self.record_due_ms {
            self.order_nodes(now, NodesRead::Listed, out);
        }
    }

    pub(super) fn standby_due_ms(&self) -> u64 {
        if self.reload || self.reserve.gives_up() || self.naming.is_record_due() {
            0
        } else if self.has_name() {
            self.poll_due_ms.min(self.record_due_ms)
        } else {
            self.look_due_ms()
        }
    }

    fn order_poll(&mut self, now: Now, out: &mut Out<'_>) {
        self.poll_due_ms = now.ms + u64::from(self.settings.poll_ms);
        let all = now.ms >= self.all_due_ms;
        if all {
            self.all_due_ms = now.ms + u64::from(SURVEY_EVERY_MS);
        }
        let lock = if self.forward.presence == Presence::Absent {
            self.sight.lock_wish(now.ms, &self.host, &self.settings)
        } else {
            LockWish::Leave
        };
        let poll = Poll { lock, all, newest: self.sight.newest_term() };
        self.ask(now, Asked::Poll { all }, ShareOrder::Poll(poll), out);
    }

    pub(super) fn polled(&mut self, now: Now, all: bool, polled: &Polled, out: &mut Out<'_>) {
        self.distress.note_seen();
        self.sight.observe(now.ms, polled, &self.settings);
        if self.wish.as_ref().is_some_and(|wish| wish.term != self.sight.newest_term()) {
            self.wish = None;
        }
        let decision = self.sight.decide(now.ms, &self.host, self.class, &self.settings);
        if decision != Decision::Wait && !all {
            // All slots are read before any decision.
            self.all_due_ms = now.ms;
            self.poll_due_ms = now.ms;
            return;
        }
        match decision {
            Decision::Wait => {
                self.reserve.stand_by();
                self.leave_lock_to_others(now);
            }
            Decision::LockDoesNotExclude => self.distrust(out),
            Decision::Claim(ground) => self.claim(now, ground, out),
        }
    }

    /// A lock that we were granted and have no use for comes free at once.
    fn leave_lock_to_others(&mut self, now: Now) {
        let wish = self.sight.lock_wish(now.ms, &self.host, &self.settings);
        if self.sight.locked() != 0 && wish == LockWish::Leave {
            self.poll_due_ms = now.ms;
        }
    }

    fn distrust(&mut self, out: &mut Out<'_>) {
        self.sight.distrust_lock();
        if let Some(slot) = self.sight.newest() {
            let (master, term) = (slot.node.clone(), slot.term);
            out(Effect::Note(Note::LockDoesNotExclude { master, term }));
        }
    }

    fn claim(&mut self, now: Now, ground: Ground, out: &mut Out<'_>) {
        // N2, and a node that is about to stop claims nothing.
        if self.forward.presence != Presence::Absent || self.stopping_since_ms.is_some() {
            return;
        }
        let term = self.sight.next_term();
        self.ground = ground;
        self.claimed_ms = now.ms;
        self.stage = Stage::Claiming;
        self.ask(now, Asked::Claim { term }, ShareOrder::Claim { term }, out);
    }

    pub(super) fn claim_answered(
        &mut self,
        now: Now,
        term: Term,
        created: bool,
        out: &mut Out<'_>,
    ) {
        let left_out = self.host.left_out;
        if created || !left_out.has(Rule::TakenRemembered) {
            self.sight.note_taken(term);
        }
        if !created && !left_out.has(Rule::ClaimedExclusively) {
            out(Effect::Note(Note::Term { term, what: TermNote::NumberTaken }));
            self.stage = Stage::Standby;
            return;
        }
        let seized = self.ground == Ground::Seized;
        let locked = if seized { 0 } else { self.sight.locked() };
        let (host, settings) = (&self.host, &self.settings);
        let mut mandate = Mandate::claimed(term, host, settings, self.class, locked, now.wall_ms);
        let known = self.sight.newest().map(|slot| slot.lanes.map(|lane| lane.cursor));
        let slot = mandate.announcement(known.unwrap_or([Cursor::default(); 2]));
        self.mandate = Some(mandate);
        self.ask(now, Asked::Announce, ShareOrder::Announce(slot), out);
    }

    pub(super) fn announced(
        &mut self,
        now: Now,
        start_ms: u64,
        survey: &Survey,
        out: &mut Out<'_>,
    ) {
        let Some(mut mandate) = self.mandate.take() else { return };
        let term = mandate.term();
        if let Err(higher) = mandate.announced(start_ms, now.ms, survey) {
            out(Effect::Note(Note::Term { term, what: TermNote::GaveUp { to: higher } }));
            self.sight.note_taken(higher);
            self.all_due_ms = now.ms;
            self.stage = Stage::Standby;
            return;
        }
        let from = self.sight.newest().map(|slot| slot.node.clone());
        let gap_ms = self.sight.silent_ms();
        let cursors = mandate.furthest(survey);
        self.journal.begin(term, cursors, self.host.left_out);
        if mandate.slot().fenced || self.host.left_out.has(Rule::CursorsReadLate) {
            self.journal.take_over(cursors, &survey.marks);
        }
        if !mandate.slot().fenced {
            let for_ms = mandate.survey_due_ms().saturating_sub(now.ms);
            out(Effect::Note(Note::Term {
                term,
                what: TermNote::WaitingForOlderLeases { for_ms },
            }));
        }
        self.begin_term(now, mandate, out);
        if self.ground != Ground::First {
            out(Effect::Alert(Alert::MasterChanged { from, ground: self.ground, gap_ms }));
        }
    }

    /// We are master, by an announced slot. Everything of an earlier term of ours is forgotten.
    fn begin_term(&mut self, now: Now, mandate: Mandate, out: &mut Out<'_>) {
        let (term, ground, locked) = (mandate.term(), self.ground, mandate.slot().locked != 0);
        self.sight.note_slot(now.ms, mandate.slot());
        self.mandate = Some(mandate);
        self.stage = Stage::Master;
        self.ending = None;
        self.tenure = Tenure::begin(now.ms);
        self.faults.begin_anew();
        self.nodes_due_ms = now.ms + u64::from(self.settings.heartbeat_ms);
        self.record_due_ms = now.ms;
        self.wish = None;
        self.roster.begin_term(ground == Ground::First);
        self.reserve.begin(now.ms);
        self.forward.begin(now.ms, &self.settings);
        self.store.begin();
        out(Effect::Note(Note::Term { term, what: TermNote::Master { ground, locked } }));
        out(Effect::Collect { term });
    }

    pub(super) fn standby_failed(
        &mut self,
        now: Now,
        asked: Asked,
        error: &ShareError,
        out: &mut Out<'_>,
    ) {
        let poll_ms = u64::from(self.settings.poll_ms);
        if matches!(asked, Asked::Load) && self.stage != Stage::Loading {
            // The configuration in force stays.
            return;
        }
        if matches!(asked, Asked::Claim { .. } | Asked::Announce) {
            self.drop_term(out);
            self.stage = Stage::Standby;
        }
        self.poll_due_ms = now.ms + poll_ms;
        if error.fault.class() == FaultClass::Reopen || self.stage == Stage::Loading {
            self.sight.break_off();
            self.stage = Stage::Closed;
        }
    }

    /// Looks at our own record and writes it, if it is due, and reads the others'.
    pub(super) fn order_nodes(&mut self, now: Now, read: NodesRead, out: &mut Out<'_>) {
        let heartbeat_ms = u64::from(self.settings.heartbeat_ms);
        let relist = read == NodesRead::Known && now.ms >= self.list_due_ms;
        let read = if relist { NodesRead::Listed } else { read };
        if read == NodesRead::Listed {
            self.list_due_ms = now.ms + u64::from(NODE_LIST_EVERY_MS);
        }
        self.nodes_due_ms = now.ms + heartbeat_ms;
        let stopping = self.stopping_since_ms.is_some();
        let last = stopping && self.stage == Stage::Standby;
        let is_due = stopping || now.ms >= self.record_due_ms || self.naming.is_record_due();
        let write = (is_due && self.has_name()).then(|| {
            self.record_due_ms = now.ms + u64::from(NODE_RECORD_EVERY_MS);
            self.naming.record_ordered();
            self.record(now)
        });
        let own = write.is_some() || !self.has_name();
        let own_nonce = own.then_some(self.host.nonce);
        let order = ShareOrder::Nodes(NodesOrder { own_nonce, write, read });
        let others = read != NodesRead::Nothing;
        // An order that does less than what failed shows nothing of it; who waits does no more.
        let shows = (own && others) || self.waits_for_name();
        self.ask(now, Asked::Nodes { last, own, others, shows }, order, out);
    }

    fn record(&mut self, now: Now) -> NodeRecord {
        self.beat = self.beat.wrapping_add(1);
        let stopped = self.stopping_since_ms.is_some() && self.stage == Stage::Standby;
        NodeRecord {
            node: self.host.node.clone(),
            nonce: self.host.nonce,
            beat: self.beat,
            role: if stopped { Role::Stopped } else { self.role() },
            class: self.class,
            version: self.host.version.clone(),
            advertise: self.host.advertise.clone(),
            wish: self.wish.clone(),
            wall_ms: now.wall_ms,
        }
    }

    /// The longest gap between two looks at records that bounds silence.
    pub(super) fn records_gap_ms_max(&self) -> u64 {
        self.gap_ms_max() + u64::from(NODE_RECORD_EVERY_MS)
    }

    pub(super) fn nodes_seen(
        &mut self,
        now: Now,
        start_ms: u64,
        seen: &NodesSeen,
        out: &mut Out<'_>,
    ) {
        if seen.failed.is_some() {
            // Whatever failed is tried with the next order, too: one that does less says nothing.
            self.list_due_ms = now.ms;
        }
        if !seen.shows_others() {
            return;
        }
        let master = self.stage == Stage::Master;
        let look = Look {
            now_ms: now.ms,
            start_ms,
            wall_ms: now.wall_ms,
            gap_ms_max: self.records_gap_ms_max(),
            tells: master,
        };
        self.roster.observe(look, seen, |change| tell(change, out));
        if master {
            self.judge_redundancy(now, out);
        }
    }

    /// An operator asks for another master: here if we are it, else by our record.
    pub(super) fn switch_over(&mut self, now: Now, to: Option<NodeName>, out: &mut Out<'_>) {
        if self.stage == Stage::Master {
            if to.as_ref() != Some(&self.host.node) {
                self.resign(now, super::ReleaseReason::Switchover, to, true, out);
            }
            return;
        }
        self.wish = Some(super::Wish { term: self.sight.newest_term(), to });
        self.record_due_ms = now.ms;
    }

    /// Verdicts count in every stage in which a request can be in flight.
    pub(super) fn cloud_answered(&mut self, now: Now, outcome: &CloudOutcome, out: &mut Out<'_>) {
        match self.stage {
            Stage::Master | Stage::Resigning => self.settle(now, outcome, out),
            Stage::Closed | Stage::Loading | Stage::Standby | Stage::Claiming | Stage::Ended => {}
        }
    }
}

/// Says what changed with a node, in the log and to the site's people.
pub(super) fn tell(change: super::roster::Change, out: &mut Out<'_>) {
    use super::roster::Change;
    match change {
        Change::Lost { node, silent_ms, stopped } => {
            out(Effect::Note(Note::Node(NodeNote::Lost {
                node: node.clone(),
                silent_ms,
                stopped,
            })));
            out(Effect::Alert(Alert::NodeLost { node, silent_ms, stopped }));
        }
        Change::Returned { node } => {
            out(Effect::Note(Note::Node(NodeNote::Returned { node: node.clone() })));
            out(Effect::Alert(Alert::NodeReturned { node }));
        }
        // The log has it from whoever forgot it, if that was us.
        Change::Forgotten { node } => out(Effect::Alert(Alert::NodeForgotten { node })),
        Change::ClockOff { node, skew_ms } => {
            out(Effect::Note(Note::Node(NodeNote::ClockSkew { node: node.clone(), skew_ms })));
            out(Effect::Alert(Alert::ClockSkew { node, skew_ms }));
        }
        Change::ClockBack { node } => {
            out(Effect::Note(Note::Node(NodeNote::ClockSkewOver { node: node.clone() })));
            out(Effect::Alert(Alert::ClockSkewOver { node }));
        }
    }
}
