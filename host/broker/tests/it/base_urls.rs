//! Where a request goes whose connection has a base URL of its own: there, and nowhere else.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt as _, Full};
use keyway_broker::{Broker, Config, Wire};
use keyway_core::credential::Credential;
use keyway_core::descriptor::{Scheme, SlotSpec};
use keyway_core::exchange::{Origin, Relayed};
use keyway_core::ids::ConnectionRef;
use keyway_core::ports::{Credentials, Egress as _, Held, Proxy as _};
use keyway_core::{Descriptor, Fault};

use crate::support::{Fixed, Names, Step, Upstream, get, ok, opened, origin, text, with_slot};

const EU: &str = "https://eu.example.com/v1";
const US: &str = "https://us.example.com/v1";

/// Holds one credential, and another after it was rejected, each at its place.
struct Vault(Mutex<Vec<Option<&'static str>>>);

#[async_trait]
impl Credentials for Vault {
    async fn credential(&self, _: &ConnectionRef, _: &SlotSpec) -> Result<Option<Held>, Fault> {
        Ok(Some(held(1, self.0.lock().unwrap()[0])))
    }

    async fn connected(&self, _: &ConnectionRef) -> Result<bool, Fault> {
        Ok(true)
    }

    async fn rejected(
        &self,
        _: &ConnectionRef,
        _: &SlotSpec,
        _: u64,
    ) -> Result<Option<Held>, Fault> {
        Ok(self.0.lock().unwrap().get(1).map(|base_url| held(2, *base_url)))
    }
}

fn held(version: u64, base_url: Option<&str>) -> Held {
    Held {
        opened: opened(Credential::Token(format!("canary-token-{version}").into())),
        version,
        account: None,
        base_url: base_url.map(Arc::from),
        in_use: Arc::new(()),
    }
}

/// A broker with these connections, and an origin without a base URL, for two places.
struct World {
    broker: Broker,
    origin: Origin,
    eu: Upstream,
    us: Upstream,
}

impl World {
    async fn new(places: &[Option<&'static str>], answer: fn() -> Vec<Step>) -> Self {
        let eu = Upstream::start(move |_, _| answer()).await;
        let us = Upstream::start(move |_, _| answer()).await;
        let config = [eu.stand_in("eu.example.com"), us.stand_in("us.example.com")].concat();
        let config: Config = toml::from_str(&config).unwrap();
        let wire = Wire::new(config, Arc::new(Names::default()), None, Arc::new(Fixed)).unwrap();
        let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0",
            "hosts":["eu.example.com","us.example.com"],"slots":{"token":{"scheme":{
            "kind":"oauth2","grant":"client-credentials","token-url":"https://eu.example.com/t"}}}}"#;
        let origin = Origin {
            descriptor: Arc::new(Descriptor::parse(descriptor).unwrap()),
            ..origin("t1", &["eu.example.com"], 0)
        };
        let vault = Arc::new(Vault(Mutex::new(places.to_vec())));
        Self { broker: Broker::new(&wire, vault), origin, eu, us }
    }

    /// As a connector sends it, and as a caller does: the code of each refusal.
    async fn both(&self, url: &str) -> [Option<String>; 2] {
        let request = with_slot("token", get(url));
        let sent = self.broker.exchange(&self.origin, request).await;
        let relayed = Relayed {
            slot: Some("token".parse().unwrap()),
            method: Method::GET,
            url: url.to_owned(),
            headers: HeaderMap::new(),
            tokens: None,
            links: None,
            body: Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync(),
        };
        let relayed = self.broker.relay(&self.origin, relayed, Box::new(())).await;
        [sent.err(), relayed.err()].map(|failure| failure.map(|failure| failure.code.unwrap()))
    }

    fn seen(&self) -> [usize; 2] {
        [&self.eu, &self.us].map(|place| place.requests().len())
    }
}

/// Fails if a user's token goes to the tenant's place.
#[tokio::test]
async fn a_path_is_joined_to_the_base_url_of_the_connection_that_is_used() {
    let mut world = World::new(&[Some(US)], || ok("")).await;
    // Nothing else says where a path goes.
    assert_eq!(world.both("/things").await, [None, None]);
    world.origin.base_url = Some(EU.into());
    assert_eq!(world.both("/things").await, [None, None]);
    assert_eq!(world.seen(), [0, 4]);
    assert!(world.us.requests()[3].starts_with("GET /v1/things HTTP/1.1\r\n"));
    // What names its host itself is not a matter of base URLs.
    assert_eq!(world.both("https://eu.example.com/x").await, [None, None]);
    assert_eq!(world.seen(), [2, 4]);
}

#[tokio::test]
async fn a_connection_without_one_uses_that_of_the_installation_if_there_is_one() {
    let mut world = World::new(&[None], || ok("")).await;
    let missing = Some("base-url-missing".to_owned());
    assert_eq!(world.both("/things").await, [missing.clone(), missing]);
    assert_eq!(world.seen(), [0, 0]);
    world.origin.base_url = Some(EU.into());
    assert_eq!(world.both("/things").await, [None, None]);
    assert_eq!(world.seen(), [2, 0]);
}

/// A base URL out of a store is trusted no more than a connector.
#[tokio::test]
async fn a_connection_s_own_base_url_is_held_to_the_same_policy() {
    for (place, code) in [
        ("https://evil.example.net", "undeclared-host"),
        ("https://us.example.com:8443", "undeclared-host"),
        ("http://us.example.com", "scheme-refused"),
        ("https://us.example.com@evil.example.net", "userinfo-refused"),
    ] {
        let mut world = World::new(&[Some(place)], || ok("")).await;
        world.origin.base_url = Some(EU.into());
        let refused = Some(code.to_owned());
        assert_eq!(world.both("/things").await, [refused.clone(), refused], "{place}");
        assert_eq!(world.seen(), [0, 0], "{place}");
    }
}

/// The release that runs may name fewer domains than the one with which an address was taken, for this slot or another.
#[tokio::test]
async fn a_token_goes_to_an_address_that_was_set_only_below_the_domains_that_the_release_names() {
    for (own, installation, sent) in [
        (Some(EU), None, true),
        (None, Some(EU), true),
        (Some(US), None, false),
        (None, Some(US), false),
    ] {
        let mut world = World::new(&[own], || ok("")).await;
        world.origin.base_url = installation.map(Into::into);
        let mut descriptor = (*world.origin.descriptor).clone();
        let slot = descriptor.slots.values_mut().next().unwrap();
        let Scheme::Oauth2(oauth) = &mut slot.scheme else { panic!("another scheme") };
        oauth.base_url_suffixes = vec!["eu.example.com".to_owned()];
        world.origin.descriptor = Arc::new(descriptor);
        let refused = (!sent).then(|| "base-url-refused".to_owned());
        assert_eq!(world.both("/things").await, [refused.clone(), refused], "{own:?}");
        assert_eq!(world.seen(), [if sent { 2 } else { 0 }, 0], "{own:?}");
        // What names its host itself is not a matter of base URLs.
        assert_eq!(world.both("https://us.example.com/x").await, [None, None]);
    }
}

/// Connected anew while the request was under way: the new token belongs to another place than the request.
#[tokio::test]
async fn a_new_token_is_not_sent_to_the_former_place() {
    let rejected = || vec![text("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")];
    for (places, sent) in [([Some(EU), Some(EU)], 2), ([Some(EU), Some(US)], 1)] {
        let world = World::new(&places, rejected).await;
        assert_eq!(world.both("/things").await, [None, None]);
        assert_eq!(world.seen(), [2 * sent, 0], "{places:?}");
        let shown = world.eu.requests().concat();
        assert_eq!(shown.contains("canary-token-2"), sent == 2, "{places:?}");
    }
}
