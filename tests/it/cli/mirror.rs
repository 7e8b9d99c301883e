//! What goes through unchanged, all the way: provider, broker, connector, host, command line, and back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use harness::{Http, Reply, component};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{CALL_FAILED, Cli};
use crate::setup::{Setup, path, stand_in};

const MIRROR: &str = "fixtures/mirror";

/// JSON whose numbers no `f64` holds, whose members are in no order, and whose spellings are not the shortest.
const NUMBERS: &str = r#"{"z":12345678901234567.89,"a":[123456789012345678901234567890,-0.10,1.0,9007199254740993],"é":"\u00e9"}"#;

/// A provider that answers one body to everything, and keeps what it was sent last.
struct Fixed {
    address: SocketAddr,
    answer: Arc<Mutex<(&'static str, Vec<u8>)>>,
    sent: Arc<Mutex<Bytes>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Fixed {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let answer = Arc::<Mutex<(&str, Vec<u8>)>>::default();
        let sent = Arc::<Mutex<Bytes>>::default();
        let state = (Arc::clone(&answer), Arc::clone(&sent));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| serve(request, state.clone()));
                let io = TokioIo::new(stream);
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service),
                );
            }
        });
        Self { address, answer, sent, accepting }
    }

    /// Answers so from now on.
    fn answers(&self, coding: &'static str, body: impl Into<Vec<u8>>) {
        *self.answer.lock().expect("not poisoned") = (coding, body.into());
    }

    fn sent(&self) -> Bytes {
        self.sent.lock().expect("not poisoned").clone()
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type State = (Arc<Mutex<(&'static str, Vec<u8>)>>, Arc<Mutex<Bytes>>);

async fn serve(
    request: Request<Incoming>,
    (answer, sent): State,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a whole request").to_bytes();
    *sent.lock().expect("not poisoned") = body;
    let (coding, body) = answer.lock().expect("not poisoned").clone();
    let mut response = Response::builder().header("content-type", "application/json");
    if !coding.is_empty() {
        response = response.header("content-encoding", coding);
    }
    Ok(response.body(Full::new(body.into())).expect("a valid response"))
}

/// A provider, and a host that runs the mirror for `acme` with a token set by hand.
async fn with_mirror() -> (Fixed, Setup) {
    with_limits("").await
}

/// The same, with more configuration.
async fn with_limits(config: &str) -> (Fixed, Setup) {
    let provider = Fixed::start().await;
    let mut setup =
        Setup::new(&format!("{}{config}", stand_in("api.example.com", provider.address)));
    setup.http.publish(component("sdk", "examples/mirror")).await.ok();
    setup.pin("acme", MIRROR, "1.0.0").await;
    let slot = path("acme", MIRROR, "/connections/token");
    setup.http.put(&slot, json!({"token": "set-by-hand-0123456789"})).await.ok();
    (provider, setup)
}

async fn post(setup: &Setup, rest: &str, json: &'static str) -> Reply {
    let mut http = Http::new(setup.host.address, &setup.host.token);
    let path = path("acme", MIRROR, rest);
    http.send(Method::POST, &path, "application/json", Bytes::from_static(json.as_bytes())).await
}

/// The text that the API answers an action with.
async fn act(setup: &Setup, action: &str, input: &'static str) -> String {
    let reply = post(setup, &format!("/actions/{action}"), input).await.ok();
    String::from_utf8(reply.body.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_keep_every_digit_from_the_provider_to_the_terminal() {
    let (provider, setup) = with_mirror().await;
    for text in [NUMBERS, r#"[1e400,-1E+400,1e-400]"#, "12345678901234567.89"] {
        provider.answers("", text);
        assert_eq!(act(&setup, "raw", r#"{"path":"/x"}"#).await, text);
        if text.starts_with('[') {
            let page = post(&setup, "/objects/things/read", "{}").await.ok();
            let page = String::from_utf8(page.body.to_vec()).expect("text");
            for number in text.trim_matches(['[', ']']).split(',') {
                assert!(page.contains(&format!("\"data\":{number}")), "{number} is not in {page}");
            }
        }
        let cli = Cli::new(&setup);
        let raw = ["invoke", "acme", MIRROR, "raw", "--input", r#"{"path":"/x"}"#];
        assert_eq!(cli.ok(&[&raw[..], &["--json"]].concat()), format!("{text}\n"));
        let pretty = cli.ok(&raw);
        let tokens: String = pretty.split_whitespace().collect();
        assert_eq!(tokens, text, "the same tokens in the same order");
        // By way of `serde_json::Value`: order and exponents are its own, digits are the provider's.
        let value =
            cli.ok(&["invoke", "acme", MIRROR, "value", "--input", r#"{"path":"/x"}"#, "--json"]);
        for digits in ["12345678901234567.89", "123456789012345678901234567890", "-0.10", "1.0"] {
            assert_eq!(value.contains(digits), text.contains(digits), "{digits} in {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_keep_every_digit_from_the_terminal_to_the_provider() {
    let (provider, setup) = with_mirror().await;
    provider.answers("", "{}");
    let cli = Cli::new(&setup);
    let input = r#"{"a":[12345678901234567.89,123456789012345678901234567890,1.10],"b":1e+400}"#;
    let answer = cli.ok(&["invoke", "acme", MIRROR, "send", "--input", input, "--json"]);
    assert_eq!(answer, format!("{input}\n"));
    assert_eq!(provider.sent(), input.as_bytes());
    let marked = cli.with_input(
        &["invoke", "acme", MIRROR, "send", "--input", "-", "--json"],
        &format!("\u{feff}{input}"),
    );
    assert_eq!((marked.code, marked.out), (0, format!("{input}\n")), "{}", marked.err);
    let batch = format!(r#"{{"operation":"create","items":[{{"reference":"a","data":{input}}}]}}"#);
    let written = cli.ok(&["write", "acme", MIRROR, "things", "--request", &batch, "--json"]);
    assert!(written.contains(&format!(r#""data":{input}"#)), "{written}");
    let file = cli.file("config.json", format!("\u{feff}{input}"));
    cli.ok(&["config", "set", "acme", MIRROR, "--file", &file]);
    assert_eq!(cli.ok(&["invoke", "acme", MIRROR, "config", "--json"]), format!("{input}\n"));
    let kept = cli.ok(&["config", "get", "acme", MIRROR]);
    assert_eq!(kept.split_whitespace().collect::<String>(), input);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_no_reader_takes_costs_its_character_and_no_page() {
    let (provider, setup) = with_mirror().await;
    let cli = Cli::new(&setup);
    for (body, mended) in [
        (
            &br#"["\ud800","x\udc00\u0041","\ud83d\ude00"]"#[..],
            "[\"\u{fffd}\",\"x\u{fffd}A\",\"\u{1f600}\"]",
        ),
        (br#"["\q","\u12"]"#, "[\"\u{fffd}\",\"\u{fffd}\"]"),
        (b"\xef\xbb\xbf[\"\xff\"]", "[\"\u{fffd}\"]"),
    ] {
        provider.answers("", body);
        let mended: Value = serde_json::from_str(mended).expect("JSON");
        for action in ["value", "raw"] {
            let call = ["invoke", "acme", MIRROR, action, "--input", r#"{"path":"/x"}"#];
            assert_eq!(cli.json(&call), mended, "{action}");
        }
        let page = cli.json(&["read", "acme", MIRROR, "things"]);
        assert_eq!(page["records"][0]["data"], mended[0]);
    }
    // What is no JSON all the same is nothing to print.
    provider.answers("", "<html>");
    cli.fails(
        &["invoke", "acme", MIRROR, "raw", "--input", r#"{"path":"/x"}"#],
        CALL_FAILED,
        "contract-drift: ",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_that_is_none_is_passed_over() {
    let (provider, setup) = with_mirror().await;
    for coding in ["", "utf-8", "none", "identity", "gzip", "br", "zstd", "deflate"] {
        provider.answers(coding, NUMBERS);
        assert_eq!(act(&setup, "raw", r#"{"path":"/x"}"#).await, NUMBERS, "{coding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdk_reads_what_the_host_says_of_a_connection() {
    let (_provider, mut setup) = with_mirror().await;
    let facts = act(&setup, "facts", "null").await;
    let token = json!({"kind": "bearer"});
    let said = json!({"base_url": "https://api.example.com", "slots": {"token": token}});
    assert_eq!(serde_json::from_str::<Value>(&facts).expect("JSON"), said);
    let slot = path("acme", MIRROR, "/connections/token");
    setup.http.send(Method::DELETE, &slot, "application/json", Bytes::new()).await.ok();
    let facts = act(&setup, "facts", "null").await;
    let said = json!({"base_url": "https://api.example.com", "slots": {}});
    assert_eq!(serde_json::from_str::<Value>(&facts).expect("JSON"), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_is_said_reaches_the_other_side() {
    let (provider, setup) = with_mirror().await;
    provider.answers("", "[1,2]");
    let cli = Cli::new(&setup);
    let extra =
        json!([{"name": "sync-token", "value": "t\u{e9}1"}, {"name": "sync-token", "value": ""}]);
    let request = json!({"extra": extra}).to_string();
    let page = cli.json(&["read", "acme", MIRROR, "things", "--request", &request]);
    assert_eq!((&page["extra"], &page["records"][1]["extra"]), (&extra, &extra));
    assert!(cli.json(&["read", "acme", MIRROR, "things"]).get("extra").is_none());

    let item = |reference: &str, data: Value| json!({"reference": reference, "data": data, "extra": extra});
    let items = [item("a", json!({})), item("b", json!({"refuse": true}))];
    let batch = json!({"operation": "create", "items": items}).to_string();
    let said = cli.run(&["write", "acme", MIRROR, "things", "--request", &batch, "--json"]);
    let outcomes: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(outcomes["outcomes"][0]["written"]["extra"], extra);
    let correlation = |value: &str| json!({"name": "correlation-id", "value": value});
    assert_eq!(outcomes["outcomes"][1]["refused"]["extra"], json!([correlation("c-9")]));

    let fail = ["invoke", "acme", MIRROR, "fail"];
    let said = cli.run(&fail);
    assert!(said.err.contains("\ncorrelation-id: c-7\ncorrelation-id: c-8\n"), "{}", said.err);
    let problem = post(&setup, "/actions/fail", "{}").await;
    assert_eq!(problem.json()["extra"], json!([correlation("c-7"), correlation("c-8")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lengths_have_codes_of_their_own() {
    let (provider, setup) =
        with_limits("\n[egress.limits]\nresponse-body-bytes-max = 1000\n").await;
    let cli = Cli::new(&setup);
    let get = |path: &str| json!({ "path": path }).to_string();
    let call = ["invoke", "acme", MIRROR, "raw", "--input"];
    let long = get(&format!("/{}", "x".repeat(9_000)));
    cli.fails(&[&call[..], &[&long]].concat(), CALL_FAILED, "request-too-large: ");
    provider.answers("", format!("[{}10]", "1,".repeat(498)));
    assert_eq!(cli.exit(&[&call[..], &[&get("/x")]].concat()), 0);
    provider.answers("", format!("[{}10]", "1,".repeat(499)));
    cli.fails(&[&call[..], &[&get("/x")]].concat(), CALL_FAILED, "response-too-large: ");
    for code in ["request-too-large", "response-too-large"] {
        assert!(cli.ok(&["explain", code]).starts_with(&format!("# {code}\n")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_which_nothing_was_written_has_failed() {
    let (_provider, setup) = with_mirror().await;
    let cli = Cli::new(&setup);
    let item = |reference: usize, refuse: bool| json!({"reference": reference.to_string(), "data": {"refuse": refuse}});
    for (refused, exit, says) in [
        (&[true, true][..], CALL_FAILED, Some("2 of 2 items were refused")),
        (&[true, false, true], 0, Some("2 of 3 items were refused")),
        (&[false], 0, None),
    ] {
        let items: Vec<Value> =
            refused.iter().enumerate().map(|(at, refuse)| item(at, *refuse)).collect();
        let batch = json!({"operation": "create", "items": items}).to_string();
        for json in [false, true] {
            let args = ["write", "acme", MIRROR, "things", "--request", &batch, "--json"];
            let said = cli.run(&args[..args.len() - usize::from(!json)]);
            let outcomes: Value =
                serde_json::from_str(&said.out).expect("the answer is data all the same");
            assert_eq!(outcomes["outcomes"].as_array().map(Vec::len), Some(refused.len()));
            assert_eq!(
                (said.code, said.err.contains(says.unwrap_or(" of "))),
                (exit, says.is_some()),
                "{said:?}"
            );
            let line: Option<Value> = serde_json::from_str(&said.err).ok();
            assert_eq!(line.is_some(), json && says.is_some(), "{said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_answered_with_what_is() {
    let (_provider, setup) = with_mirror().await;
    let cli = Cli::new(&setup);
    for (args, there) in [
        (
            &["invoke", "acme", MIRROR, "get"][..],
            "`config`, `facts`, `fail`, `raw`, `send`, `value`",
        ),
        (&["read", "acme", MIRROR, "thing"], "`things`"),
        (&["connection", "remove", "acme", MIRROR, "--slot", "tokens"], "`token`"),
        (&["releases", "fixtures/mirrors"], "`fixtures/mirror`"),
        (&["pin", "acme", "fixtures/mirrors", "1.0.0", "--reason", "x"], "`fixtures/mirror`"),
        (&["pin", "acme", MIRROR, "9.9.9", "--reason", "x"], "`1.0.0`"),
    ] {
        let said = cli.run(args);
        assert!(
            said.code == 3 && said.err.contains(&format!("; there is {there}")),
            "{args:?}: {said:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_leads_to_its_page() {
    let (_provider, setup) = with_mirror().await;
    let problem = post(&setup, "/actions/nothing", "{}").await;
    let page = problem.json()["type"].as_str().expect("a reference").to_owned();
    assert_eq!(page, "/codes/unknown-action");
    // Whoever was refused may read why.
    let mut anybody = Http::new(setup.host.address, "");
    let page = anybody.get(&page).await.ok();
    assert_eq!(page.header("content-type"), "text/plain; charset=utf-8");
    let text = String::from_utf8(page.body.to_vec()).expect("text");
    assert_eq!(Cli::new(&setup).ok(&["explain", "unknown-action"]), text);
    let nothing = anybody.get("/codes/no-such-code").await;
    assert_eq!((nothing.status.as_u16(), nothing.code().as_str()), (404, "no-such-endpoint"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_fit_the_terminal_unless_they_are_to_be_wide() {
    let (_provider, setup) = with_mirror().await;
    let cli = Cli::new(&setup).with("KEYWAY_COLUMNS", "80");
    let reason =
        "a reason that is longer than any terminal is wide, and then some more, and a bit more";
    cli.ok(&["pin", "acme", MIRROR, "1.0.0", "--reason", reason]);
    cli.ok(&["default", "set", MIRROR, "1.0.0", "--reason", reason]);
    let narrow = cli.ok(&["audit"]);
    assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    assert!(narrow.contains('…'), "{narrow}");
    let wide = cli.ok(&["audit", "--wide"]);
    assert!(wide.contains(reason) && !wide.contains('…'), "{wide}");
    let digest = cli.json(&["releases"])["releases"][0]["release"]["digest"].clone();
    assert!(wide.contains(digest.as_str().expect("a digest")), "{wide}");
    assert_eq!(Cli::new(&setup).ok(&["audit"]), wide, "into a file nothing is cut");
    let exported = Cli::new(&setup).with("COLUMNS", "80").ok(&["audit"]);
    assert_eq!(exported, wide, "what a shell says of its terminal is not of a pipe");
}

/// Every command that prints a table, however narrow the terminal: nothing here that is never cut is wider than it.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_fits_the_terminal() {
    let (_provider, setup) = with_mirror().await;
    let digest = Cli::new(&setup).json(&["releases"])["releases"][0]["release"]["digest"].clone();
    let digest = digest.as_str().expect("a digest");
    for (columns, said) in [(40, "40"), (80, "80")] {
        let cli = Cli::new(&setup).with("KEYWAY_COLUMNS", said);
        for command in [
            &["audit"][..],
            &["pins"],
            &["pins", "--all"],
            &["history", "acme", MIRROR],
            &["releases"],
            &["token", "list"],
            &["keys"],
            &["connection", "list"],
            &["connection", "list", "acme", MIRROR],
            &["client", "list"],
            &["scopes", "acme", MIRROR],
            &["config", "history", "acme", MIRROR],
            &["quotas"],
            &["logs", "calls"],
            &["logs", "exchanges"],
            &["explain"],
        ] {
            let text = cli.ok(command);
            assert!(text.lines().count() >= 1, "{command:?}");
            let fits = |line: &str| line.chars().count() <= columns;
            assert!(text.lines().all(fits), "{command:?} in {columns}: {text}");
            assert!(!text.contains(digest), "{command:?} in {columns}: {text}");
            let wide = cli.ok(&[command, &["--wide"]].concat());
            assert!(!wide.contains('…'), "{command:?}: {wide}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_taken_from_the_environment() {
    let (_provider, setup) = with_mirror().await;
    let there = Cli::new(&setup).with("KEYWAY_ENV", "dev");
    assert!(there.ok(&["pins"]).contains("acme"));
    let elsewhere = Cli::new(&setup).with("KEYWAY_ENV", "prod");
    assert!(!elsewhere.ok(&["pins"]).contains("acme"));
    assert!(elsewhere.ok(&["pins", "--env", "dev"]).contains("acme"), "what was typed goes first");
}
