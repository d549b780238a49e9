//! Datonis by HTTPS, as its public clients speak it: paths, bodies, signature.

use ring::hmac;

use super::ThingSetup;
use crate::edge::json::write_text;

/// Where things are registered.
pub const REGISTER_PATH: &str = "/api/v3/things/register.json";
/// Where things' heartbeats go.
pub const ALIVE_PATH: &str = "/api/v3/things/heartbeat.json";
/// Where readings go, one or many.
pub const READINGS_PATH: &str = "/api/v3/things/event.json";
/// Where alerts go, one at a time.
pub const ALERTS_PATH: &str = "/api/v3/alerts.json";

const READINGS_HEAD: &[u8] = b"{\"events\":[";
const READINGS_TAIL: &[u8] = b"]}";

/// The body of a request for readings: journalled lines, put between brackets. Records hold no
/// line break of their own, so a line's end becomes a comma and nothing is encoded anew.
pub fn readings_body(lines: &[u8]) -> Vec<u8> {
    let records = lines.strip_suffix(b"\n").unwrap_or(lines);
    let mut body = Vec::with_capacity(READINGS_HEAD.len() + records.len() + READINGS_TAIL.len());
    body.extend_from_slice(READINGS_HEAD);
    body.extend_from_slice(records);
    for byte in &mut body {
        if *byte == b'\n' {
            *byte = b',';
        }
    }
    body.extend_from_slice(READINGS_TAIL);
    body
}

/// The body of a request for an alert: its line is the body already. `None`: it is not just one.
pub fn alert_body(lines: &[u8]) -> Option<Vec<u8>> {
    let record = lines.strip_suffix(b"\n").unwrap_or(lines);
    (!record.is_empty() && !record.contains(&b'\n')).then(|| record.to_vec())
}

/// The body that registers a thing; the description names the site.
pub fn register_body(thing: &ThingSetup, site: &str, wall_ms: u64) -> Vec<u8> {
    let mut body = b"{\"thing_key\":".to_vec();
    write_text(&thing.thing_key, &mut body);
    body.extend_from_slice(b",\"name\":");
    write_text(&thing.name, &mut body);
    body.extend_from_slice(b",\"description\":");
    write_text(site, &mut body);
    body.extend_from_slice(format!(",\"timestamp\":{wall_ms}").as_bytes());
    body.extend_from_slice(b",\"bi_directional\":false}");
    body
}

/// The body of a thing's heartbeat.
pub fn alive_body(thing: &ThingSetup, wall_ms: u64) -> Vec<u8> {
    let mut body = b"{\"thing_key\":".to_vec();
    write_text(&thing.thing_key, &mut body);
    body.extend_from_slice(format!(",\"timestamp\":{wall_ms}}}").as_bytes());
    body
}

/// The key of [`signature`], from the secret key's text.
pub fn signing_key(secret_key: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret_key.as_bytes())
}

/// `X-Dtn-Signature`: HMAC-SHA256 of just these bytes, in 64 lower-case hex digits.
pub fn signature(key: &hmac::Key, body: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let tag = hmac::sign(key, body);
    tag.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "testsecretkey0000000000000000000000000001";

    fn thing() -> ThingSetup {
        ThingSetup { thing_key: "7t38b9dbt9".into(), name: "Compressor".into() }
    }

    #[test]
    fn signatures_are_those_of_the_public_clients() {
        for (body, expected) in [
            (
                r#"{"thing_key":"7t38b9dbt9","name":"Compressor","description":"A thing for compressors","timestamp":1600000000000,"bi_directional":false}"#,
                "ba99bb16bf081eb0e16ebfb6d75954386a6f07251c75d20cc5590efff9362e98",
            ),
            (
                r#"{"thing_key":"7t38b9dbt9","timestamp":1600000000000}"#,
                "60ad1ac915741178719241c923b83b285460cfb65626a040ebf7b236283849d4",
            ),
            (
                r#"{"timestamp":1600000000000,"thing_key":"7t38b9dbt9","data":{"pressure":42,"temperature":17.5}}"#,
                "b02ab5f2a5274f05a9f61bf02e7c55e687d602d7f5b85c8a19de62343b90218d",
            ),
            (
                r#"{"timestamp":1600000000000,"thing_key":"7t38b9dbt9","data":{"spindle":{"rpm":1200}},"waypoint":[19.076,72.877]}"#,
                "345c593860e6701d256d9fddb19701961bfe618e047cabd5b42515bf394b536a",
            ),
            (
                r#"{"events":[{"timestamp":1600000000000,"thing_key":"7t38b9dbt9","data":{"pressure":42}},{"timestamp":1600000001000,"thing_key":"7t38b9dbt9","data":{"pressure":43}}]}"#,
                "f06d36aa53e709f72a31c54e0f218d94ab50e712f4135789b042276e7780a0c0",
            ),
            (
                r#"{"alert":{"timestamp":1600000000000,"thing_key":"7t38b9dbt9","alert_type":1,"message":"HA test","data":{"host":"gw1"}}}"#,
                "a4f270a272404be44166fa799c34098aaaf3515c423327ff370afbe6b4d5ae50",
            ),
        ] {
            assert_eq!(signature(&signing_key(SECRET), body.as_bytes()), expected, "{body}");
        }
        assert_eq!(
            signature(&signing_key("12345"), b"This is a test"),
            "ab06a3c89db83e9e14eae39d28d96b447d07946efbfb478463afec5d367d2812"
        );
    }

    #[test]
    fn bodies_are_those_of_the_public_clients() {
        let registered = register_body(&thing(), "A thing for compressors", 1_600_000_000_000);
        assert_eq!(
            signature(&signing_key(SECRET), &registered),
            "ba99bb16bf081eb0e16ebfb6d75954386a6f07251c75d20cc5590efff9362e98"
        );
        assert_eq!(
            signature(&signing_key(SECRET), &alive_body(&thing(), 1_600_000_000_000)),
            "60ad1ac915741178719241c923b83b285460cfb65626a040ebf7b236283849d4"
        );
        let lines = b"{\"timestamp\":1600000000000,\"thing_key\":\"7t38b9dbt9\",\"data\":{\"pressure\":42}}\n{\"timestamp\":1600000001000,\"thing_key\":\"7t38b9dbt9\",\"data\":{\"pressure\":43}}\n";
        assert_eq!(
            signature(&signing_key(SECRET), &readings_body(lines)),
            "f06d36aa53e709f72a31c54e0f218d94ab50e712f4135789b042276e7780a0c0"
        );
        assert_eq!(readings_body(b"{\"a\":1}\n"), b"{\"events\":[{\"a\":1}]}");
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_body() {
        let odd = ThingSetup { thing_key: "a\"b\\".into(), name: "é\n".into() };
        let body = register_body(&odd, "s", 7);
        assert_eq!(
            String::from_utf8(body).expect("ASCII"),
            r#"{"thing_key":"a\"b\\","name":"\u00e9\u000a","description":"s","timestamp":7,"bi_directional":false}"#
        );
    }

    #[test]
    fn an_alert_goes_alone() {
        assert_eq!(alert_body(b"{\"alert\":{}}\n"), Some(b"{\"alert\":{}}".to_vec()));
        assert_eq!(alert_body(b"{}\n{}\n"), None);
        assert_eq!(alert_body(b""), None);
    }
}
