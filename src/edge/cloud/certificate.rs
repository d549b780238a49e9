//! When certificates end: their `notAfter`, found by a short walk through the DER (RFC 5280
//! 4.1.2.5). Nothing else of them is judged here: rustls does that.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::limits::CERTIFICATES_MAX;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The ends of the certificates of a PEM text, in ms since the Unix epoch. What cannot be read
/// is left out, and what follows [`CERTIFICATES_MAX`].
pub fn ends_in(pem: &[u8]) -> Vec<u64> {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    certificates.filter_map(|one| end_of(&one)).take(CERTIFICATES_MAX).collect()
}

/// The end of a certificate, in ms since the Unix epoch; `None`: it cannot be read.
pub fn end_of(certificate: &[u8]) -> Option<u64> {
    let (_, whole, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(whole).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, behind)) = element(rest) {
        rest = behind;
    }
    // serial number, signature, issuer
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, behind_begin) = element(validity)?;
    let (tag, text, _) = element(behind_begin)?;
    let text = core::str::from_utf8(text).ok()?;
    match tag {
        UTC_TIME => {
            // RFC 5280 4.1.2.5.1: 50 to 99 are of the twentieth century
            let century = if number(text, 0, 2)? >= 50 { 1_900 } else { 2_000 };
            moment(century + number(text, 0, 2)?, text.get(2..)?)
        }
        GENERALIZED_TIME => moment(number(text, 0, 4)?, text.get(4..)?),
        _ => None,
    }
}

/// Tag, content, and what follows an element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (digits, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        let length = digits.iter().fold(0_u64, |sum, digit| sum << 8 | u64::from(*digit));
        (usize::try_from(length).ok()?, rest)
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((tag, content, behind))
}

fn number(text: &str, from: usize, to: usize) -> Option<u64> {
    let digits = text.get(from..to)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

/// `MMDDHHMMSSZ` of a year.
fn moment(year: u64, text: &str) -> Option<u64> {
    let (month, day) = (number(text, 0, 2)?, number(text, 2, 4)?);
    let (hour, minute, second) = (number(text, 4, 6)?, number(text, 6, 8)?, number(text, 8, 10)?);
    let is_good = text.get(10..) == Some("Z")
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_good || year < 1_970 {
        return is_good.then_some(0);
    }
    // counted from 1 March of the year 0, so that a leap day is a year's last
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32, month: u8, day: u8) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["localhost".into()]).expect("a good name");
        params.not_before = date_time_ymd(2_020, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().expect("a key")).expect("signed")
    }

    #[test]
    fn the_end_is_read_in_both_forms_of_time() {
        // 2049 is the last year of UTCTime
        for (year, month, day, seconds) in [
            (2_026, 12, 1, 1_796_083_200),
            (2_028, 2, 29, 1_835_395_200),
            (2_049, 12, 31, 2_524_521_600),
            (2_050, 1, 1, 2_524_608_000),
            (2_100, 3, 1, 4_107_542_400),
        ] {
            let one = certificate(year, month, day);
            assert_eq!(end_of(one.der()), Some(seconds * 1_000), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn a_pem_may_hold_many_and_other_things() {
        let (one, other) = (certificate(2_026, 12, 1).pem(), certificate(2_049, 12, 31).pem());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let pem = format!("# ours\n{one}\n{broken}{other}");
        assert_eq!(ends_in(pem.as_bytes()), [1_796_083_200_000, 2_524_521_600_000]);
        assert!(ends_in(b"nonsense").is_empty());
    }

    #[test]
    fn nothing_that_is_cut_or_garbled_is_read_beyond_its_end() {
        let whole = certificate(2_026, 12, 1).der().to_vec();
        for length in 0..whole.len() {
            assert_eq!(end_of(&whole[..length]), None, "cut at {length}");
        }
        for place in 0..whole.len().min(200) {
            let mut garbled = whole.clone();
            garbled[place] ^= 0xff;
            // no panic is what counts
            let _end = end_of(&garbled);
        }
        assert_eq!(moment(2_026, "1301000000Z"), None);
        assert_eq!(moment(2_026, "120100000"), None);
        assert_eq!(moment(1_960, "0101000000Z"), Some(0), "long ago is long ago");
    }
}
