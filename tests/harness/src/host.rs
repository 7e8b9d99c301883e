//! Starting, stopping and killing a host.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, fs};

use crate::http::Http;

/// Any free port of the loopback interface.
pub const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A running host. Dropping it kills it.
pub struct Host {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// The admin token of its data directory.
    pub token: String,
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
            .unwrap_or_else(|why| panic!("host did not start: {why}"))
    }

    /// As [`Self::start_at`]; an error has what the host said on standard error.
    pub fn try_start(data: &Path, config: &str, listen: SocketAddr) -> Result<Self, String> {
        fs::create_dir_all(data).expect("data directory");
        let file = data.with_extension("toml");
        fs::write(&file, config).expect("configuration file");
        let log = data.with_extension("log");
        let stderr = fs::File::options().create(true).append(true).open(&log).expect("log file");
        let mut child = Command::new(binary("keyway"))
            .args(["serve", "--listen", &listen.to_string(), "--data"])
            .arg(data)
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("keyway starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        match ready(stdout) {
            Some(address) => {
                let token = fs::read_to_string(data.join("admin.token")).expect("admin token");
                Ok(Self { child, address, token: token.trim().to_owned() })
            }
            None => {
                let status = child.wait().expect("child ends");
                let said = fs::read_to_string(&log).unwrap_or_default();
                Err(format!("{status}: {said}"))
            }
        }
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

/// The address from the line that says so; none if the output ends without it.
fn ready(stdout: impl BufRead + Send + 'static) -> Option<SocketAddr> {
    let mut lines = stdout.lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.rsplit_once("http://")?.1.trim().parse().ok())?;
    // Kept read, so that the host never blocks on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Some(address)
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

/// A component that `script/guests` built: `connectors` or `fixtures/guests`, and the crate's name.
pub fn component(workspace: &str, name: &str) -> Vec<u8> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let file = format!("{workspace}/target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_"));
    fs::read(root.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}: run script/guests"))
}
