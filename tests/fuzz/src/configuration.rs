//! `edge.json`: an input is a file as an operator may leave it.

use std::fmt::Write as _;

use edge_agent::edge::config::{
    Cloud, CloudKind, Config, Fault, FileSource, Level, Origin, Secret, Source, Thing, WhenFull,
    parse,
};
use edge_agent::edge::json;
use edge_agent::limits::{SOURCES_MAX, THINGS_MAX};

/// The file's name in faults.
const FILE: &str = "conf/edge.json";
/// Unknown fields of a newer version that are listed at most.
const WARNINGS_MAX: usize = 16;

/// See the module.
pub fn try_one(input: &[u8]) {
    check_json(input);
    let inside = parse(input, Origin::DataDirectory);
    match parse(input, Origin::Named(FILE)) {
        Ok(config) => {
            check_valid(&config, input);
            check_printed(&config);
            match inside {
                Ok(inside) => assert!(inside.cloud.kind == CloudKind::Datonis),
                Err(fault) => {
                    assert_eq!(config.cloud.kind, CloudKind::Stdout, "{fault}");
                    check_fault(&fault, input, "edge.json");
                }
            }
        }
        Err(fault) => {
            check_fault(&fault, input, FILE);
            let inside = inside.expect_err("no more is taken from the data directory");
            check_fault(&inside, input, "edge.json");
            // which is told first that standard output is not for it
            let is_stdout = inside.field == "cloud.kind" && inside.problem.contains("stdout");
            let same = Fault { file: "edge.json".into(), ..fault };
            assert!(is_stdout || inside == same, "{inside} and {same}");
        }
    }
}

/// N1, and the other way round: what another reader takes, and is not nested too deep, is taken.
fn check_json(input: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(input);
    match json::check(input) {
        Ok(()) => assert!(theirs.is_ok(), "N1: {theirs:?}"),
        Err(fault) => {
            assert!(fault.offset <= input.len(), "{fault}");
            assert!(theirs.is_err() || fault.expected.contains("deep"), "N1: {fault}");
        }
    }
}

/// It names a place within the text, and what was expected there.
fn check_fault(fault: &Fault, input: &[u8], file: &str) {
    assert_eq!(fault.file, file);
    let line = usize::try_from(fault.line).expect("a u32");
    let column = usize::try_from(fault.column).expect("a u32");
    let lines: Vec<&[u8]> = input.split(|&byte| byte == b'\n').collect();
    assert!((1..=lines.len()).contains(&line), "line {line} of {}", lines.len());
    let characters = lines[line - 1].iter().filter(|&&byte| byte & 0xc0 != 0x80).count();
    assert!((1..=characters + 1).contains(&column), "column {column} of {characters}: {fault}");
    assert!(fault.to_string().len() < 700, "{fault}");
    assert!(!fault.to_string().contains(char::is_control), "{fault:?}");
    // the scan sees all
    assert!(!fault.problem.contains("cannot be read"), "{fault}");
}

/// F1, by a few lines of its own.
fn check_valid(config: &Config, input: &[u8]) {
    let ha = &config.ha;
    assert!(ha.poll_ms >= 10 && ha.poll_ms <= ha.heartbeat_ms, "F1");
    assert!(u64::from(ha.heartbeat_ms) * 3 <= u64::from(ha.fence_ms), "F1");
    assert!(ha.fence_ms < ha.seize_ms, "F1");
    let settings = config.settings();
    assert!(settings.configured && settings.alive_every_ms.len() <= THINGS_MAX, "F1");
    assert_eq!(settings.alive_every_ms.len(), config.registered_things().count());
    assert!(settings.batch_records_max > 0 && settings.batch_bytes_max >= 1_024, "F1");
    let sources: usize = config.things.iter().map(|thing| thing.sources.len()).sum();
    assert!(sources <= SOURCES_MAX, "F1");
    assert!(config.things.iter().all(|thing| !thing.name.is_empty()), "F1");
    assert!(config.version == 1 || config.warnings.len() <= WARNINGS_MAX, "F3");
    assert!(config.version > 1 || config.warnings.is_empty(), "F3");
    for warning in &config.warnings {
        check_fault(warning, input, FILE);
    }
    let shown = format!("{config:?}");
    for secret in [Some(&config.cloud.access_key), config.cloud.secret_key.as_ref()] {
        let secret = secret.map(Secret::reveal).unwrap_or_default();
        assert!(secret.len() < 24 || !shown.contains(secret), "F2");
    }
}

