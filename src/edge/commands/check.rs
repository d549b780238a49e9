//! `check`: looks at the system, the share, the configuration and the cloud before a node is
//! trusted with them; a line for each thing, with what mends it.
//!
//! The share is looked at by a child, within [`SURVEY_MS_MAX`]; the cloud is asked by an uplink
//! without a term, and before it the proxy by a child, each within `cloud.timeout_ms`. With `--peer`
//! the share is tried together with another host that does the same, and the cloud is left alone:
//! a child waits for that host for up to [`PEER_WAIT_MS_MAX`], and once it is there says something
//! within [`PEER_QUIET_MS_MAX`], or is given up.

use std::time::{Duration, Instant};

use super::apart::{Failure, Teller, Work, receive};
use super::{exit, print};
use crate::edge::children;
use crate::edge::cloud::way::NoWay;
use crate::edge::cloud::{CloudSetup, certificate, peer};
use crate::edge::config::{self, CloudKind, Config, Files, Origin};
use crate::edge::console::Token;
use crate::edge::keeper::Place;
use crate::edge::logging::Utc;
use crate::edge::options::{Listen, Options};
use crate::edge::share::{Level, Probe, Probed, Told, probe, prove};
use crate::edge::uplink::{self, UplinkAnswer};
use crate::engine::cloud::{CloudOrder, CloudOutcome, CloudRequest, Verdict};
use crate::engine::ident::SiteId;
use crate::limits::{CERTIFICATE_WARN_MS, PEER_QUIET_MS_MAX, PEER_WAIT_MS_MAX, SURVEY_MS_MAX};
use crate::sys::clock::{boottime_ms, wall_ms};
use crate::sys::lease::Lease;

/// The oldest Linux that has all that we use: OFD locks, memfd, getrandom.
const LINUX_MIN: (u32, u32) = (3, 17);
/// The first byte of a piece from the child. A probe follows, or the site id and the files.
const PROBE: u8 = 0;
const FILES: u8 = 1;
/// With another host: it is there; all was said.
const MET: u8 = 2;
const OVER: u8 = 3;

/// What was found so far.
#[derive(Default)]
struct Report {
    fails: bool,
    fails_for_now: bool,
}

impl Report {
    fn say(&mut self, level: Level, text: &str) {
        let word = match level {
            Level::Pass => "pass",
            Level::Warn => "warn",
            Level::FailForNow | Level::Fail => "fail",
        };
        self.fails |= level == Level::Fail;
        self.fails_for_now |= level == Level::FailForNow;
        let printable = |letter: char| if letter.is_control() { '?' } else { letter };
        let text: String = text.chars().map(printable).collect();
        // the exit code says it all to whoever does not read
        let _ = print(&format!("{word}  {text}\n"));
    }

    /// What a child found.
    fn say_probe(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let found = postcard::from_bytes::<Probe>(bytes);
        let found = found.map_err(|error| Failure::Fault(error.to_string()))?;
        self.say(found.level, &found.text);
        Ok(())
    }

    const fn code(&self) -> i32 {
        match (self.fails, self.fails_for_now) {
            (true, _) => exit::CONFIGURATION,
            (false, true) => exit::TEMPORARY,
            (false, false) => exit::OK,
        }
    }
}

pub(super) fn check(options: &Options, with_peer: bool) -> i32 {
    let mut report = Report::default();
    check_system(&mut report);
    let place = Place {
        data_dir: options.data_dir.clone(),
        config: options.config.clone(),
        expected_site: options.site,
        may_create: false,
        alone: options.alone,
        require_network: options.require_network_share,
        node: options.node.clone(),
        run_dir: options.run_dir.clone(),
    };
    match check_share(&place, &mut report) {
        Ok(Some(probed)) if with_peer => {
            if let Err(failure) = check_with_peer(options, &place, &probed, &mut report) {
                report.say(Level::FailForNow, &format!("peer: {failure}"));
            }
        }
        Ok(Some(probed)) => {
            if let Some((config, setup)) = check_config(options, &probed, &mut report) {
                check_console(options, &config, &probed.files, &mut report);
                check_cloud(&config, &setup, &mut report);
            }
        }
        Ok(None) => {}
        Err(failure) => report.say(Level::FailForNow, &format!("share: {failure}")),
    }
    report.code()
}

