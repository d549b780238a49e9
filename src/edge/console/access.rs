//! Who may ask what: the token, and the names by which we are asked.
//!
//! # Invariants
//!
//! - A1: the time that a comparison takes tells nothing of the token but its length.
//! - A2: over TCP without a token the Host is an address, `localhost` or the host that we advertise,
//!   never another name that somebody could have pointed at us (DNS rebinding). Which address does
//!   not matter: a container's published port has another, and whoever asks by an address was
//!   misled by no name. With a token any name will do: a browser shows it to no other name.
//! - A3: no log line, answer or `Debug` text shows the token.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use subtle::ConstantTimeEq;

use crate::limits::TOKEN_MAX;

/// Bytes of a decoded `user:password`.
const PAIR_MAX: usize = 512;

/// Where a connection came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// The Unix socket: whoever may open it is trusted.
    Unix,
    /// TCP, to this address of ours.
    Tcp(SocketAddr),
}

impl Origin {
    /// Whether it came from this host alone.
    pub(super) fn is_local(self) -> bool {
        match self {
            Self::Unix => true,
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
        }
    }
}

/// What a client over TCP shows that it may ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Vec<u8>);

impl Token {
    /// What [`Token::read`] takes, for messages.
    pub const EXPECTED: &'static str =
        "expected a token of 1 to 256 visible ASCII characters on a line of its own";

    /// Reads a token's file; white space around it does not count.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let token = bytes.trim_ascii();
        let fits = (1..=TOKEN_MAX).contains(&token.len());
        (fits && token.iter().all(u8::is_ascii_graphic)).then(|| Self(token.to_vec()))
    }

    /// Whether an `Authorization` shows it: Bearer (RFC 6750 2.1), or Basic with any user
    /// (RFC 7617).
    pub(super) fn is_shown_by(&self, authorization: &[u8]) -> bool {
        let mut words = authorization.splitn(2, |byte| *byte == b' ');
        let scheme = words.next().unwrap_or_default();
        let rest = words.next().unwrap_or_default().trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.is(rest);
        }
        let mut room = [0; PAIR_MAX];
        let pair = decode(rest, &mut room).filter(|_| scheme.eq_ignore_ascii_case(b"basic"));
        let colon = |pair: &&[u8]| pair.iter().position(|byte| *byte == b':');
        match pair.and_then(|pair| Some((pair, colon(&pair)?))) {
            Some((pair, colon)) => self.is(&pair[colon + 1..]),
            None => false,
        }
    }

    /// A1
    fn is(&self, shown: &[u8]) -> bool {
        self.0.as_slice().ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

/// Base64 with padding (RFC 4648 4), into `room`; `None`: it is none, or does not fit.
fn decode<'a>(text: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    if !text.len().is_multiple_of(4) || padding > 2 {
        return None;
    }
    let mut filled = 0;
    for four in text.chunks_exact(4) {
        let mut bits = 0;
        for byte in four {
            bits = bits << 6 | six_bits(*byte)?;
        }
        room.get_mut(filled..filled + 3)?.copy_from_slice(&bits.to_be_bytes()[1..]);
        filled += 3;
    }
    // padding within the text was let through as zeros: what is left must hold none
    let is_inside = text[..text.len() - padding].contains(&b'=');
    (!is_inside).then(|| &room[..filled - padding])
}

fn six_bits(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        b'=' => 0,
        _ => return None,
    };
    Some(u32::from(value))
}

/// What the console goes by.
#[derive(Debug, Default)]
pub(super) struct Access {
    /// Without it, other hosts are let in nowhere, and over TCP nothing is changed.
    pub(super) token: Option<Token>,
    /// The host of the URL that we advertise; empty: none.
    pub(super) advertised: String,
}

impl Access {
    /// Whether a Host is ours (A2); the port is not looked at: it may have been forwarded.
    pub(super) fn is_ours(&self, host: &[u8], origin: Origin) -> bool {
        if origin == Origin::Unix {
            return true;
        }
        let Ok(host) = std::str::from_utf8(host) else {
            return false;
        };
        let name = host_of(host);
        let is_advertised = !name.is_empty() && name.eq_ignore_ascii_case(&self.advertised);
        if name.eq_ignore_ascii_case("localhost") || is_advertised {
            return true;
        }
        if self.token.is_some() {
            return !name.is_empty();
        }
        match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => name.parse::<Ipv4Addr>().is_ok(),
        }
    }
}

