//! The process that checks and compiles one component, and ends.
//!
//! It limits itself first: a component that makes a parser or the compiler run away ends this process
//! and no other. The steps run from cheap to dear, and the first that objects is the answer.

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use keyway_core::{Code, Descriptor};
use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::component::Component;

use super::describe::describe;
use super::frame::{self, Answer, Job, Passed, Task};
use super::inspect::{self, Facts, Refusal, inspect};
use crate::engine::{Allocation, Engine};
use crate::limits::{self, Limits};
use crate::turns::Turns;
use crate::wit::Adapter;
use crate::{runtime, ticker};

/// Instances that this process has at once: `describe` runs in one.
const INSTANCES_MAX: u32 = 1;

/// A component that passed, and its code.
struct Compiled {
    facts: Facts,
    descriptor: Option<Descriptor>,
    compatibility: String,
    code: Vec<u8>,
}

/// Takes one component from `stdin`, and writes the answer to `stdout`. Call it first thing in a
/// process of its own: it sets limits that stay.
pub fn run(stdin: impl Read, stdout: impl Write) -> ExitCode {
    match serve(stdin, stdout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent keeps what stands on standard error for its log.
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(mut stdin: impl Read, mut stdout: impl Write) -> io::Result<()> {
    let job: Job = frame::read(&mut stdin)?;
    confine(&job.limits.admission)?;
    let most = job.limits.admission.component_bytes_max;
    let mut component = Vec::new();
    // One byte beyond the limit, so that it is seen to be exceeded.
    stdin.take(most as u64 + 1).read_to_end(&mut component)?;
    let (answer, code) = match check(&job, &component) {
        Ok(compiled) => {
            let code_bytes = compiled.code.len();
            let passed = Passed {
                descriptor: compiled.descriptor,
                exports: compiled.facts.exports,
                contract: compiled.facts.contract,
                compatibility: compiled.compatibility,
                code_bytes,
            };
            (Answer::Passed(Box::new(passed)), compiled.code)
        }
        Err(Refusal { code, detail }) => {
            (Answer::Refused { code: code.as_str().to_owned(), detail }, Vec::new())
        }
    };
    stdout.write_all(&frame::head(&answer)?)?;
    stdout.write_all(&code)?;
    stdout.flush()
}

/// Takes from this process what it will not need.
fn confine(limits: &limits::Admission) -> io::Result<()> {
    // Rounded up: a limit of 0 seconds would end it at once.
    let cpu_seconds = limits.time_max.as_secs().saturating_add(1);
    for (resource, most) in [
        (Resource::Core, 0),
        (Resource::Cpu, cpu_seconds),
        (Resource::Data, limits.memory_bytes_max),
        (Resource::As, limits.address_bytes_max),
    ] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    Ok(())
}

fn check(job: &Job, component: &[u8]) -> Result<Compiled, Refusal> {
    let most = job.limits.admission.component_bytes_max;
    if component.len() > most {
        let detail = format!("it is larger than {most} bytes");
        return Err(Refusal::new(Code::ComponentTooLarge, detail));
    }
    let facts = inspect(component)?;
    let mut limits = job.limits.clone();
    limits.pool.instances_max = INSTANCES_MAX;
    let limits = Arc::new(limits);
    let engine = Engine::new(&limits, Allocation::Auto).map_err(|error| broken(&error))?;
    let component = compile(&engine, component)?;
    fits(&component, &limits.call)?;
    let adapter = link(&engine, &component, &facts)?;
    let descriptor = match job.task {
        Task::Admit => Some(run_describe(&engine, &adapter, &limits)?),
        Task::Compile => None,
    };
    let code = component.serialize().map_err(|error| broken(&error))?;
    Ok(Compiled { facts, descriptor, compatibility: engine.compatibility.hex(), code })
}

fn compile(engine: &Engine, component: &[u8]) -> Result<Component, Refusal> {
    Component::new(&engine.engine, component).map_err(|error| {
        // The pool's objections have no type; all of them name a limit that the component exceeds.
        let cause = error.root_cause().to_string();
        if cause.contains("exceeds") {
            return Refusal::new(Code::ResourcesExceeded, cause);
        }
        Refusal::new(Code::ComponentMalformed, format!("{error:#}"))
    })
}

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// What can be known before an instance is made.
fn fits(component: &Component, limits: &limits::Call) -> Result<(), Refusal> {
    let Some(needs) = component.resources_required() else {
        let detail = "it imports modules, so what it needs cannot be known";
        return Err(Refusal::new(Code::ResourcesExceeded, detail));
    };
    let memory_bytes = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(PAGE_BYTES);
    for (what, needed, most) in [
        ("memories", needs.num_memories.into(), u64::from(limits.memories_max)),
        ("tables", needs.num_tables.into(), limits.tables_max.into()),
        ("bytes of memory at its start", memory_bytes, limits.memory_bytes_max as u64),
        (
            "elements in a table",
            needs.max_initial_table_size.unwrap_or(0),
            limits.table_elements_max as u64,
        ),
    ] {
        if needed > most {
            let detail = format!("it needs {needed} {what}; {most} is the most");
            return Err(Refusal::new(Code::ResourcesExceeded, detail));
        }
    }
    Ok(())
}

fn link(engine: &Engine, component: &Component, facts: &Facts) -> Result<Adapter, Refusal> {
    let linker = runtime::linker(&engine.engine).map_err(|error| broken(&error))?;
    let linked = runtime::link(&linker, component).map_err(|error| {
        // Every interface is known, so it is a function of one that is missing or differs.
        if facts.contract > crate::wit::v1::VERSION {
            return inspect::unsupported(&facts.contract);
        }
        Refusal::new(Code::ImportRefused, format!("it imports more than is offered: {error:#}"))
    })?;
    Adapter::new(linked).map_err(|error| {
        let detail = format!("its exports are not those of the contract: {error:#}");
        Refusal::new(Code::ContractUnsupported, detail)
    })
}

fn run_describe(
    engine: &Engine,
    adapter: &Adapter,
    limits: &Arc<Limits>,
) -> Result<Descriptor, Refusal> {
    let failed = |error: io::Error| Refusal::new(Code::AdmissionFailed, error.to_string());
    ticker::start(engine.engine.weak(), Turns::new(1)).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.map_err(failed)?.block_on(describe(&engine.engine, adapter, limits))
}

fn broken(error: &wasmtime::Error) -> Refusal {
    Refusal::new(Code::AdmissionFailed, format!("{error:#}"))
}
