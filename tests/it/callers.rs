//! Call tokens: taken in each way that clients send a key, bound to what they are for, and never sent to a provider in any
//! form, whatever a token may do.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::proxy::{Got, ask_at, mirrored, proxy, with_pages};
use crate::setup::{Setup, path};

const PAGES: &str = "fixtures/pages";

async fn issue(setup: &mut Setup, grant: Value) -> String {
    let issued = setup.http.post("/v1/tokens", grant).await.ok().json();
    issued["secret"].as_str().expect("text").to_owned()
}

fn caller(name: &str) -> Value {
    json!({"name": name, "role": "caller", "environments": ["dev"]})
}

async fn get(setup: &Setup, target: &str, headers: &[(&str, &str)]) -> Got {
    ask_at(setup.host.address, Method::GET, target, &[&[("host", "x")], headers].concat(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_token_is_taken_in_every_clients_own_way() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let token = issue(&mut setup, caller("app")).await;
    let (admin, target) = (setup.host.token.clone(), proxy("acme", "/x"));
    let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
    let ways = |token: &str| {
        [
            ("authorization", format!("token {token}")),
            ("authorization", basic(format!("{token}:"))),
            ("authorization", basic(format!("ann/token:{token}"))),
            ("x-api-key", token.to_owned()),
        ]
    };
    let got = get(&setup, &target, &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!((got.status, got.header("x-credential")), (200, "tenant"));
    for (name, value) in ways(&token) {
        let got = get(&setup, &target, &[(name, &value)]).await;
        assert_eq!((got.status, got.header("x-credential")), (200, "tenant"), "{name}: {value}");
        // Browsers repeat some of these by themselves.
        let got = get(&setup, "/v1/releases", &[(name, &value)]).await;
        assert_eq!(got.status, 401, "{name}: {value}");
    }
    for (name, value) in ways(&admin) {
        let got = get(&setup, &target, &[(name, &value)]).await;
        assert_eq!((got.status, got.code().as_str()), (401, "token-invalid"), "{name}");
    }
}

/// The rows of the exchange log, once this stands in one: they are written while nobody waits for it.
async fn exchanges_with(setup: &mut Setup, part: &str) -> String {
    for _ in 0..200 {
        let rows = setup.http.get("/v1/environments/dev/exchanges?limit=50").await.ok().json();
        let rows = rows.to_string();
        if rows.contains(part) {
            return rows;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no exchange has {part}")
}

/// Catches a client that is refused because its provider wants its key in a place of its own; and a key that stays there.
#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_takes_a_key_wherever_a_client_puts_it_and_no_call_does() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let token = issue(&mut setup, caller("app")).await;
    let other = issue(&mut setup, caller("other")).await;
    let url = setup.http.get(&path("acme", PAGES, "/proxy-url")).await.ok().json();
    let host = url["host_url"].as_str().expect("text").trim_start_matches("http://").to_owned();
    let read = path("acme", PAGES, "/objects/items/read");
    let ways = [
        ("authorization", "KEY"),
        ("authorization", "Zoho-oauthtoken KEY"),
        ("authorization", "SSWS KEY"),
        ("authorization", "Token token=\"KEY\""),
        ("x-shopify-access-token", "KEY"),
        ("private-token", "KEY"),
        ("x-authorization", "Bearer KEY"),
        ("", "?a=1&api_key=KEY&b=2"),
    ];
    let address = setup.host.address;
    for (name, way) in ways {
        let ask = async |way: String, method: Method, host: &str, target: &str| {
            let mut headers = vec![("host", host)];
            let mut target = target.to_owned();
            match name {
                "" => target += &way,
                name => headers.push((name, &*way)),
            }
            ask_at(address, method, &target, &headers, "").await
        };
        let own = way.replace("KEY", &token);
        for (host, before) in [(&*host, String::new()), ("x", proxy("acme", ""))] {
            let target = format!("{before}/echo");
            let got = ask(own.clone(), Method::GET, host, &target).await;
            let seen = String::from_utf8(got.body.to_vec()).expect("text");
            assert_eq!(got.status, 200, "{way}: {seen}");
            assert!(!seen.contains(&token) && !seen.contains("KEY"), "{way}: {seen}");
            let rest = if name.is_empty() { "/echo?a=1&b=2 " } else { "/echo " };
            assert!(seen.starts_with(&format!("GET {rest}")), "{seen}");
        }
        let got = ask(own, Method::POST, "x", &read).await;
        assert_eq!(got.status, 401, "{way}: {}", got.code());
        let admin = way.replace("KEY", &setup.host.token);
        let got = ask(admin, Method::GET, &host, "/echo").await;
        assert_eq!((got.status, got.code().as_str()), (401, "token-invalid"), "{way}");
        let mut headers = vec![("x-api-key", &*other)];
        let (target, two) = (proxy("acme", "/echo"), way.replace("KEY", &token));
        let target = if name.is_empty() { target + &two } else { target };
        headers.extend((!name.is_empty()).then_some((name, &*two)));
        let got = get(&setup, &target, &headers).await;
        assert_eq!((got.status, got.code().as_str()), (401, "token-invalid"), "{way}");
        assert!(String::from_utf8_lossy(&got.body).contains("two tokens"), "{:?}", got.body);
    }
    let got = get(&setup, &proxy("acme", "/echo"), &[("cookie", &*token)]).await;
    assert_eq!((got.status, got.code().as_str()), (401, "token-missing"));
    assert!(
        String::from_utf8_lossy(&got.body).contains("parameter of the query"),
        "{:?}",
        got.body
    );
    let rows = exchanges_with(&mut setup, "/echo?a=1&b=2").await;
    assert!(!rows.contains(&token) && !setup.log().contains(&token));
}

/// Catches a token that a provider could use against this host.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_of_this_host_leaves_in_any_form() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let token = issue(&mut setup, caller("app")).await;
    let bearer = format!("Bearer {token}");
    for foreign in [token.clone(), setup.host.token.clone()] {
        let coded = STANDARD.encode(format!("user:{foreign}"));
        let percent = foreign.replace('_', "%5F");
        // Another token as the whole of a value would be a second key, and is refused.
        let own = foreign == token;
        let mark = if own { "" } else { "x=" };
        let query = format!("a=1&key={mark}{foreign}&k2={mark}{percent}&b=2&k3={coded}");
        let target = proxy("acme", &format!("/echo?{query}"));
        let headers = [
            ("authorization", &*bearer),
            ("x-api-key", if own { &foreign } else { "other" }),
            ("x-own", &format!("{mark}{foreign}")),
            ("x-basic", &format!("Basic {coded}")),
            ("x-kept", "kept"),
            ("proxy-authorization", &bearer),
            ("cookie", &format!("t={foreign}")),
            ("referer", &format!("https://x.example/?t={percent}")),
        ];
        let got = get(&setup, &target, &headers).await;
        let seen = String::from_utf8(got.body.to_vec()).expect("text");
        assert_eq!(got.status, 200, "{seen}");
        assert!(seen.starts_with("GET /echo?a=1&b=2 "), "{seen}");
        assert!(seen.contains("x-kept: kept"), "{seen}");
        for form in [&foreign, &coded, &percent] {
            assert!(!seen.contains(&**form), "{form} in {seen}");
        }
        let got = get(&setup, &proxy("acme", &format!("/bot{foreign}/send")), &headers).await;
        assert_eq!((got.status, got.code().as_str()), (400, "invalid-request"));
    }
}

/// A provider that answers with what it was sent, once all of it is there.
async fn whole_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                let body = request.into_body().collect().await?.to_bytes();
                Ok::<_, hyper::Error>(Response::new(Full::new(body)))
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// Catches a key that a client puts into its forms, its JSON or its files.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_of_this_host_leaves_in_a_body() {
    let provider = whole_echo().await;
    let mut setup = with_pages("acme", provider, "canary").await;
    let token = issue(&mut setup, caller("app")).await;
    let bearer = format!("Bearer {token}");
    let headers = [("host", "x"), ("authorization", &*bearer)];
    let address = setup.host.address;
    let post = async |body: String| {
        ask_at(address, Method::POST, &proxy("acme", "/back"), &headers, body).await
    };
    let later = issue(&mut setup, caller("later")).await;
    for foreign in [&token, &setup.host.token, &later] {
        for form in [
            format!("grant=x&client_secret={foreign}"),
            format!("{{\"key\":\"{foreign}\"}}"),
            STANDARD.encode(format!("user:{foreign}")),
            foreign.replace('_', "%5F"),
            format!("{}{foreign}", "x".repeat(200_000)),
        ] {
            let got = post(form.clone()).await;
            assert_eq!((got.status, got.code().as_str()), (400, "invalid-request"), "{form:.100}");
            assert!(!got.body.windows(foreign.len()).any(|bytes| bytes == foreign.as_bytes()));
        }
    }
    // What only looks like one is common in files.
    let other = format!("kw_{}", "A".repeat(43));
    for body in [other.clone(), STANDARD.encode(&other), token[..45].to_owned()] {
        let got = post(body.clone()).await;
        assert_eq!((got.status, &*got.body), (200, body.as_bytes()));
    }
    let rows = setup.http.get("/v1/environments/dev/exchanges?limit=50").await.ok().json();
    assert!(!rows.to_string().contains(&token));
    assert!(rows.to_string().contains("token-in-body"), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_token_reaches_what_it_is_bound_to_and_nothing_else() {
    let (_mirror, mut setup) = mirrored("acme").await;
    setup.pin("other", PAGES, "1.0.0").await;
    let own = path("acme", PAGES, "/connections/token?user=ann");
    setup.http.put(&own, json!({"token": "anns-own-credential"})).await.ok();
    let bound = |name: &str, more: Value| {
        let mut grant = caller(name);
        grant
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        grant
    };
    let tenant = issue(&mut setup, bound("tenant", json!({"tenants": ["acme"]}))).await;
    let connector = issue(&mut setup, bound("connector", json!({"connectors": ["a/b"]}))).await;
    let ann = issue(&mut setup, bound("ann", json!({"users": ["ann"]}))).await;
    let reads = issue(&mut setup, bound("reads", json!({"verbs": ["GET"]}))).await;
    let address = setup.host.address;
    let ask = async |method: Method, target: &str, token: &str, user: Option<&str>| {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("host", "x"), ("authorization", &*bearer)];
        headers.extend(user.map(|user| ("keyway-user", user)));
        let got = ask_at(address, method, target, &headers, "").await;
        (got.status, got.header("x-credential").to_owned() + &got.code())
    };
    let (here, there) = (proxy("acme", "/x"), proxy("other", "/x"));
    let refused = (403, "not-permitted".to_owned());
    let (get, post) = (Method::GET, Method::POST);
    assert_eq!(ask(get.clone(), &here, &tenant, None).await, (200, "tenant".to_owned()));
    assert_eq!(ask(get.clone(), &there, &tenant, None).await, refused);
    assert_eq!(ask(get.clone(), &here, &connector, None).await, refused);
    // A token of one user is for that one, and never the tenant's.
    for user in [None, Some("ann")] {
        assert_eq!(ask(get.clone(), &here, &ann, user).await, (200, "ann".to_owned()));
    }
    assert_eq!(ask(get.clone(), &here, &ann, Some("bob")).await, refused);
    assert_eq!(ask(get.clone(), &here, &reads, None).await.0, 200);
    assert_eq!(ask(Method::HEAD, &here, &reads, None).await.0, 200);
    assert_eq!(ask(post.clone(), &here, &reads, None).await, refused);
    let read = path("acme", PAGES, "/objects/items/read");
    assert_eq!(ask(post, &read, &reads, None).await, refused);
    // What else the tenant has is not its business.
    let headers = [("host", "x"), ("authorization", &*format!("Bearer {connector}"))];
    let theirs = here.replace(PAGES, "a/b");
    let got = ask_at(address, Method::GET, &theirs, &headers, "").await;
    assert_eq!(got.code(), "unknown-installation");
    assert!(!String::from_utf8_lossy(&got.body).contains(PAGES), "{:?}", got.body);
    let prod = here.replace("/dev/", "/prod/");
    assert_eq!(ask(get.clone(), &prod, &tenant, None).await, refused);
    for other in ["/v1/releases", "/v1/pins", "/metrics", "/v1/environments/dev/exchanges"] {
        assert_eq!(ask(get.clone(), other, &tenant, None).await, refused, "{other}");
    }
    let audit = setup.http.get("/v1/audit?order=newest&limit=1").await.ok().json();
    assert_eq!(audit["entries"][0]["after"], "caller in dev, verbs GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_bound_to_one_environment_and_others_to_no_calls() {
    let mut setup = Setup::new("");
    for grant in [
        json!({"name": "x", "role": "caller"}),
        json!({"name": "x", "role": "caller", "environments": ["dev", "prod"]}),
        json!({"name": "x", "role": "caller", "environments": ["dev"], "tenants": []}),
        json!({"name": "x", "role": "caller", "environments": ["dev"], "verbs": ["get"]}),
        json!({"name": "x", "role": "caller", "environments": ["dev"], "users": ["a b"]}),
        json!({"name": "x", "role": "operator", "environments": ["dev"], "tenants": ["acme"]}),
        json!({"name": "x", "role": "caller", "environments": ["dev"], "tenants": vec!["t".repeat(128); 17]}),
    ] {
        let reply = setup.http.post("/v1/tokens", grant.clone()).await;
        assert_eq!(reply.status.as_u16(), 400, "{grant}: {reply:?}");
    }
    let most = json!({"name": "x", "role": "caller", "environments": ["dev"], "tenants": vec!["t".repeat(128); 16]});
    setup.http.post("/v1/tokens", most).await.ok();
}
