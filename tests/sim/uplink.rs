//! The uplink: a process with a lease and, perhaps, a copy of the lock.

use edge_agent::engine::Event;
use edge_agent::engine::cloud::{CloudOrder, CloudOutcome, CloudRequest, Reason, Verdict};
use edge_agent::engine::ident::ShareClass;

use crate::cloud::Answer;
use crate::declined::Identity;
use crate::disk::Holder;
use crate::node::{Life, Orphan, Uplink};
use crate::plan::Aim;
use crate::plan::Fault;
use crate::world::{Due, Part, World};

impl World {
    pub(crate) fn start_uplink(&mut self, place: usize) {
        assert!(self.nodes[place].uplink.is_none(), "N2: a second uplink");
        let number = self.number();
        self.nodes[place].uplink =
            Some(Uplink { number, grip: None, dying: false, order: None, started: false });
    }

    /// The keeper passed the socket, and a copy of the lock's descriptor.
    pub(crate) fn attached(&mut self, place: usize) {
        let life = self.nodes[place].life;
        let grip = self.nodes[place].keeper.as_ref().and_then(|keeper| keeper.grip);
        let Some(uplink) = &mut self.nodes[place].uplink else { return };
        uplink.grip = grip.map(|(grip, _)| grip);
        let number = uplink.number;
        let in_ms = self.dice.within(0, 5);
        self.due_in(in_ms, Due::Hello(life, number));
    }

    pub(crate) fn hello(&mut self, life: Life, number: u64) {
        if let Some(uplink) = self.uplink_of(life, number)
            && !uplink.dying
        {
            let locked = uplink.grip.is_some();
            self.event(life.place, Event::UplinkReady { locked });
        }
    }

    fn uplink_of(&mut self, life: Life, number: u64) -> Option<&mut Uplink> {
        if !self.is_current(life) {
            return None;
        }
        self.nodes[life.place].uplink.as_mut().filter(|uplink| uplink.number == number)
    }

    /// SIGKILL; it is reaped once no descriptor of a hung share holds it.
    pub(crate) fn kill_uplink(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        let Some(uplink) = node.uplink.as_mut().filter(|uplink| !uplink.dying) else { return };
        uplink.dying = true;
        let (life, number) = (node.life, uplink.number);
        let hangs = uplink.grip.is_some() && self.now_ms < node.hung_until_ms;
        let stuck_ms = if hangs { node.hung_until_ms - self.now_ms } else { 0 };
        let in_ms = stuck_ms + self.dice.within(0, 20);
        self.due_in(in_ms, Due::Reaped(life, number));
    }

    pub(crate) fn reaped(&mut self, life: Life, number: u64) {
        if self.uplink_of(life, number).is_none() {
            return;
        }
        let node = &mut self.nodes[life.place];
        let uplink = node.uplink.take().expect("it was found");
        let held = node.keeper.as_ref().and_then(|keeper| keeper.grip).map(|(grip, _)| grip);
        if let Some(grip) = uplink.grip.filter(|grip| held != Some(*grip)) {
            self.disk.holders.remove(&Holder::Grip(grip));
        } else if uplink.grip.is_some() && self.plan.class == ShareClass::Doubtful {
            // the process that locked has not closed anything: the lock stays
        }
        self.event(life.place, Event::UplinkGone);
    }

    // --- the lease ----------------------------------------------------------------------

    pub(crate) fn set_lease(&mut self, place: usize, end_ms: u64) {
        let node = &mut self.nodes[place];
        node.lease_end_ms = end_ms;
        let (life, at_ms) = (node.life, node.clock.true_ms(end_ms));
        if end_ms > 0 && node.uplink.is_some() {
            self.due_in(at_ms.saturating_sub(self.now_ms), Due::Guard(life));
        }
    }

    /// The timer in the uplink: it reads the lease again, and ends the process or waits on.
    pub(crate) fn guard(&mut self, life: Life) {
        if self.part == Some(Part::LeaseTimer) || !self.is_current(life) {
            return;
        }
        let node = &self.nodes[life.place];
        let over = node.clock.now(self.now_ms).ms >= node.lease_end_ms;
        if over && node.uplink.as_ref().is_some_and(|uplink| uplink.order.is_some()) {
            self.kill_uplink(life.place);
        }
    }

    // --- requests -----------------------------------------------------------------------

    pub(crate) fn order_request(&mut self, place: usize, order: CloudOrder) {
        let life = self.nodes[place].life;
        let Some(uplink) = &mut self.nodes[place].uplink else { return };
        uplink.order = Some(order);
        uplink.started = false;
        let number = uplink.number;
        // signing, or a processor that is busy
        let in_ms = if self.dice.one_in(50) { self.dice.below(8_000) } else { self.dice.below(30) };
        self.due_in(in_ms, Due::Start(life, number));
    }

