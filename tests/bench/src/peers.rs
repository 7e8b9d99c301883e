//! What a measurement needs around it, each in a process of its own as in real life: the upstream, and
//! the floors' servers. This binary started anew is each of them.

mod component;

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Subcommand;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use component::Server;

/// What this binary is when it is not the benchmark.
#[derive(Subcommand, Clone)]
pub(crate) enum Role {
    /// Answers every GET with 1 KiB of JSON.
    Upstream,
    /// Passes requests on to an upstream and answers back, and does nothing else.
    Proxy {
        /// Where the upstream listens.
        to: SocketAddr,
    },
    /// Runs a component's action `get` for every request, and does nothing else.
    Component {
        /// Where the upstream listens.
        to: SocketAddr,
        /// The component's file.
        component: PathBuf,
    },
}

/// A process that plays a role. Dropping it ends it.
pub(crate) struct Peer {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// Bytes of the upstream's answer: a provider's record of some twenty fields.
const ANSWER_BYTES: usize = 1 << 10;

type Body = BoxBody<Bytes, hyper::Error>;

// === impl Peer ===

impl Peer {
    /// Starts a process and waits until it listens.
    pub(crate) fn start(role: Role) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("own path")?);
        match role {
            Role::Upstream => command.arg("upstream"),
            Role::Proxy { to } => command.arg("proxy").arg(to.to_string()),
            Role::Component { to, component } => {
                command.arg("component").arg(to.to_string()).arg(component)
            }
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
        let address = line.trim().parse().context("a peer says where it listens")?;
        Ok(Self { child, address })
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already ended is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// === impl Role ===

impl Role {
    /// Plays the role until the process is ended.
    pub(crate) async fn play(self) -> anyhow::Result<Infallible> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(listener.local_addr()?);
        match self {
            Self::Upstream => {
                let answer = Bytes::from(answer());
                accept(listener, move |_| {
                    let answer = answer.clone();
                    async move { Response::new(Full::new(answer).map_err(no_error).boxed()) }
                })
                .await
            }
            Self::Proxy { to } => {
                let client = client();
                accept(listener, move |request| pass_on(client.clone(), to, request)).await
            }
            Self::Component { to, component } => {
                let server = Server::new(&component, to)?;
                accept(listener, move |request| {
                    let answer = server.clone().answer(request);
                    async move { answer.await.map(|body| body.map_err(no_error).boxed()) }
                })
                .await
            }
        }
    }
}

/// Keeps connections, and has no delays.
fn client<B>() -> Client<HttpConnector, B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    #[expect(clippy::disallowed_methods, reason = "this is what the host is measured against")]
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

#[expect(clippy::print_stdout, reason = "the parent process reads it")]
fn say(address: SocketAddr) {
    println!("{address}");
}

/// JSON of exactly [`ANSWER_BYTES`].
fn answer() -> String {
    let (head, tail) = (r#"{"id":"1","text":""#, r#""}"#);
    let filling = ANSWER_BYTES - head.len() - tail.len();
    format!("{head}{}{tail}", "lorem ipsum ".chars().cycle().take(filling).collect::<String>())
}

async fn pass_on(
    client: Client<HttpConnector, Incoming>,
    to: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let uri =
        Uri::builder().scheme("http").authority(to.to_string()).path_and_query(target).build();
    *request.uri_mut() = uri.expect("parts of valid addresses");
    request.headers_mut().remove(header::HOST);
    match client.request(request).await {
        Ok(response) => response.map(|body| body.boxed()),
        Err(_) => {
            let mut response = Response::new(Full::default().map_err(no_error).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

fn no_error(never: Infallible) -> hyper::Error {
    match never {}
}

/// Serves for ever, each connection in a task.
async fn accept<F, A>(listener: TcpListener, service: F) -> anyhow::Result<Infallible>
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        let service = service_fn(move |request| {
            let answer = service(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstream_answers_a_kibibyte_of_json() {
        let answer = answer();
        assert_eq!(answer.len(), ANSWER_BYTES);
        serde_json::from_str::<serde_json::Value>(&answer).unwrap();
    }
}
