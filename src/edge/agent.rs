//! The agent process: one loop that waits in one place, and brings events to the engine and
//! effects to the world.
//!
//! 1. It blocks only in `poll(2)`, until the earliest deadline of engine, console and sources.
//! 2. It never touches the share, nor any path of the configuration.
//! 3. Once started, a standby's loop allocates nothing, SIGHUP excepted.
//!
//! It decides nothing: the engine does. `hands` performs effects.

mod collecting;
mod distress;
mod hands;
mod serving;
mod telling;

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use heapless::String;

use self::hands::{Hands, Soon};
use self::telling::{Certificates, Told};
use super::children;
use super::cloud::{CloudSetup, certificate};
use super::config::{self, Config, Files, Origin};
use super::console::{Console, Token, host_token};
use super::history::History;
use super::hold::Hold;
use super::keeper::{KeeperAnswer, Place};
use super::options::{Listen, Options};
use super::service::Service;
use super::sources::Sources;
use super::uplink::UplinkAnswer;
use super::wall::Wall;
use crate::engine::ident::Lane;
use crate::engine::planted::LeftOut;
use crate::engine::settings::{Host, Settings};
use crate::engine::share::ShareOutcome;
use crate::engine::{Engine, Event, Now};
use crate::exit;
use crate::limits::CONNECTIONS_MAX;
use crate::sys::clock::boottime_ms;
use crate::sys::lease::Lease;
use crate::sys::poll::{PollFd, poll};
use crate::sys::process::{self, Exit};
use crate::sys::random::random_u64;
use crate::sys::signals::{Signal, Signals};

/// Descriptors that the loop can wait for: signals, four children, listeners, connections.
const WATCHED_MAX: usize = 5 + 2 + CONNECTIONS_MAX;

/// Runs a node of the site until it is told to stop; gives the exit code.
pub fn run(options: &Options) -> i32 {
    if !options.supervise {
        return run_once(options);
    }
    children::supervise(|| run_once(options)).unwrap_or_else(|error| {
        log::error!("supervisor: cannot start: {error}");
        exit::UNAVAILABLE
    })
}

fn run_once(options: &Options) -> i32 {
    match Agent::start(options) {
        Ok(mut agent) => agent.live(),
        Err(error) => {
            log::error!("agent: cannot start: {error}");
            exit::UNAVAILABLE
        }
    }
}

/// The token of this host; without it the console is for this host alone.
fn own_token(path: &Path) -> Option<Token> {
    host_token(path)
        .inspect_err(|error| log::error!("console: no token from {}: {error}", path.display()))
        .ok()
}

/// Why a configuration was refused.
type Refused = std::string::String;

/// A configuration that can be taken, with what its files hold.
struct Judged {
    config: Config,
    setup: CloudSetup,
    token: Option<Token>,
}

struct Agent {
    engine: Engine,
    settings: Settings,
    hands: Hands,
    sources: Sources,
    hold: Hold,
    wall: Wall,
    certificates: Certificates,
    told: Told,
    signals: Signals,
    listen: Option<Listen>,
    /// The console's token where the configuration has none.
    own_token: Option<Token>,
    service: Service,
    history: History,
    start_ms: u64,
    watched: Vec<PollFd>,
    lines: Vec<u8>,
}

