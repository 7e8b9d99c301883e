//! The command line as typed. What it means is each command's business.

mod connections;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use url::Url;

use crate::env;

pub(crate) use connections::{ClientCommand, ConnectionCommand, Obtain, Scopes, Set, Which};

/// Run connectors sandboxed, pinned by hash, and hot-swapped per tenant.
#[derive(Parser)]
#[command(name = "keyway", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// How to reach the host.
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How commands reach a running host. Has no `Debug`: the token would be in it.
#[derive(Args)]
pub(crate) struct Remote {
    /// Address of the running host.
    #[arg(long, global = true, env = env::HOST, default_value = "http://127.0.0.1:8700", value_name = "URL")]
    pub(crate) host: Url,
    /// Token to show; better in the environment than on the command line.
    #[arg(long, global = true, env = env::TOKEN, hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// Environment that tenants are named in [env: KEYWAY_ENV] [default: dev]
    #[arg(long, global = true, value_name = "ENVIRONMENT")]
    pub(crate) env: Option<String>,
    /// Print the API's JSON instead of text; what went wrong too.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print tables as wide as they are, with whole digests, also where the terminal is narrower.
    #[arg(long, global = true)]
    pub(crate) wide: bool,
}

/// How a call is made.
#[derive(Args, Debug)]
pub(crate) struct Calling {
    /// For this user of the tenant's: only the user's own connections are used.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Where the provider limits the rate: hand its refusal on (as if absent), or wait as long as the call may take.
    #[arg(long, value_name = "MODE", value_parser = ["pass-through", "throttle"])]
    pub(crate) rate_limit: Option<String>,
    /// How long the call may take.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) timeout_ms: Option<u64>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Run the host.
    Serve(Serve),
    /// Start a new connector project.
    New(New),
    /// Check a component as publication would, without a host.
    Check(Check),
    /// Publish a component as a release.
    Publish {
        /// The component.
        file: PathBuf,
    },
    /// List releases.
    Releases {
        /// Only of this connector, `publisher/name`.
        connector: Option<String>,
    },
    /// Show what a release says of itself.
    Show {
        /// `1.4.0` or `sha256:…`, after `publisher/name@` where it could mean several. With `--tenant` also
        /// `publisher/name`: the release that the tenant runs.
        release: ReleaseName,
        /// Show also what it needs of its provider, and what was granted to this tenant and its users.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Show what differs between two releases of a connector.
    Diff {
        /// The first: `1.4.0` or `sha256:…`, after `publisher/name@` where it could mean several.
        before: ReleaseName,
        /// The second, likewise.
        after: ReleaseName,
    },
    /// Pin a tenant to a release.
    Pin {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// `1.4.0`, or `sha256:` and 12 or more digits.
        release: String,
        /// Why: kept in the history and the audit.
        #[arg(long)]
        reason: String,
        /// Fail if the pin is no longer at this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// What to go ahead without.
        #[command(flatten)]
        allow: Allow,
    },
    /// End a tenant's pin: the environment's default runs.
    Unpin {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// Why: kept in the history and the audit.
        #[arg(long)]
        reason: String,
        /// Fail if the pin is no longer at this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// What to go ahead without.
        #[command(flatten)]
        allow: Allow,
    },
    /// Go back to the release that was to run before, as a new generation.
    Revert {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// Why: kept in the history and the audit.
        #[arg(long)]
        reason: String,
        /// Go back to this generation instead of the newest with another release.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// Fail if the pin is no longer at this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// A tenant as a whole.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Show tenant × declared × executed release.
    Pins {
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only this connector.
        #[arg(long)]
        connector: Option<String>,
        /// Every environment, not only `--env`.
        #[arg(long)]
        all: bool,
    },
    /// Show every pin that an installation had.
    History {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
    },
    /// The release that tenants without a pin run.
    #[command(subcommand)]
    Default(DefaultCommand),
    /// An installation's credentials.
    #[command(subcommand)]
    Connection(ConnectionCommand),
    /// The operator's OAuth clients.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Show what a release needs of its provider, and what was granted.
    Scopes(Scopes),
    /// Print a link by which a person connects an account.
    Connect(Connect),
    /// An installation's configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run an action.
    Invoke {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// The action, such as `contacts.get`.
        action: String,
        /// The action's input; `-` reads it from standard input.
        #[arg(long, default_value = "{}", value_name = "JSON")]
        input: String,
        /// How.
        #[command(flatten)]
        calling: Calling,
    },
    /// Show the schemas of the objects that a tenant has.
    Discover {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// Only this object.
        object: Option<String>,
        /// How.
        #[command(flatten)]
        calling: Calling,
    },
    /// Read one page of an object.
    Read {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// The object.
        object: String,
        /// The request as the API takes it: `cursor`, `fields`, `since`, `until`, `page_size`, `extra` (a list of `name` and
        /// `value`, for the connector).
        #[arg(long, default_value = "{}", value_name = "JSON")]
        request: String,
        /// How.
        #[command(flatten)]
        calling: Calling,
    },
    /// Write one batch to an object.
    Write {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// The object.
        object: String,
        /// The request as the API takes it: `operation`, `items`, `match_on`, `all_or_none`, `extra` (a list of `name` and
        /// `value`, for the connector); `-` reads it from standard input.
        #[arg(long, value_name = "JSON")]
        request: String,
        /// How.
        #[command(flatten)]
        calling: Calling,
    },
    /// Print where a client of the provider reaches a tenant's account: by a host name, and by a base URL.
    ProxyUrl {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// With this slot; default: the one that is set.
        #[arg(long)]
        slot: Option<String>,
        /// For this user of the tenant's; default: for the tenant.
        #[arg(long)]
        user: Option<String>,
    },
    /// Show how the rate limits of providers stand.
    Quotas {
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only of this connector, `publisher/name`.
        #[arg(long)]
        connector: Option<String>,
    },
    /// Tokens of the API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The keys that credentials are sealed with: list them, or exchange them.
    #[command(args_conflicts_with_subcommands = true)]
    Keys {
        /// What to do; without it they are listed.
        #[command(subcommand)]
        command: Option<KeysCommand>,
    },
    /// Show what the host did for calls.
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Show what was changed, by whom and why.
    Audit {
        /// Only entries after this one, the oldest first; without it the newest, newest first.
        #[arg(long, value_name = "SEQ")]
        after: Option<u64>,
        /// At most this many.
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: u32,
    },
    /// Explain an error code.
    Explain {
        /// The code, such as `guest-trap`; none lists them all.
        code: Option<String>,
    },
    /// Check and compile the component on standard input. `keyway serve` starts this by itself.
    #[command(hide = true)]
    AdmitComponent,
}

/// `keyway serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where everything durable is kept.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8700", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Configuration file; every setting has a default.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Go on without what is lost from the data directory, with an empty store if that is gone. For one start: refused
    /// where nothing is lost.
    #[arg(long)]
    pub(crate) begin_anew: bool,
}

/// `keyway check`.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The component.
    pub(crate) file: PathBuf,
    /// Configuration file of the host that it is for: limits and hosts that it sets hold here, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `keyway new`.
#[derive(Args, Debug)]
pub(crate) struct New {
    /// Name of the connector, `publisher/name` or only `name`.
    pub(crate) name: String,
    /// Where to put it; default: a folder of that name here.
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
}

/// `keyway default`.
#[derive(Subcommand, Debug)]
pub(crate) enum DefaultCommand {
    /// Set it.
    Set {
        /// The connector, `publisher/name`.
        connector: String,
        /// `1.4.0`, or `sha256:` and 12 or more digits.
        release: String,
        /// Why: kept in the audit.
        #[arg(long)]
        reason: String,
        /// What to go ahead without.
        #[command(flatten)]
        allow: Allow,
    },
    /// Show it.
    Get {
        /// The connector, `publisher/name`.
        connector: String,
    },
    /// Unset it: tenants without a pin run nothing.
    Unset {
        /// The connector, `publisher/name`.
        connector: String,
        /// Why: kept in the audit.
        #[arg(long)]
        reason: String,
    },
}

/// What a change of what runs may go ahead without.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Allow {
    /// Also if the release needs scopes which were not granted; the reason then says which.
    #[arg(long)]
    pub(crate) allow_missing_scopes: bool,
    /// Also if the release takes another kind of credential than is set; the reason then says which.
    #[arg(long)]
    pub(crate) allow_other_scheme: bool,
}

