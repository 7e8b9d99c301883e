//! Starting, stopping and killing a host.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Http;

/// Any free port of the loopback interface.
pub const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Longer than a start takes on a machine that is busy with other tests.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at whether a host has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Unit of the shell's limit on the size of a file (POSIX, `ulimit -f`).
const BLOCK_BYTES: u64 = 512;

/// A running host. Dropping it kills it.
pub struct Host {
    child: Child,
    log: Log,
    /// Where it listens.
    pub address: SocketAddr,
    /// The admin token of its data directory; empty if its file was deleted.
    pub token: String,
    /// What it printed on standard output until it was ready, line by line.
    pub printed: Vec<String>,
}

/// How to start a host.
pub struct Start<'a> {
    data: &'a Path,
    config: &'a str,
    listen: SocketAddr,
    file_bytes_max: Option<u64>,
    files_max: Option<u64>,
    variable: Option<(&'a str, &'a str)>,
    folder: Option<&'a Path>,
    arguments: &'a [&'a str],
}

/// A host that ended by itself, or never was ready.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// What it said on standard error since this start.
    pub said: String,
}

/// Standard error of a host: a file beside its data directory, which every start goes on with.
struct Log {
    path: PathBuf,
    from: u64,
}

impl Host {
    /// Starts `keyway serve` on a free port of the loopback interface and waits until it is ready.
    /// `config` is the text of its configuration file.
    pub fn start(data: &Path, config: &str) -> Self {
        Self::start_at(data, config, ANY_PORT)
    }

    /// As [`Self::start`], on an address: a restart where clients look for it.
    pub fn start_at(data: &Path, config: &str, listen: SocketAddr) -> Self {
        Self::try_start(data, config, listen)
            .unwrap_or_else(|ended| panic!("host did not start: {ended:?}"))
    }

    /// As [`Self::start_at`]; an error has what the host said.
    pub fn try_start(data: &Path, config: &str, listen: SocketAddr) -> Result<Self, Ended> {
        Start::new(data, config).listen(listen).run()
    }

    /// A client with the admin token, on a connection of its own.
    pub fn http(&self) -> Http {
        Http::new(self.address, &self.token)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends the host with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.end();
    }

