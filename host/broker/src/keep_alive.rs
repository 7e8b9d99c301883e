//! What a response says of how long its connection is kept: `Keep-Alive: timeout=5, max=100`.
//!
//! The field is no part of RFC 9110 any more; RFC 2068 section 19.7.1.1 had it, and Apache, nginx and Node send it. A
//! server's time begins before the response is here, and a request takes its way as well: so the time is counted from the
//! head of the response, and less what a request needs to arrive. HTTP/2 has no such field ([`heard`]).

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use crate::dial::Promise;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The least time before the announced end in which nothing is sent any more. Timeouts are whole seconds, and servers
/// differ in which way they round.
const MARGIN: Duration = Duration::from_secs(1);

/// For so long after an answer a server without such a field has nothing to end a connection for: timeouts are whole
/// seconds, and none is 0.
const SURE: Duration = Duration::from_secs(1);

/// Longer than any connection is kept, and short enough to be added to any moment.
const TIMEOUT_MAX: u64 = 24 * 60 * 60;

/// Reads the headers of a response that was there at `answered`, so long after its request.
pub(crate) fn read(headers: &HeaderMap, answered: Instant, took: Duration) -> Promise {
    let values = headers.get_all(KEEP_ALIVE).iter().filter_map(|value| value.to_str().ok());
    let mut promise = Promise::None;
    // With a semicolon in between, too: some write its parameters as those of other fields.
    for (name, number) in values.flat_map(|value| value.split([',', ';'])).filter_map(parameter) {
        let until = match name {
            "timeout" => {
                let time = Duration::from_secs(number.min(TIMEOUT_MAX));
                answered + time.saturating_sub(MARGIN.max(took))
            }
            // It takes no other request.
            "max" if number == 0 => answered,
            _ => continue,
        };
        promise = match promise {
            Promise::Until(known) if known < until => Promise::Until(known),
            _ => Promise::Until(until),
        };
    }
    promise
}

/// What an answer says without saying so, where connections end by a word of their own: it was there, so long after its
/// request.
pub(crate) fn heard(answered: Instant, took: Duration) -> Promise {
    Promise::Until(answered + SURE.saturating_sub(took))
}

fn parameter(text: &str) -> Option<(&'static str, u64)> {
    let (name, number) = text.split_once('=')?;
    let known = ["timeout", "max"];
    let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()))?;
    Some((name, number.trim().trim_matches('"').parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(values: &[&'static str], took: u64) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEEP_ALIVE, value.parse().unwrap());
        }
        let now = Instant::now();
        match read(&headers, now, Duration::from_secs(took)) {
            Promise::None => None,
            Promise::Until(until) => Some(until.duration_since(now).as_secs()),
        }
    }

    #[test]
    fn a_promise_is_read_with_a_margin() {
        for (values, expected) in [
            ([].as_slice(), None),
            (&["timeout=5"], Some(4)),
            (&["timeout=5, max=100"], Some(4)),
            (&["max=99,Timeout = \"60\""], Some(59)),
            (&["timeout=1"], Some(0)),
            (&["timeout=0"], Some(0)),
            (&["max=0"], Some(0)),
            (&["timeout=5, max=0"], Some(0)),
            (&["timeout=60", "timeout=5"], Some(4)),
            (&["max=7"], None),
            (&["timeout=soon"], None),
            (&["timeout"], None),
            (&["timeout=18446744073709551615"], Some(TIMEOUT_MAX - 1)),
            (&["timeout = 5"], Some(4)),
            (&["timeout=5; max=0"], Some(0)),
            (&["timeout=5;max=100"], Some(4)),
            (&["max = \"0\""], Some(0)),
            (&["KEEP-ALIVE, TIMEOUT=60, timeout=5"], Some(4)),
            (&["\"timeout=5\""], None),
            // No number of seconds says nothing, and then nothing is promised.
            (&["timeout=5s"], None),
            (&["timeout=-1"], None),
            (&["timeout=1.5"], None),
            (&["5"], None),
        ] {
            assert_eq!(kept(values, 0), expected, "{values:?}");
        }
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(heard(now, Duration::ZERO), Promise::Until(now + second));
        assert_eq!(heard(now, second / 4), Promise::Until(now + second * 3 / 4));
        assert_eq!(heard(now, second * 9), Promise::Until(now));
        // A request that takes long to be answered may take long to arrive.
        assert_eq!(kept(&["timeout=5"], 3), Some(2));
        assert_eq!(kept(&["timeout=5"], 9), Some(0));
    }
}
