//! Whether a text of the configuration is what its field asks for.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use regex_lite::{Regex, RegexBuilder};

use crate::limits::PATTERN_PROGRAM_BYTES_MAX;

/// `https://HOST[:PORT][/PATH]`, or `http://` to this host itself.
///
/// minreq splits host and port at the first colon, so an IPv6 address cannot be written.
pub(super) fn is_cloud_url(url: &str) -> bool {
    let (rest, is_plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let good_port = port.is_none_or(is_port);
    let is_path_byte = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
    is_host(host)
        && good_port
        && path.bytes().all(is_path_byte)
        && (!is_plain || is_loopback_host(host))
}

/// `http://HOST:PORT`, where the host may be an IPv6 address in brackets.
pub(super) fn is_proxy_url(url: &str) -> bool {
    let authority = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    let Some((host, port)) = authority.and_then(|authority| authority.rsplit_once(':')) else {
        return false;
    };
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good_host =
        in_brackets.map_or_else(|| is_host(host), |host| host.parse::<Ipv6Addr>().is_ok());
    good_host && is_port(port)
}

/// A user of Basic authentication (RFC 7617 2).
pub(super) fn is_proxy_user(text: &str) -> bool {
    is_header_value(text) && !text.contains(':')
}

fn is_host(host: &str) -> bool {
    let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    !host.is_empty() && host.bytes().all(is_host_byte)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_loopback_host(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Visible ASCII: what minreq, which checks nothing, may put into a header.
pub(super) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `ADDRESS:PORT` or `off`.
pub(super) fn is_listen_address(text: &str) -> bool {
    text == "off" || text.parse::<SocketAddr>().is_ok()
}

/// A pattern made ready; `None`: it is not a regular expression, or takes too much memory.
pub fn pattern(text: &str) -> Option<Regex> {
    RegexBuilder::new(text).size_limit(PATTERN_PROGRAM_BYTES_MAX).build().ok()
}

/// A regular expression with one capture group.
pub(super) fn is_pattern(text: &str) -> bool {
    // the whole match counts as a group
    pattern(text).is_some_and(|pattern| pattern.captures_len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_one_group_and_are_bounded() {
        for good in ["(a)", "MemFree: +([0-9]+)", "(?m)^t=(-?\\d+)$", "(?:a|b)(?P<v>.)"] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "a", "(a)(b)", "(a", "(?=a)(b)", "(a{1000}{1000})", "(\\1)"] {
            assert!(!is_pattern(bad), "{bad}");
        }
        assert!(!is_pattern(&format!("{}a{}", "(".repeat(120), ")".repeat(120))));
    }

    #[test]
    fn urls_are_https_or_stay_on_this_host() {
        for good in [
            "https://api.datonis.io",
            "https://api.datonis.io/",
            "https://10.0.0.1:8443/edge/x",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://localhost:1",
            "http://LOCALHOST/",
        ] {
            assert!(is_cloud_url(good), "{good}");
        }
        for bad in [
            "",
            "api.datonis.io",
            "ftp://a",
            "https://",
            "https://:443",
            "http://api.datonis.io",
            "http://127.0.0.1.example.com",
            "http://localhost@example.com",
            "https://a:b@c",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://a:",
            "https://a b",
            "https://a/?q",
            "https://a/#f",
            "https://a/\r\nX: y",
            "https://ä",
            "https://[::1]",
            "http://0x7f.1",
            "https://a?x=1",
            "http://2130706433",
        ] {
            assert!(!is_cloud_url(bad), "{bad}");
        }
    }

    #[test]
    fn a_proxy_has_a_host_and_a_port() {
        for good in [
            "http://proxy.plant:3128",
            "http://10.0.0.1:8080/",
            "http://[fd00::1]:3128",
            "http://p:65535",
        ] {
            assert!(is_proxy_url(good), "{good}");
        }
        for bad in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy",
            "http://:3128",
            "http://proxy:0",
            "http://proxy:3128/x",
            "http://u:p@proxy:3128",
            "http://fd00::1:3128",
            "http://[fd00::1]",
            "http://[proxy]:3128",
            "http://a b:1",
            "http://a\r\n:1",
        ] {
            assert!(!is_proxy_url(bad), "{bad}");
        }
        assert!(is_proxy_user("plant\\gw-1") && !is_proxy_user("a:b") && !is_proxy_user("a b"));
    }

    #[test]
    fn header_values_cannot_break_lines() {
        assert!(is_header_value("abc-123_./+="));
        for bad in ["a b", "a\r\nX: y", "a\u{7f}", "ä", "a\0"] {
            assert!(!is_header_value(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_console_listens_at_an_address() {
        for good in ["127.0.0.1:8480", "[::1]:80", "0.0.0.0:1", "off"] {
            assert!(is_listen_address(good), "{good}");
        }
        for bad in ["", "localhost:80", "8480", "127.0.0.1", "OFF"] {
            assert!(!is_listen_address(bad), "{bad}");
        }
    }
}
