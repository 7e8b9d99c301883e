//! `keyway new`: a connector project that builds, tests and publishes as it is, and to the same bytes on every machine.
//!
//! The project brings the SDK and the contract along in `.keyway/`, from this binary: an author needs
//! nothing but cargo, and the connector is built against exactly the contract that this host speaks. So do its tests, with
//! the host's own rules for a descriptor.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use include_dir::{Dir, DirEntry, include_dir};
use keyway_core::ids::Connector;

use crate::args::New;
use crate::exit::Exit;
use crate::output;

/// What the project starts as; `{{name}}` and `{{publisher}}` are filled in.
static TEMPLATE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/src/scaffold");

/// The SDK's sources.
static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../sdk/src");

/// Its manifest.
const SDK_MANIFEST: &str = include_str!("../../../sdk/Cargo.toml");

/// The versions that it is tested with. The project's are these, with the project itself among them.
const SDK_LOCK: &str = include_str!("../../../sdk/Cargo.lock");

/// What the SDK's tests need of the host: its vocabulary, with the rules of a descriptor.
static CORE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/core/src");

/// Its manifest, and that of the workspace from which it has its dependencies.
const CORE_MANIFEST: &str = include_str!("../../core/Cargo.toml");
const WORKSPACE_MANIFEST: &str = include_str!("../../../Cargo.toml");

/// The toolchain that the SDK is tested with, and the target: rustup installs what is missing of it.
const TOOLCHAIN: &str = include_str!("../../../rust-toolchain.toml");

/// The contract.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");

/// Ending of template files that cargo or git would otherwise take for their own.
const TEMPLATE_SUFFIX: &str = ".template";

/// The template that runs the compiler.
const WRAPPER: &str = "cargo-rustc";

/// What each package of a lock file begins with.
const PACKAGE: &str = "[[package]]\n";

/// Publisher of a project whose name names none.
const PUBLISHER_DEFAULT: &str = "example";

/// Writes the project.
pub(crate) fn new(New { name, path }: New) -> anyhow::Result<Exit> {
    let full = if name.contains('/') { name } else { format!("{PUBLISHER_DEFAULT}/{name}") };
    let connector: Connector = full.parse()?;
    let root = path.unwrap_or_else(|| PathBuf::from(connector.name()));
    if root.exists() {
        bail!("{} exists already", root.display());
    }
    write_template(&root, &connector)?;
    write(&root.join("rust-toolchain.toml"), TOOLCHAIN.as_bytes())?;
    write(&root.join("Cargo.lock"), lock(&connector).as_bytes())?;
    let vendored = root.join(".keyway");
    write(&vendored.join("sdk/Cargo.toml"), SDK_MANIFEST.as_bytes())?;
    write_folder(&vendored.join("sdk/src"), &SDK)?;
    write(&vendored.join("Cargo.toml"), workspace()?.as_bytes())?;
    write(&vendored.join("host/core/Cargo.toml"), CORE_MANIFEST.as_bytes())?;
    write_folder(&vendored.join("host/core/src"), &CORE)?;
    write_folder(&vendored.join("wit"), &WIT)?;
    output::note(format!("{connector} is in {}", root.display()));
    output::note(
        "the same sources make the same component on every machine: build it in its folder, keep Cargo.lock,",
    );
    output::note(
        "build.rs, .cargo and .keyway in version control, and raise the version before you publish other bytes",
    );
    output::note("next: cargo test, then cargo build --locked --release --target wasm32-wasip2");
    Ok(Exit::Success)
}

/// The manifest of a workspace that has `core` alone, with the same versions of what it depends on.
fn workspace() -> anyhow::Result<String> {
    let mut manifest: toml::Table = WORKSPACE_MANIFEST.parse().context("own manifest")?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("own manifest")?;
    workspace.insert("members".to_owned(), vec!["host/core"].into());
    workspace.insert("exclude".to_owned(), vec!["sdk"].into());
    if let Some(all) = workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
        all.retain(|_, dependency| dependency.get("path").is_none());
    }
    manifest.retain(|section, _| section == "workspace");
    Ok(manifest.to_string())
}

fn write_template(root: &Path, connector: &Connector) -> anyhow::Result<()> {
    for file in files(&TEMPLATE) {
        let text = file
            .contents_utf8()
            .context("templates are text")?
            .replace("{{name}}", connector.name())
            .replace("{{publisher}}", connector.publisher());
        let path = file.path().to_string_lossy().replace(TEMPLATE_SUFFIX, "");
        let path = match path.as_str() {
            "gitignore" => ".gitignore",
            "cargo-config.toml" => ".cargo/config.toml",
            WRAPPER => ".cargo/rustc",
            path => path,
        };
        write(&root.join(path), text.as_bytes())?;
    }
    let program = Permissions::from_mode(0o755);
    fs::set_permissions(root.join(".cargo/rustc"), program).context("file .cargo/rustc")
}

/// The versions of everything that the project is built from: the SDK's own, with the project among them. Cargo lists
/// packages by name and refuses, with `--locked`, a file that it would write otherwise.
fn lock(connector: &Connector) -> String {
    let name = format!("connector-{}", connector.name());
    let own = format!(
        "name = \"{name}\"\nversion = \"0.1.0\"\ndependencies = [\n \"keyway-sdk\",\n \"serde\",\n]\n"
    );
    let mut parts = SDK_LOCK.split(PACKAGE);
    let head = parts.next().unwrap_or_default();
    let mut packages: Vec<&str> = parts.map(str::trim_end).collect();
    packages.push(own.trim_end());
    packages.sort_by_key(|package| package.lines().next());
    let packages: Vec<String> =
        packages.iter().map(|package| format!("{PACKAGE}{package}\n")).collect();
    format!("{head}{}", packages.join("\n"))
}

fn write_folder(target: &Path, folder: &Dir<'_>) -> anyhow::Result<()> {
    files(folder).into_iter().try_for_each(|file| write(&target.join(file.path()), file.contents()))
}

fn files<'d>(folder: &Dir<'d>) -> Vec<include_dir::File<'d>> {
    folder
        .entries()
        .iter()
        .flat_map(|entry| match entry {
            DirEntry::File(file) => vec![file.clone()],
            DirEntry::Dir(folder) => files(folder),
        })
        .collect()
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("file {}", path.display()))
}