fn check_system(report: &mut Report) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    match version_of(release) {
        Some(version) if version >= LINUX_MIN => {
            report.say(Level::Pass, &format!("system: Linux {release}"));
        }
        Some(_) => {
            report.say(Level::Fail, &format!("system: Linux {release}: 3.17 or later is needed"));
        }
        None => report.say(Level::Warn, "system: its version is not known: mount /proc"),
    }
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Everything that touches the share; gives the configuration.
fn check_share(place: &Place, report: &mut Report) -> Result<Option<Probed>, Failure> {
    let begin = Instant::now();
    let mut work = Work::begin("edge-check", |teller| {
        let probed = probe(place, |found| tell_probe(teller, &found));
        if let Some(Probed { site, files }) = probed {
            teller.tell(Ok(&[&[FILES], &site.0[..], files.to_bytes().as_slice()].concat()));
        }
    })?;
    let limit = Duration::from_millis(u64::from(SURVEY_MS_MAX));
    loop {
        let left = limit.saturating_sub(begin.elapsed()).as_millis();
        let piece = match work.next(u32::try_from(left).unwrap_or(SURVEY_MS_MAX)) {
            Err(Failure::Silent(_)) => return Err(Failure::Silent(SURVEY_MS_MAX)),
            piece => piece?,
        };
        match piece.as_deref().and_then(<[u8]>::split_first) {
            Some((&PROBE, rest)) => report.say_probe(rest)?,
            Some((_, rest)) => return Ok(read_probed(rest)),
            None => return Ok(None),
        }
    }
}

/// What only two hosts together can try, once this one has passed by itself. Nothing is judged if
/// the child ends before it has said all.
fn check_with_peer(
    options: &Options,
    place: &Place,
    probed: &Probed,
    report: &mut Report,
) -> Result<(), Failure> {
    let config = probed.files.config.as_ref().map(|bytes| read_config(options, bytes));
    // what is wrong with it is for a check without a peer to say
    let ha = config.and_then(Result::ok).map(|config| config.ha).unwrap_or_default();
    let mut work = Work::begin("edge-check", |teller| {
        prove(&place.data_dir, &ha, |told| match told {
            Told::Found(level, text) => tell_probe(teller, &Probe::new(level, &text)),
            Told::Met => teller.tell(Ok(&[MET])),
            Told::Over => teller.tell(Ok(&[OVER])),
        });
    })?;
    let mut limit_ms = PEER_WAIT_MS_MAX + SURVEY_MS_MAX;
    while let Some(piece) = work.next(limit_ms)? {
        match piece.split_first() {
            Some((&MET, _)) => limit_ms = PEER_QUIET_MS_MAX,
            Some((&OVER, _)) => return Ok(()),
            Some((_, rest)) => report.say_probe(rest)?,
            None => {}
        }
    }
    let why = "the child that meets the other host ended before its time: run it again on both";
    Err(Failure::Fault(why.to_owned()))
}

fn tell_probe(teller: &mut Teller, found: &Probe) {
    let mut piece = [PROBE; 512];
    let length = postcard::to_slice(found, &mut piece[1..]).map(|bytes| bytes.len());
    let told = length.map(|length| &piece[..=length]).map_err(|_| "a finding is too long");
    teller.tell(told);
}

fn read_probed(bytes: &[u8]) -> Option<Probed> {
    let (site, rest) = bytes.split_first_chunk()?;
    Some(Probed { site: SiteId(*site), files: Files::from_bytes(rest)? })
}

fn read_config(options: &Options, bytes: &[u8]) -> Result<Config, config::Fault> {
    let named = options.config.as_ref().map(|path| path.to_string_lossy());
    config::parse(bytes, named.as_deref().map_or(Origin::DataDirectory, Origin::Named))
}

fn check_config(
    options: &Options,
    Probed { site, files }: &Probed,
    report: &mut Report,
) -> Option<(Config, CloudSetup)> {
    let mut refuse = |why: &str| {
        report.say(Level::Fail, &format!("config: {why}"));
        None
    };
    let Some(bytes) = &files.config else {
        return match &files.fault {
            Some(fault) => refuse(fault),
            None => refuse("there is no edge.json in the data directory: write one"),
        };
    };
    let config = match read_config(options, bytes) {
        Ok(config) => config,
        Err(fault) => return refuse(&fault.to_string()),
    };
    if let Some(fault) = &files.fault {
        return refuse(fault);
    }
    let setup = match CloudSetup::new(&config, files, &site.to_string(), &options.node) {
        Ok(setup) => setup,
        Err(fault) => return refuse(&fault.to_string()),
    };
    for warning in &config.warnings {
        report.say(Level::Warn, &format!("config: {warning}"));
    }
    let (name, things) = (&config.site, config.things.len());
    report.say(Level::Pass, &format!("config: of {name}, {things} things, its secrets are there"));
    if let Some(ca) = &setup.ca {
        check_ends(&certificate::ends_in(ca), "config: cloud.ca_file", report);
    }
    Some((config, setup))
}