/// It reads back as it is printed.
fn check_printed(config: &Config) {
    let text = printed(config);
    let again = parse(text.as_bytes(), Origin::Named(FILE));
    let expected = Config { warnings: Vec::new(), ..config.clone() };
    assert_eq!(again, Ok(expected), "{text}");
}

/// An object of members, each begun by a comma but the first.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".into())
    }

    fn raw(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        let comma = if self.0.len() > 1 { "," } else { "" };
        write!(self.0, "{comma}\"{name}\":{value}").expect("a string");
        self
    }

    fn text(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => {
                let mut out = Vec::new();
                json::write_text(value, &mut out);
                self.raw(name, String::from_utf8(out).expect("ASCII"))
            }
            None => self,
        }
    }

    fn end(self) -> String {
        self.0 + "}"
    }
}

fn printed(config: &Config) -> String {
    let Config { ha, journal, alerts, console, .. } = config;
    let level = match alerts.level_min {
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Critical => "critical",
    };
    let when_full = match journal.when_full {
        WhenFull::DropOldest => "drop-oldest",
        WhenFull::RefuseNewest => "refuse-newest",
    };
    let times = Object::new()
        .raw("poll_ms", ha.poll_ms)
        .raw("heartbeat_ms", ha.heartbeat_ms)
        .raw("fence_ms", ha.fence_ms)
        .raw("seize_ms", ha.seize_ms);
    let journal = Object::new()
        .raw("bytes_max", journal.bytes_max)
        .text("when_full", Some(when_full))
        .raw("sync_ms", journal.sync_ms);
    let console = Object::new()
        .text("listen", Some(&console.listen))
        .text("token_file", Some(&console.token_file));
    let alerts =
        Object::new().text("thing_key", alerts.thing_key.as_deref()).text("level_min", Some(level));
    let things: Vec<String> = config.things.iter().map(printed_thing).collect();
    Object::new()
        .raw("version", config.version)
        .text("site", Some(&config.site))
        .raw("cloud", printed_cloud(&config.cloud))
        .raw("alerts", alerts.end())
        .raw("ha", times.end())
        .raw("journal", journal.end())
        .raw("declined", Object::new().raw("bytes_max", config.declined.bytes_max).end())
        .raw("things", format_args!("[{}]", things.join(",")))
        .raw("intake", Object::new().raw("enabled", config.intake.enabled).end())
        .raw("console", console.end())
        .end()
}

fn printed_cloud(cloud: &Cloud) -> String {
    let kind = match cloud.kind {
        CloudKind::Datonis => "datonis",
        CloudKind::Stdout => "stdout",
    };
    let unless_empty =
        |text: &'static str, value: &str| (text, (!value.is_empty()).then(|| value.to_owned()));
    let (url_name, url) = unless_empty("url", &cloud.url);
    let (key_name, key) = unless_empty("access_key", cloud.access_key.reveal());
    Object::new()
        .text("kind", Some(kind))
        .text(url_name, url.as_deref())
        .text(key_name, key.as_deref())
        .text("secret_key", cloud.secret_key.as_ref().map(Secret::reveal))
        .text("secret_key_file", cloud.secret_key_file.as_deref())
        .text("ca_file", cloud.ca_file.as_deref())
        .text("proxy", cloud.proxy.as_deref())
        .text("proxy_user", cloud.proxy_user.as_deref())
        .text("proxy_password", cloud.proxy_password.as_ref().map(Secret::reveal))
        .text("proxy_password_file", cloud.proxy_password_file.as_deref())
        .raw("timeout_ms", cloud.timeout_ms)
        .raw("batch_records_max", cloud.batch_records_max)
        .raw("batch_bytes_max", cloud.batch_bytes_max)
        .raw("batch_age_ms_max", cloud.batch_age_ms_max)
        .end()
}

