//! What an HTTP status means for the records that were sent.

use std::time::UNIX_EPOCH;

use httpdate::parse_http_date;

use crate::engine::cloud::Verdict;
use crate::limits::RETRY_AFTER_MS_MAX;

/// The verdict on a status; 0 and other numbers that are none: perhaps accepted.
pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Accepted,
        401 | 403 | 404 | 405 | 410 => Verdict::BadCredentials,
        413 => Verdict::TooLarge,
        100..=199 | 300..=399 | 408 | 425 | 429 | 500..=599 => Verdict::Retry,
        400..=499 => Verdict::BadContent,
        _ => Verdict::Unknown,
    }
}

/// What mends a refusal of ours; empty: nothing that we know of.
pub fn remedy(status: u16) -> &'static str {
    match status {
        401 | 403 => " (see cloud.access_key and the secret key)",
        404 | 405 | 410 => " (see cloud.url)",
        _ => "",
    }
}

/// `Retry-After` in ms, an hour at most: seconds, or a date (RFC 9110 10.2.3). `date` is the
/// answer's own, which is that of the same clock; without it `wall_ms`, this gateway's, counts.
pub fn retry_after_ms(header: &str, date: Option<&str>, wall_ms: u64) -> Option<u32> {
    let digits = header.trim();
    if let Some(until_ms) = date_ms(digits) {
        let since_ms = date.and_then(date_ms).unwrap_or(wall_ms);
        let span_ms = u32::try_from(until_ms.saturating_sub(since_ms)).unwrap_or(u32::MAX);
        return Some(span_ms.min(RETRY_AFTER_MS_MAX));
    }
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // digits alone that are no u32 are more than an hour
    let seconds = digits.parse::<u32>().unwrap_or(u32::MAX);
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX))
}

/// A date in any of HTTP's forms (RFC 9110 5.6.7), in ms since the Unix epoch.
fn date_ms(text: &str) -> Option<u64> {
    let since = parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_verdict_of_the_table() {
        for status in 0..=1_000 {
            let expected = match status {
                200..=299 => Verdict::Accepted,
                401 | 403 | 404 | 405 | 410 => Verdict::BadCredentials,
                413 => Verdict::TooLarge,
                408 | 425 | 429 => Verdict::Retry,
                s if (400..500).contains(&s) => Verdict::BadContent,
                s if (100..600).contains(&s) => Verdict::Retry,
                _ => Verdict::Unknown,
            };
            assert_eq!(verdict(status), expected, "{status}");
        }
        for (status, expected) in [
            (204, Verdict::Accepted),
            (400, Verdict::BadContent),
            (422, Verdict::BadContent),
            (409, Verdict::BadContent),
            (307, Verdict::Retry),
            (100, Verdict::Retry),
            (500, Verdict::Retry),
            (503, Verdict::Retry),
            (0, Verdict::Unknown),
            (999, Verdict::Unknown),
        ] {
            assert_eq!(verdict(status), expected, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_up_to_an_hour() {
        for (header, expected) in [
            ("0", Some(0)),
            (" 120 ", Some(120_000)),
            ("3600", Some(3_600_000)),
            ("3601", Some(3_600_000)),
            ("99999999999999999999", Some(3_600_000)),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(header, None, 0), expected, "{header}");
        }
    }

    #[test]
    fn retry_after_is_a_date_by_the_clock_of_whoever_says_it() {
        let date = "Sun, 22 Nov 2026 05:30:00 GMT";
        let at_ms = date_ms(date).expect("a date");
        for (header, date, wall_ms, expected) in [
            ("Sun, 22 Nov 2026 05:30:07 GMT", Some(date), 0, Some(7_000)),
            ("Sun, 22 Nov 2026 05:30:07 GMT", Some("soon"), at_ms - 1_000, Some(8_000)),
            ("Sun, 22 Nov 2026 05:30:07 GMT", None, at_ms + 2_500, Some(4_500)),
            ("Sun, 22 Nov 2026 05:29:59 GMT", Some(date), 0, Some(0)),
            ("Mon, 23 Nov 2026 05:30:00 GMT", Some(date), 0, Some(3_600_000)),
            ("Sun, 22 Nov 2026 05:30 GMT", Some(date), 0, None),
            ("Sunday, 22-Nov-26 05:30:07 GMT", Some(date), 0, Some(7_000)),
        ] {
            assert_eq!(retry_after_ms(header, date, wall_ms), expected, "{header} {date:?}");
        }
    }
}
