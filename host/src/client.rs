//! The command line's HTTP client: one request to a running host.
//!
//! Talks to the address that the operator typed and to nothing else; what connectors send goes through
//! the broker, never through here.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use keyway_api::contract::{PACE_HEADER, TIMEOUT_HEADER, USER_HEADER};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::args::Calling;

/// Longer than a host takes for anything with its default limits: a large publication on a slow line may
/// take six minutes.
const TIMEOUT: Duration = Duration::from_secs(600);

/// A running host, as the command line reaches it.
#[derive(Clone)]
pub(crate) struct Client {
    base: Url,
    /// `Bearer …`
    token: Option<HeaderValue>,
    /// How calls are made: sent with each.
    fields: HeaderMap,
}

/// What a host answered.
pub(crate) struct Reply {
    /// HTTP status.
    pub(crate) status: StatusCode,
    /// HTTP fields.
    pub(crate) headers: HeaderMap,
    /// The body, bytes that are not UTF-8 replaced.
    pub(crate) body: String,
}

/// An answer that goes on, read line by line.
pub(crate) struct Lines {
    base: Url,
    body: Incoming,
    rest: Vec<u8>,
    /// Where of it no line's end is.
    searched: usize,
    _link: Link,
}

/// What keeps a connection going for as long as its answer is read.
struct Link {
    _sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
}

/// No host answered.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {base}")]
pub(crate) struct Unreachable {
    base: Url,
    #[source]
    source: anyhow::Error,
}

impl Client {
    /// A client of the host at `base`.
    pub(crate) fn new(base: Url, token: Option<String>) -> anyhow::Result<Self> {
        let web = matches!(base.scheme(), "http" | "https") && base.has_host();
        let plain = base.username().is_empty() && base.password().is_none();
        if !web || !plain {
            bail!(
                "the host's address must be http or https, without a user: the token says who asks"
            );
        }
        let token = token.map(|token| format!("Bearer {token}").parse()).transpose();
        let mut token: Option<HeaderValue> =
            token.map_err(|_| anyhow!("the token has characters that no token has"))?;
        token.iter_mut().for_each(|token| token.set_sensitive(true));
        Ok(Self { base, token, fields: HeaderMap::new() })
    }

    /// The same client, for calls that are made so.
    pub(crate) fn calling(&self, calling: &Calling) -> anyhow::Result<Self> {
        let Calling { user, rate_limit, timeout_ms } = calling;
        let timeout = timeout_ms.map(|timeout| timeout.to_string());
        let wanted = [(USER_HEADER, user), (PACE_HEADER, rate_limit), (TIMEOUT_HEADER, &timeout)];
        let mut fields = HeaderMap::new();
        for (name, value) in wanted {
            let Some(value) = value else { continue };
            let value = value.parse();
            let value = value.map_err(|_| anyhow!("{name} has characters that no value has"))?;
            fields.insert(HeaderName::from_static(name), value);
        }
        Ok(Self { fields, ..self.clone() })
    }

    /// Sends `body` as it is.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let exchange = self.exchange(method, path, content_type, body);
        let outcome = match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("no answer within {} s", TIMEOUT.as_secs())),
        };
        outcome.map_err(|source| Unreachable { base: self.base.clone(), source }.into())
    }

    /// Begins to read an answer that goes on. One that is no success is read to its end instead.
    pub(crate) async fn lines(&self, path: &str) -> anyhow::Result<Result<Lines, Reply>> {
        let begun = async {
            let (response, link) =
                self.begin(Method::GET, path, "application/json", Bytes::new()).await?;
            if !response.status().is_success() {
                return read(response).await.map(Err);
            }
            let (base, body) = (self.base.clone(), response.into_body());
            Ok(Ok(Lines { base, body, rest: Vec::new(), searched: 0, _link: link }))
        };
        let outcome = match tokio::time::timeout(TIMEOUT, begun).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("no answer within {} s", TIMEOUT.as_secs())),
        };
        outcome.map_err(|source| Unreachable { base: self.base.clone(), source }.into())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Reply> {
        let (response, _link) = self.begin(method, path, content_type, body).await?;
        read(response).await
    }

    /// Sends a request, and waits for the head of the answer.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<(Response<Incoming>, Link)> {
        let authority = self.base.authority().to_owned();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base.path().trim_end_matches('/')))
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, content_type);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let mut request = request.body(Full::new(body)).context("request")?;
        request.headers_mut().extend(self.fields.clone());
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let driver = tokio::spawn(connection).abort_handle();
        let response = sender.send_request(request).await?;
        Ok((response, Link { _sender: sender, driver }))
    }

    #[expect(clippy::disallowed_methods, reason = "the command line talks to the host it was told")]
    async fn connect(&self) -> anyhow::Result<Box<dyn Stream>> {
        let host = self.base.host_str().context("address has no host")?;
        let port = self.base.port_or_known_default().context("address has no port")?;
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
        if self.base.scheme() == "http" {
            return Ok(Box::new(tcp));
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config =
            rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())?;
        Ok(Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?))
    }
}

// === impl Lines ===

impl Lines {
    /// The next line, without its end; none once the host has ended the answer.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        let outcome = match tokio::time::timeout(TIMEOUT, self.read()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow!("silent for {} s", TIMEOUT.as_secs())),
        };
        outcome.map_err(|source| Unreachable { base: self.base.clone(), source }.into())
    }

    async fn read(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            let end = self.rest[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end.map(|end| self.searched + end) {
                let line = String::from_utf8_lossy(&self.rest[..end]).into_owned();
                self.rest.drain(..=end);
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.rest.len();
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.rest.extend_from_slice(&data);
            }
        }
    }
}

// === impl Link ===

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What a connection reads and writes.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Reads an answer to its end.
async fn read(response: Response<Incoming>) -> anyhow::Result<Reply> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Reply { status: head.status, headers: head.headers, body })
}
