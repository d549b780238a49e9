//! What an HTTP status means for the records that were sent.

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

/// `Retry-After` in ms, an hour at most; a date is not honoured (RFC 9110 10.2.3).
pub fn retry_after_ms(header: &str) -> Option<u32> {
    let digits = header.trim();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // digits alone that are no u32 are more than an hour
    let seconds = digits.parse::<u32>().unwrap_or(u32::MAX);
    Some(seconds.saturating_mul(1_000).min(RETRY_AFTER_MS_MAX))
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
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(header), expected, "{header}");
        }
    }
}
