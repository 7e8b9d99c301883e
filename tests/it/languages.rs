//! Connectors in Python and JavaScript, as their toolchains make them: published as they come, called, and what they print and
//! fail with can be read by their author.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use harness::Reply;
use serde_json::{Value, json};

use crate::setup::{Setup, path, stand_in};
use crate::upstream::Plain;

/// A connector in a language.
struct Language {
    name: &'static str,
    /// What a mistake of the connector's looks like in its log.
    mistake: &'static [&'static str],
}

const PYTHON: Language = Language {
    name: "python",
    mistake: &[
        "Traceback (most recent call last)",
        "app.py",
        "ValueError: a connector's own mistake",
    ],
};

/// What is thrown is taken for a failure; of anything else it is said where it was none.
const JAVASCRIPT: Language = Language {
    name: "javascript",
    mistake: &["is not one of the cases of failure-kind", "Stack:"],
};

/// An interpreter takes half a minute to compile, and a busy machine as long as it likes.
const PATIENT: &str =
    "[runtime.limits.admission]\ntime-max = \"1h\"\ndescribe-time-max = \"10m\"\n";

fn built(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/guests/target/languages");
    folder.join(name)
}

impl Language {
    /// Its component; none where `script/languages` has said why there is none.
    fn component(&self) -> Option<Vec<u8>> {
        if let Ok(why) = std::fs::read_to_string(built(&format!("{}.left-out", self.name))) {
            let required = std::env::var("KEYWAY_LANGUAGES").is_ok_and(|said| said == "required");
            assert!(!required, "{} is left out: {why}", self.name);
            // Past the test runner, which shows nothing that a passing test prints.
            let line = format!("NOT TESTED: connectors in {}: {}\n", self.name, why.trim());
            std::io::stderr().write_all(line.as_bytes()).expect("said");
            return None;
        }
        let component = built(&format!("{}.wasm", self.name));
        Some(std::fs::read(component).expect("`script/languages` builds it, or says why not"))
    }

    fn connector(&self) -> String {
        format!("fixtures/{}", self.name)
    }

    async fn act(&self, setup: &mut Setup, action: &str, input: Value) -> Reply {
        setup.act("acme", &self.connector(), action, input).await
    }

    async fn runs_as_it_comes(&self) {
        let Some(component) = self.component() else { return };
        let upstream = Plain::start().await;
        let config = stand_in("api.example.com", upstream.address);
        let mut setup = Setup::new(&format!("{config}{PATIENT}"));
        let release = setup.http.publish(component).await.ok().json();
        assert_eq!(release["exports"], json!(["actions", "descriptor"]));
        setup.pin("acme", &self.connector(), "1.0.0").await;
        let slot = path("acme", &self.connector(), "/connections/token");
        setup.http.put(&slot, json!({"token": "secret-of-acme"})).await.ok();

        let echoed = self.act(&mut setup, "echo", json!({"a": [1, "ü"]})).await.ok();
        assert_eq!(echoed.json(), json!({"a": [1, "ü"]}));
        self.act(&mut setup, "get", json!({"path": "/things/1"})).await.ok();
        let looked = self.act(&mut setup, "look", json!(null)).await.ok();
        assert_eq!(looked.json(), json!({"now": true, "random": true}));
        let refused = self.act(&mut setup, "refuse", json!(null)).await;
        assert_eq!(refused.code(), "input-invalid", "{}", refused.json());

        // Its own library's way to the network ends in its own error, or in a line that says what to use.
        let said = self.act(&mut setup, "connect", json!(null)).await.json();
        let told = |why: &str| why.contains("keyway:connector/http");
        assert!(said["refused"].is_string() || said["detail"].as_str().is_some_and(told), "{said}");

        self.act(&mut setup, "print", json!(null)).await.ok();
        let mistake = self.act(&mut setup, "mistake", json!(null)).await;
        assert_eq!(mistake.code(), "guest-trap", "{}", mistake.json());
        let said = mistake.json()["guest_said"].as_str().unwrap_or_default().to_owned();
        for line in self.mistake {
            assert!(said.contains(line), "{line}: {said}");
        }
        // What was printed reached the log before the call was answered.
        let log = setup.log();
        assert!(log.contains("printed by"), "{log}");
        for line in self.mistake {
            assert!(log.contains(line), "{line}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_runs_as_componentize_py_makes_it() {
    PYTHON.runs_as_it_comes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_runs_as_componentize_js_makes_it() {
    JAVASCRIPT.runs_as_it_comes().await;
}
