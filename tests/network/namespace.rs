//! A test once more, in network and mount namespaces of its own.

use std::env;
use std::process::Command;

use crate::support::left_out::leave_out;

/// Says in which test's namespaces a process is.
const INSIDE: &str = "EDGE_TEST_NAMESPACE";

/// What every such network has: loopback, and two addresses of a link whose other end drops what
/// is sent to them. A file of our own stands in for `/etc/hosts`, and IPv4 goes first if asked.
const SETUP: &str = r#"
set -e
ip link set lo up
ip link add hole type veth peer name void
ip link set hole up
ip link set void up
ip address add 10.77.0.1/24 dev hole
ip address add fd00:77::1/64 dev hole nodad
ip neighbour add 10.77.0.2 lladdr 02:00:00:00:77:02 dev hole nud permanent
ip neighbour add fd00:77::2 lladdr 02:00:00:00:77:02 dev hole nud permanent
bind() {
    stand_in=$(mktemp)
    printf '%b' "$1" >"$stand_in"
    mount --bind "$stand_in" "$2"
    rm "$stand_in"
}
bind "$EDGE_TEST_HOSTS" /etc/hosts
[ ! -e /etc/gai.conf ] || bind "$EDGE_TEST_ORDER" /etc/gai.conf
exec "$0" "$@"
"#;

/// The address that IPv6 packets are swallowed at.
pub(crate) const HOLE_V6: &str = "fd00:77::2";
/// The address that IPv4 packets are swallowed at.
pub(crate) const HOLE_V4: &str = "10.77.0.2";
/// An address where nothing listens.
pub(crate) const REFUSING_V6: &str = "fd00:77::1";

/// Whether this process is in the namespaces of `test`. If not, and that is possible here, runs
/// the test there, with these lines as `/etc/hosts` and `/etc/gai.conf`.
pub(crate) fn is_inside(test: &str, hosts: &str, order: &str) -> bool {
    if env::var_os(INSIDE).is_some_and(|name| name == test) {
        return true;
    }
    let mut probe = Command::new("unshare");
    probe.args(["--net", "--mount", "--", "sh", "-c", "ip link add hole type veth peer name void"]);
    if !probe.output().is_ok_and(|output| output.status.success()) {
        leave_out(&format!("{test} needs root and veth, for a network namespace of its own"));
        return false;
    }
    let own = env::current_exe().expect("a test knows its program");
    let mut again = Command::new("unshare");
    again.args(["--net", "--mount", "--", "sh", "-c", SETUP]).arg(own);
    again.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    again.env(INSIDE, test).env("EDGE_TEST_HOSTS", hosts).env("EDGE_TEST_ORDER", order);
    let status = again.status().expect("unshare can be run");
    assert!(status.success(), "{test} failed in its namespaces: {status}");
    false
}
