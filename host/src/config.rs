//! The configuration file: what each component is told.
//!
//! Every setting has a default, which `keyway.toml` in `docs/` shows; an unknown key is an error. This
//! file only names the components' own sections: their fields, units and reasons are beside the code
//! that uses them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_core::ids::Environment;
use serde::Deserialize;

/// Everything `keyway serve` can be told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Config {
    /// Environments and the way of stopping.
    pub(crate) server: Server,
    /// How many calls, and for how long.
    pub(crate) calls: Calls,
    /// What requests to the API may use.
    pub(crate) api: keyway_api::Limits,
    /// Where people connect accounts, and how that looks.
    pub(crate) connect: keyway_api::connect::Config,
    /// How clients of providers reach the host.
    pub(crate) proxy: keyway_api::address::Config,
    /// How the store is opened.
    pub(crate) store: keyway_store::Options,
    /// What one call may use.
    pub(crate) runtime: RuntimeConfig,
    /// Where the sealing keys are.
    pub(crate) keys: KeysConfig,
    /// How connections that nobody uses are looked after.
    pub(crate) keep_alive: keyway_vault::keep_alive::Config,
    /// How releases are looked after.
    pub(crate) releases: Care,
    /// What connectors may reach.
    pub(crate) egress: keyway_broker::Config,
    /// How exchanges with providers are kept.
    pub(crate) exchanges: keyway_exchanges::Options,
    /// How what connectors say is kept.
    pub(crate) call_log: CallLog,
    /// How the log looks.
    pub(crate) log: Log,
}

/// Environments and the way of stopping.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Server {
    /// Environments that exist. Default: `dev`, `staging`, `prod`.
    pub(crate) environments: Vec<Environment>,
    /// How long calls under way may take to end once the host was told to stop. Default: 30 s.
    #[serde(with = "keyway_core::humane")]
    pub(crate) drain_time: Duration,
    /// Whether `/metrics` answers without a token. Default: no.
    pub(crate) metrics_public: bool,
}

/// How releases are looked after.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Care {
    /// Time between two looks at the components of all that is routed, each of which is read whole. Default: 1 h.
    #[serde(with = "keyway_core::humane")]
    pub(crate) check_interval: Duration,
}

/// Where the sealing keys are, if not in their file or in the environment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct KeysConfig {
    /// A key service. Default: none.
    #[cfg(feature = "transit")]
    pub(crate) transit: Option<keyway_vault::keys::transit::Config>,
}

/// What one call may use, and where its memory comes from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct RuntimeConfig {
    /// Every bound on a guest.
    pub(crate) limits: keyway_runtime::Limits,
    /// `auto`, `pooling` or `on-demand`. Default: `auto`.
    pub(crate) allocation: keyway_runtime::Allocation,
}

/// How many calls, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Calls {
    /// Calls of all tenants under way. Default: 1,000.
    pub(crate) calls_max: usize,
    /// Calls of one tenant under way. Default: 125.
    pub(crate) tenant_calls_max: usize,
    /// Time for one call. Default: 120 s.
    #[serde(with = "keyway_core::humane")]
    pub(crate) time_max: Duration,
}

/// How what connectors say is kept: as exchanges are, but for these.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct CallLog {
    /// Bytes kept of what is said during one call; the oldest lines go first. Default: 64 KiB.
    pub(crate) call_bytes_max: usize,
    /// Bytes of all segments; the oldest go first. Default: 256 MiB, of which a call with a dozen lines takes 2 KiB.
    pub(crate) total_bytes_max: u64,
    /// Age at which calls go, a segment at a time. Default: as exchanges, 7 days.
    #[serde(with = "keyway_core::humane")]
    pub(crate) age_max: Duration,
}

/// How the log looks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Log {
    /// `json` or `text`. Default: `json`.
    pub(crate) format: LogFormat,
    /// What is logged, as `level` or `target=level,…`. Default: `info`.
    pub(crate) filter: String,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For eyes.
    Text,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No such file, or not readable.
    #[error("configuration {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("configuration {path}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Two settings that do not go together.
    #[error("configuration: {0}")]
    Contradiction(String),
}

impl Config {
    /// Reads a file; without one, everything is at its default.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check()
    }

    /// What one section alone cannot say.
    fn check(self) -> Result<Self, ConfigError> {
        let instances_max = self.runtime.limits.pool.instances_max;
        if self.calls.calls_max > instances_max as usize {
            let problem = format!(
                "calls.calls-max is over runtime.limits.pool.instances-max ({instances_max}): calls would wait unseen"
            );
            return Err(ConfigError::Contradiction(problem));
        }
        if let Some(problem) = self.api.contradiction() {
            return Err(ConfigError::Contradiction(problem));
        }
        let public = self.connect.public_url.as_ref().and_then(|url| url.host());
        if let Some(host) = public.filter(|host| self.proxy.takes(host)) {
            let problem = format!(
                "connect.public-url is at `{host}`, which proxy.domain makes the address of an installation: no page would be found there"
            );
            return Err(ConfigError::Contradiction(problem));
        }
        Ok(self)
    }
}

