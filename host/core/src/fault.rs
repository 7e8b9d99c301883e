//! What went wrong, whose fault it is, and whether trying again helps.
//!
//! A [`Fault`] is the one error that crosses crates on its way to a caller. It carries two texts: the
//! `detail`, which the caller may read, and an optional source, which only the log shows.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::code::Code;
use crate::quota::Standing;

/// Names that a refusal lists of what there is: enough to see a slip of the pen, few enough to read.
const LISTED_MAX: usize = 10;

/// Whose fault a failed call is: decides who is alerted and what counts against a release.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Whose {
    /// The caller asked for something that cannot be, or the tenant's settings or credential are wrong.
    Tenant,
    /// The connector broke its contract: it trapped, overran a limit, or answered nonsense.
    Connector,
    /// The provider or the network to it failed.
    Upstream,
    /// Keyway itself, or the machine under it.
    Host,
}

/// Whether the same request can succeed later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The same request fails the same way until somebody changes something.
    No,
    /// It may pass; back off as usual.
    Yes,
    /// It may pass after this long.
    After(Duration),
}

/// An error on its way to a caller.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The stable code.
    pub code: Code,
    /// What the caller may read: one lower-case fragment, no secret, no upstream body.
    pub detail: String,
    /// Whether trying again helps; starts as the code's own answer.
    pub retry: Retry,
    /// The provider's own error code, where a connector reported one.
    pub provider_code: Option<String>,
    /// False only when nothing can have reached the provider.
    pub request_sent: bool,
    /// What a connector said beside that, such as the provider's own id of the request.
    pub extra: Arc<[(String, String)]>,
    /// How the provider's rate limit stands, where that is what the call ran into.
    pub rate_limit: Option<Arc<Standing>>,
    /// What the connector printed last before its instance ended, line by line: for whoever operates the host, and for no
    /// other caller.
    pub guest_said: Option<Arc<String>>,
    /// Whether the detail says what there is.
    lists: bool,
    /// Whose fault it is; starts as the code's own answer.
    whose: Whose,
    /// For the log.
    source: Option<Arc<dyn Error + Send + Sync>>,
}

// === impl Whose ===

impl Whose {
    /// Every value, for metrics that must show a zero.
    pub const ALL: [Self; 4] = [Self::Tenant, Self::Connector, Self::Upstream, Self::Host];

    /// The word used in metrics, logs and problem documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Connector => "connector",
            Self::Upstream => "upstream",
            Self::Host => "host",
        }
    }
}

// === impl Fault ===

impl Fault {
    /// A fault of this code; whose it is and whether to retry follow from the code.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry: code.retry(),
            provider_code: None,
            request_sent: false,
            extra: Arc::default(),
            rate_limit: None,
            guest_said: None,
            lists: false,
            whose: code.whose(),
            source: None,
        }
    }

    /// Keeps the error underneath for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says what there is, where what was asked for is not: the first ten names, and how many more there are.
    #[must_use]
    pub fn but_there_is<T: fmt::Display>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let mut names = names.into_iter();
        let listed: Vec<String> =
            names.by_ref().take(LISTED_MAX).map(|name| format!("`{name}`")).collect();
        let more = names.count();
        self.detail.push_str("; there is ");
        self.detail.push_str(if listed.is_empty() { "none" } else { "" });
        self.detail.push_str(&listed.join(", "));
        if more > 0 {
            self.detail.push_str(&format!(" and {more} more"));
        }
        self.lists = true;
        self
    }

    /// Whether it says what there is.
    pub const fn lists(&self) -> bool {
        self.lists
    }

    /// Replaces the code's own answer to whether trying again helps.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Replaces the code's own answer to whose fault it is.
    #[must_use]
    pub fn blame(mut self, whose: Whose) -> Self {
        self.whose = whose;
        self
    }

    /// Whose fault it is.
    pub const fn whose(&self) -> Whose {
        self.whose
    }

    /// The whole chain of causes in one line, for the log.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_listed_up_to_ten_names() {
        let said = |count: usize| {
            let fault = Fault::new(Code::UnknownAction, "no action `x`");
            assert!(!fault.lists());
            let fault = fault.but_there_is((0..count).map(|at| format!("n{at}")));
            assert!(fault.lists());
            fault.detail
        };
        assert_eq!(said(0), "no action `x`; there is none");
        assert_eq!(said(2), "no action `x`; there is `n0`, `n1`");
        assert!(said(10).ends_with("`n8`, `n9`"), "{}", said(10));
        assert!(said(12).ends_with("`n8`, `n9` and 2 more"), "{}", said(12));
    }
}
