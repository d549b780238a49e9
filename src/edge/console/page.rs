//! The page at `/`: one document that asks for `/status.json` again and again.
//!
//! It is the same for everybody and holds nothing of the site, so it is served from the program's own
//! text. Its policy lets it run its own script and style, named by their sums, and ask this
//! console; nothing else. What the status says is shown as text, never as markup.

/// The document.
pub(super) const HTML: &str = include_str!("page.html");

/// Its type.
pub(super) const KIND: &str = "text/html; charset=utf-8";

/// Header lines: <https://www.w3.org/TR/CSP3/>, with the sums of the script and the style in it.
pub(super) const LINES: &str = "Content-Security-Policy: default-src 'none'; \
     script-src 'sha256-I/GlfTlEXI9Iw2aitBvjvy6OpZCj7UYOUg22oyhMfCI='; \
     style-src 'sha256-OZbIVFrGdhiQ2gO5DyChUqWi7ETGizrQNAi2QzZXZ9k='; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'\r\n\
     X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::distress::Condition;

    fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
        let (_, rest) = text.split_once(from).expect("the page has it");
        rest.split_once(to).expect("and its end").0
    }

    /// RFC 4648 4.
    fn to_base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for three in bytes.chunks(3) {
            let mut word = [0; 4];
            word[1..=three.len()].copy_from_slice(three);
            let bits = u32::from_be_bytes(word);
            for digit in 0..4 {
                let six = (bits >> (18 - 6 * digit)) as usize % 64;
                text.push(if digit > three.len() { '=' } else { char::from(DIGITS[six]) });
            }
        }
        text
    }

    #[test]
    fn the_policy_names_the_script_and_the_style_of_the_page() {
        for name in ["script", "style"] {
            let text = between(HTML, &format!("<{name}>"), &format!("</{name}>"));
            let sum = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let source = format!("{name}-src 'sha256-{}'", to_base64(sum.as_ref()));
            assert!(LINES.contains(&source), "{source}");
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        assert_eq!(HTML.matches("<style").count(), 1);
    }

    #[test]
    fn the_page_is_small_and_names_nothing_outside() {
        assert!(HTML.len() < 40 << 10, "{} bytes", HTML.len());
        for word in ["https:", "src=", "@import", "url(", "innerHTML", "eval(", " style="] {
            let places = HTML.match_indices(word).count();
            // the name space of SVG is a name, and is not fetched
            assert_eq!(places, 0, "{word}");
        }
    }

    #[test]
    fn every_condition_is_explained() {
        let engine = include_str!("../../engine/snapshot.rs");
        let list = between(engine, "let holds = [", "];");
        let named = list.split('"').skip(1).step_by(2);
        let own = Condition::ALL.iter().map(|condition| condition.name());
        let agent = ["clock-invalid", "certificate-expiring", "source-failed"];
        let mut expected: Vec<&str> = named.chain(own).chain(agent).collect();
        let page = between(HTML, "const CONDITIONS = {", "};");
        let lines = page.lines().filter_map(|line| line.split_once("': ["));
        let mut explained: Vec<&str> =
            lines.map(|(name, _)| name.trim_start_matches('\'')).collect();
        expected.sort_unstable();
        explained.sort_unstable();
        assert_eq!(explained, expected);
    }
}
