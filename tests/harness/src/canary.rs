//! A secret in every slot, and a search for them in everything that a host says or leaves behind: what the torture
//! `canary` and its short form share.
//!
//! A host is run with everything logged, time and again on the same data, and dies by a signal each time. Its
//! provider gives back each credential that it is sent, and its connector tells all that it can see, its memory
//! included. Everything searched has something in it that went the same way as the secrets would have: what the
//! provider said, where a guest may tell it; and a secret that is put into a copy must be found.
//!
//! What is not searched: compressed bodies that go through the proxy, of which the operator's page says so; and cassettes:
//! no host records any yet, and those of the SDK are written by authors' own tests, where there is no credential.

mod heard;
mod mistakes;
mod operator;
mod pieces;
mod process;
mod provider;
mod search;
mod secrets;
mod traffic;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rustix::process::Signal;
use serde_json::json;

use self::heard::Heard;
use self::operator::{CONNECTOR, Operator};
use self::process::Follower;
use self::provider::{DECOY, Provider};
use self::search::{Search, Tally};
use self::secrets::Canaries;
use crate::host::{Host, Start, binary, component};

/// The variable with the sealing key, which is a canary as well.
const SEALING_KEYS: &str = "KEYWAY_SEALING_KEYS";

/// Ways to die. The first two leave cores of programs that do nothing about it.
const DEATHS: [Signal; 3] = [Signal::SEGV, Signal::ABORT, Signal::KILL];

/// Exchanges of one page.
const PAGE: usize = 1_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Tenants, each with secrets of its own.
    pub tenants: usize,
    /// Lives of the host, three at most: each ends in another way.
    pub lives: usize,
    /// How often each of them does everything in each of the host's lives.
    pub rounds: usize,
}

/// What became of the canaries. Shown as one line.
#[derive(Debug)]
pub struct Outcome {
    plan: Plan,
    tally: Tally,
    canaries: usize,
    /// How many canaries the provider was shown.
    arrived: usize,
    /// Those that it should have been shown and was not: they were not looked for where they could have been.
    absent: Vec<String>,
    /// What was wrong with the process.
    exposed: Vec<String>,
    machine: Machine,
}

/// What this machine lets programs show that do nothing about it.
#[derive(Clone, Copy, Debug)]
struct Machine {
    /// Whether they leave cores.
    cores: bool,
    /// Whether others of their user can read them.
    readable: bool,
}

/// A run in progress.
struct Run<'a> {
    folder: &'a Path,
    config: String,
    sealing_keys: String,
    canaries: Canaries,
    provider: Provider,
    heard: Heard,
    due: Vec<String>,
    exposed: Vec<String>,
}

/// Runs all of it in a folder that is empty and stays for as long as the outcome is of interest.
pub async fn run(folder: &Path, plan: Plan) -> Outcome {
    let canaries = Canaries::default();
    let provider = Provider::start(&canaries).await;
    let key = STANDARD.encode(canaries.plant_key("sealing key"));
    let mut run = Run {
        folder,
        config: config(&provider),
        sealing_keys: format!("current of-the-environment {key}"),
        canaries,
        provider,
        heard: Heard::default(),
        due: Vec::new(),
        exposed: Vec::new(),
    };
    let (cores, readable) = (process::cores_possible(folder), process::readable_otherwise(folder));
    run.refused_start();
    for (life, death) in DEATHS.into_iter().take(plan.lives).enumerate() {
        run.live(life, death, plan).await;
    }
    run.outcome(plan, Machine { cores, readable })
}

/// Everything logged, every body kept, and three names for the provider.
fn config(provider: &Provider) -> String {
    let mut config = "[log]\nfilter = \"trace\"\n[exchanges]\nbody-bytes-max = 65536\n".to_owned();
    for host in ["api.example.com", "other.example.com", "auth.example.test"] {
        let address = provider.address;
        config.push_str(&format!(
            "[[egress.stand-in]]\nhost = \"{host}\"\naddress = \"http://{address}\"\n"
        ));
    }
    config
}

// === impl Run ===

