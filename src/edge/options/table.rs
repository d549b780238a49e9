//! Every option, once; and the help made from that.

use std::fmt::Write as _;

use super::Verb;

/// An option, as parsing and help know it (O2).
pub(super) struct Known {
    pub(super) long: &'static str,
    /// What its value is called; `None`: it has none.
    pub(super) value: Option<&'static str>,
    /// Its variable.
    pub(super) variable: Option<&'static str>,
    /// The commands that know it.
    pub(super) verbs: &'static [Verb],
    help: &'static str,
}

const EVERY: &[Verb] = &Verb::ALL;
const DATA: &[Verb] = &[
    Verb::Check,
    Verb::Run,
    Verb::Init,
    Verb::Status,
    Verb::Nodes,
    Verb::Declined,
    Verb::Journal,
    Verb::Sources,
];
const SITE: &[Verb] = &[Verb::Check, Verb::Run, Verb::Init];
const LOCAL: &[Verb] = &[Verb::Run, Verb::Status, Verb::Switchover, Verb::Nodes, Verb::Declined];
const RUN: &[Verb] = &[Verb::Run];
const PLACE: &[Verb] = &[Verb::Run, Verb::Check];

pub(super) static OPTIONS: [Known; 19] = [
    Known {
        long: "datadirpath",
        value: Some("PATH"),
        variable: Some("EDGE_DATADIRPATH"),
        verbs: DATA,
        help: "the data directory that all nodes share;\nwithout it: alone on /var/lib/edge-agent",
    },
    Known {
        long: "node",
        value: Some("NAME"),
        variable: Some("EDGE_NODE"),
        verbs: PLACE,
        help: "this node's name; default: host name and\nfour digits of the machine's id",
    },
    Known {
        long: "site-id",
        value: Some("ID"),
        variable: Some("EDGE_SITE"),
        verbs: SITE,
        help: "the site id that the data directory must have",
    },
    Known {
        long: "advertise",
        value: Some("URL"),
        variable: Some("EDGE_ADVERTISE"),
        verbs: RUN,
        help: "where other hosts reach this node's console",
    },
    Known {
        long: "console",
        value: Some("ADDRESS:PORT|off"),
        variable: Some("EDGE_CONSOLE"),
        verbs: PLACE,
        help: "where the console listens; default: as\nedge.json says, or 127.0.0.1:8480",
    },
    Known {
        long: "console-token-file",
        value: Some("FILE"),
        variable: Some("EDGE_CONSOLE_TOKEN_FILE"),
        verbs: PLACE,
        help: "the console's token if edge.json's file for it\nis not there; made if it is missing",
    },
    Known {
        long: "config",
        value: Some("FILE"),
        variable: Some("EDGE_CONFIG"),
        verbs: &[Verb::Run, Verb::Check, Verb::Sources],
        help: "instead of edge.json in the data directory",
    },
    Known {
        long: "run-dir",
        value: Some("PATH"),
        variable: Some("EDGE_RUN_DIR"),
        verbs: LOCAL,
        help: "where the agent's socket stands;\ndefault: /run/edge-agent",
    },
    Known {
        long: "log",
        value: Some("stderr|syslog"),
        variable: Some("EDGE_LOG"),
        verbs: RUN,
        help: "where to log to; default: stderr",
    },
    Known {
        long: "log-level",
        value: Some("LEVEL"),
        variable: Some("EDGE_LOG_LEVEL"),
        verbs: EVERY,
        help: "error, warn, info or debug;\ndefault: info for run, else warn",
    },
    Known {
        long: "require-network-share",
        value: None,
        variable: Some("EDGE_REQUIRE_NETWORK_SHARE"),
        verbs: SITE,
        help: "refuse a data directory on a local file system",
    },
    Known {
        long: "supervise",
        value: None,
        variable: Some("EDGE_SUPERVISE"),
        verbs: RUN,
        help: "restart the agent if it ends by itself",
    },
    Known {
        long: "new-id",
        value: None,
        variable: None,
        verbs: &[Verb::Init],
        help: "give an existing data directory a new site id",
    },
    Known {
        long: "json",
        value: None,
        variable: None,
        verbs: &[Verb::Status, Verb::Declined],
        help: "print JSON: the snapshot, or a line for each\nrecord that is listed",
    },
    Known {
        long: "local",
        value: None,
        variable: None,
        verbs: &[Verb::Status],
        help: "ask this host's agent alone; 69 if none runs",
    },
    Known {
        long: "watch",
        value: None,
        variable: None,
        verbs: &[Verb::Status],
        help: "print it every 2 s, on a terminal in one place,\nuntil the command is ended",
    },
    Known {
        long: "peer",
        value: None,
        variable: None,
        verbs: &[Verb::Check],
        help: "on two hosts at once: what the share does\nbetween them; they wait for each other",
    },
    Known {
        long: "once",
        value: None,
        variable: None,
        verbs: &[Verb::Sources],
        help: "read each source once, which is the default",
    },
    Known {
        long: "to",
        value: Some("NODE"),
        variable: None,
        verbs: &[Verb::Switchover],
        help: "who shall be the next master",
    },
];

/// The help of a command, or of the program; 80 columns at most.
pub fn help(verb: Option<Verb>) -> String {
    let Some(verb) = verb else {
        return help_of_all();
    };
    let (name, summary) = (verb.name(), verb.summary());
    let gap = if verb.words().is_empty() { "" } else { " " };
    let words = verb.words();
    let mut text = format!(
        "edge-agent {name}: {summary}\n\nusage: edge-agent {name}{gap}{words} [OPTION]...\n\n"
    );
    for known in OPTIONS.iter().filter(|known| known.verbs.contains(&verb)) {
        push_option(&mut text, known);
    }
    text.push_str("  --help\n        print this\n");
    text
}

fn help_of_all() -> String {
    let mut text = String::from(
        "edge-agent: failover and forwarding for industrial gateways\n\n\
         usage: edge-agent COMMAND [OPTION]...\n\ncommands:\n",
    );
    for verb in Verb::ALL {
        writeln!(text, "  {:<12}{}", verb.name(), verb.summary()).expect("a string takes anything");
    }
    text.push_str(
        "\n  COMMAND --help    what a command's options are\n  \
         --version         print the version\n\n\
         exit codes: 0, 64 usage, 69 unavailable, 70 bug, 75 temporary, 78 configuration\n",
    );
    text
}

fn push_option(text: &mut String, known: &Known) {
    text.push_str("  --");
    text.push_str(known.long);
    if let Some(value) = known.value {
        text.push(' ');
        text.push_str(value);
    }
    if let Some(variable) = known.variable {
        text.push_str("  or ");
        text.push_str(variable);
    }
    text.push('\n');
    for line in known.help.lines() {
        text.push_str("        ");
        text.push_str(line);
        text.push('\n');
    }
}
