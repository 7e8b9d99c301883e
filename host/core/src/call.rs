//! A call on a connector: what is asked, and what comes back.
//!
//! These mirror the records of `wit/v1`; the runtime's adapter maps one onto the other. JSON travels
//! as text: the host checks that it is JSON and hands it on.

use std::time::Duration;

use crate::code::Code;
use crate::descriptor::WriteOperation;
use crate::fault::{Fault, Retry};
use crate::ids::{Action, Object};

/// JSON text (RFC 8259).
pub type Json = String;

/// Names and values beside what the contract fixes: its `extra`. In their order; a name may come more than once. Bounded by
/// [`crate::limits::EXTRA_PAIRS_MAX`] and [`crate::limits::EXTRA_BYTES_MAX`].
pub type Extra = Vec<(String, String)>;

/// What a caller asks of a connector.
#[derive(Clone, PartialEq, Debug)]
pub enum Operation {
    /// Run an action.
    Invoke {
        /// Which.
        action: Action,
        /// Its input.
        input: Json,
    },
    /// Describe the objects that the tenant has, or one of them.
    Discover {
        /// One object, or all.
        object: Option<Object>,
    },
    /// Read one page.
    Read(ReadRequest),
    /// Write one batch.
    Write(WriteRequest),
}

/// One page of an object, wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadRequest {
    /// What to read.
    pub object: Object,
    /// Fields wanted; empty means the connector's default set.
    pub fields: Vec<String>,
    /// Where the last page ended.
    pub cursor: Option<Json>,
    /// RFC 3339 lower bound on modification time.
    pub since: Option<String>,
    /// RFC 3339 upper bound on modification time.
    pub until: Option<String>,
    /// Records wanted.
    pub page_size: u32,
    /// Names and values beside these.
    pub extra: Extra,
}

/// One page, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// What it holds.
    pub records: Vec<Record>,
    /// Cursor of the next page; none ends the run.
    pub next: Option<Json>,
    /// Names and values beside these.
    pub extra: Extra,
}

/// One provider object.
#[derive(Clone, PartialEq, Debug)]
pub struct Record {
    /// The provider's id.
    pub id: String,
    /// RFC 3339.
    pub updated_at: Option<String>,
    /// Whether the provider deleted or archived it.
    pub deleted: bool,
    /// The object.
    pub data: Json,
    /// Names and values beside these.
    pub extra: Extra,
}

/// One batch of writes, wanted.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteRequest {
    /// What to write.
    pub object: Object,
    /// How.
    pub operation: WriteOperation,
    /// The field that `WriteItem::id` holds a value of; none means the provider's own id.
    pub match_on: Option<String>,
    /// The writes.
    pub items: Vec<WriteItem>,
    /// Refuse all if one fails, where the provider can.
    pub all_or_none: bool,
    /// Names and values beside these.
    pub extra: Extra,
}

/// One write.
#[derive(Clone, PartialEq, Debug)]
pub struct WriteItem {
    /// The caller's id for it, echoed in its outcome.
    pub reference: String,
    /// What it is written to, for update, upsert and delete.
    pub id: Option<String>,
    /// What is written.
    pub data: Json,
    /// Stable across retries and releases.
    pub idempotency_key: String,
    /// Names and values beside these.
    pub extra: Extra,
}

/// What became of one write.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// The caller's id for it.
    pub reference: String,
    /// The provider's id and answer, or why it was refused.
    pub result: Result<Written, Failure>,
}

/// A write that was done.
#[derive(Clone, PartialEq, Debug)]
pub struct Written {
    /// The provider's id.
    pub id: String,
    /// The provider's view of the record.
    pub data: Option<Json>,
    /// Names and values beside these.
    pub extra: Extra,
}

/// What a connector answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Of an action or of discovery.
    Json(Json),
    /// Of a read.
    Page(Page),
    /// Of a write, one for each item.
    Outcomes(Vec<Outcome>),
}

/// A failure in the contract's own terms: what a guest reports, and what the host tells a guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The provider's own code, or Keyway's where the host failed.
    pub code: Option<String>,
    /// One line.
    pub message: String,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
    /// False only when nothing can have reached the provider.
    pub request_sent: bool,
    /// Names and values beside these.
    pub extra: Extra,
}

/// The contract's `failure-kind`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FailureKind {
    /// The caller asked for something malformed.
    InvalidInput,
    /// The connector does not offer it.
    Unsupported,
    /// The host refused.
    Denied,
    /// The provider rejected the credential.
    Unauthenticated,
    /// The credential is good and lacks a permission.
    Forbidden,
    /// The provider has no such thing.
    NotFound,
    /// It collides with something.
    Conflict,
    /// The provider asks to wait.
    RateLimited,
    /// It may pass.
    Transient,
    /// The provider's answer was not understood.
    Contract,
    /// A defect of the connector.
    Internal,
}

