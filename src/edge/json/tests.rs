use super::*;

fn compact(text: &str) -> String {
    let mut scanner = Scanner::new(text.as_bytes());
    let value = scanner.value().expect("valid");
    scanner.finish().expect("nothing behind it");
    let mut out = Vec::new();
    value.write_compact(&mut out);
    String::from_utf8(out).expect("N2: ASCII")
}

#[test]
fn takes_what_rfc_8259_allows() {
    for text in [
        "{}",
        "[]",
        "\"\"",
        "0",
        "-0",
        "-0.0e-0",
        "1E+2",
        "true",
        "false",
        "null",
        " [ ] ",
        "{\"a\":[1,{\"b\":[]}],\"a\":2}",
        "\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\\ud83d\\ude00\"",
        "\"\u{7f}ä😀\"",
        "1.7976931348623157e308",
        "1e-999",
        "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
    ] {
        assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
    }
    assert!(check("9".repeat(309).as_bytes()).is_err());
    assert_eq!(check("1".repeat(309).as_bytes()), Ok(()));
}

#[test]
fn refuses_the_rest_and_says_where() {
    for (text, offset, expected) in [
        ("", 0, "a value"),
        ("\u{feff}{}", 0, "a value, without a byte order mark before it"),
        ("{} x", 3, "nothing more"),
        ("[1,]", 3, "a value"),
        ("[1 2]", 3, "`,` or `]`"),
        ("[}", 1, "a value"),
        ("{\"a\":1,}", 7, "a key in quotation marks"),
        ("{a:1}", 1, "a key in quotation marks"),
        ("{\"a\" 1}", 5, "`:`"),
        ("{\"a\":1]", 6, "`,` or `}`"),
        ("[", 1, "a value"),
        ("\"a", 2, "a closing quotation mark"),
        ("\"a\nb\"", 2, "an escape in place of a control character"),
        ("01", 0, "a number without leading zeros"),
        ("-", 1, "a digit"),
        ("1.", 2, "a digit"),
        ("1e", 2, "a digit"),
        ("+1", 0, "a value"),
        (".5", 0, "a value"),
        ("1e999", 0, "a number below 1.8e308"),
        ("[-1e999]", 1, "a number below 1.8e308"),
        ("nul", 0, "a value"),
        ("NaN", 0, "a value"),
        ("\"\\x\"", 1, "an escape: one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u"),
        ("\"\\u12g4\"", 1, "four hexadecimal digits behind \\u"),
        ("\"\\ud800\"", 1, "a pair of surrogates"),
        ("\"\\ud800\\u0041\"", 1, "a pair of surrogates"),
        ("\"\\udc00\\ud800\"", 1, "a pair of surrogates"),
        ("{\"a\":\0}", 5, "a value"),
    ] {
        let fault = check(text.as_bytes()).expect_err(text);
        assert_eq!((fault.offset, fault.expected), (offset, expected), "{text}");
    }
}

#[test]
fn depth_is_bounded_without_recursion() {
    for open in [&b"["[..], b"{\"a\":"] {
        let fault = check(&open.repeat(100_000)).expect_err("too deep");
        assert_eq!(fault.expected, TOO_DEEP);
        assert_eq!(fault.offset, open.len() * JSON_DEPTH_MAX);
    }
}

#[test]
fn bad_utf_8_is_found_where_it_stands() {
    for (text, offset) in [
        (&b"\"a\xff\""[..], 2),
        (b"\"\xc3\"", 1),
        (b"{\"\xed\xa0\x80\":1}", 2),
        (b"\"\xc0\xaf\"", 1),
    ] {
        let fault = check(text).expect_err("not UTF-8");
        assert_eq!((fault.offset, fault.expected), (offset, "UTF-8"));
    }
    assert_eq!(check(b"\xff").expect_err("no value").expected, "a value");
}

#[test]
fn lines_and_columns_count_from_one_in_characters() {
    let text = "{\n \"äö\": x}";
    let fault = check(text.as_bytes()).expect_err("x is no value");
    assert_eq!((fault.line, fault.column), (2, 8));
    assert_eq!(fault.to_string(), "line 2, column 8: expected a value");
    let lines = b"{}\nx";
    let fault = Scanner::within(lines, 3, 4).value().expect_err("x is no value");
    assert_eq!((fault.offset, fault.line, fault.column), (3, 2, 1));
}