    /// Sends the host a signal until that ends it. The runtime has a handler of its own for the faults of guests, which
    /// takes the first one that is nobody's and steps aside for the next.
    pub fn end_by(mut self, signal: Signal) -> ExitStatus {
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            kill_process(Pid::from_child(&self.child), signal).expect("a child can be signalled");
            thread::sleep(LOOK_PAUSE);
        }
    }

    /// Waits until the host has ended by itself, and panics if it does not within `patience`.
    pub async fn ended(mut self, patience: Duration) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Ended { code: status.code(), said: self.log.said() };
            }
            assert!(begun.elapsed() < patience, "still running: {}", self.log.said());
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn end(&mut self) {
        // Already ended is as good: there is nothing left to kill.
        drop(self.child.kill());
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

// === impl Start ===

impl<'a> Start<'a> {
    /// On a data directory, with the text of a configuration file, on any port of the loopback interface.
    pub fn new(data: &'a Path, config: &'a str) -> Self {
        Self {
            data,
            config,
            listen: ANY_PORT,
            file_bytes_max: None,
            files_max: None,
            variable: None,
            folder: None,
            arguments: &[],
        }
    }

    /// On this address.
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// With this limit on the size of every file it writes, in whole blocks of the shell: what a full disk
    /// is to one that grows.
    pub fn file_bytes_max(self, bytes: u64) -> Self {
        Self { file_bytes_max: Some(bytes), ..self }
    }

    /// With this limit on open files, soft and hard.
    pub fn files_max(self, files: u64) -> Self {
        Self { files_max: Some(files), ..self }
    }

    /// With these arguments beside those that every start has.
    pub fn arguments(self, arguments: &'a [&'a str]) -> Self {
        Self { arguments, ..self }
    }

    /// With this variable in its environment.
    pub fn variable(self, name: &'a str, value: &'a str) -> Self {
        Self { variable: Some((name, value)), ..self }
    }

    /// In this folder, where a core of it would be: the shell lets it be as large as it may. What stops one has to be
    /// the host. Nor has it rights that other processes of its user lack.
    pub fn cores_in(self, folder: &'a Path) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// Starts it, and waits until it is ready.
    pub fn run(self) -> Result<Host, Ended> {
        let Self { data, config, listen, .. } = self;
        // Not `data` itself: making that, for nobody else to enter, is the host's business.
        fs::create_dir_all(data.parent().expect("a folder around it")).expect("writable");
        let file = data.with_extension("toml");
        fs::write(&file, config).expect("configuration file");
        let (log, stderr) = Log::append(data.with_extension("log"));
        let mut child = self
            .program()
            .args(["serve", "--listen", &listen.to_string(), "--data"])
            .arg(data)
            .arg("--config")
            .arg(&file)
            .args(self.arguments)
            .envs(self.variable)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("keyway starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        match ready(stdout) {
            Some((address, printed)) => {
                let token = fs::read_to_string(data.join("admin.token")).unwrap_or_default();
                Ok(Host { child, log, address, token: token.trim().to_owned(), printed })
            }
            None => {
                // It has ended, or will never be ready.
                drop(child.kill());
                let status = child.wait().expect("child ends");
                Err(Ended { code: status.code(), said: log.said() })
            }
        }
    }

    fn program(&self) -> Command {
        let keyway = binary("keyway");
        if let Some(folder) = self.folder {
            return with_cores(&keyway, folder);
        }
        // Without the trap, the limit on bytes would be a signal and not an error.
        let (script, limit) = match (self.file_bytes_max, self.files_max) {
            (Some(bytes), _) => (r#"trap '' XFSZ; ulimit -f "$0"; exec "$@""#, bytes / BLOCK_BYTES),
            (None, Some(files)) => (r#"ulimit -n "$0"; exec "$@""#, files),
            (None, None) => return Command::new(keyway),
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", script, &limit.to_string()]).arg(keyway);
        shell
    }
}

// === impl Log ===

impl Log {
    /// The file, to be written to after what is in it.
    fn append(path: PathBuf) -> (Self, fs::File) {
        let file = fs::File::options().create(true).append(true).open(&path).expect("log file");
        let from = file.metadata().expect("log file").len();
        (Self { path, from }, file)
    }

    fn said(&self) -> String {
        let bytes = fs::read(&self.path).expect("log file");
        let from = usize::try_from(self.from).expect("a log fits into memory");
        String::from_utf8_lossy(bytes.get(from..).unwrap_or_default()).into_owned()
    }
}

/// The address from the line that says so, with all lines up to it; none if the output ends without it, or
/// it does not come in time.
fn ready(stdout: impl BufRead + Send + 'static) -> Option<(SocketAddr, Vec<String>)> {
    let (said, lines) = mpsc::channel();
    // To the end, so that the host never blocks on a full pipe.
    thread::spawn(move || {
        stdout.lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
    });
    let begun = Instant::now();
    let mut printed = Vec::new();
    loop {
        let line = lines.recv_timeout(READY_PATIENCE.saturating_sub(begun.elapsed())).ok()?;
        let address = line.rsplit_once("http://").and_then(|(_, text)| text.trim().parse().ok());
        printed.push(line);
        if let Some(address) = address {
            return Some((address, printed));
        }
    }
}

/// A program that may leave a core in this folder, with no more rights than any process of its user.
pub(crate) fn with_cores(program: &Path, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    // Only root has rights to give up, and only root may.
    let script = r#"ulimit -c "$(ulimit -H -c)"
        if [ "$(id -u)" -eq 0 ]; then exec setpriv --bounding-set=-all --inh-caps=-all "$@"; fi
        exec "$@""#;
    shell.args(["-c", script, "sh"]).arg(program).current_dir(folder);
    shell
}

/// Path of a binary of this workspace, in the profile that the caller was built with.
pub fn binary(name: &str) -> PathBuf {
    let mut folder = env::current_exe().expect("own path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace`", path.display());
    path
}

/// A component that `script/guests` built: `connectors`, `fixtures/guests` or `sdk`, and the crate's name, or
/// the example's after `examples/`.
pub fn component(workspace: &str, name: &str) -> Vec<u8> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let file = format!("{workspace}/target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"));
    fs::read(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}: run script/guests"))
}
