//! Nothing but a place for the tidy test: `cargo test -p tidy`.
