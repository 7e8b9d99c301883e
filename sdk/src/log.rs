//! Log lines, which the host stamps with tenant, release and call.
//!
//! Use the macros: `keyway_sdk::info!("page read", records = 100)`. The host cuts long lines and
//! counts what it drops; a connector need not.

use serde_json::{Map, Value};

use crate::backend;

/// How loud a line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// For the author.
    Debug,
    /// For whoever watches.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed, and a human must look.
    Error,
}

/// Writes one line; the macros call it.
pub fn write<const N: usize>(level: Level, message: &str, fields: [(&str, Value); N]) {
    let fields: Map<_, _> =
        fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    let fields = if fields.is_empty() { String::new() } else { Value::Object(fields).to_string() };
    backend::log(level, message, &fields);
}

/// Logs for the author: `debug!("text {inline}", field = value)`.
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::__log!(Debug, $($line)+) };
}

/// Logs for whoever watches: `info!("text {inline}", field = value)`.
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::__log!(Info, $($line)+) };
}

/// Logs something odd: `warn!("text {inline}", field = value)`.
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::__log!(Warn, $($line)+) };
}

/// Logs a failure that a human must look at: `error!("text {inline}", field = value)`.
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::__log!(Error, $($line)+) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::log::write(
            $crate::log::Level::$level,
            &::std::format!($message),
            [$((::core::stringify!($name), $crate::serde_json::json!($value))),*],
        )
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Cassette, Line};

    #[test]
    fn lines_carry_level_inline_values_and_fields() {
        let (_, lines) = Cassette::new().play_logged(|| {
            let object = "contacts";
            crate::info!("read {object}", records = 2, last = true);
            crate::warn!("slow");
        });
        assert_eq!(
            lines,
            [
                Line {
                    level: Level::Info,
                    message: "read contacts".to_owned(),
                    fields: json!({"records": 2, "last": true}),
                },
                Line { level: Level::Warn, message: "slow".to_owned(), fields: json!({}) },
            ]
        );
    }
}
