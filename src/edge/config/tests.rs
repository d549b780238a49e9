use super::*;

pub(super) const FULL: &str = r#"{
  "version": 1,
  "site": "plant-7",
  "cloud": {
    "kind": "datonis", "url": "https://api.datonis.io/",
    "access_key": "access", "secret_key_file": "secret.key", "ca_file": "ca.pem",
    "timeout_ms": 5000, "batch_records_max": 100, "batch_bytes_max": 32768, "batch_age_ms_max": 500
  },
  "alerts": { "thing_key": "ha", "level_min": "warning" },
  "ha": { "poll_ms": 100, "heartbeat_ms": 200, "fence_ms": 600, "seize_ms": 6000 },
  "journal": { "bytes_max": 8388608, "when_full": "refuse-newest", "sync_ms": 20 },
  "declined": { "bytes_max": 65536 },
  "things": [
    { "thing_key": "7t38b9dbt9", "name": "Compr\u0065ssor \ud83d\ude00 ä", "alive_every_ms": 1000,
      "sources": [ { "file": { "path": "/proc/loadavg", "field": 2, "metric": "load5", "every_ms": 10 } } ] },
    { "thing_key": "other" }
  ],
  "intake": { "enabled": false },
  "console": { "listen": "[::1]:9000", "token_file": "token" }
}"#;

const LEAST: &str = r#"{"site":"s","cloud":{"url":"https://a","access_key":"a","secret_key":"k"}}"#;

fn taken(text: &str) -> Config {
    parse(text.as_bytes(), Origin::DataDirectory).expect("a valid configuration")
}

fn refused(text: &str) -> String {
    parse(text.as_bytes(), Origin::DataDirectory).expect_err(text).to_string()
}

#[test]
fn every_field_is_taken() {
    let config = taken(FULL);
    assert_eq!((config.version, config.site.as_str()), (1, "plant-7"));
    let cloud = &config.cloud;
    assert_eq!((cloud.kind, cloud.url.as_str()), (CloudKind::Datonis, "https://api.datonis.io"));
    assert_eq!((cloud.access_key.reveal(), cloud.secret_key.as_ref()), ("access", None));
    assert_eq!(cloud.secret_key_file.as_deref(), Some("secret.key"));
    assert_eq!(cloud.ca_file.as_deref(), Some("ca.pem"));
    assert_eq!(config.alerts.level_min, Level::Warning);
    assert_eq!(config.journal.bytes_max, 8_388_608);
    assert_eq!(config.journal.when_full, WhenFull::RefuseNewest);
    assert_eq!(config.declined.bytes_max, 65_536);
    assert!(!config.intake.enabled);
    assert_eq!(config.console.listen, "[::1]:9000");
    let named = NamedFiles {
        secret_key: Some("secret.key"),
        ca: Some("ca.pem"),
        proxy_password: None,
        token: "token",
    };
    assert_eq!(config.named_files(), named);
    let thing = &config.things[0];
    assert_eq!((thing.thing_key.as_str(), thing.name.as_str()), ("7t38b9dbt9", "Compressor 😀 ä"));
    let file = thing.sources[0].file.as_ref().expect("a file");
    assert_eq!((file.path.as_str(), file.field, file.every_ms), ("/proc/loadavg", Some(2), 10));
    assert_eq!(file.metric, "load5");
    assert_eq!(config.things[1].name, "other", "a thing without a name goes by its key");
    assert!(config.warnings.is_empty());
}

#[test]
fn settings_are_what_the_engine_needs() {
    let settings = taken(FULL).settings();
    let expected = Settings {
        journal_bytes_max: 8_388_608,
        when_full: WhenFull::RefuseNewest,
        declined_bytes_max: 65_536,
        configured: true,
        poll_ms: 100,
        heartbeat_ms: 200,
        fence_ms: 600,
        seize_ms: 6_000,
        sync_ms: 20,
        timeout_ms: 5_000,
        batch_records_max: 100,
        batch_bytes_max: 32_768,
        batch_age_ms_max: 500,
        alerts: Some(crate::engine::notes::Level::Warning),
        alive_every_ms: [1_000, 120_000, 120_000].into_iter().collect(),
    };
    assert_eq!(settings, expected, "two things and that of the alerts");
}

#[test]
fn the_thing_of_the_alerts_is_registered_once() {
    let keys = |text: &str| -> Vec<String> {
        taken(text).registered_things().map(|thing| thing.thing_key.into()).collect()
    };
    assert_eq!(keys(FULL), ["7t38b9dbt9", "other", "ha"]);
    assert_eq!(
        keys(&FULL.replace("\"ha\", \"level", "\"other\", \"level")),
        ["7t38b9dbt9", "other"]
    );
}