/// What the certificate of the server says, over a connection made as requests are.
fn tell_end(setup: &CloudSetup, lease: &Lease, teller: &mut Teller) {
    let end = match setup.way(lease).open() {
        Ok(opened) => peer::end_of_server(&setup.host.name, opened.stream),
        Err(why) => Err(std::io::Error::other(why.reason.as_str().to_owned())),
    };
    let bytes = end.map(u64::to_le_bytes).map_err(|error| error.to_string());
    teller.tell(bytes.as_ref().map(<[u8; 8]>::as_slice).map_err(String::as_str));
}

/// Warns of certificates that expire soon, or have.
fn check_ends(ends_ms: &[u64], of: &str, report: &mut Report) {
    let soon_ms = wall_ms() + CERTIFICATE_WARN_MS;
    let (count, expiring) = (ends_ms.len(), ends_ms.iter().filter(|end| **end <= soon_ms).count());
    let Some(first) = ends_ms.iter().min().map(|first| Utc(*first).day()) else { return };
    if expiring > 0 {
        let many = format!("{expiring} of {count} certificates expire soon or have expired");
        report.say(Level::Warn, &format!("{of}: {many}, the first on {first}: renew them"));
    } else {
        report.say(Level::Pass, &format!("{of}: good until {first}"));
    }
}

/// Looks at the certificate of a server that just took a request.
fn check_server(setup: &CloudSetup, report: &mut Report) {
    if !setup.url.starts_with("https://") {
        return;
    }
    let work = Lease::new(boottime_ms())
        .map_err(Failure::from)
        .and_then(|lease| Work::begin("edge-check", |teller| tell_end(setup, &lease, teller)));
    let piece = work.and_then(|mut work| work.next(setup.timeout_ms));
    match piece.map(|piece| piece.and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)) {
        Ok(Some(end_ms)) => check_ends(&[end_ms], "cloud: the server's certificate", report),
        Ok(None) => {}
        Err(failure) => {
            report.say(Level::Warn, &format!("cloud: the server's certificate: {failure}"));
        }
    }
}

fn check_console(options: &Options, config: &Config, files: &Files, report: &mut Report) {
    let token_file = &config.console.token_file;
    let token = files.token.as_deref().map(Token::read);
    let listen = options.console.or_else(|| Listen::parse(&config.console.listen));
    let is_for_others = matches!(listen, Some(Listen::At(at)) if !at.ip().is_loopback());
    match token {
        Some(None) => {
            let why = format!("console: {token_file}: {}", Token::EXPECTED);
            report.say(Level::Fail, &why);
        }
        None if is_for_others && options.console_token_file.is_some() => {
            report.say(Level::Pass, "console: guarded by a token of this host");
        }
        None if is_for_others => {
            let why = format!(
                "console: it would listen for other hosts, but {token_file} is not there: write a \
                 token to it, or use a loopback address"
            );
            report.say(Level::Fail, &why);
        }
        Some(Some(_)) => report.say(Level::Pass, "console: guarded by a token"),
        None => report.say(Level::Pass, "console: for this host alone"),
    }
}

fn check_cloud(config: &Config, setup: &CloudSetup, report: &mut Report) {
    if setup.kind == CloudKind::Stdout {
        return report.say(Level::Pass, "cloud: standard output, nothing to ask");
    }
    let url = &setup.url;
    let Some(thing) = setup.things.first() else {
        let why = format!("cloud: no thing is configured, so {url} could not be asked");
        return report.say(Level::Warn, &why);
    };
    if let Some(proxy) = &setup.proxy {
        let found = ask_proxy(setup).unwrap_or_else(|failure| {
            Probe::new(Level::FailForNow, &format!("proxy: {}: {failure}", proxy.host))
        });
        report.say(found.level, &found.text);
        if found.level != Level::Pass {
            return;
        }
    }
    let begin = Instant::now();
    match ask_cloud(setup, config.cloud.timeout_ms) {
        Ok(outcome) => {
            let (level, why) = judge(&outcome, &thing.thing_key, begin.elapsed());
            report.say(level, &format!("cloud: {url}: {why}"));
            if outcome.verdict == Verdict::Accepted {
                check_server(setup, report);
            }
        }
        Err(failure) => report.say(Level::FailForNow, &format!("cloud: {url}: {failure}")),
    }
}

