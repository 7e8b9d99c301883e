//! Every stable error code: its text, HTTP status, whose fault it is, and whether to retry.
//!
//! One line a code. A code, once released, keeps its meaning; `docs/codes/` has a page for each.

use std::fmt;

use crate::fault::{Retry, Whose};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $whose:ident, $retry:ident;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code as callers see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Whose fault it is.
            pub const fn whose(self) -> Whose {
                match self { $(Self::$name => Whose::$whose,)* }
            }

            /// Whether the same request can succeed later.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }
        }
    };
}

codes! {
    // --- the request itself ---
    /// No such path, or no such method on it.
    NoSuchEndpoint = "no-such-endpoint", 404, Tenant, No;
    /// The path exists; the method does not.
    MethodNotAllowed = "method-not-allowed", 405, Tenant, No;
    /// The body is not JSON, or is nested too deeply, or repeats a key.
    MalformedJson = "malformed-json", 400, Tenant, No;
    /// JSON of the wrong shape: a field is missing, unknown or of another type.
    InvalidRequest = "invalid-request", 400, Tenant, No;
    /// A name has characters that names do not have.
    InvalidName = "invalid-name", 400, Tenant, No;
    /// What a caller wants to be asked of the provider is no URL, or can be read in two ways.
    UrlMalformed = "url-malformed", 400, Tenant, No;
    /// The caller wants another protocol on the connection, such as WebSocket.
    UpgradeRefused = "upgrade-refused", 400, Tenant, No;
    /// More bytes than this endpoint takes.
    BodyTooLarge = "body-too-large", 413, Tenant, No;

    // --- who asks ---
    /// No bearer token came with the request.
    TokenMissing = "token-missing", 401, Tenant, No;
    /// The token is not one of this host's, or was revoked.
    TokenInvalid = "token-invalid", 401, Tenant, No;
    /// The token's time is over.
    TokenExpired = "token-expired", 401, Tenant, No;
    /// The token's role or scope does not cover this.
    NotPermitted = "not-permitted", 403, Tenant, No;

    // --- what is named ---
    /// The host has no environment of this name.
    UnknownEnvironment = "unknown-environment", 404, Tenant, No;
    /// The environment has no installation of this connector for the tenant.
    UnknownInstallation = "unknown-installation", 404, Tenant, No;
    /// No release of this connector was published.
    UnknownConnector = "unknown-connector", 404, Tenant, No;
    /// No release has this version or digest.
    UnknownRelease = "unknown-release", 404, Tenant, No;
    /// The digits given begin more than one digest.
    AmbiguousRelease = "ambiguous-release", 409, Tenant, No;
    /// The release declares no such action.
    UnknownAction = "unknown-action", 404, Tenant, No;
    /// The release declares no such object, or not this operation on it.
    UnknownObject = "unknown-object", 404, Tenant, No;
    /// The release declares no such credential slot.
    UnknownSlot = "unknown-slot", 404, Tenant, No;
    /// No installation has this address by host name.
    UnknownAddress = "unknown-address", 404, Tenant, No;
    /// No token of this name.
    UnknownToken = "unknown-token", 404, Tenant, No;

    // --- publishing ---
    /// More bytes than a component may have.
    ComponentTooLarge = "component-too-large", 413, Connector, No;
    /// Not WebAssembly, or not valid WebAssembly.
    ComponentMalformed = "component-malformed", 422, Connector, No;
    /// A core module, not a component.
    ComponentIsModule = "component-is-module", 422, Connector, No;
    /// It imports something that Keyway does not offer.
    ImportRefused = "import-refused", 422, Connector, No;
    /// It needs a contract version that this host does not have.
    ContractUnsupported = "contract-unsupported", 422, Connector, No;
    /// It exports no descriptor.
    DescriptorMissing = "descriptor-missing", 422, Connector, No;
    /// The descriptor is not JSON of the right shape, or contradicts the component's exports.
    DescriptorInvalid = "descriptor-invalid", 422, Connector, No;
    /// `describe` trapped, or called an import.
    DescriptorFailed = "descriptor-failed", 422, Connector, No;
    /// Start-up or `describe` did not end in time.
    DescriptorTimeout = "descriptor-timeout", 422, Connector, No;
    /// It needs more memories, tables or instances than the host gives one call.
    ResourcesExceeded = "resources-exceeded", 422, Connector, No;
    /// Checking or compiling it took too long or too much memory, or ended the checking process.
    AdmissionFailed = "admission-failed", 422, Connector, No;
    /// This version was published before with other bytes.
    VersionTaken = "version-taken", 409, Tenant, No;
    /// The descriptor names a publisher that the token may not publish for.
    PublisherMismatch = "publisher-mismatch", 403, Tenant, No;

    // --- pins and settings ---
    /// Somebody else changed it between the read and the write.
    Conflict = "conflict", 409, Tenant, Yes;
    /// There is no pin before this one to go back to.
    NoHistory = "no-history", 409, Tenant, No;
    /// Neither a pin nor an environment default says what to run.
    NotPinned = "not-pinned", 404, Tenant, No;
    /// The configuration does not fit the release's schema.
    ConfigInvalid = "config-invalid", 422, Tenant, No;
    /// The credential is not of the scheme that the slot declares, or is malformed.
    CredentialInvalid = "credential-invalid", 422, Tenant, No;
    /// The connection's base URL is not on a declared host.
    BaseUrlRefused = "base-url-refused", 422, Tenant, No;
    /// The connector needs a base URL, and neither the connection nor the release has one.
    BaseUrlMissing = "base-url-missing", 409, Tenant, No;

    // --- connections ---
    /// The slot has no connection, or the user has none.
    UnknownConnection = "unknown-connection", 404, Tenant, No;
    /// A connection is paused: nothing uses it until it is resumed.
    ConnectionPaused = "connection-paused", 409, Tenant, Yes;
    /// The provider took the connection's rights away. A person has to connect again.
    NeedsReauth = "needs-reauth", 424, Tenant, No;
    /// A refresh was cut off, and the provider may or may not have issued a new token.
    RefreshUncertain = "refresh-uncertain", 424, Upstream, No;
    /// The access token's time is over, and refreshing is on hold.
    RefreshHeld = "refresh-held", 409, Tenant, No;
    /// The provider's token endpoint is not answering as it should.
    TokenEndpointFailed = "token-endpoint-failed", 502, Upstream, Yes;
    /// The environment has no OAuth client for the connector.
    OauthClientMissing = "oauth-client-missing", 409, Host, No;
    /// The release names another host for tokens than the environment's OAuth client was set for.
    OauthClientUnconfirmed = "oauth-client-unconfirmed", 409, Host, No;
    /// The provider does not take the environment's OAuth client. It concerns every tenant.
    OauthClientRefused = "oauth-client-refused", 502, Host, No;
    /// The release needs scopes that the connection was not granted.
    ScopesMissing = "scopes-missing", 409, Tenant, No;
    /// The release takes another kind of credential than the one that is set.
    SchemeMismatch = "scheme-mismatch", 409, Tenant, No;
    /// The account behind the new consent is not the one that the connection was made with.
    AccountMismatch = "account-mismatch", 409, Tenant, No;
    /// Nobody can connect here: the host does not know the address that browsers reach it by.
    ConnectUnavailable = "connect-unavailable", 409, Host, No;
    /// The connect session is over, was used, or never was.
    ConnectSessionInvalid = "connect-session-invalid", 410, Tenant, No;
    /// What came back from the provider does not belong to a consent that was begun here, in this browser.
    ConnectStateInvalid = "connect-state-invalid", 400, Tenant, No;
    /// The person, or the provider, said no.
    ConsentRefused = "consent-refused", 403, Tenant, No;
    /// The credential that was to be imported does not work.
    ProbeFailed = "probe-failed", 422, Tenant, No;
    /// Whether a credential works, the provider could not say.
    ProbeUndecided = "probe-undecided", 502, Upstream, Yes;

    // --- calls ---
    /// The input does not fit what the action or operation takes.
    InputInvalid = "input-invalid", 422, Tenant, No;
    /// The connector does not implement the operation.
    Unsupported = "unsupported", 422, Tenant, No;
    /// No credential is set for a slot that the connector used.
    CredentialMissing = "credential-missing", 409, Tenant, No;
    /// The host refused what the connector asked for.
    Denied = "denied", 502, Connector, No;
    /// The operator's policy does not admit the host that a request is for.
    HostNotAllowed = "host-not-allowed", 502, Host, No;
    /// The host that a request is for has addresses that nothing is sent to.
    AddressBlocked = "address-blocked", 502, Host, No;
    /// A request that the connector asked for is longer than the host sends.
    RequestTooLarge = "request-too-large", 502, Connector, No;
    /// The provider's answer is longer than the host reads.
    ResponseTooLarge = "response-too-large", 502, Upstream, No;
    /// The provider rejected the credential.
    Unauthenticated = "unauthenticated", 424, Tenant, No;
    /// The provider accepted the credential and refused the operation.
    Forbidden = "forbidden", 424, Tenant, No;
    /// The provider has no such thing.
    NotFound = "not-found", 404, Tenant, No;
    /// The provider says that this collides with something it has.
    UpstreamConflict = "upstream-conflict", 409, Tenant, No;
    /// The provider asks to wait.
    RateLimited = "rate-limited", 429, Upstream, Yes;
    /// The provider or the network failed in a way that may pass.
    Transient = "transient", 502, Upstream, Yes;
    /// The provider answered something that the connector does not understand.
    ContractDrift = "contract-drift", 502, Upstream, No;
    /// The connector reported a defect of its own.
    ConnectorInternal = "connector-internal", 502, Connector, No;
    /// The connector trapped.
    GuestTrap = "guest-trap", 502, Connector, No;
    /// The connector used up its processor time.
    GuestCpu = "guest-cpu", 502, Connector, No;
    /// The connector asked for more memory than a call may have.
    GuestMemory = "guest-memory", 502, Connector, No;
    /// The connector recursed too deeply.
    GuestStack = "guest-stack", 502, Connector, No;
    /// The connector's answer is larger than the host takes.
    GuestOutputTooLarge = "guest-output-too-large", 502, Connector, No;
    /// The connector's answer is not what its contract promises.
    GuestOutputInvalid = "guest-output-invalid", 502, Connector, No;
    /// The call's time was over before it had ended.
    DeadlineExceeded = "deadline-exceeded", 504, Upstream, Yes;
    /// The caller went away before the call had ended. Nobody is answered with it: it is for logs and metrics.
    CallAbandoned = "call-abandoned", 499, Tenant, Yes;
    /// Too many calls of this tenant, or of all, are under way.
    Overloaded = "overloaded", 503, Host, Yes;
    /// The host has as many connections to providers open as it may, and none came free in the call's time.
    ConnectionsExhausted = "connections-exhausted", 503, Host, Yes;

    // --- the host ---
    /// The host has not loaded everything yet that it has to serve.
    Starting = "starting", 503, Host, Yes;
    /// The pinned release's code cannot be loaded.
    ReleaseUnavailable = "release-unavailable", 503, Host, Yes;
    /// The store cannot take or answer this now.
    StoreUnavailable = "store-unavailable", 503, Host, Yes;
    /// The service that holds the sealing keys does not answer, or refuses this host.
    KeysUnavailable = "keys-unavailable", 503, Host, Yes;
    /// The sealing keys are given to the host at its start, and it was asked to make a new one.
    KeysFixed = "keys-fixed", 409, Host, No;
    /// A defect of Keyway; the log has the cause under the call's id.
    Internal = "internal", 500, Host, Yes;
}

impl Code {
    /// The code with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_unique_and_parse_back() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }
}
