//! A provider that a test describes, and a person with a browser in front of it.
//!
//! The provider judges each request by itself, as the real one would: what does not fit is refused, and a test that goes
//! through has sent what fits. The browser keeps cookies as browsers do (RFC 6265bis): to a form of another site it shows none.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use harness::{Http, Reply};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

const FORM: &str = "application/x-www-form-urlencoded";

/// Names and values; none of these providers sends a name twice.
pub(super) type Pairs = BTreeMap<String, String>;

/// A request, as the provider got it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: String,
    pub(super) method: Method,
    /// As it came, without the query.
    pub(super) path: String,
    /// As it came, without the question mark.
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    location: Option<String>,
    body: String,
}

/// A provider. Dropping it closes its door.
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: tokio::task::JoinHandle<()>,
}

/// A person's browser, at a provider and at the host.
pub(super) struct Browser {
    host: SocketAddr,
    provider: SocketAddr,
    /// Of the host, as it was set.
    cookie: Option<String>,
    /// Every address that it was at: its history.
    pub(super) history: Vec<String>,
}

// === impl Asked ===

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(super) fn queried(&self) -> Pairs {
        url::form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    /// The fields of a form, which it must say that it is.
    pub(super) fn form(&self) -> Pairs {
        assert_eq!(self.header("content-type"), FORM, "{self:?}");
        url::form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The body as JSON, which it must say that it is.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// User and password of Basic, as they are: nothing is decoded but the base64.
    pub(super) fn basic(&self) -> Option<String> {
        let encoded = self.header("authorization").strip_prefix("Basic ")?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    }

    /// Method and path, for a provider to choose by.
    pub(super) fn what(&self) -> (&str, &str) {
        (self.method.as_str(), &self.path)
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self { status: 200, location: None, body: value.to_string() }
    }

    pub(super) fn refused(status: u16, value: &Value) -> Self {
        Self { status, ..Self::json(value) }
    }

    /// Sends the browser on.
    pub(super) fn to(url: &str) -> Self {
        Self { status: 303, location: Some(url.to_owned()), body: String::new() }
    }

    /// Sends the browser back with a code and what the query said the state is, and these.
    pub(super) fn back(asked: &Asked, more: &[(&str, &str)]) -> Self {
        let query = asked.queried();
        let mut url = Url::parse(&query["redirect_uri"]).expect("a URL");
        url.query_pairs_mut().append_pair("state", &query["state"]).extend_pairs(more);
        Self::to(url.as_str())
    }

    /// Has the browser send the same as a form: a page that sends itself, said in JSON.
    pub(super) fn back_as_form(asked: &Asked, more: &[(&str, &str)]) -> Self {
        let query = asked.queried();
        let mut fields: Pairs =
            more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        fields.insert("state".to_owned(), query["state"].clone());
        Self::json(&serde_json::json!({"action": query["redirect_uri"], "fields": fields}))
    }
}

// === impl Provider ===

impl Provider {
    /// Answers each request as it is judged.
    pub(super) async fn start(judge: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (kept, judge) = (Arc::clone(&asked), Arc::new(judge));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, judge) = (Arc::clone(&kept), Arc::clone(&judge));
                let service = service_fn(move |request| {
                    let (kept, judge) = (Arc::clone(&kept), Arc::clone(&judge));
                    async move {
                        let asked = read(request).await;
                        kept.lock().expect("not poisoned").push(asked.clone());
                        Ok::<_, Infallible>(written(judge(&asked)))
                    }
                });
                let serving = hyper::server::conn::http1::Builder::new();
                tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked, accepting }
    }

    /// Requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    /// Requests so far with this path.
    pub(super) fn asked_at(&self, path: &str) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.path == path).collect()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    Asked {
        host: host.to_owned(),
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body,
    }
}

fn written(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(answer.status);
    response = match answer.location {
        Some(url) => response.header("location", url),
        None => response.header("content-type", "application/json"),
    };
    response.body(Full::new(answer.body.into())).expect("a valid response")
}

// === impl Browser ===

impl Browser {
    pub(super) const fn new(host: SocketAddr, provider: SocketAddr) -> Self {
        Self { host, provider, cookie: None, history: Vec::new() }
    }

    /// Opens a link and fills its form in; what the person sees in the end.
    pub(super) async fn connect(&mut self, link: &str, typed: &[(&str, &str)]) -> Reply {
        let page = self.at_host(Method::GET, &path_of(link), String::new(), true).await.ok();
        let page = String::from_utf8_lossy(&page.body).into_owned();
        for (name, _) in typed {
            assert!(page.contains(&format!("name=\"{name}\"")), "{name} is not asked for: {page}");
        }
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(typed).finish();
        let start = format!("{}/start", path_of(link));
        let reply = self.at_host(Method::POST, &start, form, true).await;
        self.follow(reply).await
    }

    /// Follows redirects, and sends forms that send themselves, to the end.
    async fn follow(&mut self, mut reply: Reply) -> Reply {
        for _ in 0..8 {
            let to = reply.header("location").to_owned();
            reply = if to.starts_with(&format!("http://{}", self.host)) {
                self.at_host(Method::GET, &path_of(&to), String::new(), true).await
            } else if to.is_empty() {
                let Some((action, form)) = itself(&reply) else { return reply };
                self.at_host(Method::POST, &path_of(&action), form, false).await
            } else {
                self.at_provider(&to).await
            };
        }
        panic!("sent around in circles: {:?}", self.history);
    }

    async fn at_host(&mut self, method: Method, path: &str, form: String, ours: bool) -> Reply {
        self.history.push(format!("http://{}{path}", self.host));
        let mut http = Http::new(self.host, "");
        if ours {
            http = http.with("sec-fetch-site", "same-origin");
        } else {
            http =
                http.with("sec-fetch-site", "cross-site").with("origin", "https://provider.test");
        }
        // `SameSite=Lax`: with what another site has it navigate to, and not with what another site has it post.
        if let Some(cookie) = self.cookie.as_deref().filter(|_| ours || method == Method::GET) {
            http = http.with("cookie", cookie);
        }
        let reply = http.send(method, path, FORM, form.into()).await;
        if let Some(set) = reply.headers.get("set-cookie") {
            let set = set.to_str().expect("text");
            assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax"), "{set}");
            let value = set.split(';').next().expect("a cookie").to_owned();
            self.cookie = (!set.contains("Max-Age=0")).then_some(value);
        }
        reply
    }

    async fn at_provider(&mut self, url: &str) -> Reply {
        self.history.push(url.to_owned());
        let url = Url::parse(url).expect("a URL");
        assert_eq!(url.scheme(), "https", "{url}");
        let target = &url[url::Position::BeforePath..];
        let mut http = Http::new(self.provider, "").with("host", url.host_str().expect("a host"));
        http.get(target).await
    }
}

/// Path and query of an address of the host's.
fn path_of(url: &str) -> String {
    let url = Url::parse(url).expect("a URL");
    url[url::Position::BeforePath..].to_owned()
}

/// Where a page sends itself, and what.
fn itself(reply: &Reply) -> Option<(String, String)> {
    let page = reply.json();
    let fields = page["fields"].as_object()?;
    let pairs = fields.iter().map(|(name, value)| (name, value.as_str().expect("text")));
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Some((page["action"].as_str()?.to_owned(), form))
}