/// What the proxy says to a tunnel to the cloud, asked by a child.
fn ask_proxy(setup: &CloudSetup) -> Result<Probe, Failure> {
    let lease = Lease::new(boottime_ms())?;
    let begin = Instant::now();
    let mut work = Work::begin("edge-check", |teller| {
        let opened = setup.way(&lease).open().map(|opened| opened.proxy_said.unwrap_or_default());
        let found = judge_proxy(opened, setup, begin.elapsed());
        let mut piece = [0; 512];
        let told = postcard::to_slice(&found, &mut piece).map_err(|_| "a finding is too long");
        teller.tell(told.map(|bytes| &*bytes));
    })?;
    let Some(found) = work.next(setup.timeout_ms)? else {
        return Err(Failure::Fault("the child that asked ended without a word".to_owned()));
    };
    postcard::from_bytes(&found).map_err(|error| Failure::Fault(error.to_string()))
}

fn judge_proxy(opened: Result<String, NoWay>, setup: &CloudSetup, took: Duration) -> Probe {
    match opened {
        Ok(said) => {
            let (cloud, ms) = (&setup.host, took.as_millis());
            let why = format!("proxy: the way to {cloud} goes through it: {said}, in {ms} ms");
            Probe::new(Level::Pass, &why)
        }
        // tinyproxy answers wrong credentials with 401, missing ones with 407
        Err(NoWay { proxy_status: 401 | 407, reason }) => {
            let why = format!("proxy: {reason}: mend cloud.proxy_user and its password");
            Probe::new(Level::Fail, &why)
        }
        Err(NoWay { proxy_status: _, reason }) => {
            Probe::new(Level::FailForNow, &format!("proxy: {reason}"))
        }
    }
}

/// A heartbeat of the first thing, by an uplink that carries no term.
fn ask_cloud(setup: &CloudSetup, timeout_ms: u32) -> Result<CloudOutcome, Failure> {
    let lease = Lease::new(boottime_ms())?;
    let mut child =
        children::spawn("edge-uplink", &[], |port| uplink::run(port, None, &lease, setup))?;
    let order = CloudOrder { request: 1, term: 0, what: CloudRequest::Alive { thing: 0 } };
    child.link.send(&order, &[], None)?;
    loop {
        match receive::<UplinkAnswer>(&mut child.link, timeout_ms)? {
            Some(UplinkAnswer::Ready { .. }) => {}
            Some(UplinkAnswer::Outcome(outcome)) => return Ok(outcome),
            None => return Err(Failure::Fault("the uplink ended without an answer".to_owned())),
        }
    }
}

fn judge(outcome: &CloudOutcome, thing_key: &str, took: Duration) -> (Level, String) {
    let reason = &outcome.reason;
    match outcome.verdict {
        Verdict::Accepted => {
            let ms = took.as_millis();
            (Level::Pass, format!("took a heartbeat of {thing_key} in {ms} ms"))
        }
        Verdict::BadCredentials => (Level::Fail, format!("{reason}")),
        Verdict::BadContent | Verdict::TooLarge => {
            let why = "it may not be registered yet, which the first master does";
            (Level::Warn, format!("refused a heartbeat of {thing_key}: {reason}: {why}"))
        }
        Verdict::Retry | Verdict::Unknown => (Level::FailForNow, format!("{reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cloud::Reason;

    #[test]
    fn versions_of_linux_are_read() {
        assert_eq!(version_of("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version_of("3.16-rc1"), Some((3, 16)));
        assert_eq!(version_of("4.4+"), Some((4, 4)));
        assert_eq!(version_of(""), None);
        assert!((3, 16) < LINUX_MIN && (4, 0) > LINUX_MIN);
    }

    #[test]
    fn what_has_to_be_changed_goes_before_what_may_pass() {
        let mut report = Report::default();
        report.say(Level::Warn, "a");
        assert_eq!(report.code(), exit::OK);
        report.say(Level::FailForNow, "b");
        assert_eq!(report.code(), exit::TEMPORARY);
        report.say(Level::Fail, "c");
        assert_eq!(report.code(), exit::CONFIGURATION);
    }

    #[test]
    fn verdicts_are_judged() {
        for (verdict, level) in [
            (Verdict::Accepted, Level::Pass),
            (Verdict::BadContent, Level::Warn),
            (Verdict::BadCredentials, Level::Fail),
            (Verdict::Retry, Level::FailForNow),
            (Verdict::Unknown, Level::FailForNow),
        ] {
            let outcome = CloudOutcome {
                request: 1,
                verdict,
                status: 0,
                retry_after_ms: None,
                reason: Reason::new(),
            };
            assert_eq!(judge(&outcome, "t", Duration::ZERO).0, level, "{verdict:?}");
        }
    }
}
