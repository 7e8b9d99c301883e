//! Decides whether a response sends the request on, and as what (RFC 9110 section 15.4).
//!
//! Where it leads is checked by the caller like any other destination.

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, HeaderName, LOCATION,
};
use http::{Method, StatusCode};

use crate::payload::Payload;
use crate::reason::{Reason, Stop};
use crate::request::Parts;
use crate::scrub::Scrubber;
use crate::send::Raw;
use crate::target::Target;

/// What describes a body that is no longer sent.
const CONTENT_HEADERS: [HeaderName; 4] =
    [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION];

/// The way that an exchange took through redirects.
pub(crate) struct Trail {
    followed: u8,
    max: u8,
    /// Method and URL of every request sent.
    seen: Vec<(Method, String)>,
}

// === impl Trail ===

impl Trail {
    /// Follows as many as the descriptor asks for.
    pub(crate) fn new(max: u8) -> Self {
        Self { followed: 0, max, seen: Vec::new() }
    }

    /// Where the response sends the request, after changing `parts` to what is sent there. None means
    /// that the response is the answer.
    pub(crate) fn next(
        &mut self,
        from: &Target,
        (parts, payload): (&mut Parts, &mut Payload),
        raw: &Raw,
        scrubber: &Scrubber,
        url_bytes_max: usize,
    ) -> Result<Option<Target>, Stop> {
        if self.max == 0 || !matches!(raw.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let mut locations = raw.headers.get_all(LOCATION).iter();
        let (Some(location), None) = (locations.next(), locations.next()) else {
            return Err(Stop::new(
                Reason::RedirectMalformed,
                "redirect without exactly one location",
            ));
        };
        if self.followed == self.max {
            let detail = format!("more than {} redirects", self.max);
            return Err(Stop::new(Reason::TooManyRedirects, detail));
        }
        let location = location
            .to_str()
            .map_err(|_| Stop::new(Reason::RedirectMalformed, "redirect location is no url"))?;
        let to = from.join(location, url_bytes_max)?;
        if !to.same_origin(from) && scrubber.finds(location.as_bytes()) {
            let detail = "redirect to another origin with the credential in its url";
            return Err(Stop::new(Reason::RedirectLeaksCredential, detail));
        }
        self.seen.push((parts.method.clone(), from.as_str().to_owned()));
        rewrite(raw.status, parts, payload);
        if self.seen.iter().any(|(method, url)| *method == parts.method && url == to.as_str()) {
            return Err(Stop::new(
                Reason::RedirectLoop,
                "redirect back to a request that was sent",
            ));
        }
        self.followed += 1;
        Ok(Some(to))
    }
}

/// 303 always becomes a GET, 301 and 302 do if they answer a POST, as every client has it; 307 and 308
/// never change a request.
fn rewrite(status: StatusCode, parts: &mut Parts, payload: &mut Payload) {
    let becomes_get = match status.as_u16() {
        303 => parts.method != Method::HEAD && parts.method != Method::GET,
        301 | 302 => parts.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        parts.method = Method::GET;
        *payload = Payload::Whole(Bytes::new());
        for name in CONTENT_HEADERS {
            parts.headers.remove(name);
        }
    }
}