impl Agent {
    fn start(options: &Options) -> io::Result<Self> {
        let signals = Signals::new()?;
        let lease = Lease::new(boottime_ms())?;
        let place = Place {
            data_dir: options.data_dir.clone(),
            config: options.config.clone(),
            expected_site: options.site,
            may_create: options.site.is_none(),
            alone: options.alone,
            require_network: options.require_network_share,
            node: options.node.clone(),
            run_dir: options.run_dir.clone(),
        };
        let mut console = Console::open(&options.run_dir);
        let host = Host {
            node: options.node.clone(),
            nonce: random_u64()?,
            advertise: options.advertise.clone(),
            version: String::try_from(env!("CARGO_PKG_VERSION")).unwrap_or_default(),
            alone: options.alone,
            run_dir_ours: console.has_socket(boottime_ms()),
            left_out: LeftOut::default(),
        };
        console.advertise(&options.advertise);
        let own_token = options.console_token_file.as_deref().and_then(own_token);
        console.guard(own_token.clone());
        match options.console {
            Some(Listen::At(address)) if !address.ip().is_loopback() && own_token.is_none() => {
                log::info!("console: {address} is listened on once its token was read");
            }
            Some(tcp) => console.listen(tcp),
            None => {}
        }
        Ok(Self {
            engine: Engine::new(host),
            settings: Settings::default(),
            hands: Hands::new(options.node.clone(), place, console, lease),
            sources: Sources::default(),
            hold: Hold::default(),
            wall: Wall::new(),
            certificates: Certificates::default(),
            told: Told::default(),
            signals,
            listen: options.console,
            own_token,
            service: Service::new(),
            history: History::default(),
            start_ms: boottime_ms(),
            watched: Vec::with_capacity(WATCHED_MAX),
            lines: Vec::new(),
        })
    }

    fn live(&mut self) -> i32 {
        log::info!("node {}: started, version {}", self.hands.node, env!("CARGO_PKG_VERSION"));
        self.event(Event::Tick);
        self.service.ready();
        while !self.hands.exiting {
            if let Err(error) = self.wait() {
                log::error!("agent: cannot wait: {error}");
                return exit::UNAVAILABLE;
            }
            self.wall.watch();
            self.take_signals();
            self.take_keeper();
            self.take_uplink();
            self.take_collector();
            self.take_caller();
            self.serve_console();
            self.read_sources();
            self.tell_own();
            self.note_depth();
            self.event(Event::Tick);
            self.tell_service();
        }
        log::info!("node {}: stopped", self.hands.node);
        0
    }

    /// The one place in which this process waits.
    fn wait(&mut self) -> io::Result<()> {
        let now_ms = boottime_ms();
        self.watched.clear();
        self.watched.push(PollFd::new(self.signals.as_fd(), true, false));
        let hands = &self.hands;
        for child in [&hands.keeper, &hands.uplink, &hands.collector, &hands.caller] {
            if let Some(link) = child.as_ref().and_then(|child| child.link.as_ref()) {
                self.watched.push(PollFd::new(link.as_fd(), true, link.wants_write()));
            }
        }
        let console_at = self.watched.len();
        self.hands.console.watch(&mut self.watched, now_ms);
        let mut due_ms = self.engine.deadline_ms(now_ms);
        due_ms = due_ms.min(self.hands.console.deadline_ms().unwrap_or(u64::MAX));
        due_ms = due_ms.min(self.sources_due_ms()).min(self.tell_due_ms());
        due_ms = due_ms.min(self.service.due_ms());
        let wait_ms = (due_ms < u64::MAX).then(|| due_ms.saturating_sub(now_ms));
        poll(&mut self.watched, wait_ms)?;
        self.hands.console.turn(&self.watched[console_at..], boottime_ms());
        Ok(())
    }

    /// Brings an event to the engine, after what was gathered meanwhile, then all that follows
    /// from its effects at once.
    fn event(&mut self, event: Event<'_>) {
        self.settle();
        let now = self.now();
        let hands = &mut self.hands;
        self.engine.handle(now, event, &mut |effect| hands.perform(effect));
        self.settle();
        for lane in Lane::ALL {
            let (term, status) = self.engine.lane(lane);
            self.hands.tally.look(lane, term, status);
        }
    }

    fn now(&self) -> Now {
        Now { ms: boottime_ms(), wall_ms: self.wall.now_ms() }
    }

