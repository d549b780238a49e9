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

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 5.6.7), in ms since the Unix epoch. The forms that
/// are obsolete there are not read.
fn date_ms(text: &str) -> Option<u64> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let name = words.next()?;
    let month: u64 = MONTHS.iter().position(|month| *month == name)?.try_into().ok()?;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let is_gmt = words.next() == Some("GMT") && words.next().is_none() && clock.next().is_none();
    let is_date = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    if !is_gmt || !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // years that begin in March, so that a leap day is a year's last day
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // days from 1 March of the year 0; the epoch is day 719,468
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
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
            ("Sunday, 22-Nov-26 05:30:07 GMT", Some(date), 0, None),
        ] {
            assert_eq!(retry_after_ms(header, date, wall_ms), expected, "{header} {date:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 01 Jan 2027 00:00:00 GMT", 1_798_761_600),
        ] {
            assert_eq!(date_ms(text), Some(seconds * 1_000), "{text}");
        }
        for text in ["", "Sun, 06 Nov 1994", "Sun, 00 Nov 1994 08:49:37 GMT", "6 Nov 1994", "a, b"]
        {
            assert_eq!(date_ms(text), None, "{text}");
        }
    }
}