fn printed_thing(thing: &Thing) -> String {
    let sources: Vec<String> = thing.sources.iter().map(printed_source).collect();
    Object::new()
        .text("thing_key", Some(&thing.thing_key))
        .text("name", Some(&thing.name))
        .raw("alive_every_ms", thing.alive_every_ms)
        .raw("sources", format_args!("[{}]", sources.join(",")))
        .end()
}

fn printed_source(source: &Source) -> String {
    match &source.file {
        Some(file) => Object::new().raw("file", printed_file(file)).end(),
        None => Object::new().end(),
    }
}

fn printed_file(file: &FileSource) -> String {
    let mut out = Object::new()
        .text("path", Some(&file.path))
        .text("pattern", file.pattern.as_deref())
        .text("unit", (!file.unit.is_empty()).then_some(&file.unit))
        .text("metric", Some(&file.metric))
        .raw("every_ms", file.every_ms);
    if let Some(field) = file.field {
        out = out.raw("field", field);
    }
    for (name, number) in [("scale", file.scale), ("offset", file.offset)] {
        if let Some(number) = number {
            // with all its digits
            out = out.raw(name, format_args!("{number:e}"));
        }
    }
    out.end()
}

/// See [`super::Target`].
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let example = include_bytes!("../../../config/edge.json");
    let least = br#"{"site":"s","cloud":{"url":"https://a","access_key":"a","secret_key":"k"}}"#;
    vec![
        ("example", example.to_vec()),
        ("least", least.to_vec()),
        ("full", FULL.into()),
        ("newer", NEWER.into()),
    ]
}

const FULL: &str = r#"{
  "version": 1,
  "site": "plant-7",
  "cloud": { "kind": "datonis", "url": "https://api.datonis.io/", "access_key": "access",
    "secret_key_file": "secret.key", "ca_file": "ca.pem", "timeout_ms": 5000,
    "batch_records_max": 100, "batch_bytes_max": 32768, "batch_age_ms_max": 500,
    "proxy": "http://[fd00::1]:3128", "proxy_user": "gw", "proxy_password": "p w" },
  "alerts": { "thing_key": "ha", "level_min": "warning" },
  "ha": { "poll_ms": 100, "heartbeat_ms": 200, "fence_ms": 600, "seize_ms": 6000 },
  "journal": { "bytes_max": 8388608, "when_full": "refuse-newest", "sync_ms": 20 },
  "declined": { "bytes_max": 65536 },
  "things": [
    { "thing_key": "7t38b9dbt9", "name": "Compressor \ud83d\ude00 ä", "alive_every_ms": 1000,
      "sources": [ { "file": { "path": "/proc/loadavg", "field": 2, "metric": "load5", "every_ms": 10 } },
        { "file": { "path": "w1", "pattern": "t=(-?\\d+)", "scale": 1E-3, "offset": -273.15,
          "unit": "\u00b0C", "metric": "t" } } ] },
    { "thing_key": "other" }
  ],
  "intake": { "enabled": false },
  "console": { "listen": "[::1]:9000", "token_file": "token" }
}
"#;

const NEWER: &str = r#"{ "version": 2, "site": "s", "mode": [{"a": "\n\u00e4"}, 1.5e3, null, true],
"cloud": { "kind": "stdout" }, "things": [{"thing_key": "t", "sources": [{"modbus": {"unit": 1}}]}]}"#;
