//! What the console's clients ask, answered.

use heapless::{String, Vec};

use super::super::config;
use super::super::console::{Answer, Ask, ConnectionId};
use super::super::intake::{self, Refusal};
use super::super::options::Listen;
use super::super::wall::CLOCK_INVALID;
use super::Agent;
use super::telling::CERTIFICATE_EXPIRING;
use crate::engine::Event;
use crate::engine::ident::{Lane, NodeName};
use crate::engine::slot::Slot;
use crate::engine::status::{DeclinedStatus, Status};
use crate::engine::store::StoreRefusal;
use crate::limits::TERMS_SHOWN_MAX;
use crate::sys::clock::boottime_ms;

const NO_CLOCK: &str =
    "this gateway's clock is not set: bring a timestamp with each reading, or come again";

impl Agent {
    pub(super) fn serve_console(&mut self) {
        while let Some((connection, ask)) = self.hands.console.next() {
            match ask {
                Ask::Status | Ask::Metrics => self.show_all(connection, &ask),
                Ask::Health | Ask::Master => self.show_health(connection, &ask),
                Ask::Readings => self.take_in(connection),
                Ask::ReadingsElsewhere => self.send_elsewhere(connection),
                Ask::Switchover { to } => self.switch_over(connection, to),
                Ask::Replay => self.replay(connection),
                Ask::Purge => self.purge(connection),
            }
        }
    }

    /// Everything that is known here.
    fn show_all(&mut self, connection: ConnectionId, ask: &Ask) {
        let now_ms = boottime_ms();
        let mut status = self.engine.status(now_ms);
        self.add_conditions(&mut status);
        self.add_own(now_ms, &mut status);
        let answer = if *ask == Ask::Metrics {
            Answer::Metrics(&status, &self.hands.tally)
        } else {
            Answer::Status(&status)
        };
        self.hands.console.answer(connection, answer);
    }

    fn show_health(&mut self, connection: ConnectionId, ask: &Ask) {
        let now_ms = boottime_ms();
        let is_master = self.engine.is_master(now_ms);
        let mut status = self.engine.status(now_ms);
        self.add_conditions(&mut status);
        let answer = if *ask == Ask::Master {
            let term = status.master.as_ref().map_or(0, |master| master.term);
            Answer::Master { is_master, node: &status.node, term }
        } else {
            Answer::Health { role: status.role, conditions: &status.conditions }
        };
        self.hands.console.answer(connection, answer);
    }

    /// What the agent knows beside its engine.
    fn add_own(&self, now_ms: u64, status: &mut Status) {
        let config = self.hands.config.as_ref();
        let agent = &mut status.agent;
        agent.site = config.map_or_else(String::new, |config| config.site.clone());
        agent.wall_ms = self.wall.now_ms();
        agent.up_ms = now_ms.saturating_sub(self.start_ms);
        agent.terms.clone_from(self.history.terms());
        agent.depths = self.history.depths();
        if self.hands.collecting.is_some() {
            self.sources.show(agent.wall_ms, agent);
        }
    }

    /// The terms that the keeper found as it opened the data directory.
    pub(super) fn learn_terms(&mut self) {
        let link = self.hands.keeper.as_ref().and_then(|keeper| keeper.link.as_ref());
        let body = link.map_or(&[][..], |link| link.body());
        let slots: Vec<Slot, TERMS_SHOWN_MAX> = postcard::from_bytes(body).unwrap_or_default();
        self.history.learn(&slots);
    }

    pub(super) fn note_depth(&mut self) {
        let bytes: u64 = Lane::ALL.map(|lane| self.engine.lane(lane).1.bytes).iter().sum();
        let is_ours = self.hands.collecting.is_some();
        self.history.note_depth(boottime_ms(), is_ours.then_some(bytes));
    }

    /// What the init system is told.
    pub(super) fn tell_service(&mut self) {
        let now_ms = boottime_ms();
        self.service.alive(now_ms);
        if self.service.wants_status(now_ms) {
            let mut status = self.engine.status(now_ms);
            self.add_conditions(&mut status);
            self.service.status(now_ms, &status);
        }
    }

    /// The conditions that the engine knows nothing of.
    fn add_conditions(&self, status: &mut Status) {
        let holds = [
            (CLOCK_INVALID, self.wall.is_invalid()),
            (CERTIFICATE_EXPIRING, self.certificates.is_any_expiring()),
            ("source-failed", self.hands.collecting.is_some() && self.sources.is_any_failing()),
        ];
        for (name, _) in holds.into_iter().filter(|(_, holds)| *holds) {
            // more than fit never hold at once
            let _ = status.conditions.push(name);
        }
    }

