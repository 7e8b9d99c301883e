//! `keyway connection`, `client` and `scopes`, as typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Where tokens may stand, as the API has it.
const PHASES: [&str; 4] = ["ready", "refreshing", "uncertain", "needs-reauth"];

/// A value for a variable, as typed.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("is NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A connection, named.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The tenant.
    pub(crate) tenant: String,
    /// The connector, `publisher/name`.
    pub(crate) connector: String,
    /// The slot that the connector declares.
    #[arg(long, default_value = "token")]
    pub(crate) slot: String,
    /// The connection of this user of the tenant's, instead of the tenant's own.
    #[arg(long, value_name = "USER")]
    pub(crate) for_user: Option<String>,
}

/// `keyway connection`.
#[derive(Subcommand, Debug)]
pub(crate) enum ConnectionCommand {
    /// Set the credential of a slot. Secrets are read from standard input, or from `--…-file`.
    Set(Box<Set>),
    /// Set the credentials of several slots in one change: all of them or none.
    SetAll {
        /// The tenant.
        tenant: String,
        /// The connector, `publisher/name`.
        connector: String,
        /// The connections of this user of the tenant's, instead of the tenant's own.
        #[arg(long, value_name = "USER")]
        for_user: Option<String>,
        /// A JSON file; `-` reads standard input: `{"SLOT": {"token": …}, "SLOT": {"user": …, "password": …}}`, each with
        /// `base_url` if wanted.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Set them without asking the provider whether they work.
        #[arg(long)]
        no_test: bool,
    },
    /// Ask the provider whether a connection works.
    Test(Which),
    /// Remove the credential of a slot; tokens are revoked at the provider where it offers that.
    Remove(Which),
    /// List connections and where they stand: an installation's, or those of the environment that have tokens.
    List {
        /// The tenant; without it, every tenant's.
        #[arg(requires = "connector")]
        tenant: Option<String>,
        /// The connector, `publisher/name`.
        connector: Option<String>,
        /// Only those of the environment whose tokens stand there.
        #[arg(long, conflicts_with = "tenant", value_parser = PHASES)]
        phase: Option<String>,
    },
    /// Let nothing use a connection, and wait until nothing does.
    Pause {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// How long to wait for that.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        wait: u32,
    },
    /// Let a connection be used again.
    Resume(Which),
    /// Leave a connection's tokens as they are: another system refreshes them.
    HoldRefresh(Which),
    /// Refresh a connection's tokens again.
    ReleaseRefresh(Which),
    /// Refresh a connection's tokens now.
    Refresh {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Also where the refresh token may be spent already: the provider may then revoke everything.
        #[arg(long)]
        force: bool,
    },
    /// Ask the provider for a connection that no person has to consent to: for slots with client credentials, JWT-bearer
    /// assertions (RFC 7523) or token exchange. It is renewed by itself.
    Obtain(Box<Obtain>),
    /// Take tokens from another system, each tried first. One JSON object a line: `tenant`, `connector`, `slot`,
    /// `access_token`, and as known `user`, `refresh_token`, `subject_token`, `expires_at`, `obtained_at`,
    /// `scopes`, `account`, `base_url`, `hold_refresh`, `replace`.
    Import {
        /// A file of such lines; `-` reads standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Try everything and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Also over tokens that were refreshed here, or were issued later: they are lost. As `replace` in each line.
        #[arg(long)]
        replace: bool,
    },
    /// Print a connection's tokens as a line for `import`.
    Export {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Sealed to this age recipient, `age1…`.
        #[arg(long, value_name = "RECIPIENT", required_unless_present = "clear")]
        recipient: Option<String>,
        /// In the clear; for an admin.
        #[arg(long, conflicts_with = "recipient")]
        clear: bool,
    },
}

/// `keyway connection set`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// Which.
    #[command(flatten)]
    pub(crate) which: Which,
    /// User, for a slot that takes user and password; the secret is then the password, and may be empty. Of a slot that
    /// signs requests: the key's id.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// The file that holds the secret; default: standard input. A trailing line break is not part.
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// The file that holds the token of the session that an access key of AWS is good for.
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) session_token_file: Option<PathBuf>,
    /// The slot takes no secret: set only what paths are joined to.
    #[arg(long, conflicts_with_all = ["user", "secret_file"])]
    pub(crate) no_secret: bool,
    /// What paths are joined to, on a host that the connector declares.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Set it without asking the provider whether it works.
    #[arg(long)]
    pub(crate) no_test: bool,
}

/// `keyway connection obtain`.
#[derive(Args, Debug)]
pub(crate) struct Obtain {
    /// Which.
    #[command(flatten)]
    pub(crate) which: Which,
    /// The file that holds the token to exchange; `-` reads standard input. For a user it may be left out where
    /// the tenant has a connection of its own: then that one's token is exchanged.
    #[arg(long, value_name = "FILE")]
    pub(crate) subject_file: Option<PathBuf>,
    /// What paths are joined to, on a host that the connector declares.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// A value for a variable of the provider's URLs, such as `subdomain=acme`; once for each.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) variables: Vec<(String, String)>,
    /// The connection's own client, instead of the operator's. Its secret, or the key that it signs with, is in
    /// `--client-secret-file`.
    #[arg(long, value_name = "ID", requires = "client_secret_file")]
    pub(crate) client_id: Option<String>,
    /// The file that holds it; `-` reads standard input.
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(crate) client_secret_file: Option<PathBuf>,
    /// What the provider calls the key that the connection's own client signs with.
    #[arg(long, value_name = "ID", requires = "client_id")]
    pub(crate) key_id: Option<String>,
}

/// `keyway client`.
#[derive(Subcommand, Debug)]
pub(crate) enum ClientCommand {
    /// Set the client of a connector. Its secret is read from standard input, or from `--secret-file`: for a slot whose
    /// tokens an assertion is signed for, the private key in PEM.
    Set {
        /// The connector, `publisher/name`.
        connector: String,
        /// The slot.
        #[arg(long, default_value = "token")]
        slot: String,
        /// What the provider calls the client.
        #[arg(long, value_name = "ID")]
        id: String,
        /// The file that holds the secret; default: standard input. A trailing line break is not part.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
        /// What the provider calls the key that it signs with.
        #[arg(long, value_name = "ID")]
        key_id: Option<String>,
        /// A public client: it has no secret.
        #[arg(long, conflicts_with = "secret_file")]
        public: bool,
    },
    /// List clients, without their secrets.
    List,
    /// Remove the client of a connector.
    Remove {
        /// The connector, `publisher/name`.
        connector: String,
        /// The slot.
        #[arg(long, default_value = "token")]
        slot: String,
    },
}

/// `keyway scopes`.
#[derive(Args, Debug)]
pub(crate) struct Scopes {
    /// The tenant.
    pub(crate) tenant: String,
    /// The connector, `publisher/name`.
    pub(crate) connector: String,
    /// `1.4.0`, or `sha256:` and 12 or more digits; default: what the tenant runs.
    pub(crate) release: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use crate::args::Cli;

    /// Each way in which a slot's tokens come without a person: whoever looks for one of them finds the command.
    #[test]
    fn help_of_obtain_names_every_grant_that_it_serves() {
        let mut typed = Cli::command();
        let connection = typed.find_subcommand_mut("connection").unwrap();
        let help = connection.find_subcommand_mut("obtain").unwrap().render_long_help().to_string();
        for grant in ["client credentials", "JWT-bearer", "token exchange"] {
            assert!(help.contains(grant), "{grant}: {help}");
        }
    }
}