    fn settle(&mut self) {
        while let Some(soon) = self.hands.soon.pop_front() {
            let event = match soon {
                Soon::KeeperStarted => Event::KeeperStarted,
                Soon::KeeperGone => Event::KeeperGone,
                Soon::UplinkGone => Event::UplinkGone,
                Soon::CallerGone => Event::CallerGone,
                Soon::Gathered(lane) => self.hands.gathered(lane),
            };
            let now = self.now();
            let hands = &mut self.hands;
            self.engine.handle(now, event, &mut |effect| hands.perform(effect));
        }
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.signals.take() {
            match signal {
                Signal::Terminate | Signal::Interrupt => {
                    self.service.stopping();
                    self.event(Event::Stop);
                }
                Signal::HangUp => self.event(Event::Reload),
                Signal::Child => self.reap(),
                Signal::Kill | Signal::Pipe => {}
            }
        }
    }

    /// Children's ends are events; strangers that came to us as process 1 are just reaped.
    fn reap(&mut self) {
        while let Some((pid, ended)) = process::reap() {
            let is = |child: &Option<hands::Process>| {
                child.as_ref().is_some_and(|child| child.pid == pid)
            };
            if is(&self.hands.keeper) {
                // What it answered before its end still counts.
                Hands::bury(self.hands.keeper.as_mut(), "keeper", ended);
                self.take_keeper();
                self.hands.keeper = None;
                // an order that was lost with it has failed
                self.hands.tally.answered(boottime_ms(), true);
                self.event(Event::KeeperGone);
            } else if is(&self.hands.uplink) {
                Hands::bury(self.hands.uplink.as_mut(), "uplink", ended);
                self.take_uplink();
                self.hands.uplink = None;
                self.event(Event::UplinkGone);
            } else if is(&self.hands.caller) {
                if ended != Exit::Code(exit::OK) {
                    Hands::bury(self.hands.caller.as_mut(), "distress", ended);
                }
                self.take_caller();
                self.hands.caller = None;
                self.event(Event::CallerGone);
            } else {
                self.reap_collector(pid, ended);
            }
        }
    }

    fn take_keeper(&mut self) {
        while let Some(link) = self.hands.keeper.as_mut().and_then(|keeper| keeper.link.as_mut()) {
            let answer = link.flush().and_then(|()| link.receive::<KeeperAnswer>());
            match answer {
                Ok(None) => return,
                Ok(Some(answer)) => self.keeper_answered(&answer),
                Err(error) => {
                    log::warn!("keeper: channel lost: {error}");
                    Hands::cut(self.hands.keeper.as_mut());
                }
            }
        }
    }

    fn keeper_answered(&mut self, answer: &KeeperAnswer) {
        if answer.number != self.hands.number() {
            return;
        }
        let is_failed = matches!(answer.outcome, ShareOutcome::Failed(_));
        self.hands.tally.answered(boottime_ms(), is_failed);
        self.hands.land(answer.outcome == ShareOutcome::Done);
        if answer.outcome == ShareOutcome::Loaded {
            self.load();
        }
        if answer.outcome == ShareOutcome::Reread {
            self.look_at_secrets();
        }
        if let ShareOutcome::Opened { site, .. } = &answer.outcome {
            self.hands.pin(*site);
            self.learn_terms();
        }
        self.event(Event::Share(&answer.outcome));
        if let Some(slot) = self.engine.newest_slot() {
            self.history.watch(boottime_ms(), slot);
        }
    }

    fn take_uplink(&mut self) {
        while let Some(link) = self.hands.uplink.as_mut().and_then(|uplink| uplink.link.as_mut()) {
            let answer = link.flush().and_then(|()| link.receive::<UplinkAnswer>());
            match answer {
                Ok(None) => return,
                Ok(Some(UplinkAnswer::Ready { locked })) => {
                    self.event(Event::UplinkReady { locked });
                }
                Ok(Some(UplinkAnswer::Outcome(outcome))) => {
                    self.hands.tally.judged(boottime_ms(), outcome.verdict);
                    self.event(Event::Cloud(&outcome));
                }
                Err(_) => Hands::cut(self.hands.uplink.as_mut()),
            }
        }
    }