impl Config {
    /// What the API is told.
    pub(crate) fn api(&self) -> keyway_api::Config {
        keyway_api::Config {
            environments: self.server.environments.clone(),
            metrics_public: self.server.metrics_public,
            component_bytes_max: self.runtime.limits.admission.component_bytes_max,
            drain_time_max: self.server.drain_time,
            connect: self.connect.clone(),
            proxy: self.proxy.clone(),
            limits: self.api.clone(),
        }
    }

    /// What dispatch is told.
    pub(crate) fn dispatch(&self) -> keyway_dispatch::Config {
        let Calls { calls_max, tenant_calls_max, time_max } = self.calls;
        keyway_dispatch::Config {
            admission: keyway_dispatch::admission::Limits { calls_max, tenant_calls_max },
            fit: keyway_dispatch::fit::Limits {
                input_bytes_max: self.api.json_bytes_max,
                batch_items_max: self.runtime.limits.call.batch_items_max,
            },
            call_time_max: time_max,
            said_bytes_max: self.call_log.call_bytes_max,
        }
    }

    /// What the call log is told.
    pub(crate) fn call_log(&self) -> keyway_exchanges::Options {
        let CallLog { total_bytes_max, age_max, .. } = self.call_log;
        keyway_exchanges::Options { total_bytes_max, age_max, ..self.exchanges.clone() }
    }
}

impl Default for Server {
    fn default() -> Self {
        let environments = ["dev", "staging", "prod"]
            .map(|name| name.parse().expect("a name of lower-case letters"))
            .to_vec();
        Self { environments, drain_time: Duration::from_secs(30), metrics_public: false }
    }
}

impl Default for Care {
    fn default() -> Self {
        Self { check_interval: Duration::from_secs(3_600) }
    }
}

impl Default for Calls {
    fn default() -> Self {
        let keyway_dispatch::Config { admission, call_time_max, .. } =
            keyway_dispatch::Config::default();
        Self {
            calls_max: admission.calls_max,
            tenant_calls_max: admission.tenant_calls_max,
            time_max: call_time_max,
        }
    }
}

impl Default for CallLog {
    fn default() -> Self {
        Self {
            call_bytes_max: keyway_dispatch::Config::default().said_bytes_max,
            total_bytes_max: 256 << 20,
            age_max: keyway_exchanges::Options::default().age_max,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors() {
        assert!(toml::from_str::<Config>("[server]\ndrain-tme = \"1s\"").is_err());
        assert!(toml::from_str::<Config>("[nothing]").is_err());
    }

    #[test]
    fn the_public_url_is_no_address_of_an_installation() {
        let check = |name: &str| {
            let text = format!("[connect]\npublic-url = \"https://{name}.localhost\"");
            toml::from_str::<Config>(&text).unwrap().check().map(drop).map_err(|e| e.to_string())
        };
        assert_eq!(check("keyway"), Ok(()));
        let refused = check("x4nzqx6tmahqmtqwisti2aurge").unwrap_err();
        assert!(refused.contains("connect.public-url is at"), "{refused}");
    }

    #[test]
    fn a_body_within_its_limit_has_room() {
        let check = |setting: &str| {
            let config: Config = toml::from_str(&format!("[api]\n{setting}")).unwrap();
            config.check().map(drop).map_err(|error| error.to_string())
        };
        let largest = 4_194_304 + 500_000 * 100;
        for (name, least) in
            [("tenant-bodies-bytes-max", largest), ("bodies-bytes-max", 2 * largest)]
        {
            assert_eq!(check(&format!("{name} = {least}")), Ok(()));
            let refused = check(&format!("{name} = {}", least - 1)).unwrap_err();
            assert!(refused.contains(&format!("api.{name} is under {least}")), "{refused}");
        }
        assert!(check("json-bytes-max = 100000000").is_err());
    }

    #[test]
    fn durations_are_humane() {
        let config: Config = toml::from_str("[calls]\ntime-max = \"2min\"").unwrap();
        assert_eq!(config.calls.time_max, Duration::from_secs(120));
        assert_eq!(config.calls.calls_max, 1_000);
    }

    /// The file that operators start from.
    const FILE: &str = include_str!("../../docs/keyway.toml");

    #[test]
    fn the_commented_file_shows_the_defaults() {
        let uncomment = |line: &'static str| line.strip_prefix("# ").unwrap_or(line);
        let text: String = FILE.lines().flat_map(|line| [uncomment(line), "\n"]).collect();
        let shown: Config = toml::from_str(&text).unwrap();
        assert_eq!(format!("{shown:#?}"), format!("{:#?}", Config::default()));
        // As it is, it sets nothing.
        let untouched: Config = toml::from_str(FILE).unwrap();
        assert_eq!(format!("{untouched:#?}"), format!("{:#?}", Config::default()));
    }

    #[test]
    fn the_commented_file_names_every_setting() {
        let all = format!("{:#?}", Config::default());
        let fields = all.lines().filter_map(|line| line.trim().split_once(": "));
        let names: Vec<_> = fields.map(|(field, _)| field.replace('_', "-")).collect();
        assert!(names.contains(&"idle-max".to_owned()), "{names:?}");
        let missing: Vec<_> = names.iter().filter(|name| !FILE.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "docs/keyway.toml does not mention {missing:?}");
    }
}