#[test]
fn compact_form_is_ascii_on_one_line() {
    for (text, expected) in [
        (
            " { \"a\" : [ 1.50 , true ] ,\n\t\"b c\" : \"d\\n e\" } ",
            r#"{"a":[1.50,true],"b c":"d\n e"}"#,
        ),
        ("[\"ä\",\"😀\\\" \\\\\"]", r#"["\u00e4","\ud83d\ude00\" \\"]"#),
        (r#"{"A":"\u0041\/"}"#, r#"{"A":"\u0041\/"}"#),
        ("-1E+02", "-1E+02"),
    ] {
        assert_eq!(compact(text), expected);
        assert_eq!(compact(expected), expected, "compact form is final");
    }
}

#[test]
fn values_can_be_pulled_and_had_whole() {
    let text = br#" {"events":[{"t":1, "k":"a"},{"t":2,"k":"b"}]}"#;
    let mut scanner = Scanner::new(text);
    let mut seen = Vec::new();
    scanner.open(Kind::Object).expect("an object");
    assert!(scanner.next_key().expect("a key").expect("a key").is("events"));
    scanner.open(Kind::Array).expect("a list");
    while scanner.next_item().expect("items") {
        let mark = scanner.mark();
        scanner.open(Kind::Object).expect("an object");
        while let Some(key) = scanner.next_key().expect("keys") {
            let value = scanner.value().expect("a value");
            if key.is("t") {
                seen.extend(value.whole_number());
            }
        }
        let mut out = Vec::new();
        scanner.since(mark).write_compact(&mut out);
        assert!(out.starts_with(b"{\"t\":") && !out.contains(&b' '));
    }
    assert!(scanner.next_key().expect("the end").is_none());
    scanner.finish().expect("the end");
    assert_eq!(seen, [1, 2]);
}

#[test]
fn opening_says_what_it_wants() {
    let expected = |text: &[u8], kind| Scanner::new(text).open(kind).map_err(|f| f.expected);
    assert_eq!(expected(b"[]", Kind::Object), Err("an object"));
    assert_eq!(expected(b"1", Kind::Array), Err("a list"));
}

#[test]
fn text_is_compared_as_it_reads() {
    let value = |text: &'static str| Scanner::new(text.as_bytes()).value().expect("valid");
    let key = value(r#""th\u0069ng\n\ud83d\ude00""#).text().expect("a string");
    assert!(key.is("thing\n😀") && !key.is("thing"));
    assert_eq!(value("12").text().map(|text| text.raw()), None);
    assert_eq!(value("18446744073709551615").whole_number(), Some(u64::MAX));
    for not_whole in ["18446744073709551616", "-1", "1.0", "1e3", "\"1\"", "true"] {
        assert_eq!(value(not_whole).whole_number(), None, "{not_whole}");
    }
    assert_eq!((value("true").flag(), value("1").flag()), (Some(true), None));
}

#[test]
fn written_text_reads_back() {
    let text = "a\"b\\c\n\u{1}\u{7f}äЖ😀/";
    let mut out = Vec::new();
    write_text(text, &mut out);
    assert!(out.is_ascii());
    let value = Scanner::new(&out).value().expect("valid");
    assert!(value.text().expect("a string").is(text));
}

#[test]
fn pairs_are_written_out_and_nothing_else_changes() {
    let text = br#"{"a":"\ud83d\ude00 \\ud83d\u0041 \\\ud83d\ude00"}"#;
    let expected = "{\"a\":\"😀 \\\\ud83d\\u0041 \\\\😀\"}";
    assert_eq!(without_pairs(text), expected.as_bytes());
}

/// Every single-byte change of a text is either taken or refused: never a panic, and what
/// is taken keeps N2.
#[test]
fn no_damage_makes_it_panic() {
    let text = "{\"a\": [1.5e3, \"ä\\ud83d\\ude00\\n\", null], \"b\": {\"c\": true}}";
    for at in 0..text.len() {
        for byte in 0..=255 {
            let mut damaged = text.as_bytes().to_vec();
            damaged[at] = byte;
            let mut scanner = Scanner::new(&damaged);
            let Ok(value) = scanner.value() else { continue };
            let mut out = Vec::new();
            value.write_compact(&mut out);
            assert!(out.iter().all(|byte| (b' '..=127).contains(byte)), "N2");
            assert_eq!(check(&out), Ok(()), "compact form stays valid");
        }
        assert!(check(&text.as_bytes()[..at]).is_err(), "cut at {at}");
    }
}
