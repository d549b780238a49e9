//! Heads of requests: what is asked for, and whether it may be asked here.
//!
//! # Invariants
//!
//! - Q1: over TCP without a token there are only GET and HEAD, from this host; with one, whoever
//!   shows it may ask everything. `/healthz` and `/master` need none, for load balancers.
//! - Q2: over TCP the Host is ours ([`Access::is_ours`]), and no page of another origin has a
//!   browser that knows the token change anything (RFC 6454 7).
//! - Q3: a request whose length is in doubt is the last of its connection (RFC 9112 6.3).

use httparse::{EMPTY_HEADER, Header};

use super::access::{Access, Origin};
use crate::engine::ident::NodeName;
use crate::limits::{REQUEST_BODY_MAX, REQUEST_HEAD_MAX};

/// What there is, for whoever asks for something else.
const PATHS: &str = "/, /status.json, /metrics, /healthz, /master, /readings, /switchover, \
                     /declined/replay, /declined/purge";
/// Header lines of a request.
const HEADERS_MAX: usize = 32;

/// What we answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Page,
    Status,
    Metrics,
    Health,
    Master,
    Readings,
    Switchover,
    Replay,
    Purge,
    /// Debug builds only.
    Allocations,
}

impl Route {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/" => Some(Self::Page),
            "/status.json" => Some(Self::Status),
            "/metrics" => Some(Self::Metrics),
            "/healthz" => Some(Self::Health),
            "/master" => Some(Self::Master),
            "/readings" => Some(Self::Readings),
            "/switchover" => Some(Self::Switchover),
            "/declined/replay" => Some(Self::Replay),
            "/declined/purge" => Some(Self::Purge),
            "/allocations" if cfg!(debug_assertions) => Some(Self::Allocations),
            _ => None,
        }
    }

    const fn is_posted(self) -> bool {
        match self {
            Self::Readings | Self::Switchover | Self::Replay | Self::Purge => true,
            Self::Page
            | Self::Status
            | Self::Metrics
            | Self::Health
            | Self::Master
            | Self::Allocations => false,
        }
    }

    /// Whether it is told to everybody who can connect.
    const fn is_open(self) -> bool {
        match self {
            Self::Health | Self::Master => true,
            Self::Page
            | Self::Status
            | Self::Metrics
            | Self::Readings
            | Self::Switchover
            | Self::Replay
            | Self::Purge
            | Self::Allocations => false,
        }
    }

    const fn body_max(self) -> usize {
        match self {
            Self::Readings => REQUEST_BODY_MAX,
            Self::Switchover => REQUEST_HEAD_MAX,
            Self::Page
            | Self::Status
            | Self::Metrics
            | Self::Health
            | Self::Master
            | Self::Replay
            | Self::Purge
            | Self::Allocations => 0,
        }
    }
}

/// Why a request is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// What would have been right.
    pub(super) expected: &'static str,
    /// The methods that are allowed; empty: not what is wrong.
    pub(super) allow: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: u16, expected: &'static str) -> Self {
        Self { status, expected, allow: "" }
    }
}

/// The head of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// What is asked for, or why not.
    pub(super) what: Result<Route, Refusal>,
    /// Its own length, in bytes.
    pub(super) bytes: usize,
    /// Bytes of the body behind it.
    pub(super) length: usize,
    /// HEAD: the body of the answer is not wanted.
    pub(super) is_bare: bool,
    /// The connection may be used again.
    pub(super) keeps: bool,
    /// The body comes once we said that we want it.
    pub(super) expects: bool,
}

/// What the bytes of a connection begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parsed {
    /// Nothing whole yet.
    Partial,
    /// A head.
    Whole(Head),
    /// Nothing that can be made sense of: answered, and the connection ended.
    Bad(Refusal),
}

/// Reads the head that `bytes` begin with.
pub(super) fn parse(bytes: &[u8], origin: Origin, access: &Access) -> Parsed {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < REQUEST_HEAD_MAX => return Parsed::Partial,
        Ok(httparse::Status::Partial) => {
            return Parsed::Bad(Refusal::new(431, "a head of less than 4096 bytes"));
        }
        Err(httparse::Error::TooManyHeaders) => {
            return Parsed::Bad(Refusal::new(431, "at most 32 header lines"));
        }
        Err(httparse::Error::Version) => {
            return Parsed::Bad(Refusal::new(505, "HTTP/1.1 or HTTP/1.0"));
        }
        Err(_) => return Parsed::Bad(Refusal::new(400, "an HTTP/1.1 request")),
    };
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let is_old = request.version == Some(0);
    match Fields::read(request.headers, is_old, origin, access) {
        Err(refusal) => Parsed::Bad(refusal),
        Ok(fields) => {
            let what = find(method, target, &fields, origin, access);
            Parsed::Whole(head(method, length, &fields, is_old, what))
        }
    }
}

