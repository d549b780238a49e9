//! Command lines and variables, right and wrong.

use super::*;

fn parse_words(line: &str, variables: &[(&str, &str)]) -> Result<Asked, String> {
    let words = line.split_whitespace().map(OsString::from);
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    parse(words, &variables).map_err(|usage| usage.to_string())
}

fn options_of(line: &str, variables: &[(&str, &str)]) -> Options {
    match parse_words(line, variables) {
        Ok(Asked::Do(_, options)) => *options,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn every_command_is_read_with_what_belongs_to_it() {
    let to = |name| Command::Switchover { to: NodeName::parse(name) };
    let forget = |name| Command::Forget { node: NodeName::parse(name).expect("a valid name") };
    for (line, expected) in [
        ("run", Command::Run),
        ("init", Command::Init { new_id: false }),
        ("init --new-id", Command::Init { new_id: true }),
        ("--new-id init", Command::Init { new_id: true }),
        ("status", Command::Status { json: false, local: false, watch: false }),
        ("status --local", Command::Status { json: false, local: true, watch: false }),
        ("status --json", Command::Status { json: true, local: false, watch: false }),
        ("status --watch", Command::Status { json: false, local: false, watch: true }),
        ("sources", Command::Sources),
        ("sources --once --config x", Command::Sources),
        ("switchover", Command::Switchover { to: None }),
        ("switchover --to=gw-2", to("gw-2")),
        ("switchover --to gw-2", to("gw-2")),
        ("journal verify", Command::JournalVerify),
        ("check --config edge.json", Command::Check { peer: false }),
        ("check --peer", Command::Check { peer: true }),
        ("declined list", Command::DeclinedList { json: false }),
        ("declined list --json", Command::DeclinedList { json: true }),
        ("declined --run-dir /r replay", Command::DeclinedReplay),
        ("declined purge --datadirpath /d", Command::DeclinedPurge),
        ("nodes", Command::Nodes),
        ("nodes --run-dir /r forget gw-2", forget("gw-2")),
    ] {
        match parse_words(line, &[]) {
            Ok(Asked::Do(command, _)) => assert_eq!(command, expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn help_and_version_go_before_anything_else() {
    assert_eq!(parse_words("--help", &[]), Ok(Asked::Help(None)));
    assert_eq!(parse_words("run -h --nonsense", &[]), Ok(Asked::Help(Some(Verb::Run))));
    assert_eq!(parse_words("status --version", &[]), Ok(Asked::Version));
}

#[test]
fn what_is_wrong_is_said_with_what_was_expected() {
    for (line, expected) in [
        (
            "",
            "expected a command: run, init, check, status, switchover, nodes, declined, journal, sources; see --help",
        ),
        (
            "walk",
            "\"walk\" is not a command; expected run, init, check, status, switchover, nodes, declined, journal, sources",
        ),
        ("run now", "run takes no argument, not \"now\""),
        ("journal", "journal: expected verify"),
        ("journal mend", "journal: expected verify, not \"mend\""),
        ("declined", "declined: expected list|replay|purge"),
        ("declined mend", "declined: expected list|replay|purge, not \"mend\""),
        ("declined list all", "declined: expected list|replay|purge, not \"all\""),
        ("declined purge --json", "--json: only declined list prints JSON"),
        ("nodes gw-2", "nodes: expected [forget NODE], not \"gw-2\""),
        ("nodes forget", "nodes forget: expected NODE"),
        ("nodes forget GW", "nodes forget: expected 1 to 32 of a-z, 0-9 and -, not \"GW\""),
        ("nodes forget a b", "nodes: expected [forget NODE], not \"b\""),
        ("run -x", "-x is not an option; see --help"),
        ("run --nodes a", "--nodes is not an option; see --help"),
        ("run --node", "--node: expected NAME"),
        ("run --node a --node b", "--node is given twice"),
        ("run --node GW", "--node: expected 1 to 32 of a-z, 0-9 and -, not \"GW\""),
        ("run --json", "run does not know --json; see --help"),
        ("status --to a", "status does not know --to; see --help"),
        ("run --site-id 12", "--site-id: expected a site id of 32 hex digits, not \"12\""),
        (
            "run --console host:80",
            "--console: expected ADDRESS:PORT or off, such as 127.0.0.1:8480 or [::1]:8480, \
             not \"host:80\"",
        ),
        ("run --log file", "--log: expected stderr or syslog, not \"file\""),
        ("run --log-level loud", "--log-level: expected error, warn, info or debug, not \"loud\""),
        (
            "run --advertise ftp://x",
            "--advertise: expected an http:// or https:// URL of at most 96 bytes, \
             not \"ftp://x\"",
        ),
    ] {
        assert_eq!(parse_words(line, &[]), Err(expected.to_owned()), "{line}");
    }
    let unexpected = parse_words("run --supervise=1", &[]).expect_err("takes no value");
    assert!(unexpected.contains("supervise"), "{unexpected}");
}

#[test]
fn the_command_line_goes_before_the_environment() {
    let variables = [
        ("EDGE_DATADIRPATH", "/mnt/a"),
        ("EDGE_NODE", "gw-1"),
        ("EDGE_CONSOLE", "off"),
        ("EDGE_SUPERVISE", "1"),
        ("EDGE_REQUIRE_NETWORK_SHARE", "0"),
    ];
    let options = options_of("run --node gw-2", &variables);
    assert_eq!(options.node.as_str(), "gw-2");
    assert_eq!(options.data_dir, Path::new("/mnt/a"));
    assert!(!options.alone);
    assert_eq!(options.console, Some(Listen::Off));
    assert!(options.supervise);
    assert!(!options.require_network_share);
}

#[test]
fn an_empty_variable_is_not_set_and_a_bad_one_is_named() {
    let options = options_of("run --node a", &[("EDGE_DATADIRPATH", "")]);
    assert!(options.alone);
    assert_eq!(options.data_dir, Path::new(ALONE_DATA_DIR));
    let bad = parse_words("run", &[("EDGE_SUPERVISE", "maybe")]);
    assert_eq!(bad, Err("EDGE_SUPERVISE: expected 1 or 0, not \"maybe\"".to_owned()));
    options_of("status", &[("EDGE_SUPERVISE", "maybe")]);
}

#[test]
fn variables_that_mean_nothing_are_found() {
    let variables = [("EDGE_DATADIR", "/mnt/a"), ("EDGE_NODE", "a"), ("HOME", "/root")];
    assert_eq!(options_of("run", &variables).unknown_variables, ["EDGE_DATADIR"]);
}

#[test]
fn addresses_are_numbers_or_localhost() {
    let at = |text: &str| Some(Listen::At(text.parse().expect("an address")));
    assert_eq!(Listen::parse("off"), Some(Listen::Off));
    assert_eq!(Listen::parse("localhost:80"), at("127.0.0.1:80"));
    assert_eq!(Listen::parse("[::1]:8480"), at("[::1]:8480"));
    assert_eq!(Listen::parse("0.0.0.0:1"), at("0.0.0.0:1"));
    for bad in ["", "8480", ":8480", "localhost", "localhost:x", "gw:80", "1.2.3.4:99999"] {
        assert_eq!(Listen::parse(bad), None, "{bad}");
    }
}

#[test]
fn help_fits_a_terminal_and_names_every_option() {
    for verb in Verb::ALL {
        let text = help(Some(verb));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for known in OPTIONS.iter().filter(|known| known.verbs.contains(&verb)) {
            assert!(text.contains(known.long), "{text}");
        }
        assert!(help(None).contains(verb.name()));
    }
    assert!(help(None).lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn the_readme_names_every_command_and_every_option_of_run() {
    let readme = include_str!("../../../README.md");
    for verb in Verb::ALL {
        assert!(readme.contains(&format!("| `edge-agent {}", verb.name())), "{}", verb.name());
    }
    for known in OPTIONS.iter().filter(|known| known.verbs.contains(&Verb::Run)) {
        let variable = known.variable.expect("every option of run can be a variable");
        let long = known.long;
        let is_row =
            |line: &&str| line.starts_with(&format!("| `--{long}")) && line.contains(variable);
        assert!(readme.lines().any(|line| is_row(&line)), "--{long}, {variable}");
    }
}
