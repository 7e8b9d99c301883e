//! What others get of a host's process: no core when it dies, and nothing of its memory while it lives.
//!
//! Each is first tried on a program that does nothing about it. Where even that leaves no core, such as where the kernel
//! hands cores to a program, this machine cannot show the difference, and the outcome says so.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::with_cores;

/// Until a program has been executed that was started.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at it.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Whether a program that does nothing about it leaves a core in a folder.
pub(super) fn cores_possible(folder: &Path) -> bool {
    let mut shell = with_cores(Path::new("sh"), folder);
    let status = shell.args(["-c", "kill -SEGV $$"]).status().expect("sh starts");
    let found = cores(folder);
    for core in &found {
        fs::remove_file(folder.join(core)).expect("a core of ours");
    }
    status.core_dumped() || !found.is_empty()
}

/// What is wrong with how a host died, if anything is.
pub(super) fn left_core(status: ExitStatus, folder: &Path) -> Option<String> {
    let found = cores(folder);
    (status.core_dumped() || !found.is_empty()).then(|| format!("{status}, beside it {found:?}"))
}

/// Whether the limit on cores of a process is such that nothing can raise it again.
pub(super) fn core_limit(process: u32) -> Option<String> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("a process of ours");
    let line = limits.lines().find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    let none = words.get(4..6) == Some(&["0", "0"]);
    (!none).then(|| format!("the limit on its core is {words:?}"))
}

/// Whether another process of the same user can read what a process was given in its environment, as it could then
/// read its memory: the kernel asks the same question for both.
pub(super) fn readable(process: u32, folder: &Path) -> bool {
    let file = format!("/proc/{process}/environ");
    let output = with_cores(Path::new("cat"), folder).arg(file).output().expect("cat starts");
    output.status.success() && !output.stdout.is_empty()
}

/// Whether this works for a program that does nothing about it.
pub(super) fn readable_otherwise(folder: &Path) -> bool {
    let mut program = with_cores(Path::new("sleep"), folder);
    let program = program.arg("60").env("KEYWAY_DECOY", "decoy").stdin(Stdio::null());
    let mut program = Ending(program.spawn().expect("sleep starts"));
    let began = Instant::now();
    while !executes(&program.0, "sleep") && began.elapsed() < PATIENCE {
        thread::sleep(LOOK_PAUSE);
    }
    let readable = readable(program.0.id(), folder);
    program.end();
    readable
}

/// A child that ends when this is dropped.
struct Ending(Child);

impl Ending {
    fn end(&mut self) {
        // Already ended is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command that writes to a file until it is ended.
pub(super) struct Follower(Ending);

impl Follower {
    pub(super) fn start(mut command: Command, file: &Path) -> Self {
        let out = fs::File::create(file).expect("writable");
        let err = out.try_clone().expect("a file");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        Self(Ending(child.expect("keyway starts")))
    }

    pub(super) fn end(mut self) {
        self.0.end();
    }
}

fn executes(child: &Child, name: &str) -> bool {
    let told = fs::read_to_string(format!("/proc/{}/comm", child.id()));
    told.is_ok_and(|told| told.trim() == name)
}

/// Files of a folder that are named as cores are.
fn cores(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("readable");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.contains("core")).collect()
}
