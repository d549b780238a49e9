//! Wrong configurations made from the shape itself: each field missing, twice, of each other
//! type and out of range; and a full example with bytes changed at random.
//!
//! Whatever is wrong, the fault says in which line and column and field.

use serde_json::{Map, Value as Json, json};

use super::super::tests::FULL;
use super::super::{Config, Origin, parse};
use super::*;

/// Stands for a text of JSON that is put in as it is.
const MARK: &str = "@@MARK@@";
/// Stands for a key that is put in as it is, before all others.
const KEY: &str = "@@KEY@@";
/// Bytes changed at random in a fast run, and in a long one.
const FLIPS: (usize, usize) = (4_000, 400_000);

fn judge(text: &str) -> Result<Config, Fault> {
    parse(text.as_bytes(), Origin::DataDirectory)
}

/// Fields that exclude another one of the full example.
const EXCLUSIVE: [&str; 3] = ["secret_key", "proxy_password", "pattern"];

/// The full example with every field of the shape in it that excludes no other.
fn full() -> Json {
    let mut full: Json = serde_json::from_str(FULL).expect("the example is JSON");
    full["cloud"]["proxy"] = json!("http://proxy:3128");
    full["cloud"]["proxy_user"] = json!("user");
    complete(&EDGE, &mut full);
    judge(&full.to_string()).expect("the completed example is valid");
    full
}

fn complete(shape: &Shape, value: &mut Json) {
    match shape {
        Shape::Object(fields) => {
            let object = value.as_object_mut().expect("the example has the shape");
            for field in fields.iter().filter(|field| !EXCLUSIVE.contains(&field.name)) {
                let entry = object.entry(field.name).or_insert_with(|| valid(&field.shape));
                complete(&field.shape, entry);
            }
        }
        Shape::List(item, _) => {
            for value in value.as_array_mut().expect("the example has the shape") {
                complete(item, value);
            }
        }
        Shape::Text(_)
        | Shape::Special(..)
        | Shape::Whole(..)
        | Shape::Number(..)
        | Shape::Flag
        | Shape::Choice(_) => {}
    }
}

/// Something of a shape.
fn valid(shape: &Shape) -> Json {
    match shape {
        Shape::Object(_) => json!({}),
        Shape::List(..) => json!([]),
        Shape::Text(_) => json!("text"),
        Shape::Special(..) => panic!("the example has to have it"),
        Shape::Whole(min, max) => json!(min.midpoint(*max)),
        Shape::Number(..) => json!(1.5),
        Shape::Flag => json!(true),
        Shape::Choice(choices) => json!(choices[0]),
    }
}

/// Texts that are not of a shape, all of them JSON.
fn wrong(shape: &Shape) -> Vec<String> {
    let types = ["null", "true", "7", "1.5", "\"\"", "[]", "{}", "[7]", "{\"a\":7}"];
    let is_own = |text: &&str| match shape {
        Shape::Object(_) => text.starts_with('{'),
        Shape::List(..) => text.starts_with('['),
        Shape::Whole(min, max) => *text == "7" && (*min..=*max).contains(&7),
        Shape::Number(..) => matches!(*text, "7" | "1.5"),
        Shape::Flag => *text == "true",
        Shape::Text(_) | Shape::Special(..) | Shape::Choice(_) => false,
    };
    let mut wrong: Vec<String> =
        types.into_iter().filter(|text| !is_own(text)).map(str::to_owned).collect();
    let mut also = |texts: &[&str]| wrong.extend(texts.iter().map(|text| (*text).to_owned()));
    match shape {
        Shape::Whole(min, max) => {
            also(&["-1", "1e999", "-1e999", "1e3", "7.0", "99999999999999999999999999", "\"7\""]);
            also(&[&(u128::from(*max) + 1).to_string(), &"9".repeat(10_000)]);
            if *min > 0 {
                also(&["0", "-0", &(min - 1).to_string()]);
            }
        }
        Shape::Number(_, other_than_zero) => {
            also(&["1e999", "-1e999", "1e16", "-1e16", "\"1\"", &"9".repeat(10_000)]);
            if *other_than_zero {
                also(&["0", "-0", "0.0", "0e9", "1e-400"]);
            }
        }
        Shape::Text(bytes_max) | Shape::Special(bytes_max, ..) => {
            also(&["\"a\\u0000b\"", "\"\\n\"", "\"\\u007f\""]);
            also(&[&format!("\"{}\"", "x".repeat(bytes_max + 1))]);
            also(&[&format!("\"{}\"", "\\u00e4".repeat(bytes_max / 2 + 1))]);
        }
        Shape::Choice(choices) => also(&["\"other\"", &format!("\"{} \"", choices[0])]),
        Shape::Object(_) | Shape::List(..) | Shape::Flag => {}
    }
    wrong
}