#[test]
fn everything_else_has_the_default_of_the_contract() {
    let config = taken(LEAST);
    assert_eq!(config.settings(), Settings { configured: true, ..Settings::default() });
    assert_eq!(config.version, 1);
    assert_eq!((config.cloud.kind, &config.cloud.ca_file), (CloudKind::Datonis, &None));
    assert_eq!(config.alerts, Alerts { thing_key: None, level_min: Level::Info });
    assert_eq!(config.journal.bytes_max, 1_073_741_824);
    assert_eq!(config.journal.when_full, WhenFull::DropOldest);
    assert_eq!(config.declined.bytes_max, 16_777_216);
    assert!(config.things.is_empty() && config.intake.enabled);
    assert_eq!(config.console.listen, "127.0.0.1:8480");
    assert_eq!(config.console.token_file, "console.token");
    let with_source = LEAST.replace(
        "\"site\"",
        r#""things":[{"thing_key":"t","sources":[{"file":{"path":"p","metric":"m"}}]}],"site""#,
    );
    let file = taken(&with_source).things[0].sources[0].file.clone().expect("a file");
    assert_eq!((file.field, file.every_ms), (None, 1_000));
    assert_eq!((file.pattern, file.scale, file.offset), (None, None, None));
    assert_eq!(file.unit, "");
}

#[test]
fn a_file_source_has_a_pattern_and_figures() {
    let text = FULL.replace(
        "\"field\": 2",
        r#""pattern": "t=(-?\\d+)", "scale": 1E-3, "offset": -273, "unit": "\u00b0C""#,
    );
    let config = taken(&text);
    let file = config.things[0].sources[0].file.as_ref().expect("a file");
    assert_eq!((file.field, file.pattern.as_deref()), (None, Some("t=(-?\\d+)")));
    assert_eq!((file.scale, file.offset, file.unit.as_str()), (Some(1e-3), Some(-273.0), "°C"));
}

#[test]
fn what_bundles_begin_with_is_valid_in_a_data_directory() {
    let text = include_bytes!("../../../config/datonis.json");
    let config = parse(text, Origin::DataDirectory).expect("valid, but for its keys");
    assert_eq!(config.cloud.kind, CloudKind::Datonis);
}

#[test]
fn the_shipped_example_is_valid() {
    let text = include_bytes!("../../../config/edge.json");
    let config = parse(text, Origin::Named("config/edge.json")).expect("a valid example");
    assert_eq!(config.cloud.kind, CloudKind::Stdout);
    let metrics: Vec<&str> = config.things[0]
        .sources
        .iter()
        .filter_map(|source| source.file.as_ref().map(|file| file.metric.as_str()))
        .collect();
    assert_eq!(metrics, ["load1", "mem_available_kb"]);
    let fault = parse(text, Origin::DataDirectory).expect_err("only by --config").to_string();
    let expected = "cloud.kind: expected datonis: stdout is only for a file named by --config";
    assert_eq!(fault, format!("edge.json:4:22: {expected}"));
}

