//! Checking and compiling a component, in a process of its own.
//!
//! Parsers and compilers meet a stranger's bytes here, and a compiler cannot be interrupted. So each
//! component gets a process that has no environment, limits itself before it reads a byte, is killed
//! when its time is over, and takes nothing with it. This side starts it, feeds it and judges how it
//! ended; what it does is in [`worker`].

mod describe;
mod frame;
mod inspect;
pub mod worker;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use keyway_core::ports::Admitted;
use keyway_core::{Code, Digest, Fault, transient};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::cache;
use crate::engine::{Allocation, Compatibility, Engine};
use crate::limits::Limits;
use crate::log::harmless;
use crate::runtime::short;
use frame::{Answer, Job, Passed};

pub(crate) use frame::Task;

/// Bytes of the answer's head that are believed: a descriptor, twice.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// Bytes of the process's standard error that are kept for the log.
const COMPLAINT_BYTES_MAX: usize = 4 << 10;

/// The program that checks and compiles: usually the host itself, with a subcommand that calls
/// [`worker::run`].
#[derive(Clone, Debug)]
pub struct Worker {
    /// An absolute path.
    pub program: PathBuf,
    /// What makes it a worker.
    pub args: Vec<OsString>,
}

/// Has a component checked and compiled as a publication would, by the same process under the same limits, and keeps
/// nothing: for authors, who have no host.
pub async fn check(worker: Worker, limits: Limits, component: Bytes) -> Result<Admitted, Fault> {
    let limits = Arc::new(limits);
    let engine = Engine::new(&limits, Allocation::OnDemand).map_err(|error| {
        let cause = crate::Error::Engine(format!("{error:#}"));
        Fault::new(Code::Internal, "no engine").caused_by(cause)
    })?;
    let digest = Digest::of(&component);
    let gate = Gate::new(worker, limits, engine.compatibility);
    let (passed, _) = gate.run(Task::Admit, component).await?;
    passed.admitted(digest)
}

/// The way in for components. Few pass at once.
pub(crate) struct Gate {
    worker: Worker,
    limits: Arc<Limits>,
    compatibility: Compatibility,
    permits: Semaphore,
    /// For what was admitted before, and is only compiled again: a start may have much of it, and nobody is served
    /// before. As many as there are processors.
    compiles: Semaphore,
}

/// What a process left behind.
struct Ended {
    status: ExitStatus,
    answer: Vec<u8>,
    complaint: String,
}

/// What the process said before it ended, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{status}, after saying: {complaint}")]
struct Died {
    status: ExitStatus,
    complaint: String,
}

// === impl Gate ===

impl Gate {
    pub(crate) fn new(worker: Worker, limits: Arc<Limits>, compatibility: Compatibility) -> Self {
        let processes_max = limits.admission.processes_max.get();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let permits = Semaphore::new(processes_max);
        let compiles = Semaphore::new(processes_max.max(cores));
        Self { worker, limits, compatibility, permits, compiles }
    }

    /// Has a component checked and compiled.
    pub(crate) async fn run(
        &self,
        task: Task,
        component: Bytes,
    ) -> Result<(Passed, cache::Code), Fault> {
        let most = self.limits.admission.component_bytes_max;
        if component.len() > most {
            let detail = format!("{} bytes; {most} is the most", component.len());
            return Err(Fault::new(Code::ComponentTooLarge, detail));
        }
        let permits = match task {
            Task::Admit => &self.permits,
            Task::Compile => &self.compiles,
        };
        let _permit = permits.acquire().await.expect("the semaphore is never closed");
        let time_max = self.limits.admission.time_max;
        // Dropping the process, as running out of time does, kills it.
        let ended = timeout(time_max, self.process(task, component)).await.map_err(|_| {
            let time = humantime::format_duration(time_max);
            Fault::new(Code::AdmissionFailed, format!("checking it took longer than {time}"))
        })??;
        self.judge(ended)
    }

    async fn process(&self, task: Task, component: Bytes) -> Result<Ended, Fault> {
        let no_worker = |error| match transient::is(&error) {
            true => short(error),
            false => {
                Fault::new(Code::Internal, "the process that checks components does not start")
                    .caused_by(error)
            }
        };
        let job = Job { task, limits: (*self.limits).clone() };
        let head = frame::head(&job).map_err(no_worker)?;
        let mut child = self.spawn().map_err(no_worker)?;
        converse(&mut child, head, component, self.limits.admission.code_bytes_max).await.map_err(
            |error| {
                Fault::new(Code::Internal, "cannot talk to the process that checks components")
                    .caused_by(error)
            },
        )
    }

    fn spawn(&self) -> std::io::Result<Child> {
        Command::new(&self.worker.program)
            .args(&self.worker.args)
            // Secrets travel by environment; it gets none.
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    fn judge(&self, ended: Ended) -> Result<(Passed, cache::Code), Fault> {
        let split = if ended.status.success() { frame::split(&ended.answer) } else { None };
        let Some((answer, offset)) = split else {
            let detail = format!("checking it ended with {}", ended.status);
            let died = Died { status: ended.status, complaint: ended.complaint };
            return Err(Fault::new(Code::AdmissionFailed, detail).caused_by(died));
        };
        let passed = match answer {
            Answer::Refused { code, detail } => {
                let code = Code::parse(&code).unwrap_or(Code::AdmissionFailed);
                return Err(Fault::new(code, detail));
            }
            Answer::Passed(passed) => *passed,
        };
        if passed.compatibility != self.compatibility.hex() {
            let detail = "the process that checks components compiles for another engine";
            return Err(Fault::new(Code::Internal, detail));
        }
        let most = self.limits.admission.code_bytes_max;
        // What was taken from the process has room for the head as well, so a little more may have come.
        if passed.code_bytes > most || passed.code_bytes != ended.answer.len() - offset {
            let detail = format!("{} bytes of code; {most} is the most", passed.code_bytes);
            return Err(Fault::new(Code::AdmissionFailed, detail));
        }
        Ok((passed, cache::Code::compiled(ended.answer, offset)))
    }
}

/// Sends the job, and takes the answer and whatever it complains of, all at once: neither side may wait
/// for a full pipe.
async fn converse(
    child: &mut Child,
    head: Vec<u8>,
    component: Bytes,
    code_bytes_max: usize,
) -> std::io::Result<Ended> {
    let mut stdin = child.stdin.take().expect("piped");
    let stdout = child.stdout.take().expect("piped");
    let stderr = child.stderr.take().expect("piped");
    let send = async move {
        // A process that refuses early closes its end; its answer says why.
        let sent = async {
            stdin.write_all(&head).await?;
            stdin.write_all(&component).await
        };
        drop(sent.await);
    };
    let (_, answer, complaint) = tokio::join!(
        send,
        up_to(stdout, code_bytes_max + HEAD_BYTES_MAX),
        up_to(stderr, COMPLAINT_BYTES_MAX),
    );
    // It may still hold more than we take; closed pipes end it.
    let status = child.wait().await?;
    let complaint = String::from_utf8_lossy(&complaint?).into_owned();
    let complaint = harmless(&complaint, COMPLAINT_BYTES_MAX).into_owned();
    Ok(Ended { status, answer: answer?, complaint })
}

async fn up_to(pipe: impl AsyncRead + Unpin, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.take(bytes_max as u64).read_to_end(&mut bytes).await?;
    Ok(bytes)
}