/// Texts that are no JSON at all.
const NO_JSON: [&str; 22] = [
    "NaN",
    "Infinity",
    "01",
    "+1",
    "0x1",
    ".5",
    "5.",
    "1e",
    "--1",
    "'a'",
    "\"a",
    "\"\\x\"",
    "\"\\ud800\"",
    "\"\\u12\"",
    "\"a\nb\"",
    "\"a\0b\"",
    "\0",
    "nul",
    "True",
    ",",
    "\u{feff}1",
    "/**/1",
];

/// Calls `each` with every field's path and shape, lists by their first item.
fn walk(
    shape: &'static Shape,
    path: &mut Vec<Step>,
    each: &mut dyn FnMut(&[Step], &'static Shape),
) {
    each(path, shape);
    match shape {
        Shape::Object(fields) => {
            for field in fields.iter().filter(|field| !EXCLUSIVE.contains(&field.name)) {
                path.push(Step::Key(field.name));
                walk(&field.shape, path, each);
                path.pop();
            }
        }
        Shape::List(item, _) => {
            path.push(Step::Item(0));
            walk(item, path, each);
            path.pop();
        }
        Shape::Text(_)
        | Shape::Special(..)
        | Shape::Whole(..)
        | Shape::Number(..)
        | Shape::Flag
        | Shape::Choice(_) => {}
    }
}

fn at<'a>(value: &'a mut Json, steps: &[Step]) -> &'a mut Json {
    steps.iter().fold(value, |value, step| match step {
        Step::Key(name) => &mut value[*name],
        Step::Item(at) => &mut value[*at],
    })
}

/// The full example, many lines long, with a raw text at a path; and where that begins.
fn with(full: &Json, steps: &[Step], raw: &str) -> (String, json::Fault) {
    let mut changed = full.clone();
    *at(&mut changed, steps) = json!(MARK);
    let text = serde_json::to_string_pretty(&changed).expect("JSON");
    let mark = format!("\"{MARK}\"");
    let place = json::Fault::new(text.as_bytes(), text.find(&mark).expect("it is there"), "");
    (text.replacen(&mark, raw, 1), place)
}

#[test]
fn a_value_of_another_type_or_out_of_range_is_named_where_it_stands() {
    let full = full();
    let mut count = 0;
    walk(&EDGE, &mut Vec::new(), &mut |steps, shape| {
        for raw in wrong(shape) {
            let shown: String = raw.chars().take(60).collect();
            let (text, place) = with(&full, steps, &raw);
            let fault = judge(&text).expect_err(&format!("{}: {shown}", path(steps)));
            assert_eq!((fault.line, fault.column), (place.line, place.column), "{fault}: {shown}");
            assert_eq!(fault.field, path(steps), "{fault}: {shown}");
            assert!(!fault.problem.is_empty() && fault.to_string().len() < 400, "{fault}");
            count += 1;
        }
        for raw in NO_JSON {
            let (text, place) = with(&full, steps, raw);
            let fault = judge(&text).expect_err(raw);
            assert!((fault.line, fault.column) >= (place.line, place.column), "{fault}: {raw:?}");
            assert!(path(steps).starts_with(&fault.field), "{fault}: {raw:?}");
            count += 1;
        }
    });
    assert!(count > 1_000, "{count}");
}