/// `keyway tenant`.
#[derive(Subcommand, Debug)]
pub(crate) enum TenantCommand {
    /// Remove everything of a tenant from `--env`: connections, with their tokens at the provider, pins,
    /// configurations, data keys. Nothing brings it back.
    Delete {
        /// The tenant.
        tenant: String,
        /// Why: kept in the audit.
        #[arg(long)]
        reason: String,
    },
}

/// `keyway connect`.
#[derive(Args, Debug)]
pub(crate) struct Connect {
    /// The tenant.
    pub(crate) tenant: String,
    /// The connector, `publisher/name`.
    pub(crate) connector: String,
    /// The slot; default: the only one that people connect.
    #[arg(long)]
    pub(crate) slot: Option<String>,
    /// Whose connection it is; default: the tenant's own.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Where the person goes afterwards, with `status` and `code` in the query.
    #[arg(long, value_name = "URL")]
    pub(crate) return_url: Option<String>,
    /// A value for a variable of the provider's URLs, such as `subdomain=acme`; once for each. The page asks for the others.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = connections::variable)]
    pub(crate) variables: Vec<(String, String)>,
}

/// `keyway config`.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Set it.
    Set {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// A JSON file; `-` reads standard input.
        #[arg(long, value_name = "F")]
        file: PathBuf,
    },
    /// Show it.
    Get {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// As it was at this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// Show every configuration that an installation had.
    History {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
    },
    /// Go back to an earlier configuration, as a new generation.
    Revert {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// Why: kept in the history and the audit.
        #[arg(long)]
        reason: Option<String>,
        /// Go back to this generation, 0 for none, instead of the newest that differs and fits the release.
        #[arg(long, value_name = "N")]
        to: Option<u64>,
        /// Fail if the configuration is no longer at this generation.
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
    },
    /// Leave an installation without a configuration, as a new generation.
    Remove {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
    },
}