    /// Another node is master, or none, or the configuration wants no readings posted.
    fn send_elsewhere(&mut self, connection: ConnectionId) {
        if self.hands.collecting.is_some() {
            let reason = match self.hands.config {
                Some(_) => "intake.enabled is false in the configuration",
                None => "this site has no configuration yet",
            };
            self.hands.console.answer(connection, Answer::Unable { reason });
            return;
        }
        self.send_to_master(connection);
    }

    fn send_to_master(&mut self, connection: ConnectionId) {
        let master = self.engine.master();
        let answer = Answer::Elsewhere {
            master: master.map(|(node, _)| node),
            advertise: master.map_or("", |(_, advertise)| advertise),
        };
        self.hands.console.answer(connection, answer);
    }

    /// Readings: all of a request, or nothing of it.
    fn take_in(&mut self, connection: ConnectionId) {
        if self.hands.collecting.is_none() {
            self.send_elsewhere(connection);
            return;
        }
        self.lines.clear();
        let wall_ms = self.wall.valid_ms();
        let taken = intake::read(self.hands.console.body(connection), wall_ms, &mut self.lines);
        if let Err(refusal) = taken {
            let answer = match refusal {
                Refusal::Bad(fault) => Answer::Bad(fault),
                Refusal::TooLarge(fault) => Answer::TooLarge(fault),
                Refusal::NoClock => Answer::Unable { reason: NO_CLOCK },
            };
            self.hands.console.answer(connection, answer);
            return;
        }
        if !self.engine.has_room() {
            self.hands.console.answer(connection, Answer::Full);
            return;
        }
        let lines = core::mem::take(&mut self.lines);
        match self.hands.gather(Lane::Readings, &lines) {
            Ok(through_seq) => self.hands.console.wait_durable(connection, through_seq),
            Err(_) => self.hands.console.answer(connection, Answer::Full),
        }
        self.lines = lines;
        self.event(Event::Tick);
    }

    fn switch_over(&mut self, connection: ConnectionId, to: Option<NodeName>) {
        if self.engine.waits_for_name() {
            let reason = "another node has this node's name: it takes no part";
            self.hands.console.answer(connection, Answer::Unable { reason });
            return;
        }
        let status = self.engine.status(boottime_ms());
        let Some(master) = &status.master else {
            let reason = "no master is known";
            self.hands.console.answer(connection, Answer::Unable { reason });
            return;
        };
        if to.as_ref() == Some(&master.node) && master.state == "active" {
            let reason = "that node is master already";
            self.hands.console.answer(connection, Answer::Unable { reason });
            return;
        }
        let known = |name: &NodeName| status.nodes.iter().any(|node| node.node == *name);
        if to.as_ref().is_some_and(|name| !known(name)) {
            let reason = "no node of that name is known";
            self.hands.console.answer(connection, Answer::Unable { reason });
            return;
        }
        self.hands.console.answer(connection, Answer::HandingOver { term: master.term });
        self.event(Event::Switchover { to });
    }

    /// The declined records are sent again; the status tells how it goes.
    fn replay(&mut self, connection: ConnectionId) {
        if let Err(refusal) = self.engine.judge_replay(boottime_ms()) {
            self.refuse_store(connection, refusal);
            return;
        }
        self.event(Event::Replay);
        self.answer_begun(connection, |declined| declined.replay.number);
    }

    fn purge(&mut self, connection: ConnectionId) {
        if let Err(refusal) = self.engine.judge_store(boottime_ms()) {
            self.refuse_store(connection, refusal);
            return;
        }
        self.event(Event::Purge);
        self.answer_begun(connection, |declined| declined.purge.number);
    }

    fn answer_begun(&mut self, connection: ConnectionId, number: fn(&DeclinedStatus) -> u32) {
        let status = self.engine.status(boottime_ms());
        let Some(number) = status.declined.as_ref().map(number) else {
            self.send_to_master(connection);
            return;
        };
        self.hands.console.answer(connection, Answer::Begun { number, term: status.term });
    }

    fn refuse_store(&mut self, connection: ConnectionId, refusal: StoreRefusal) {
        let answer = match refusal {
            StoreRefusal::Elsewhere => {
                self.send_to_master(connection);
                return;
            }
            StoreRefusal::NotFenced => {
                Answer::Unable { reason: "an older master's lease may still run: come again" }
            }
            StoreRefusal::NotConfigured => {
                Answer::Unable { reason: "this site has no configuration yet" }
            }
            StoreRefusal::UnderWay => Answer::UnderWay,
        };
        self.hands.console.answer(connection, answer);
    }

    /// Listens as the command line says, else as the configuration does, else as is usual.
    pub(super) fn listen_on_tcp(&mut self) {
        let usual = config::Console::default();
        let config = self.hands.config.as_ref();
        let configured = config.map_or(&usual, |config| &config.console).listen.as_str();
        let listen = self.listen.or_else(|| Listen::parse(configured)).unwrap_or(Listen::Off);
        self.hands.console.listen(listen);
    }
}