    /// Takes the configuration that the keeper has read.
    fn load(&mut self) {
        let files = self.files();
        let judged = self.judge(&files);
        let is_gone = matches!(judged, Ok(None)) && self.hands.config.is_some();
        let gone = is_gone.then_some("it is gone; the one before stays in force");
        let refused = judged.as_ref().err().map(Refused::as_str).or(gone);
        let path = self.hands.place.config_path();
        let path = path.display();
        self.event(Event::Judged { refused });
        match judged {
            Ok(Some(judged)) => self.take_config(judged),
            Ok(None) if self.hands.config.is_none() => {
                log::warn!("config: there is no {path}: nothing is collected until there is");
            }
            Ok(None) => log::error!("config: {path} is gone; the old one stays in force"),
            Err(fault) => log::error!("config: refused: {fault}"),
        }
        self.listen_on_tcp();
        let settings = self.settings.clone();
        self.event(Event::Configured(&settings));
    }

    /// Takes a secret or CA file that changed while the uplink pauses: that ends the pause. All
    /// else, also which files they are, changes by SIGHUP alone.
    fn look_at_secrets(&mut self) {
        let files = self.files();
        let Some(config) = &self.hands.config else { return };
        let parsed = files.config.as_deref().and_then(|bytes| self.parse(bytes).ok());
        if !parsed.is_some_and(|parsed| parsed.named_files() == config.named_files()) {
            return;
        }
        let site = self.hands.site.unwrap_or_default().to_string();
        let Ok(setup) = CloudSetup::new(config, &files, &site, &self.hands.node) else { return };
        if self.hands.setup.as_ref() == Some(&setup) {
            return;
        }
        log::info!("config: the secret or CA file changed; the cloud is tried again");
        self.hands.setup = Some(setup);
        let settings = self.settings.clone();
        self.event(Event::Configured(&settings));
    }

    /// What the keeper has read.
    fn files(&self) -> Files {
        let link = self.hands.keeper.as_ref().and_then(|keeper| keeper.link.as_ref());
        link.and_then(|link| Files::from_bytes(link.body())).unwrap_or_default()
    }

    fn parse(&self, bytes: &[u8]) -> Result<Config, Refused> {
        let named = self.hands.place.config.as_ref().map(|path| path.to_string_lossy());
        let origin = named.as_deref().map_or(Origin::DataDirectory, Origin::Named);
        config::parse(bytes, origin).map_err(|fault| fault.to_string())
    }

    /// The configuration that these files make; `None`: there is none.
    fn judge(&self, files: &Files) -> Result<Option<Judged>, Refused> {
        let Some(bytes) = &files.config else {
            return files.fault.clone().map_or(Ok(None), Err);
        };
        let config = self.parse(bytes)?;
        if let Some(fault) = &files.fault {
            return Err(fault.clone());
        }
        let site = self.hands.site.unwrap_or_default().to_string();
        let setup = CloudSetup::new(&config, files, &site, &self.hands.node)
            .map_err(|fault| fault.to_string())?;
        let token = files.token.as_deref().map(|bytes| {
            Token::read(bytes).ok_or_else(|| format!("console.token_file: {}", Token::EXPECTED))
        });
        Ok(Some(Judged { config, setup, token: token.transpose()? }))
    }

    fn take_config(&mut self, Judged { config, setup, token }: Judged) {
        for warning in &config.warnings {
            log::warn!("config: {warning}");
        }
        self.hands.console.guard(token.or_else(|| self.own_token.clone()));
        self.settings = config.settings();
        self.sources = Sources::new(&config, &self.sources, boottime_ms());
        let ends_ms = setup.ca.as_deref().map(certificate::ends_in).unwrap_or_default();
        self.certificates = Certificates::new(ends_ms, &self.certificates);
        self.hands.config = Some(config);
        self.hands.setup = Some(setup);
        self.hands.judge_intake();
        // A collector knows the configuration that it was started with.
        self.hands.stop_collector();
    }
}
