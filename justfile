# Everyday work. `script/demo` and `script/test` need no just.

# List the recipes.
default:
    @just --list --unsorted

# Check that everything compiles.
check:
    cargo check --workspace --all-targets

# Formatting and lints, as CI runs them.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cd sdk && cargo fmt --check
    cd connectors && cargo fmt --all --check
    cd fixtures/guests && cargo fmt --all --check

# Dependencies: advisories, licences, and who may use what (needs cargo-deny).
deny:
    cargo deny --config .deny.toml check

# Build connectors and fixture guests.
guests:
    script/guests

# Everything that CI runs.
test:
    script/test

# Tests of one crate.
test-crate NAME:
    cargo test -p {{NAME}}

# Integration tests whose name has this in it.
it NAME="": guests
    cargo test -p keyway --features transit --test it -- {{NAME}}

# The demonstration.
demo:
    script/demo

# Write docs/openapi.json anew.
openapi:
    UPDATE_OPENAPI=1 cargo test -p keyway-api --test api document

# Benchmarks, each beside its floor: all, or one row.
bench NAME="": guests
    cargo build --release -p keyway -p bench
    "${CARGO_TARGET_DIR:-target}/release/bench" --name "{{NAME}}" --report target/bench/report.json --markdown docs/benchmarks.md

# A fault test in its full form, recorded in the benchmark report; without a name, the list of them.
torture NAME="":
    script/torture {{NAME}}

# Drive both lines of keyway/hubspot against a folder of the vendor's OpenAPI documents.
conformance FOLDER: guests
    cargo build -p keyway
    tests/conformance/run {{FOLDER}}

# Rebuild the fixture guests that need other toolchains.
toolchains:
    script/toolchains
