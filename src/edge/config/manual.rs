//! The README's table of fields, held against the schema and the defaults.

use std::fmt::Write as _;

use super::schema::EDGE;
use super::schema::Shape;
use super::{Origin, parse};

const README: &str = include_str!("../../../README.md");

/// A row of the table: field, default, what is accepted.
#[derive(Debug)]
struct Row<'a> {
    field: &'a str,
    default: &'a str,
    accepted: &'a str,
}

/// The rows below the head `| field | default | accepted |`, back-ticks left out.
fn rows() -> Vec<Row<'static>> {
    let head = "| field | default | accepted |";
    let table = README.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = table.take_while(|line| line.starts_with('|')).map(|line| {
        let mut cells = line.split('|').skip(1).map(|cell| cell.trim().trim_matches('`'));
        let mut next = || cells.next().expect("a row has four cells");
        Row { field: next(), default: next(), accepted: next() }
    });
    cells.collect()
}

/// Every field that is no object or list, with what it accepts.
fn leaves(shape: &Shape, path: &str, out: &mut Vec<(String, String)>) {
    match shape {
        Shape::Object(fields) => {
            for field in *fields {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&field.shape, &format!("{path}{dot}{}", field.name), out);
            }
        }
        Shape::List(item, _) => leaves(item, &format!("{path}[]"), out),
        Shape::Text(_)
        | Shape::Special(..)
        | Shape::Whole(..)
        | Shape::Number(..)
        | Shape::Flag
        | Shape::Choice(_) => out.push((path.to_owned(), accepted(shape))),
    }
}

fn accepted(shape: &Shape) -> String {
    match shape {
        Shape::Text(bytes_max) => format!("text, at most {bytes_max} bytes"),
        Shape::Special(_, _, expected) => (*expected).to_owned(),
        Shape::Whole(min, max) => format!("{min} to {max}"),
        Shape::Number(size_max, other_than_zero) => {
            let but = if *other_than_zero { ", not 0" } else { "" };
            format!("-{size_max:e} to {size_max:e}{but}")
        }
        Shape::Flag => "true or false".to_owned(),
        Shape::Choice(choices) => choices.join(", "),
        Shape::Object(_) | Shape::List(..) => unreachable!("not a leaf"),
    }
}

#[test]
fn the_readme_lists_every_field_with_what_it_accepts() {
    let mut expected = Vec::new();
    leaves(&EDGE, "", &mut expected);
    let rows = rows();
    let mut wrong = String::new();
    for (field, accepted) in &expected {
        let row = rows.iter().find(|row| row.field == field);
        if row.is_none_or(|row| row.accepted != accepted) {
            writeln!(wrong, "| `{field}` | | {accepted} | | not {row:?}").expect("a string");
        }
    }
    for row in &rows {
        if !expected.iter().any(|(field, _)| field == row.field) {
            writeln!(wrong, "no such field: {}", row.field).expect("a string");
        }
    }
    assert!(wrong.is_empty(), "the README's table should say:\n{wrong}");
}

/// A configuration with only what is required; `extra` goes into the named object.
fn document(object: &str, extra: &str) -> String {
    let put = |here: &str| if here == object { extra } else { "" };
    let member = |name: &str| match put(name) {
        "" => String::new(),
        extra => format!(",\"{name}\":{{{}}}", &extra[1..]),
    };
    let others: String =
        ["alerts", "ha", "journal", "declined", "intake", "console"].map(member).concat();
    format!(
        "{{\"site\":\"s\"{},\"cloud\":{{\"url\":\"https://a\",\"access_key\":\"a\",\
         \"secret_key\":\"k\"{}}},\"things\":[{{\"thing_key\":\"t\"{},\"sources\":[{{\"file\":\
         {{\"path\":\"p\",\"metric\":\"m\"{}}}}}]}}]{others}}}",
        put(""),
        put("cloud"),
        put("things[]"),
        put("things[].sources[].file"),
    )
}

#[test]
fn the_readmes_defaults_are_those_of_the_program() {
    let taken = |text: String| {
        parse(text.as_bytes(), Origin::DataDirectory)
            .unwrap_or_else(|fault| panic!("{fault}: {text}"))
    };
    let least = taken(document("", ""));
    let mut stated = 0;
    for row in rows() {
        if matches!(row.default, "none" | "required") {
            continue;
        }
        let (object, name) = row.field.rsplit_once('.').unwrap_or(("", row.field));
        let is_bare = row.default.bytes().all(|byte| byte.is_ascii_digit())
            || matches!(row.default, "true" | "false");
        let quote = if is_bare { "" } else { "\"" };
        let extra = format!(",\"{name}\":{quote}{}{quote}", row.default);
        let with = taken(document(object, &extra));
        // a source without a field reads its first word
        let same = with == least || row.field.ends_with(".file.field");
        assert!(same, "{} is not {} by default", row.field, row.default);
        stated += 1;
    }
    assert!(stated > 15, "only {stated} defaults were found");
}
