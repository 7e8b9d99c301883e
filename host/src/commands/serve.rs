//! `keyway serve`: from a data directory to a host that answers, and back down.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::{App, Serving};
use crate::args::Serve;
use crate::config::Config;
use crate::exit::Exit;
use crate::{files, logging, memory, output};

/// Stack of each worker thread: the runtime's own default, stated because guests run on fibers of their
/// own and need none of it.
const WORKER_STACK_BYTES: usize = 2 << 20;

/// For tasks that are left once the server has drained: they serve nobody any more.
const SHUTDOWN_TIME: Duration = Duration::from_secs(1);

/// Runs the host until it is told to stop.
pub(crate) fn serve(typed: Serve, json: bool) -> Exit {
    match start(typed) {
        Ok(()) => Exit::Success,
        Err(error) => {
            output::failure(json, "not-started", &format!("{error:#}"));
            Exit::NotStarted
        }
    }
}

fn start(typed: Serve) -> anyhow::Result<()> {
    let mut config = Config::load(typed.config.as_deref())?;
    logging::start(&config.log).context("log filter")?;
    files::fit(&mut config, files::raise()?)?;
    keep_secrets_out_of_core_dumps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(WORKER_STACK_BYTES)
        .build()?;
    let outcome = runtime.block_on(run(typed, config));
    // Whatever is left has had its time.
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    outcome
}

async fn run(typed: Serve, config: Config) -> anyhow::Result<()> {
    let Serve { data, listen, config: _, begin_anew } = typed;
    // Before anything is made: a start that cannot listen leaves nothing behind.
    let listener = TcpListener::bind(listen).await.with_context(|| format!("address {listen}"))?;
    let frugal = memory::Frugal::begin();
    let app = App::build(&data, begin_anew, config).await?;
    if let Some(path) = app.issue_first_token(&data).await? {
        output::line(format!("admin token in {}", path.display()));
    }
    // Before the ready line: whoever reads it may stop the host at once.
    let mut stop = Stop::listen()?;
    let address = listener.local_addr()?;
    let mut serving = app.serve(listener);
    let asked = tokio::select! {
        caught_up = serving.catch_up() => {
            caught_up?;
            false
        }
        () = stop.asked() => true,
    };
    drop(frugal);
    let failed = if asked { None } else { go_on(&serving, &mut stop, address).await };
    tracing::info!("stopping: calls under way may end");
    tokio::select! {
        () = serving.stop() => {}
        () = stop.asked() => tracing::warn!("told to stop again: calls under way are ended"),
    }
    match failed {
        None => Ok(()),
        Some(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "store failed");
            Err(anyhow::Error::new(error).context("the store takes no more changes"))
        }
    }
}

/// Serves until the host is asked to stop, or cannot go on.
async fn go_on(
    serving: &Serving,
    stop: &mut Stop,
    address: SocketAddr,
) -> Option<keyway_store::Error> {
    output::line(format!("listening on http://{address}"));
    tracing::info!(%address, "ready");
    tokio::select! {
        () = stop.asked() => None,
        error = serving.store_failed() => Some(error),
    }
}

/// The signals that mean: stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A core file would hold credentials in the clear. Failing here only means that the limit stays.
fn keep_secrets_out_of_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps stay possible");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "core dumps stay possible");
    }
}
