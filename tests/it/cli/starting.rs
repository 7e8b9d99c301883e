//! Commands against a host that is starting, by a stand-in that says so for as long as a test wants.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::Cli;
use crate::setup::Setup;

/// Answers so many requests as a host does that is starting, and all others with an empty list; how many there were.
fn starting(refusals: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let request = BufReader::new(stream.try_clone().expect("a handle"));
            request.lines().find(|line| line.as_ref().is_ok_and(String::is_empty));
            let (status, body) = if count.fetch_add(1, Ordering::SeqCst) < refusals {
                let detail = "the host is starting: 1 of 3 releases are loaded";
                let problem = json!({"type": "/codes/starting", "title": "starting", "status": 503,
                    "detail": detail, "code": "starting", "whose": "host", "retry": true});
                ("503 Service Unavailable", problem)
            } else {
                ("200 OK", json!({"releases": []}))
            };
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).expect("read");
        }
    });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_host_that_is_starting_and_says_so_once() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let (address, asked) = starting(3);
    let said = cli.run(&["releases", "--host", &address]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.err, "the host is starting; waiting for it, 30 s at most\n");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    // Programs are told by how it ends.
    let (address, _) = starting(2);
    assert_eq!(cli.json(&["releases", "--host", &address]), json!({"releases": []}));
}
