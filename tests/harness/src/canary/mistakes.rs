//! Secrets in the wrong place or form: what an operator may mistype, and what a host must not repeat.

use std::path::Path;

use http::Method;
use serde_json::json;

use super::operator::{CONNECTOR, Operator, at};
use crate::http::Http;

/// More than a secret may have.
const TOO_LONG: usize = 16 << 10;

/// A secret that is a number, for a body that has it without quotes.
const NUMBER: u64 = 7_719_340_028_561_937;

impl Operator<'_> {
    /// Every mistake with a secret in it. None may be taken; what is said of each is kept.
    pub(super) async fn mistakes(&mut self, tenant: &str, folder: &Path) {
        self.canaries.keep("a secret that is a number", &NUMBER.to_string());
        let secret = self.canaries.plant("a secret in the wrong place");
        let long = format!("{secret}{}", "x".repeat(TOO_LONG));
        let set = at(tenant, "/connections/token");
        for body in [
            json!({"token": [secret]}).to_string(),
            json!({"token": NUMBER}).to_string(),
            json!({"tokn": secret}).to_string(),
            json!({"token": secret, "user": secret}).to_string(),
            json!({"token": format!("{secret}\n")}).to_string(),
            json!({"token": long}).to_string(),
            json!(secret).to_string(),
            format!("{{\"token\":{secret}"),
            secret.clone(),
        ] {
            self.refused(Method::PUT, &set, body).await;
        }
        let login = json!({"user": format!("a:{secret}"), "password": secret}).to_string();
        self.refused(Method::PUT, &at(tenant, "/connections/login"), login).await;
        self.wrong_imports(tenant, &secret).await;
        self.wrong_consents(&secret).await;
        self.wrong_tokens(&secret).await;
        self.wrong_commands(tenant, &secret, folder).await;
    }

    async fn refused(&mut self, method: Method, path: &str, body: String) {
        let reply = self.ask(method, path, body).await;
        assert!(reply.status.is_client_error(), "{path} was taken: {}", reply.json());
    }

    async fn wrong_imports(&mut self, tenant: &str, secret: &str) {
        let import = at(tenant, "/connections/consent/import");
        for body in [
            json!({"access_token": [secret]}),
            json!({"access_token": NUMBER}),
            json!({"access_token": secret, "expires_at": secret}),
            json!({"access_token": secret, "account": "of-somebody-else"}),
            json!({"access_token": secret, "refresh_tokn": secret}),
            json!({"access_token": format!("{secret}é")}),
        ] {
            self.refused(Method::POST, &import, body.to_string()).await;
        }
        let client = format!("/v1/environments/dev/connectors/{CONNECTOR}/clients/machine");
        for body in [
            json!({"client_id": "shop", "client_secret": [secret]}),
            json!({"client_id": "shop", "client_secret": NUMBER}),
            json!({"client_id": "shop", "client_secret": format!("{secret}é")}),
        ] {
            self.refused(Method::PUT, &client, body.to_string()).await;
        }
        let lines = format!(
            "{}\n{secret}\n{}\n",
            json!({"tenant": tenant, "access_token": NUMBER}),
            json!({"tenant": tenant, "connector": CONNECTOR, "slot": "no-slot", "access_token": secret}),
        );
        let path = "/v1/environments/dev/connections/import";
        let reply = self.http.send(Method::POST, path, "application/x-ndjson", lines.into()).await;
        assert_eq!(String::from_utf8_lossy(&reply.body).matches("\"problem\"").count(), 3);
        self.heard.reply(&reply);
    }

    async fn wrong_consents(&mut self, secret: &str) {
        let complete = "/v1/environments/dev/connect-sessions/complete";
        for body in [
            json!({"state": "none", "binding": secret, "code": secret}),
            json!({"state": "none", "binding": [secret], "code": secret}),
            json!({"state": "none", "binding": "none", "code": NUMBER}),
        ] {
            self.refused(Method::POST, complete, body.to_string()).await;
        }
        for query in [format!("code={secret}"), format!("error=x&error_description={secret}")] {
            // Its letters as a browser would write them; those of the mark are what is looked for.
            let query = query.replace(
                |letter: char| !letter.is_ascii_alphanumeric() && letter != '=' && letter != '&',
                "-",
            );
            let page = self.http.get(&format!("/connect/callback?state=none&{query}")).await;
            self.heard.keep("pages", &page.body, "<html");
        }
    }

    /// API tokens that are none, and where no token belongs.
    async fn wrong_tokens(&mut self, secret: &str) {
        for token in [secret.to_owned(), format!("kw_{secret}")] {
            let refused = Http::new(self.address, &token).get("/v1/releases").await;
            assert_eq!(refused.status, 401, "{}", refused.json());
            self.heard.reply(&refused);
        }
        let bare: String = secret.chars().filter(char::is_ascii_alphanumeric).collect();
        for path in [
            format!("/v1/audit?after={bare}"),
            format!("/v1/audit?token={bare}"),
            format!("/v1/environments/dev/exchanges?access_token={bare}"),
        ] {
            self.ask(Method::GET, &path, "").await;
        }
    }

    async fn wrong_commands(&mut self, tenant: &str, secret: &str, folder: &Path) {
        let file = folder.join("mistaken");
        std::fs::write(&file, format!("{secret}\n{secret}\n")).expect("writable");
        let path = file.to_str().expect("a path of text");
        for (args, marker) in [
            (
                &["connection", "set", tenant, CONNECTOR, "--secret-file", path][..],
                "credential-invalid",
            ),
            (&["connection", "set", tenant, CONNECTOR], "credential-invalid"),
            (&["connection", "import", path], "line 1"),
            (
                &[
                    "client",
                    "set",
                    CONNECTOR,
                    "--slot",
                    "machine",
                    "--id",
                    "shop",
                    "--secret-file",
                    path,
                ],
                "credential-invalid",
            ),
        ] {
            self.command(args, Some(&file), marker).await;
        }
        let token = format!("--token={secret}");
        self.command(&[&token, "releases"], None, "token-invalid").await;
    }
}
