//! Addresses by host name: what they lead to, what they do not, and what `keyway proxy-url` says.

use http::Method;
use serde_json::json;

use super::{Cli, REFUSED};
use crate::proxy::{Got, ask_at, mirrored, mirrored_with};
use crate::setup::{Setup, path};

const PAGES: &str = "fixtures/pages";

/// What a URL names as its host.
fn host(url: &str) -> &str {
    url.split('/').nth(2).expect("a host")
}

async fn at(setup: &Setup, host: &str, target: &str, more: &[(&str, &str)]) -> Got {
    let bearer = format!("Bearer {}", setup.host.token);
    let headers = [&[("host", host), ("authorization", &*bearer)], more].concat();
    ask_at(setup.host.address, Method::GET, target, &headers, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_name_leads_to_an_installation_whatever_the_path() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let url = setup.http.get(&path("acme", PAGES, "/proxy-url")).await.ok().json();
    let (host_url, base_url) =
        (url["host_url"].as_str().unwrap(), url["base_url"].as_str().unwrap());
    let port = setup.host.address.port();
    assert!(
        host_url.starts_with("http://") && host_url.ends_with(&format!(".localhost:{port}")),
        "{url}"
    );
    assert_eq!(base_url, format!("http://127.0.0.1:{port}{}", path("acme", PAGES, "/proxy")));
    let name = host(host_url);
    for target in ["/", "/x?y=1", "/v1/releases", "/healthz", "/metrics", "/a%2Fb//c"] {
        for name in
            [name.to_owned(), name.to_uppercase(), name.replace(".localhost:", ".LOCALHOST.:")]
        {
            let got = at(&setup, &name, target, &[]).await;
            assert_eq!((got.status, got.header("x-target")), (200, target), "{name}");
            assert_eq!(got.header("x-credential"), "tenant");
            assert_eq!(got.header("keyway-release"), "fixtures/pages@1.0.0");
        }
    }
    // The target counts where it names a host (RFC 9112 section 3.2.2).
    let got = at(&setup, "127.0.0.1", &format!("{host_url}/x"), &[]).await;
    assert_eq!((got.status, got.header("x-target")), (200, "/x"));
}

/// Catches a host name that opens something, or tells who is a customer.
#[tokio::test(flavor = "multi_thread")]
async fn other_host_names_open_nothing() {
    let (_mirror, mut setup) = mirrored("acme").await;
    let url = setup.http.get(&path("acme", PAGES, "/proxy-url")).await.ok().json();
    let label = host(url["host_url"].as_str().unwrap()).split('.').next().unwrap().to_owned();
    let other = if label.starts_with('a') { "b" } else { "a" };
    let unknown = format!("{other}{}.localhost", &label[1..]);
    let got = at(&setup, &unknown, "/x", &[]).await;
    assert_eq!((got.status, got.code().as_str()), (404, "unknown-address"));
    // No label, or not below the domain: a request to the API like any other. A host may be called so itself.
    for name in [
        "keyway.localhost".to_owned(),
        "www.localhost".to_owned(),
        format!("x.{label}.localhost"),
        format!("{label}a.localhost"),
        format!("{label}.localhost.evil.example"),
        format!("{label}localhost"),
        format!("{label}.example.com"),
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
    ] {
        let got = at(&setup, &name, "/x", &[]).await;
        assert_eq!((got.status, got.code().as_str()), (404, "no-such-endpoint"), "{name}");
        assert_eq!(at(&setup, &name, "/v1/releases", &[]).await.status, 200, "{name}");
    }
    for name in [format!("{label}.localhost"), unknown] {
        let got = ask_at(setup.host.address, Method::GET, "/x", &[("host", &name)], "").await;
        assert_eq!((got.status, got.code().as_str()), (401, "token-missing"), "{name}");
    }
    let twice = [("host", "127.0.0.1"), ("host", &*format!("{label}.localhost"))];
    let got = ask_at(setup.host.address, Method::GET, "/healthz", &twice, "").await;
    assert_eq!(got.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_says_the_slot_and_the_user() {
    let (_mirror, mut setup) =
        mirrored_with("acme", "[proxy]\ndomain = \"proxy.example.com\"\nscheme = \"https\"\n")
            .await;
    let user = "zoe@example.com";
    let own = path("acme", PAGES, "/connections/token?user=zoe%40example.com");
    setup.http.put(&own, json!({"token": "anns-own-credential"})).await.ok();
    let cli = Cli::new(&setup);
    let printed = cli.ok(&["proxy-url", "acme", PAGES, "--slot", "token", "--user", user]);
    let lines: Vec<&str> = printed.lines().collect();
    let port = setup.host.address.port();
    assert_eq!(lines.len(), 2, "{printed}");
    assert!(lines[0].ends_with(&format!(".proxy.example.com:{port}")), "{printed}");
    let json = cli.json(&["proxy-url", "acme", PAGES, "--slot", "token", "--user", user]);
    assert_eq!((&json["host_url"], &json["base_url"]), (&json!(lines[0]), &json!(lines[1])));
    assert_eq!(json["headers"], json!({"keyway-slot": "token", "keyway-user": user}));
    let name = host(lines[0]);
    let got = at(&setup, name, "/x", &[]).await;
    assert_eq!((got.status, got.header("x-credential")), (200, "ann"));
    let got = at(&setup, name, "/x", &[("keyway-user", user), ("keyway-slot", "token")]).await;
    assert_eq!(got.header("x-credential"), "ann");
    for other in [("keyway-user", "bob"), ("keyway-slot", "other")] {
        let got = at(&setup, name, "/x", &[other]).await;
        assert_eq!((got.status, got.code().as_str()), (400, "invalid-request"), "{other:?}");
    }
    // Nobody has a connection of this user: the address stands for nothing.
    let nobody = cli.json(&["proxy-url", "acme", PAGES, "--user", "bob"]);
    let got = at(&setup, host(nobody["host_url"].as_str().unwrap()), "/x", &[]).await;
    assert_eq!((got.status, got.code().as_str()), (404, "unknown-address"));
    assert_eq!(
        at(&setup, &name.replace(".proxy.example.com", ".localhost"), "/x", &[]).await.code(),
        "no-such-endpoint"
    );
    cli.fails(&["proxy-url", "acme", PAGES, "--slot", "other"], REFUSED, "unknown-slot: ");
    cli.fails(&["proxy-url", "nobody", PAGES], REFUSED, "unknown-installation: ");
}