/// What is changed in `FULL`, into what, and what the fault then says.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "\"poll_ms\": 100",
        "\"poll_ms\": 1e2",
        "edge.json:10:22: ha.poll_ms: expected a whole number from 10 to 60000",
    ),
    ("\"poll_ms\": 100", "\"poll_ms\": 9", "ha.poll_ms: expected a whole number from 10 to"),
    ("\"poll_ms\": 100", "\"poll_ms\": \"100\"", "ha.poll_ms: expected a whole number"),
    ("\"poll_ms\": 100", "\"poll_ms\": null", "ha.poll_ms: expected a whole number"),
    (
        "\"poll_ms\": 100",
        "\"pol_ms\": 100",
        "10:11: ha.pol_ms: unknown field; expected one of poll_ms, heartbeat_ms, fence_ms",
    ),
    ("\"poll_ms\": 100", "\"seize_ms\": 100", "10:66: ha.seize_ms: stands here twice"),
    (
        "\"poll_ms\": 100",
        "\"poll_ms\": 201",
        "10:22: ha.poll_ms: expected at most heartbeat_ms (200)",
    ),
    (
        "\"fence_ms\": 600",
        "\"fence_ms\": 599",
        "ha.fence_ms: expected at least 3 times heartbeat_ms (200)",
    ),
    ("\"seize_ms\": 6000", "\"seize_ms\": 600", "ha.seize_ms: expected more than fence_ms (600)"),
    ("32768", "1048577", "cloud.batch_bytes_max: expected a whole number from 1024 to 1048576"),
    ("https://api", "http://api", "5:31: cloud.url: expected https://HOST"),
    ("\"url\"", "\"ulr\"", "cloud.ulr: unknown field"),
    ("\"access\"", "\"a\\r\\nX: y\"", "cloud.access_key: expected a text of 1 to 256"),
    ("\"access\"", "\"a b\"", "cloud.access_key: expected visible ASCII"),
    ("\"access_key\": \"access\",", "", "4:12: cloud.access_key: expected this field"),
    ("\"secret_key_file\": \"secret.key\",", "", "cloud.secret_key_file: expected this field, or"),
    ("\"ca_file\"", "\"secret_key\": \"k\", \"ca_file\"", "cloud.secret_key: expected only one"),
    (
        "\"ca_file\"",
        "\"proxy\": \"proxy:80\", \"ca_file\"",
        "cloud.proxy: expected http://HOST:PORT",
    ),
    (
        "\"ca_file\"",
        "\"proxy\": \"http://u:p@proxy:80\", \"ca_file\"",
        "6:71: cloud.proxy: expected http://HOST:PORT, without user or password: see proxy_user",
    ),
    ("\"ca_file\"", "\"proxy_user\": \"u\", \"ca_file\"", "proxy_user: expected proxy beside it"),
    (
        "\"ca_file\"",
        "\"proxy\": \"http://p:80\", \"proxy_user\": \"a:b\", \"ca_file\"",
        "cloud.proxy_user: expected visible ASCII characters without a colon",
    ),
    (
        "\"ca_file\"",
        "\"proxy\": \"http://p:80\", \"proxy_password_file\": \"f\", \"ca_file\"",
        "cloud.proxy_password_file: expected proxy_user beside it",
    ),
    (
        "\"ca_file\"",
        "\"proxy_password_file\": \"f\", \"proxy_password\": \"p\", \"ca_file\"",
        "cloud.proxy_password: expected only one of it and proxy_password_file",
    ),
    (
        "https://api.datonis.io/\",",
        "http://127.0.0.1\", \"proxy\": \"http://p:80\",",
        "cloud.proxy: expected https:// in url beside it",
    ),
    ("https://api.datonis.io/", "https://[fd00::1]:8443", "cloud.url: expected https://HOST"),
    ("datonis\"", "mqtt\"", "cloud.kind: expected one of datonis, stdout"),
    ("\"site\": \"plant-7\",", "", "1:1: site: expected this field"),
    ("plant-7", "", "site: expected a text of 1 to 128 bytes"),
    ("plant-7", "a\\u0000b", "site: expected a text of 1 to 128 bytes without control"),
    ("\"/proc/loadavg\"", "7", "things[0].sources[0].file.path: expected a text of 1 to 255"),
    ("\"metric\": \"load5\",", "", "things[0].sources[0].file.metric: expected this field"),
    (
        "\"file\": {",
        "\"modbus\": {",
        "things[0].sources[0].modbus: unknown field; expected one of file",
    ),
    ("{ \"file\":", "{}, { \"file\":", "things[0].sources[0]: expected a kind of source: file"),
    (
        "\"field\": 2",
        "\"field\": 2, \"pattern\": \"(a)\"",
        "things[0].sources[0].file.pattern: expected only one of it and field",
    ),
    (
        "\"field\": 2",
        "\"pattern\": \"(a\"",
        "15:68: things[0].sources[0].file.pattern: expected a reg",
    ),
    ("\"field\": 2", "\"pattern\": \"a\"", "file.pattern: expected a regular expression with one"),
    ("\"field\": 2", "\"pattern\": 2", "file.pattern: expected a text of 1 to 255 bytes"),
    ("\"field\": 2", "\"field\": 0", "file.field: expected a whole number from 1 to 100000"),
    ("\"field\": 2", "\"scale\": 0.0", "file.scale: expected a number from -1e15 to 1e15, not 0"),
    ("\"field\": 2", "\"scale\": 1e999", "file.scale: expected a number below 1.8e308"),
    ("\"field\": 2", "\"offset\": \"1\"", "file.offset: expected a number from -1e15 to 1e15"),
    ("\"field\": 2", "\"offset\": null", "file.offset: expected a number from -1e15 to 1e15"),
    ("\"field\": 2", "\"offset\": -1.1e15", "file.offset: expected a number from -1e15 to 1e15"),
    ("\"field\": 2", "\"unit\": \"\"", "file.unit: expected a text of 1 to 32 bytes"),
    (
        "\"other\" }",
        "\"7t38b9dbt9\" }",
        "things[1].thing_key: expected a key that no other thing has",
    ),
    ("{ \"enabled\": false }", "[]", "intake: expected an object"),
    ("false", "0", "intake.enabled: expected true or false"),
    ("[::1]:9000", "[::1]", "console.listen: expected ADDRESS:PORT or off"),
    ("\"version\": 1,", "\"version\": 0,", "version: expected a whole number from 1"),
    ("\"version\": 1,", "\"version\": 1", "edge.json:3:3: expected `,` or `}`"),
    ("600", "1e999", "edge.json:10:60: ha.fence_ms: expected a number below 1.8e308"),
];

