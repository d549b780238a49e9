//! The requests that agents were about to make, as debug builds write them down
//! (`EDGE_TRACE_CONNECT`): what P1 is judged by.

use super::site::Site;

/// The requests of a node's uplinks: (monotonic ns, term).
pub fn of(site: &Site, node: &str) -> Vec<(u64, u32)> {
    let text = std::fs::read_to_string(site.trace(node)).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    // a request without a term stands outside
    text.lines().filter_map(line).filter(|(_, term)| *term > 0).collect()
}

/// P1: of two requests none of a lower term starts after the first of a higher one.
pub fn order_fault(site: &Site, nodes: &[&str]) -> Option<String> {
    let mut all: Vec<_> = nodes.iter().flat_map(|node| of(site, node)).collect();
    if all.is_empty() && cfg!(debug_assertions) {
        return Some("no request was traced".to_owned());
    }
    all.sort_unstable();
    let late = all.windows(2).find(|pair| pair[0].1 > pair[1].1)?;
    Some(format!(
        "term {} started a request {} us after term {} had (P1)",
        late[1].1,
        (late[1].0 - late[0].0) / 1_000,
        late[0].1
    ))
}
