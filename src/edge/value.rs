//! What the word that a source gave becomes in a record.
//!
//! # Invariants
//!
//! - V1: a value is a finite JSON number (RFC 8259 6).
//! - V2: without scale and offset the digits stay as they were; with them the result is
//!   rounded to 15 significant digits, so that 0.1 times 3 is 0.3.

use core::fmt::Write as _;

use heapless::String as Text;

use crate::limits::SOURCE_VALUE_MAX;

/// What is done to a number before it is recorded.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Figures {
    /// It is multiplied by this; `None`: 1.
    pub scale: Option<f64>,
    /// Then this is added; `None`: 0.
    pub offset: Option<f64>,
}

/// A word as it is recorded; or why it cannot be.
pub fn value(word: &str, figures: Figures) -> Result<Text<SOURCE_VALUE_MAX>, &'static str> {
    let number = json_number(word).ok_or("is not a finite number")?;
    if figures == Figures::default() {
        return Ok(number);
    }
    let number: f64 = word.parse().expect("V1: it is a number");
    let result = number * figures.scale.unwrap_or(1.0) + figures.offset.unwrap_or(0.0);
    rounded(result).ok_or("is out of range after scale and offset")
}

fn rounded(number: f64) -> Option<Text<SOURCE_VALUE_MAX>> {
    if !number.is_finite() {
        return None;
    }
    let mut text = Text::<SOURCE_VALUE_MAX>::new();
    write!(text, "{number:.14e}").ok()?;
    let number: f64 = text.parse().ok()?;
    text.clear();
    let size = number.abs();
    // plain digits as long as they are few
    if size == 0.0 || (1e-6..1e15).contains(&size) {
        write!(text, "{number}").ok()?;
    } else {
        write!(text, "{number:e}").ok()?;
    }
    Some(text)
}

/// A word as a JSON number (V1); also `+1`, `.5`, `1.` and `007`, which JSON does not know.
fn json_number(word: &str) -> Option<Text<SOURCE_VALUE_MAX>> {
    let fits = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !word.bytes().all(fits) || !word.parse::<f64>().is_ok_and(f64::is_finite) {
        return None;
    }
    let (sign, rest) = match word.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let mantissa_end = rest.find(['e', 'E']).unwrap_or(rest.len());
    let (mantissa, exponent) = rest.split_at(mantissa_end);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches('0');
    let mut number = Text::new();
    number.push_str(sign).ok()?;
    number.push_str(if whole.is_empty() { "0" } else { whole }).ok()?;
    if !fraction.is_empty() {
        number.push('.').ok()?;
        number.push_str(fraction).ok()?;
    }
    number.push_str(exponent).ok()?;
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::json;

    #[test]
    fn scale_and_offset_leave_no_noise() {
        for (word, scale, offset, expected) in [
            ("0.1", Some(3.0), None, Ok("0.3")),
            ("21312", Some(0.001), None, Ok("21.312")),
            ("+50", Some(1.8), Some(32.0), Ok("122")),
            ("7", None, Some(-273.15), Ok("-266.15")),
            ("-0", Some(2.0), None, Ok("0")),
            ("1e300", Some(1e-5), None, Ok("1e295")),
            ("4", Some(1e-15), None, Ok("4e-15")),
            ("1e300", Some(1e15), None, Err("is out of range after scale and offset")),
            ("x", Some(1.0), None, Err("is not a finite number")),
        ] {
            let found = value(word, Figures { scale, offset });
            assert_eq!(found.as_deref().map_err(|why| *why), expected, "{word}");
            if let Ok(found) = found {
                assert!(json::check(found.as_bytes()).is_ok(), "V1: {word}");
            }
        }
        assert_eq!(value("0.500", Figures::default()).as_deref(), Ok("0.500"), "V2");
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (word, number) in [
            ("0", "0"),
            ("-0", "-0"),
            ("42", "42"),
            ("+42", "42"),
            ("007", "7"),
            ("-007.50", "-7.50"),
            (".5", "0.5"),
            ("-.5e-3", "-0.5e-3"),
            ("1.", "1"),
            ("1.e+5", "1e+5"),
            ("1E5", "1E5"),
            ("123456789012345678901", "123456789012345678901"),
        ] {
            let found = json_number(word);
            assert_eq!(found.as_deref(), Some(number), "{word}");
            assert!(json::check(number.as_bytes()).is_ok(), "{word}");
        }
        for word in [
            "", "+", "-", ".", "e5", "1e", "nan", "inf", "-inf", "infinity", "1e999", "0x10",
            "1,5", "12kB",
        ] {
            assert_eq!(json_number(word), None, "{word}");
        }
    }
}
