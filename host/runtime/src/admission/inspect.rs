//! What the bytes of a component say without running or compiling them.
//!
//! In this order, each with its own code: it is a valid component; it was built against a contract
//! that this host speaks; it imports nothing that this host does not offer; it exports a descriptor.

use std::fmt;

use keyway_core::Code;
use semver::Version;
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use crate::{wasi, wit};

/// Begins everything WebAssembly.
const MAGIC: &[u8; 4] = b"\0asm";

/// The custom section in which an SDK states the contract's version and its own name:
/// `1.0.0 keyway-sdk/0.1.0`. Linkers keep it in the core module, so it is looked for at any depth.
const STAMP: &str = "keyway:contract";

/// Version of WASI that the stand-ins implement; patches of it are alike.
const WASI_TRACK: (u64, u64) = (0, 2);

/// Bytes of a name that are repeated in an answer.
const NAME_BYTES_MAX: usize = 128;

/// Why a component is not admitted.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

/// What the bytes say.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The contract it was built against.
    pub(crate) contract: Version,
    /// Interfaces of the contract that it exports and this host knows, sorted.
    pub(crate) exports: Vec<String>,
}

/// Names found in the sections.
#[derive(Default)]
struct Names {
    stamps: Vec<String>,
    imports: Vec<String>,
    exports: Vec<String>,
}

/// An interface's name in its parts: `package/interface@version`.
struct Interface<'a> {
    package: &'a str,
    interface: &'a str,
    version: Version,
}

/// Reads all that is needed, or says why not.
pub(crate) fn inspect(bytes: &[u8]) -> Result<Facts, Refusal> {
    let names = validate(bytes)?;
    let contract = contract(&names)?;
    for import in &names.imports {
        check_import(import)?;
    }
    let exports = exports(&names);
    if !exports.iter().any(|export| export == wit::v1::DESCRIPTOR) {
        let name = format!("`{}/{}`", wit::v1::PACKAGE, wit::v1::DESCRIPTOR);
        return Err(Refusal::new(Code::DescriptorMissing, format!("it does not export {name}")));
    }
    Ok(Facts { contract: contract.unwrap_or(wit::v1::VERSION), exports })
}

// === bytes ===

fn validate(bytes: &[u8]) -> Result<Names, Refusal> {
    if bytes.is_empty() {
        return Err(malformed("it is empty"));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(malformed("it does not begin like WebAssembly"));
    }
    if Parser::is_core_wasm(bytes) {
        let detail = "it is a core module; build it for `wasm32-wasip2`, or wrap it with \
                      `wasm-tools component new`";
        return Err(Refusal::new(Code::ComponentIsModule, detail));
    }
    Validator::new_with_features(features()).validate_all(bytes).map_err(malformed)?;
    names(bytes).map_err(malformed)
}

/// What wasmtime is built and configured for; anything else it would refuse in other words.
fn features() -> WasmFeatures {
    let refused = WasmFeatures::THREADS
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::MEMORY64
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::GC
        | WasmFeatures::CM_ASYNC;
    WasmFeatures::default() - refused
}

fn names(bytes: &[u8]) -> wasmparser::Result<Names> {
    let mut names = Names::default();
    // Imports and exports of nested components and modules are wired inside; only the outermost
    // component's meet the host.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::Version { encoding: Encoding::Component | Encoding::Module, .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::CustomSection(section) if section.name() == STAMP => {
                names.stamps.push(String::from_utf8_lossy(section.data()).into_owned());
            }
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names.imports.push(import?.name.full_name().into_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.exports.push(export?.name.full_name().into_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

// === contract ===

/// The highest version of the contract that it mentions; none if it mentions none.
fn contract(names: &Names) -> Result<Option<Version>, Refusal> {
    let mut versions = Vec::new();
    for stamp in &names.stamps {
        let version = stamp.split(' ').next().unwrap_or_default();
        versions.push(Version::parse(version).map_err(|_| {
            let stamp = short(stamp);
            let detail = format!("its section `{STAMP}` says `{stamp}`, not a version and an SDK");
            Refusal::new(Code::ContractUnsupported, detail)
        })?);
    }
    let interfaces = names.imports.iter().chain(&names.exports).filter_map(|name| parse(name));
    let ours = interfaces.filter(|interface| interface.package == wit::v1::PACKAGE);
    versions.extend(ours.map(|interface| interface.version));
    if let Some(other) = versions.iter().find(|version| version.major != wit::v1::VERSION.major) {
        return Err(unsupported(other));
    }
    Ok(versions.into_iter().max())
}

/// The one line for a contract that this host does not speak.
pub(crate) fn unsupported(version: &Version) -> Refusal {
    let (package, ours) = (wit::v1::PACKAGE, wit::v1::VERSION);
    let detail = format!("it needs {package}@{version}; this host speaks {ours}");
    Refusal::new(Code::ContractUnsupported, detail)
}

// === imports and exports ===

fn check_import(name: &str) -> Result<(), Refusal> {
    let refused = || {
        let detail = format!("it imports `{}`, which this host does not offer", short(name));
        Refusal::new(Code::ImportRefused, detail)
    };
    let import = parse(name).ok_or_else(refused)?;
    if import.package == wit::v1::PACKAGE {
        if wit::v1::IMPORTS.contains(&import.interface) {
            return Ok(());
        }
        // An interface that a later minor added.
        let later = import.version > wit::v1::VERSION;
        return Err(if later { unsupported(&import.version) } else { refused() });
    }
    let offered = wasi::INTERFACES.iter().chain(wasi::network::INTERFACES).any(|interface| {
        interface.split_once('/') == Some((import.package, import.interface))
            && (import.version.major, import.version.minor) == WASI_TRACK
    });
    if offered { Ok(()) } else { Err(refused()) }
}

fn exports(names: &Names) -> Vec<String> {
    let interfaces = names.exports.iter().filter_map(|name| parse(name));
    let known = interfaces.filter(|interface| {
        interface.package == wit::v1::PACKAGE && wit::v1::EXPORTS.contains(&interface.interface)
    });
    let mut exports: Vec<_> = known.map(|known| known.interface.to_owned()).collect();
    exports.sort_unstable();
    exports.dedup();
    exports
}

fn parse(name: &str) -> Option<Interface<'_>> {
    let (path, version) = name.split_once('@')?;
    let (package, interface) = path.split_once('/')?;
    Some(Interface { package, interface, version: Version::parse(version).ok()? })
}

fn short(name: &str) -> String {
    crate::log::harmless(name, NAME_BYTES_MAX).into_owned()
}

fn malformed(why: impl fmt::Display) -> Refusal {
    Refusal::new(Code::ComponentMalformed, why.to_string())
}

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}