    /// The moment before the connection is made.
    pub(crate) fn start(&mut self, life: Life, number: u64) {
        let place = life.place;
        let clock = self.nodes[place].clock;
        let current = self.uplink_of(life, number).filter(|uplink| !uplink.dying).cloned();
        let now_ms = self.now_ms;
        let is_it = |orphan: &&Orphan| {
            let same = orphan.life == life && orphan.uplink.number == number;
            same && now_ms < orphan.dies_ms
        };
        let orphan = self.orphans.iter().find(is_it);
        let (uplink, lease_end_ms) = match (current, orphan) {
            (Some(uplink), _) => (uplink, self.nodes[place].lease_end_ms),
            (None, Some(orphan)) => (orphan.uplink.clone(), orphan.lease_end_ms),
            (None, None) => return,
        };
        let Some(order) = uplink.order.filter(|_| !uplink.started) else { return };
        let local_ms = clock.now(self.now_ms).ms;
        if local_ms >= lease_end_ms && self.part != Some(Part::LeaseTimer) {
            self.kill_uplink(place);
            return;
        }
        self.trace.note(self.now_ms, place, "starts", u64::from(order.term));
        self.trace.say(self.now_ms, crate::node::name(place), || format!("* starts {order:?}"));
        let records = records_of(&order.what);
        let checked = self
            .checks
            .order
            .started(order.term)
            .and_then(|()| self.checks.lease.started(life, local_ms))
            .and_then(|()| self.see_records(&records));
        self.judge(checked);
        self.table.reach("request started");
        self.send(life, number, &records);
    }

    fn see_records(&self, records: &[Identity]) -> crate::checks::Checked {
        let declined = self.disk.declined.left();
        records.iter().try_for_each(|record| {
            let replayed = declined.contains(record) || self.purged.contains(record);
            self.checks.repeats.started(*record, replayed)
        })
    }

    /// The request is under way.
    fn send(&mut self, life: Life, number: u64, records: &[Identity]) {
        let place = life.place;
        let bad = records.iter().any(|(_, _, seq)| seq % 7 == 3);
        let offline = self.now_ms < self.nodes[place].offline_until_ms;
        let mut answer = self.mood.answer(&mut self.dice, records.len() as u64, bad);
        if offline {
            answer = Answer { verdict: Verdict::Retry, status: 0, taken: false, ..answer };
        }
        if answer.taken {
            let records_max = self.plan.settings.batch_records_max;
            for record in records {
                self.checks.kept.accepted(*record);
                let checked = self.checks.repeats.accepted(*record, records_max);
                self.judge(checked);
            }
        }
        if let Some(uplink) = self.uplink_of(life, number) {
            uplink.started = true;
        }
        if let Some(in_ms) = answer.in_ms {
            self.due_in(in_ms, Due::Answer(life, number, answer));
        }
        let aimed = self.plan.aim == Aim::Accepted && answer.taken && !self.healing;
        if aimed && self.is_current(life) && self.dice.one_in(60) {
            self.table.hit(Fault::Killed);
            self.kill(place);
        }
    }

    pub(crate) fn answered(&mut self, life: Life, number: u64, answer: Answer) {
        let Some(uplink) = self.uplink_of(life, number).filter(|uplink| !uplink.dying) else {
            return;
        };
        let Some(order) = uplink.order.take() else { return };
        let outcome = CloudOutcome {
            request: order.request,
            verdict: answer.verdict,
            status: answer.status,
            retry_after_ms: answer.retry_after_ms,
            reason: Reason::new(),
        };
        self.table.reach(verdict_name(answer.verdict));
        self.event(life.place, Event::Cloud(&outcome));
    }

    /// A node's own distress: best effort.
    pub(crate) fn call_ends(&mut self, life: Life, number: u64) {
        if !self.is_current(life) || self.nodes[life.place].calling != Some(number) {
            return;
        }
        self.nodes[life.place].calling = None;
        let (verdict, status) = (Verdict::Accepted, 200);
        let retry_after_ms = None;
        let outcome =
            CloudOutcome { request: 0, verdict, status, retry_after_ms, reason: Reason::new() };
        self.event(life.place, Event::Call(&outcome));
        self.event(life.place, Event::CallerGone);
    }
}

fn records_of(what: &CloudRequest) -> Vec<Identity> {
    let CloudRequest::Batch { ranges, .. } = what else { return Vec::new() };
    let ranges = ranges.iter();
    let seqs = ranges.flat_map(|range| {
        (range.first_seq..=range.last_seq).map(|seq| (range.lane.index(), range.term, seq))
    });
    seqs.collect()
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "verdict accepted",
        Verdict::BadContent => "verdict bad content",
        Verdict::BadCredentials => "verdict bad credentials",
        Verdict::TooLarge => "verdict too large",
        Verdict::Retry => "verdict retry",
        Verdict::Unknown => "verdict unknown",
    }
}
