//! What tells this machine from others: the default name of a node.
//!
//! Ten routers named `openwrt` must differ, so the host name is followed by four digits made
//! from the machine's id. Not for security: the digits only keep names apart.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::engine::codec::CRC_32C;
use crate::engine::ident::NodeName;
use crate::limits::NODE_NAME_MAX;

/// Bytes of `-` and four hex digits.
const DIGITS: usize = 5;

/// The name of a node that was given none.
pub fn default_node() -> NodeName {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    node_name(host.trim(), &machine_id())
}

/// What stays the same on this machine: its id, or else the lowest address of a network card
/// (`OpenWrt` has no id); empty if there is neither.
pub fn machine_id() -> String {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .into_iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.trim().to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| lowest_card(Path::new("/sys/class/net")).unwrap_or_default())
}

fn lowest_card(folder: &Path) -> Option<String> {
    let cards = fs::read_dir(folder).ok()?;
    cards
        .filter_map(Result::ok)
        .filter_map(|card| {
            let address = fs::read_to_string(card.path().join("address")).ok()?;
            let address = address.trim().to_owned();
            let is_virtual = !card.path().join("device").exists();
            let is_set = address.bytes().any(|byte| !matches!(byte, b'0' | b':'));
            is_set.then_some((is_virtual, address))
        })
        .min()
        .map(|(_, address)| address)
}

fn node_name(host: &str, machine: &str) -> NodeName {
    let mut name: String = host
        .chars()
        .map(|letter| letter.to_ascii_lowercase())
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .take(NODE_NAME_MAX - DIGITS)
        .collect();
    if name.is_empty() {
        name.push_str("node");
    }
    let digits = CRC_32C.checksum(machine.as_bytes()) & 0xffff;
    write!(name, "-{digits:04x}").expect("a string takes anything");
    NodeName::parse(&name).expect("made of valid letters, cut to length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_gives_a_valid_name() {
        let long = "x".repeat(64);
        for (host, begin) in [
            ("openwrt", "openwrt-"),
            ("GW1.Plant.local", "gw1-plant-local-"),
            ("Prüfstand_3", "pr-fstand-3-"),
            ("", "node-"),
            (long.as_str(), &long[..27]),
        ] {
            let name = node_name(host, "abc");
            assert!(name.as_str().starts_with(begin), "{name}");
            assert!(name.as_str().len() <= NODE_NAME_MAX);
        }
        assert_eq!(node_name(&long, "abc").as_str().len(), NODE_NAME_MAX);
    }

    #[test]
    fn machines_of_one_host_name_differ() {
        assert_ne!(node_name("openwrt", "a"), node_name("openwrt", "b"));
        assert_eq!(node_name("openwrt", "a"), node_name("openwrt", "a"));
    }

    #[test]
    fn this_machine_has_a_name() {
        assert_eq!(default_node(), default_node());
    }
}
