//! A command line that cannot be read, and what is asked of the command line itself: help, the version.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::output;

/// What programs call a command line that is wrong.
const CODE: &str = "usage";

/// Says what is wrong with what was typed, or shows what was asked for.
pub(crate) fn misread(error: &clap::Error) -> ExitCode {
    let typed = std::env::args_os().skip(1).take_while(|argument| argument != "--");
    let json = typed.into_iter().any(|argument| argument == "--json");
    if json && error.use_stderr() {
        output::failure(true, CODE, &detail(error));
    } else {
        // Who closed the stream does not read it.
        drop(error.print());
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
}

/// What is wrong, in one line: without the usage, which is for people.
fn detail(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; `--help` lists them".to_owned();
    }
    let text = error.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    let words: Vec<_> = text.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::detail;
    use crate::args::Cli;

    fn said(args: &[&str]) -> String {
        let typed = Cli::try_parse_from([&["keyway"], args].concat());
        detail(&typed.err().expect("it is wrong"))
    }

    #[test]
    fn what_is_wrong_is_one_line_that_names_it() {
        for (args, named) in [
            (&["pins", "--tenent", "acme"][..], "'--tenent'"),
            (&["pin", "acme", "a/b", "1.0.0"], "--reason"),
            (&["audit", "--limit", "many"], "'many'"),
            (&["frobnicate"], "'frobnicate'"),
            (&["logs"], "a command is missing"),
            (&[], "a command is missing"),
        ] {
            let said = said(args);
            assert!(said.contains(named), "{args:?}: {said}");
            let of_people = ["error:", "Usage", "more information", "\n"];
            assert!(!of_people.iter().any(|word| said.contains(word)), "{args:?}: {said}");
        }
    }
}