/// The host of `HOST[:PORT]`.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => authority,
    }
}

/// The host of an `http://` or `https://` URL; empty: it has none.
pub(super) fn host_of_url(url: &str) -> &str {
    let behind_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    host_of(behind_scheme.split('/').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token::read(text.as_bytes()).expect("a token")
    }

    #[test]
    fn a_token_is_a_line_of_visible_characters() {
        assert_eq!(token("s3cret\r\n"), token(" s3cret"));
        let long = "x".repeat(TOKEN_MAX + 1);
        for bad in ["", " \n", "a b", "a\nb", "ä", "a\0", long.as_str()] {
            assert_eq!(Token::read(bad.as_bytes()), None, "{bad:?}");
        }
        assert!(Token::read(&long.as_bytes()[1..]).is_some());
        assert!(!format!("{:?}", token("s3cret")).contains("s3cret"), "A3");
    }

    #[test]
    fn it_is_shown_as_bearer_or_as_any_users_password() {
        let token = token("s3:cret");
        for good in [
            "Bearer s3:cret",
            "bearer  s3:cret ",
            "Basic dTpzMzpjcmV0",     // u:s3:cret
            "BASIC OnMzOmNyZXQ=",     // :s3:cret
            "Basic bWU6czM6Y3JldA==", // me:s3:cret
        ] {
            assert!(token.is_shown_by(good.as_bytes()), "{good}");
        }
        let long = format!("Basic {}", "YWFh".repeat(PAIR_MAX));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3:cre",
            "Bearer s3:cret2",
            "Bearer S3:CRET",
            "s3:cret",
            "Digest s3:cret",
            "Basic s3:cret",
            "Basic czM6Y3JldA==", // s3:cret: the password is cret
            "Basic dTpzMzpjcmV",
            "Basic dTpz=zpjcmV0",
            "Basic ====",
            "Basic",
            "Basic dTpzMzpj cmV0",
            &long,
        ] {
            assert!(!token.is_shown_by(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn base64_reads_back() {
        let mut room = [0; 8];
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("+/+/", "")]
        {
            let read = decode(text.as_bytes(), &mut room).expect("base64");
            assert!(read == bytes.as_bytes() || text == "+/+/" && read == [0xfb, 0xff, 0xbf]);
        }
        assert_eq!(decode(b"Zm9vZm9vZm9v", &mut room), None, "too long");
    }

    #[test]
    fn a_name_that_was_pointed_at_us_is_not_ours() {
        let bound = Origin::Tcp("10.0.0.5:8480".parse().expect("an address"));
        let advertised = host_of_url("https://GW-1.plant:8480/x").to_owned();
        let access = Access { token: None, advertised };
        for host in [
            "localhost",
            "LocalHost:8480",
            "localhost:9000",
            "127.0.0.1:8480",
            "[::1]:8480",
            "[::1]",
            "10.0.0.5:8480",
            "[::ffff:10.0.0.5]",
            "192.168.1.5:8480",
            "gw-1.plant",
            "gw-1.plant:8480",
        ] {
            assert!(access.is_ours(host.as_bytes(), bound), "{host}");
        }
        for host in [
            "",
            ":8480",
            "evil.example",
            "evil.example:8480",
            "localhost.evil.example",
            "gw-1.plant.evil.example",
            "127.0.0.1.evil.example",
            "::1",
            "[::1",
            "[127.0.0.1]",
            "localhost:80:80",
            "user@localhost",
        ] {
            assert!(!access.is_ours(host.as_bytes(), bound), "{host}");
        }
        assert!(!Access::default().is_ours(b"", bound));
        let guarded = Access { token: Token::read(b"0123456789abcdef"), ..Access::default() };
        assert!(guarded.is_ours(b"gw-1:8480", bound) && guarded.is_ours(b"evil.example", bound));
        assert!(!guarded.is_ours(b"", bound) && !guarded.is_ours(b":8480", bound));
        assert!(access.is_ours(b"anything", Origin::Unix));
    }

    #[test]
    fn only_loopback_is_local() {
        let tcp = |text: &str| Origin::Tcp(text.parse().expect("an address"));
        assert!(Origin::Unix.is_local() && tcp("127.0.0.2:1").is_local());
        assert!(tcp("[::1]:1").is_local() && tcp("[::ffff:127.0.0.1]:1").is_local());
        assert!(!tcp("10.0.0.5:1").is_local() && !tcp("0.0.0.0:1").is_local());
    }
}
