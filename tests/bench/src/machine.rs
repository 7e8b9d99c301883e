//! What this machine is, and what a process on it uses. Names no host and no date.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where measurements keep what they write: on the same file system as the build, so that a sync is one
/// of a disk even where `/tmp` is memory.
pub(crate) fn scratch() -> anyhow::Result<tempfile::TempDir> {
    let folder = folder()?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    tempfile::tempdir_in(&folder).with_context(|| folder.display().to_string())
}

fn folder() -> anyhow::Result<PathBuf> {
    let binary = std::env::current_exe().context("own path")?;
    let profile = binary.parent().context("a binary is in a folder")?;
    Ok(profile.parent().unwrap_or(profile).join("bench"))
}

/// Resident bytes of a process.
pub(crate) fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = field(&status, "VmRSS").with_context(|| format!("{path} has no VmRSS"))?;
    let kib: u64 = line.trim_end_matches("kB").trim().parse().with_context(|| path)?;
    Ok(kib * 1024)
}

/// The machine as a list in Markdown.
pub(crate) fn facts() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = field(&cpu, "model name").unwrap_or("unknown");
    let total =
        field(&memory, "MemTotal").and_then(|size| size.split(' ').next()?.parse::<u64>().ok());
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel: Vec<&str> = kernel.trim().splitn(3, '.').take(2).collect();
    let data = file_system().unwrap_or_else(|| "unknown".to_owned());
    format!(
        "- {cores} cores, {model}\n- {} GiB of memory\n- {} {}\n- data on {data}\n",
        total.unwrap_or_default().div_ceil(1 << 20),
        std::env::consts::OS,
        kernel.join("."),
    )
}

/// Kind of the file system that measurements write to.
fn file_system() -> Option<String> {
    let folder = folder().ok()?;
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let kinds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        folder.starts_with(Path::new(at)).then_some((at.len(), kind))
    });
    Some(kinds.max_by_key(|(length, _)| *length)?.1.to_owned())
}

/// The value of `name` in the `name: value` lines of `/proc`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let line =
        text.lines().find(|line| line.split(':').next().is_some_and(|n| n.trim() == name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_fields_of_proc() {
        let text = "model name\t: Some CPU @ 2 GHz: fast\nVmRSS:\t  12 kB\n";
        assert_eq!(field(text, "model name"), Some("Some CPU @ 2 GHz: fast"));
        assert_eq!(field(text, "VmRSS"), Some("12 kB"));
        assert_eq!(field(text, "Vm"), None);
    }

    #[test]
    fn this_process_is_resident() {
        assert!(resident_bytes(std::process::id()).unwrap() > 100 << 10);
    }
}