#[test]
fn faults_name_file_line_column_field_and_what_was_expected() {
    for (from, to, expected) in FAULTS {
        assert!(FULL.contains(from), "{from}");
        let fault = refused(&FULL.replacen(from, to, 1));
        assert!(
            fault.starts_with("edge.json:") && fault.contains(expected),
            "{from} → {to}: {fault}"
        );
    }
}

#[test]
fn lists_are_bounded() {
    let things = |count: usize, alerts: &str| {
        let list: Vec<String> =
            (0..count).map(|at| format!("{{\"thing_key\":\"t{at}\"}}")).collect();
        let things = format!("{{{alerts}\"things\":[{}],\"site\"", list.join(","));
        LEAST.replacen("{\"site\"", &things, 1)
    };
    assert_eq!(taken(&things(THINGS_MAX, "")).things.len(), THINGS_MAX);
    let alerts = "\"alerts\":{\"thing_key\":\"ha\"},";
    assert_eq!(taken(&things(THINGS_MAX - 1, alerts)).settings().alive_every_ms.len(), THINGS_MAX);
    assert!(refused(&things(THINGS_MAX, alerts)).contains("expected at most 256 things, that of"));
    assert!(refused(&things(THINGS_MAX + 1, "")).contains("things[256]: expected at most 256"));
    let source = "{\"file\":{\"path\":\"p\",\"metric\":\"m\"}},".repeat(SOURCES_MAX / 2 + 1);
    let of_thing =
        |key| format!("{{\"thing_key\":\"{key}\",\"sources\":[{}]}}", source.trim_end_matches(','));
    let two = format!("{{\"things\":[{},{}],\"site\"", of_thing("a"), of_thing("b"));
    let fault = refused(&LEAST.replacen("{\"site\"", &two, 1));
    assert!(fault.contains("things[1].sources: expected at most 1024 sources in all"), "{fault}");
}

#[test]
fn a_newer_version_may_know_more() {
    let newer = FULL
        .replace("\"version\": 1", "\"version\": 2")
        .replace(
            "\"intake\": {",
            "\"mode\": [{\"a\": \"\\ud83d\\ude00\\n\"}], \"intake\": { \"x\": 1.5e3,",
        )
        .replace("\"file\": {", "\"modbus\": {");
    let config = taken(&newer);
    let fields: Vec<&str> = config.warnings.iter().map(|warning| warning.field.as_str()).collect();
    assert_eq!(fields, ["things[0].sources[0].modbus", "mode", "intake.x"]);
    assert_eq!(config.things[0].sources[0].file, None);
    assert!(refused(&newer.replace("\"version\": 2", "\"version\": 1")).contains("unknown field"));
    assert!(refused(&newer.replace("false", "3")).contains("intake.enabled"));
}

#[test]
fn no_value_of_a_key_is_ever_shown() {
    let text = LEAST.replace("\"a\"", "\"tell-nobody\"").replace("\"k\"", "\"tell-nobody\"");
    assert!(!format!("{:?}", taken(&text)).contains("tell-nobody"), "F2");
    let fault = refused(&text.replace("tell-nobody", "tell-nobody\\u0007"));
    assert!(!fault.contains("tell-nobody"), "F2: {fault}");
}

#[test]
fn nothing_makes_it_panic() {
    let deep = "[".repeat(100_000);
    let deep_cloud = format!("{{\"version\":2,\"x\":{}", "{\"a\":".repeat(100_000));
    let long = format!("{{\"{}\":1}}", "k".repeat(1_000_000));
    let huge = vec![b' '; 10 << 20];
    let cases: [&[u8]; 10] = [
        b"",
        b"\0",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        deep.as_bytes(),
        deep_cloud.as_bytes(),
        long.as_bytes(),
        &huge,
    ];
    for text in cases {
        let fault = parse(text, Origin::DataDirectory).expect_err("no configuration").to_string();
        assert!(fault.len() < 300, "{fault}");
    }
    for at in 0..FULL.len() {
        assert!(parse(&FULL.as_bytes()[..at], Origin::DataDirectory).is_err(), "cut at {at}");
        for byte in [0, b'"', b'\\', b'{', b'}', b'[', b',', b'9', b'e', 0x80, 0xff] {
            let mut damaged = FULL.as_bytes().to_vec();
            damaged[at] = byte;
            if let Err(fault) = parse(&damaged, Origin::DataDirectory) {
                assert!(!fault.problem.contains("cannot be read"), "the scan sees all: {fault}");
            }
        }
    }
}