#[test]
fn a_field_that_is_missing_twice_there_or_unknown_is_named() {
    let full = full();
    walk(&EDGE, &mut Vec::new(), &mut |steps, shape| {
        let Shape::Object(fields) = shape else { return };
        let prefix = if steps.is_empty() { String::new() } else { path(steps) + "." };
        let object = |value: &mut Json| -> Map<String, Json> {
            at(value, steps).as_object().expect("the example has the shape").clone()
        };
        for field in fields.iter().filter(|field| !EXCLUSIVE.contains(&field.name)) {
            let name = format!("{prefix}{}", field.name);
            let mut lacking = full.clone();
            at(&mut lacking, steps).as_object_mut().expect("an object").remove(field.name);
            match judge(&lacking.to_string()) {
                Err(fault) if field.is_required => {
                    assert_eq!(
                        (fault.field, fault.problem.as_str()),
                        (name.clone(), "expected this field")
                    );
                }
                // another field may need it, or the default not go with the other values
                Err(fault) => assert!(!fault.field.is_empty(), "{fault}"),
                Ok(_) => assert!(!field.is_required, "{name}"),
            }
            let mut twice = full.clone();
            let same = object(&mut twice)[field.name].clone();
            at(&mut twice, steps)[KEY] = same;
            let text = twice.to_string().replacen(KEY, field.name, 1);
            let fault = judge(&text).expect_err(&name);
            assert_eq!((fault.field, fault.problem.as_str()), (name, "stands here twice"));
        }
        for unknown in ["zz", "Site", "", "site ", "\\u0000", "\\\"", "ä"] {
            let mut more = full.clone();
            at(&mut more, steps)[KEY] = json!(1);
            let text = more.to_string().replacen(KEY, unknown, 1);
            let fault = judge(&text).expect_err(unknown);
            assert!(fault.problem.starts_with("unknown field"), "{fault}");
            assert!(fault.field.starts_with(&prefix), "{fault}");
            let place = json::Fault::new(
                text.as_bytes(),
                text.find(&format!("\"{unknown}\":1")).expect("there"),
                "",
            );
            assert_eq!((fault.line, fault.column), (place.line, place.column), "{fault}");
        }
    });
}

#[test]
fn both_ends_of_a_range_are_in_it() {
    let full = full();
    walk(&EDGE, &mut Vec::new(), &mut |steps, shape| {
        let ends = match shape {
            Shape::Whole(min, max) => [min.to_string(), max.to_string()],
            Shape::Number(max, _) => [format!("{max:e}"), format!("-{max:e}")],
            Shape::Text(bytes_max) => {
                ["\"x\"".to_owned(), format!("\"{}\"", "x".repeat(*bytes_max))]
            }
            Shape::Object(_)
            | Shape::List(..)
            | Shape::Special(..)
            | Shape::Flag
            | Shape::Choice(_) => return,
        };
        for raw in ends {
            // the times among each other, and keys that must differ, are judged elsewhere
            if let Err(fault) = judge(&with(&full, steps, &raw).0) {
                let is_relation =
                    ["at most heartbeat_ms", "at least 3 times", "more than fence_ms"];
                assert!(is_relation.iter().any(|words| fault.problem.contains(words)), "{fault}");
            }
        }
    });
}

#[test]
fn bytes_changed_at_random_are_refused_with_a_place_or_taken() {
    let is_long = std::env::var_os("EDGE_LONG").is_some_and(|value| value == "1");
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("below")
    };
    let lines = FULL.lines().count();
    for _ in 0..if is_long { FLIPS.1 } else { FLIPS.0 } {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..=random(3) {
            let (at, other) = (random(bytes.len()), random(bytes.len()));
            match random(5) {
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = u8::try_from(random(256)).expect("a byte"),
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, bytes[other]),
                _ => bytes.swap(at, other),
            }
        }
        let Err(fault) = parse(&bytes, Origin::DataDirectory) else { continue };
        let shown = String::from_utf8_lossy(&bytes);
        assert!(fault.line >= 1 && fault.column >= 1, "{fault}\n{shown}");
        assert!(fault.line as usize <= lines + 3, "{fault}\n{shown}");
        assert!(!fault.problem.contains("cannot be read"), "the scan sees all: {fault}\n{shown}");
    }
}

#[test]
fn a_byte_order_mark_and_other_encodings_are_refused_at_their_place() {
    let wide: Vec<u8> = FULL.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin: Vec<u8> = FULL.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect();
    let marked = [b"\xef\xbb\xbf", FULL.as_bytes()].concat();
    let wide_marked = [b"\xff\xfe", &wide[..]].concat();
    for bytes in [&marked, &wide, &wide_marked] {
        let fault = parse(bytes, Origin::DataDirectory).expect_err("no JSON in UTF-8");
        assert_eq!(fault.line, 1, "{fault}");
        assert!(fault.column <= 2, "{fault}");
    }
    let fault = parse(&latin, Origin::DataDirectory).expect_err("Latin 1");
    assert_eq!(fault.field, "things[0].name", "{fault}");
}
