//! Schemas at work: an installation's configuration, and an action's input.
//!
//! What a schema says and what bounds it is in [`keyway_core::schema`]. Here it is decided what a verdict means to whoever
//! sent the text, and checks that take long are kept away from whoever else has something to do.

mod config;
mod inputs;

use keyway_core::schema::{Document, InvalidSchema, NotRead, Schema, Verdict};
use keyway_core::{Code, Fault};

pub use config::ConfigSchema;
pub use inputs::InputSchemas;

fn verdict(schema: &Schema, text: &str, steps_max: u64) -> Result<Verdict, NotRead> {
    Ok(schema.check(&Document::read(text)?, steps_max))
}

fn broken(what: &str, error: &InvalidSchema) -> Fault {
    Fault::new(Code::Internal, format!("schema of {what}: {error}"))
}

fn judge(
    verdict: &Result<Verdict, NotRead>,
    steps_max: u64,
    code: Code,
    what: &str,
) -> Result<(), Fault> {
    match verdict {
        Ok(Verdict::Fits) => Ok(()),
        Ok(misfits @ Verdict::Misfits(_)) => {
            Err(Fault::new(code, format!("{what} does not fit the schema: {misfits}")))
        }
        Ok(Verdict::Spent) => {
            let detail = format!(
                "{what} is too large for its schema: checking it takes more than {steps_max} steps"
            );
            Err(Fault::new(code, detail))
        }
        Err(error) => Err(Fault::new(code, format!("{what} {error}"))),
    }
}