/// `keyway token`.
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    /// Make a token. It is printed once.
    Issue {
        /// What it is called; the actor of what it does.
        name: String,
        /// viewer, publisher, operator, admin or caller.
        #[arg(long)]
        role: String,
        /// Only for this environment; repeat for more. Default: all; a caller's is for the one of `--env` or KEYWAY_ENV.
        #[arg(long = "only", value_name = "ENVIRONMENT")]
        environments: Vec<String>,
        /// Only for releases of this publisher.
        #[arg(long)]
        publisher: Option<String>,
        /// Of a caller.
        #[command(flatten)]
        bounds: Bounds,
        /// When it ends, RFC 3339.
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// List tokens, without their secrets.
    List,
    /// End a token.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// Which calls a caller's token may make.
#[derive(Args, Debug)]
pub(crate) struct Bounds {
    /// Of a caller: only for this tenant; repeat for more. Default: all.
    #[arg(long = "tenant", value_name = "TENANT")]
    pub(crate) tenants: Vec<String>,
    /// Of a caller: only with this connector, `publisher/name`; repeat for more. Default: all.
    #[arg(long = "connector", value_name = "CONNECTOR")]
    pub(crate) connectors: Vec<String>,
    /// Of a caller: only for this of the tenants' users; repeat for more. Default: all, and tenants themselves.
    #[arg(long = "user", value_name = "USER")]
    pub(crate) users: Vec<String>,
    /// Of a caller: only invoke, discover, read, write or proxy, or the proxy with a method such as GET; repeat for more.
    /// Default: all.
    #[arg(long = "verb", value_name = "VERB")]
    pub(crate) verbs: Vec<String>,
}

/// `keyway keys`.
#[derive(Subcommand, Debug)]
pub(crate) enum KeysCommand {
    /// Exchange the sealing key, or data keys.
    Rotate {
        /// The data key of this tenant instead.
        #[arg(long, value_name = "TENANT", conflicts_with = "all_data")]
        data: Option<String>,
        /// Every data key of every environment instead.
        #[arg(long)]
        all_data: bool,
    },
}

/// `keyway logs`.
#[derive(Subcommand, Debug)]
pub(crate) enum LogsCommand {
    /// Show calls that said something or failed, the newest last, with what their connectors said.
    Calls(LoggedCalls),
    /// Show exchanges with providers, the newest last.
    Exchanges(LoggedExchanges),
}

/// Which entries of a log, and how they are shown.
#[derive(Args, Debug)]
pub(crate) struct Logged {
    /// Only of this tenant.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only of this connector, `publisher/name`.
    #[arg(long)]
    pub(crate) connector: Option<String>,
    /// Only of this call, `call_…`.
    #[arg(long, value_name = "ID")]
    pub(crate) call: Option<String>,
    /// Only of this release: `1.4.0`, or `sha256:` and 12 or more digits.
    #[arg(long)]
    pub(crate) release: Option<String>,
    /// Only what began then or later: RFC 3339, or how long ago, such as `10m`.
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only what began then or earlier, likewise.
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    pub(crate) until: Option<String>,
    /// At most so many of the newest. Default: 100; with `--follow`, 10 before what is new.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Go on with what is new, until interrupted.
    #[arg(long)]
    pub(crate) follow: bool,
}

/// `keyway logs calls`.
#[derive(Args, Debug)]
pub(crate) struct LoggedCalls {
    /// Which.
    #[command(flatten)]
    pub(crate) logged: Logged,
    /// Only those that failed.
    #[arg(long)]
    pub(crate) failed: bool,
}

/// `keyway logs exchanges`.
#[derive(Args, Debug)]
pub(crate) struct LoggedExchanges {
    /// Which.
    #[command(flatten)]
    pub(crate) logged: Logged,
    /// Only with this host.
    #[arg(long, value_name = "HOST")]
    pub(crate) to: Option<String>,
    /// Only with this status, `429`, or a status of this class, `4xx`.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only those of which no response was handed on, and statuses from 400 on.
    #[arg(long)]
    pub(crate) failed: bool,
    /// Only for this purpose: `call`, `proxy`, or one of the host's own, such as `token`.
    #[arg(long)]
    pub(crate) purpose: Option<String>,
    /// Write them to this file as an HTTP Archive (HAR 1.2); `-` is standard output.
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    pub(crate) har: Option<PathBuf>,
}

/// A release as typed: `publisher/name@release`, or only the release.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseName {
    /// `publisher/name`.
    pub(crate) connector: Option<String>,
    /// Version or digest.
    pub(crate) release: String,
}

impl ReleaseName {
    /// The connector, if nothing else was typed: no version and no digest has a slash.
    pub(crate) fn only_connector(&self) -> Option<&str> {
        let Self { connector, release } = self;
        (connector.is_none() && release.contains('/')).then_some(release)
    }
}

impl From<String> for ReleaseName {
    fn from(text: String) -> Self {
        match text.split_once('@') {
            Some((connector, release)) => {
                Self { connector: Some(connector.to_owned()), release: release.to_owned() }
            }
            None => Self { connector: None, release: text },
        }
    }
}

impl fmt::Display for ReleaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.connector {
            Some(connector) => write!(f, "{connector}@{}", self.release),
            None => f.write_str(&self.release),
        }
    }
}