fn head(
    method: &str,
    bytes: usize,
    fields: &Fields,
    is_old: bool,
    what: Result<Route, Refusal>,
) -> Head {
    let length = fields.length.unwrap_or(0);
    let takes_body = matches!(what, Ok(route) if route.is_posted());
    Head {
        what,
        bytes,
        length,
        is_bare: method == "HEAD",
        keeps: !is_old && !fields.closes && (length == 0 || takes_body),
        expects: fields.expects && !is_old,
    }
}

fn find(
    method: &str,
    target: &str,
    fields: &Fields,
    origin: Origin,
    access: &Access,
) -> Result<Route, Refusal> {
    if !fields.is_host_ours {
        return Err(Refusal::new(
            421,
            "a Host of localhost, an address, or the advertised host of this console",
        ));
    }
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let Some(route) = Route::find(path) else {
        return Err(Refusal::new(404, PATHS));
    };
    match (route.is_posted(), method) {
        (false, "GET" | "HEAD") => permit(route, fields, origin, access).map(|()| route),
        (true, "POST") => {
            permit(route, fields, origin, access)?;
            check_body(route, fields)
        }
        (false, _) => Err(Refusal { allow: "GET, HEAD", ..Refusal::new(405, "GET or HEAD") }),
        (true, _) => Err(Refusal { allow: "POST", ..Refusal::new(405, "POST") }),
    }
}

/// Q1, Q2
fn permit(route: Route, fields: &Fields, origin: Origin, access: &Access) -> Result<(), Refusal> {
    if origin == Origin::Unix || route.is_open() {
        return Ok(());
    }
    if route == Route::Allocations {
        return Err(Refusal::new(403, "the Unix socket"));
    }
    if route.is_posted() && fields.is_of_another_page {
        return Err(Refusal::new(403, "no Origin but this console's"));
    }
    match &access.token {
        Some(_) if fields.shows_token => Ok(()),
        Some(_) => Err(Refusal::new(401, "the console's token, by Bearer or Basic")),
        None if route.is_posted() => {
            Err(Refusal::new(403, "the Unix socket: without a token nothing is changed over TCP"))
        }
        None if origin.is_local() => Ok(()),
        None => Err(Refusal::new(403, "the Unix socket: there is no token any more")),
    }
}

fn check_body(route: Route, fields: &Fields) -> Result<Route, Refusal> {
    match fields.length {
        None if route == Route::Readings => Err(Refusal::new(411, "a Content-Length")),
        Some(length) if length > route.body_max() => {
            Err(Refusal::new(413, "a body of at most 262144 bytes"))
        }
        Some(_) | None => Ok(route),
    }
}
const _: () = assert!(REQUEST_BODY_MAX == 262_144 && REQUEST_HEAD_MAX == 4_096);

/// What the header lines say.
#[derive(Clone, Copy)]
struct Fields {
    length: Option<usize>,
    is_host_ours: bool,
    shows_token: bool,
    /// Its Origin is not the host that it was sent to.
    is_of_another_page: bool,
    closes: bool,
    expects: bool,
}

impl Fields {
    fn read(
        headers: &[Header<'_>],
        is_old: bool,
        origin: Origin,
        access: &Access,
    ) -> Result<Self, Refusal> {
        let mut fields = Self {
            length: None,
            is_host_ours: true,
            shows_token: false,
            is_of_another_page: false,
            closes: false,
            expects: false,
        };
        let mut hosts = 0;
        let mut host: &[u8] = b"";
        let mut page = None;
        for header in headers {
            let is = |name| header.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                let length = read_length(header.value);
                if length.is_none() || fields.length.is_some() {
                    return Err(Refusal::new(400, "one Content-Length, in digits"));
                }
                fields.length = length;
            } else if is("transfer-encoding") {
                return Err(Refusal::new(411, "a Content-Length, not a Transfer-Encoding"));
            } else if is("host") {
                hosts += 1;
                host = header.value;
                fields.is_host_ours = access.is_ours(host, origin);
            } else if is("authorization") {
                let token = access.token.as_ref();
                fields.shows_token |= token.is_some_and(|token| token.is_shown_by(header.value));
            } else if is("origin") {
                page = Some(header.value);
            } else if is("connection") {
                fields.closes |= has_word(header.value, b"close");
            } else if is("expect") {
                if !header.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::new(417, "no expectation but 100-continue"));
                }
                fields.expects = true;
            }
        }
        // RFC 9112 3.2
        if hosts > 1 || (hosts == 0 && !is_old) {
            return Err(Refusal::new(400, "one Host"));
        }
        fields.is_of_another_page = page.is_some_and(|page| !is_of_host(page, host));
        Ok(fields)
    }
}

