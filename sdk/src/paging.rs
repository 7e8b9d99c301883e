//! Walking a paged endpoint to its end inside one call, for lists that are short but not one page.
//!
//! Long lists are for [`crate::Read`], one page a call, with the cursor kept by the host.

use serde::Serialize;

use crate::{Failure, Response, Result};

/// Collects the items of all pages. `fetch` gets the position of a page, none for the first, and
/// answers its items and the position of the next.
///
/// A provider that repeats a position, or has more than `pages_max` pages, would keep the call going
/// for ever: both are failures of kind `contract`.
pub fn collect<T, P: PartialEq>(
    pages_max: usize,
    mut fetch: impl FnMut(Option<&P>) -> Result<(Vec<T>, Option<P>)>,
) -> Result<Vec<T>> {
    let mut items = Vec::new();
    let mut seen: Vec<P> = Vec::new();
    loop {
        let (page, next) = fetch(seen.last())?;
        items.extend(page);
        let Some(next) = next else { return Ok(items) };
        if seen.contains(&next) {
            return Err(Failure::contract("provider's pages lead back to an earlier one"));
        }
        seen.push(next);
        if seen.len() >= pages_max {
            return Err(Failure::contract(format!("provider has more than {pages_max} pages")));
        }
    }
}

/// Splits a batch into runs of at most `items_max`, for providers that take so many at once.
pub fn runs<T>(items: Vec<T>, items_max: usize) -> impl Iterator<Item = Vec<T>> {
    let mut items = items.into_iter().peekable();
    std::iter::from_fn(move || {
        items.peek()?;
        Some(items.by_ref().take(items_max.max(1)).collect())
    })
}

/// The target of `rel="next"` in the `Link` headers of a response (RFC 8288).
pub fn link_next(response: &Response) -> Option<String> {
    let values = response.headers.iter().filter(|(name, _)| name == "link");
    values.flat_map(|(_, value)| links(value)).find_map(|(target, parameters)| {
        parameters.split(';').any(next_relation).then(|| target.to_owned())
    })
}

/// The links of one header: each `<target>` with the text up to the next one.
fn links(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

fn next_relation(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return false };
    // What follows the last parameter is the comma before the next link.
    let value = value.trim().trim_end_matches(',').trim_end().trim_matches('"');
    name.trim().eq_ignore_ascii_case("rel")
        && value.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
}

/// Where a provider that counts pages by offset stands: `{"offset": 200}` as a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offset {
    /// Items before the page.
    pub offset: u64,
}

// === impl Offset ===

impl Offset {
    /// The position behind a page of `read` items that was asked to hold `wanted`; none after a short
    /// page, which is the last.
    pub fn after(self, read: usize, wanted: usize) -> Option<Self> {
        let read_all = read < wanted || read == 0;
        (!read_all).then(|| Self { offset: self.offset.saturating_add(read as u64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    /// Pages 0 to `last`, each holding its own number.
    fn counting(last: u32) -> impl FnMut(Option<&u32>) -> Result<(Vec<u32>, Option<u32>)> {
        move |page| {
            let page = page.copied().unwrap_or(0);
            Ok((vec![page], (page < last).then_some(page + 1)))
        }
    }

    #[test]
    fn all_pages_are_collected_up_to_the_limit() {
        assert_eq!(collect(3, counting(0)), Ok(vec![0]));
        assert_eq!(collect(3, counting(2)), Ok(vec![0, 1, 2]));
        assert_eq!(collect(3, counting(3)).unwrap_err().kind, FailureKind::Contract);
    }

    #[test]
    fn pages_that_lead_back_end_the_walk() {
        let failure = collect(100, |page: Option<&u32>| {
            Ok((vec![()], Some(page.map_or(1, |page| page % 3 + 1))))
        });
        assert_eq!(failure.unwrap_err().kind, FailureKind::Contract);
    }

    #[test]
    fn runs_hold_so_many_and_the_rest() {
        let sizes = |count| runs(vec![(); count], 100).map(|run| run.len()).collect::<Vec<_>>();
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(100), [100]);
        assert_eq!(sizes(101), [100, 1]);
        assert_eq!(sizes(250), [100, 100, 50]);
    }

    #[test]
    fn next_links_are_found_among_others() {
        let response = |values: &[&str]| Response {
            status: 200,
            headers: values.iter().map(|v| ("link".to_owned(), (*v).to_owned())).collect(),
            body: Vec::new(),
        };
        for (values, next) in [
            (&[r#"</a?page=2>; rel="next""#][..], Some("/a?page=2")),
            (&[r#"</a,b;c>; rel=prev, </d>; title="x"; REL="last next""#], Some("/d")),
            (&[r#"</a>; rel="next", </b>; rel="last""#], Some("/a")),
            (&[r#"</a>; rel="prev""#, r#"</b>; rel="next""#], Some("/b")),
            (&[r#"</a>; rel="nexto""#, "next", ""], None),
            (&[], None),
        ] {
            assert_eq!(link_next(&response(values)).as_deref(), next, "{values:?}");
        }
    }

    #[test]
    fn offsets_end_at_a_short_page() {
        let start = Offset::default();
        assert_eq!(start.after(100, 100), Some(Offset { offset: 100 }));
        assert_eq!(start.after(99, 100), None);
        assert_eq!(start.after(0, 0), None);
    }
}