// === impl Operation ===

impl Operation {
    /// The word for it in logs and metrics.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Invoke { .. } => "invoke",
            Self::Discover { .. } => "discover",
            Self::Read(_) => "read",
            Self::Write(_) => "write",
        }
    }
}

// === impl FailureKind ===

impl FailureKind {
    /// The stable code that a caller sees.
    pub const fn code(self) -> Code {
        match self {
            Self::InvalidInput => Code::InputInvalid,
            Self::Unsupported => Code::Unsupported,
            Self::Denied => Code::Denied,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::Forbidden,
            Self::NotFound => Code::NotFound,
            Self::Conflict => Code::UpstreamConflict,
            Self::RateLimited => Code::RateLimited,
            Self::Transient => Code::Transient,
            Self::Contract => Code::ContractDrift,
            Self::Internal => Code::ConnectorInternal,
        }
    }
}

// === impl Failure ===

impl Failure {
    /// The host refused before anything was sent.
    pub fn denied(code: &str, message: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Denied,
            code: Some(code.to_owned()),
            message: message.into(),
            retry_after: None,
            request_sent: false,
            extra: Extra::new(),
        }
    }
}

/// What the broker says where a credential cannot be had, which the host tells from one that was rejected, and where this
/// host has no room for a connection, which is not the provider's fault. All of them mean that nothing was sent.
const CONNECTION_CODES: [Code; 10] = [
    Code::ConnectionsExhausted,
    Code::CredentialMissing,
    Code::ConnectionPaused,
    Code::NeedsReauth,
    Code::RefreshUncertain,
    Code::RefreshHeld,
    Code::OauthClientMissing,
    Code::OauthClientUnconfirmed,
    Code::OauthClientRefused,
    Code::TokenEndpointFailed,
];

/// What the host says of causes that have codes of their own: whoever reads `denied` is to think of what a connector may
/// do, and whoever reads `contract-drift` of what the provider has changed.
const OTHER_CAUSES: [(FailureKind, &str, Code); 14] = [
    // What the operator permits, and where names lead.
    (FailureKind::Denied, "host-not-allowed", Code::HostNotAllowed),
    (FailureKind::Denied, "host-wildcard-too-broad", Code::HostNotAllowed),
    (FailureKind::Denied, "address-blocked", Code::AddressBlocked),
    (FailureKind::Denied, "addresses-mixed", Code::AddressBlocked),
    (FailureKind::Denied, "dns-too-many-addresses", Code::AddressBlocked),
    // How the connection is set up.
    (FailureKind::Denied, "base-url-missing", Code::BaseUrlMissing),
    (FailureKind::Denied, "base-url-refused", Code::BaseUrlRefused),
    // Lengths.
    (FailureKind::Denied, "send-all-too-long", Code::RequestTooLarge),
    (FailureKind::Denied, "url-too-long", Code::RequestTooLarge),
    (FailureKind::Denied, "headers-too-large", Code::RequestTooLarge),
    (FailureKind::Denied, "request-body-too-large", Code::RequestTooLarge),
    (FailureKind::Contract, "response-headers-too-large", Code::ResponseTooLarge),
    (FailureKind::Contract, "response-body-too-large", Code::ResponseTooLarge),
    (FailureKind::Contract, "inflation-too-large", Code::ResponseTooLarge),
];

/// The one place where a guest's failure becomes an error of Keyway's.
impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let said = failure.code.as_deref().unwrap_or_default();
        let own = CONNECTION_CODES.iter().copied().find(|code| code.as_str() == said);
        let other =
            OTHER_CAUSES.iter().find(|(kind, text, _)| *kind == failure.kind && *text == said);
        // A pause alone may also end what was sent.
        let pause = |code: &Code| !failure.request_sent || *code == Code::ConnectionPaused;
        let code = own.filter(pause).or(other.map(|(_, _, code)| *code));
        let code = code.unwrap_or_else(|| failure.kind.code());
        let mut fault = Self::new(code, failure.message);
        // A wait of nothing would have whoever keeps to it come again at once, for ever.
        if let Some(wait) = failure.retry_after.filter(|wait| !wait.is_zero()) {
            fault.retry = Retry::After(wait);
        }
        fault.provider_code = failure.code;
        fault.request_sent = failure.request_sent;
        fault.extra = failure.extra.into();
        fault
    }
}