/// Whether an Origin (RFC 6454 7) names the host that a request was sent to.
fn is_of_host(page: &[u8], host: &[u8]) -> bool {
    let http = page.strip_prefix(b"http://").or_else(|| page.strip_prefix(b"https://"));
    http.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Digits alone: no sign, no list (RFC 9110 8.6).
fn read_length(value: &[u8]) -> Option<usize> {
    let is_short = (1..=9).contains(&value.len());
    if !is_short || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(word))
}

/// `{"to":"node"}`, or nothing.
pub(super) fn read_switchover(body: &[u8]) -> Result<Option<NodeName>, Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish<'a> {
        to: Option<&'a str>,
    }
    const EXPECTED: Refusal = Refusal::new(400, "{\"to\":\"NODE\"} or nothing");
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(None);
    }
    let (wish, used) = serde_json_core::from_slice::<Wish<'_>>(body).map_err(|_| EXPECTED)?;
    if used != body.len() {
        return Err(EXPECTED);
    }
    wish.to.map(|name| NodeName::parse(name).ok_or(EXPECTED)).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::access::Token;
    use super::*;

    fn tcp() -> Origin {
        Origin::Tcp("127.0.0.1:8480".parse().expect("an address"))
    }

    fn whole(text: &str, origin: Origin) -> Head {
        let parsed = parse(text.as_bytes(), origin, &Access::default());
        let Parsed::Whole(head) = parsed else {
            panic!("{text:?}: {parsed:?}");
        };
        head
    }

    fn refusal_of(text: &str, origin: Origin) -> u16 {
        refusal_at(text, origin, &Access::default())
    }

    fn refusal_at(text: &str, origin: Origin, access: &Access) -> u16 {
        let parsed = parse(text.as_bytes(), origin, access);
        let (Parsed::Whole(Head { what: Err(refusal), .. }) | Parsed::Bad(refusal)) = parsed else {
            panic!("{text:?}: {parsed:?}");
        };
        refusal.status
    }

    #[test]
    fn routes_are_found() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        for (path, route) in [
            ("/status.json", Route::Status),
            ("/status.json?x=1", Route::Status),
            ("/healthz", Route::Health),
            ("/master", Route::Master),
        ] {
            for origin in [tcp(), Origin::Unix] {
                let head = whole(&get(path), origin);
                assert_eq!(head.what, Ok(route), "{path}");
                assert!(head.keeps && !head.is_bare && head.length == 0);
                assert_eq!(head.bytes, get(path).len());
            }
        }
        assert!(whole("HEAD /healthz HTTP/1.0\r\n\r\n", tcp()).is_bare);
        assert!(!whole("GET /healthz HTTP/1.0\r\n\r\n", tcp()).keeps);
        assert_eq!(whole(&get("/allocations"), Origin::Unix).what, Ok(Route::Allocations));
        assert_eq!(refusal_of(&get("/allocations"), tcp()), 403);
    }

    #[test]
    fn posts_are_taken_over_the_socket_alone() {
        let post = |path: &str, rest: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: edge\r\n{rest}\r\n").to_owned()
        };
        let head = whole(
            &post("/readings", "content-length: 12\r\nExpect: 100-Continue\r\n"),
            Origin::Unix,
        );
        assert_eq!((head.what, head.length), (Ok(Route::Readings), 12));
        assert!(head.expects && head.keeps);
        assert_eq!(whole(&post("/switchover", ""), Origin::Unix).what, Ok(Route::Switchover));
        let closing = post("/readings", "Content-Length: 0\r\nConnection: a, Close\r\n");
        assert!(!whole(&closing, Origin::Unix).keeps);
        let local = "POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(refusal_of(local, tcp()), 403, "Q1");
        assert!(!whole(local, tcp()).keeps, "Q3: its body is not read");
    }

    const TOKEN: &str = "Authorization: Bearer s3cret\r\n";

    #[test]
    fn with_a_token_whoever_shows_it_may_ask_everything() {
        let access = Access { token: Token::read(b"s3cret"), ..Access::default() };
        let far = Origin::Tcp("10.0.0.5:8480".parse().expect("an address"));
        let asked = |method: &str, path: &str, more: &str| {
            format!("{method} {path} HTTP/1.1\r\nHost: 10.0.0.5\r\nContent-Length: 0\r\n{more}\r\n")
        };
        for (method, path, open) in [
            ("GET", "/status.json", false),
            ("GET", "/healthz", true),
            ("HEAD", "/master", true),
            ("POST", "/readings", false),
            ("POST", "/switchover", false),
            ("POST", "/declined/replay", false),
            ("POST", "/declined/purge", false),
        ] {
            let with = asked(method, path, TOKEN);
            let Parsed::Whole(head) = parse(with.as_bytes(), far, &access) else {
                panic!("{with}");
            };
            assert!(head.what.is_ok(), "{with}");
            if open {
                let without = asked(method, path, "");
                let Parsed::Whole(head) = parse(without.as_bytes(), far, &access) else {
                    panic!("{without}");
                };
                assert!(head.what.is_ok(), "{without}");
                continue;
            }
            for wrong in ["", "Authorization: Bearer s3cre\r\n", "Authorization: Basic OnM=\r\n"] {
                assert_eq!(refusal_at(&asked(method, path, wrong), far, &access), 401, "{path}");
            }
            assert_eq!(refusal_of(&with, far), 403, "no token any more");
        }
        assert_eq!(refusal_at(&asked("GET", "/allocations", TOKEN), far, &access), 403);
    }

    #[test]
    fn no_other_page_has_a_browser_change_anything() {
        let access = Access { token: Token::read(b"s3cret"), ..Access::default() };
        let post = |page: &str| {
            let head = "POST /switchover HTTP/1.1\r\nHost: localhost:8480\r\n";
            format!("{head}{TOKEN}Origin: {page}\r\n\r\n")
        };
        for page in ["null", "http://evil.example", "http://localhost", "localhost:8480", ""] {
            assert_eq!(refusal_at(&post(page), tcp(), &access), 403, "Q2: {page}");
        }
        for page in ["http://localhost:8480", "https://LOCALHOST:8480"] {
            let parsed = parse(post(page).as_bytes(), tcp(), &access);
            assert!(matches!(parsed, Parsed::Whole(Head { what: Ok(_), .. })), "{page}");
        }
    }

    #[test]
    fn a_host_that_is_not_ours_is_refused() {
        let text = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert_eq!(refusal_of(text, tcp()), 421, "Q2");
        assert!(whole(text, Origin::Unix).what.is_ok());
    }

    #[test]
    fn a_switchover_names_a_node_or_none() {
        let to = NodeName::parse("gw-2");
        assert_eq!(read_switchover(b" \r\n"), Ok(None));
        assert_eq!(read_switchover(b"{}"), Ok(None));
        assert_eq!(read_switchover(b"{\"to\":null}"), Ok(None));
        assert_eq!(read_switchover(b"{ \"to\" : \"gw-2\" }\n"), Ok(to));
        for bad in [
            &b"gw-2"[..],
            b"{\"to\":\"GW\"}",
            b"{\"to\":1}",
            b"{\"too\":\"gw-2\"}",
            b"{\"to\":\"gw-2\"}x",
            b"{\"to\":\"gw\\u002d2\"}",
            b"\xff",
            b"[[[[[[[[[[",
        ] {
            assert!(read_switchover(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hostile_and_broken_heads_are_refused() {
        for (text, status) in [
            ("BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /../status.json HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("PUT /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("GET /readings HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("GET /declined/purge HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
            ("POST /declined HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
            ("GET /healthz HTTP/1.1\r\n\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
            ("GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
            ("GET /healthz\r\n\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nHost: localhost\0\r\n\r\n", 400),
            ("\u{1b}[2J", 400),
            ("POST /readings HTTP/1.1\r\nHost: a\r\n\r\n", 411),
            ("POST /readings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 262145\r\n\r\n", 413),
            ("POST /switchover HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n", 413),
            ("POST /declined/replay HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 413),
            ("POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
            ("POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n", 400),
            (
                "POST /readings HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\
                 Content-Length: 1\r\n\r\n",
                400,
            ),
            ("GET /healthz HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        ] {
            assert_eq!(refusal_of(text, Origin::Unix), status, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(33));
        assert_eq!(refusal_of(&many, Origin::Unix), 431);
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(REQUEST_HEAD_MAX));
        assert_eq!(refusal_of(&long[..REQUEST_HEAD_MAX], Origin::Unix), 431);
    }

    #[test]
    fn every_beginning_of_a_head_is_partial() {
        let text = "POST /readings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n";
        for end in 0..text.len() {
            let parsed = parse(&text.as_bytes()[..end], Origin::Unix, &Access::default());
            assert_eq!(parsed, Parsed::Partial, "{end}");
        }
    }
}