impl Run<'_> {
    /// A start that fails at the sealing keys, and says why without saying them.
    fn refused_start(&mut self) {
        let data = self.folder.join("refused");
        let keys = self.sealing_keys.replace("current", "curent");
        let start = Start::new(&data, &self.config).variable(SEALING_KEYS, &keys);
        let ended = start.run().err().expect("no start with keys that are none");
        self.heard.keep("a start that fails", ended.said.as_bytes(), SEALING_KEYS);
    }

    /// A life of the host, from its start to its death.
    async fn live(&mut self, life: usize, death: Signal, plan: Plan) {
        let data = self.folder.join("data");
        let start = Start::new(&data, &self.config).variable(SEALING_KEYS, &self.sealing_keys);
        let host = start.cores_in(self.folder).run();
        let host = host.unwrap_or_else(|ended| panic!("no start: {ended:?}"));
        if life == 0 {
            self.canaries.keep("admin's token", &host.token);
        }
        self.heard.keep("printed", host.printed.join("\n").as_bytes(), "listening on");
        let followed = self.folder.join(format!("followed-{life}"));
        let follower = follow(&host, &followed);
        for round in 0..plan.rounds {
            self.round(&host, life == 0 && round == 0, plan.tenants).await;
        }
        self.pages(&host).await;
        follower.end();
        let said = fs::read(&followed).expect("readable");
        self.heard.keep("keyway logs exchanges --follow", &said, DECOY);
        self.exposed.extend(process::core_limit(host.id()));
        if process::readable(host.id(), self.folder) {
            self.exposed.push("another process of its user can read it".to_owned());
        }
        let status = host.end_by(death);
        self.exposed.extend(process::left_core(status, self.folder));
    }

    async fn round(&mut self, host: &Host, first: bool, tenants: usize) {
        let Self { canaries, heard, due, provider, folder, .. } = self;
        let (address, token) = (host.address, host.token.clone());
        let http = host.http();
        let mut operator = Operator { address, token, canaries, heard, due, http };
        if first {
            let spy = component("fixtures/guests", "examples/spy");
            operator.http.publish(spy).await.ok();
            operator.register_clients().await;
        }
        for number in 0..tenants {
            let tenant = tenant(number);
            if first {
                operator.install(&tenant).await;
            }
            operator.come_back(&tenant).await;
            operator.move_in(&tenant).await;
            operator.trade(&tenant).await;
            operator.refreshes(&tenant, provider).await;
            operator.mistakes(&tenant, folder).await;
            operator.move_out(&tenant).await;
            operator.commands(&tenant).await;
            operator.leave(&tenant, provider).await;
        }
        let keys = json!({"what": "data-keys"});
        operator.tell(Method::POST, "/v1/keys/rotate", &keys).await;
    }

    /// What the host answers about itself and its past.
    async fn pages(&mut self, host: &Host) {
        let mut http = host.http();
        let metrics = http.get("/metrics").await.ok();
        self.heard.keep("metrics", &metrics.body, "keyway_broker_in_flight");
        for (what, path, marker) in [
            ("audit", "/v1/audit", "connection.import"),
            ("exchanges", "/v1/environments/dev/exchanges", DECOY),
        ] {
            let order = if what == "exchanges" { "&order=oldest" } else { "" };
            let mut after = Some(0);
            while let Some(from) = after {
                let page = http.get(&format!("{path}?limit={PAGE}&after={from}{order}")).await.ok();
                self.heard.keep(what, &page.body, marker);
                after = page.json()["next"].as_u64();
            }
        }
        let har = format!("/v1/environments/dev/exchanges?limit={PAGE}&format=har");
        let har = http.get(&har).await.ok();
        self.heard.keep("har", &har.body, DECOY);
        let connections = http.get(&operator::at(&tenant(0), "/connections")).await.ok();
        self.heard.keep("connections", &connections.body, "machine");
        let clients = http.get("/v1/environments/dev/clients").await.ok();
        self.heard.keep("clients", &clients.body, "shop-machine");
    }

    /// Searches everything.
    fn outcome(self, plan: Plan, machine: Machine) -> Outcome {
        let Self { folder, canaries, provider, heard, due, exposed, .. } = self;
        let mut search = Search::new(&canaries);
        heard.search(&mut search);
        let log = fs::read(folder.join("data.log")).expect("readable");
        search.look("log", &log, &["\"TRACE\"", "\"DEBUG\"", DECOY, "panicked", CONNECTOR]);
        let (mut store, mut segments) = (Vec::new(), Vec::new());
        for file in files_below(&folder.join("data")) {
            let name = file.strip_prefix(folder).unwrap_or(&file).display().to_string();
            let bytes = fs::read(&file).expect("readable");
            match name.as_str() {
                // The one place where it is meant to be.
                "data/admin.token" => {}
                name if name.starts_with("data/store/sled") => store.extend(bytes),
                name if name.starts_with("data/exchanges/") => segments.extend(bytes),
                name => search.look(name, &bytes, &[]),
            }
        }
        let first = tenant(0);
        search.look("the store's files", &store, &[&first, CONNECTOR]);
        search.look("the exchange log's files", &segments, &[&first, DECOY]);
        let shown = provider.shown();
        let due: BTreeSet<String> = due.into_iter().collect();
        let absent = due.difference(&shown).cloned().collect();
        let (canaries, arrived) = (search.canaries(), shown.len());
        Outcome { plan, tally: search.end(), canaries, arrived, absent, exposed, machine }
    }
}

fn tenant(number: usize) -> String {
    format!("tenant-{number}")
}

/// `keyway logs exchanges --follow`, from now on.
fn follow(host: &Host, file: &Path) -> Follower {
    let mut command = Command::new(binary("keyway"));
    command.args(["logs", "exchanges", "--follow", "--json"]);
    command.env("KEYWAY_HOST", format!("http://{}", host.address));
    command.env("KEYWAY_TOKEN", &host.token);
    Follower::start(command, file)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found
}

// === impl Outcome ===

impl Outcome {
    /// Whether no secret was anywhere, in a search that would have found it.
    pub fn held(&self) -> bool {
        self.tally.held() && self.absent.is_empty() && self.exposed.is_empty()
    }

    /// What is wrong, one thing a line.
    pub fn complaints(&self) -> Vec<String> {
        let Self { tally, absent, exposed, .. } = self;
        let lists = [
            ("found", &tally.found),
            ("blank", &tally.blank),
            ("blind", &tally.blind),
            ("absent", absent),
            ("exposed", exposed),
        ];
        let all = lists.iter().flat_map(|(what, list)| list.iter().map(move |one| (what, one)));
        all.map(|(what, one)| format!("{what}: {one}")).collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, tally, canaries, arrived, absent, exposed, machine } = self;
        let Plan { tenants, lives, rounds } = plan;
        write!(f, "tenants={tenants} lives={lives} rounds={rounds} canaries={canaries} ")?;
        write!(f, "arrived={arrived} absent={} {tally} exposed={}", absent.len(), exposed.len())?;
        let Machine { cores, readable } = machine;
        write!(f, " otherwise: cores={cores} readable={readable}")
    }
}
