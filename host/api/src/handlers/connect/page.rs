//! The pages that people see: what is asked for, that it is done, why it failed.
//!
//! Plain HTML without scripts, in the operator's name and colours. Everything that comes from elsewhere is escaped by
//! the macro; what goes into the style is of types that can be nothing but a colour.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_FRAME_OPTIONS,
};
use axum::response::Response;
use keyway_core::Code;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::Url;

use crate::connect::{Brand, Colours};

/// What does not depend on the brand.
const STYLE: &str = "\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;\
background:var(--background);color:var(--text);font:1.0625rem/1.55 system-ui,sans-serif}\
main{width:100%;max-width:30rem;padding:2rem;border:1px solid color-mix(in srgb,var(--text) 25%,var(--background));\
border-radius:.75rem;overflow-wrap:anywhere}\
header{margin-bottom:1.5rem;font-weight:600}header img{max-height:3rem;max-width:100%;display:block}\
h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}p{margin:0 0 1rem}\
ul{margin:0 0 1.25rem;padding-left:1.25rem}code{font:.9375em ui-monospace,monospace}\
label{display:block;margin-bottom:.25rem}\
input{width:100%;padding:.75rem;border:1px solid var(--text);border-radius:.5rem;background:var(--background);\
color:var(--text);font:inherit}\
button{width:100%;padding:.875rem 1rem;border:1px solid var(--text);border-radius:.5rem;\
background:var(--accent);color:var(--on-accent);font:inherit;font-weight:600;cursor:pointer}\
button:focus-visible{outline:3px solid var(--text);outline-offset:3px}\
footer{margin-top:1.5rem;font-size:.875rem}";

/// Fields of what is typed.
pub(super) const KEY: &str = "key";
pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "password";

/// What the name of a field begins with that is a variable.
pub(super) const VARIABLE: &str = "variable.";

/// Letters that a person may type into one: the longest value that any variable takes.
const VALUE_LETTERS_MAX: u16 = 253;

/// A page, but for how it looks.
pub(super) struct Page {
    title: String,
    content: Markup,
    /// Where its form may lead, beside this host.
    leads_to: Vec<String>,
}

/// What is asked of a person.
pub(super) struct Request<'a> {
    /// Who runs this host, as people know them.
    pub(super) operator: Option<&'a str>,
    /// For whom the account will be used.
    pub(super) tenant: &'a str,
    /// And for which of their people.
    pub(super) user: Option<&'a str>,
    /// What is connected.
    pub(super) connector: String,
    /// What the slot is for, in the publisher's words.
    pub(super) purpose: &'a str,
    /// What the provider will be asked to grant.
    pub(super) scopes: &'a [String],
    /// Where the person will sign in.
    pub(super) provider: Option<String>,
    /// What the person is to fill in: its name, and what it is.
    pub(super) asks: Vec<(&'a str, &'a str)>,
    /// What the person types instead of a consent.
    pub(super) typed: Typed,
    /// Where the form goes.
    pub(super) action: String,
    /// Where the person will be in the end.
    pub(super) return_url: Option<&'a str>,
}

/// What a person types to connect a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Typed {
    /// Nothing: there is a provider to consent at.
    Nothing,
    /// A token or an API key.
    Key,
    /// A user and a password.
    Login,
}

/// The host of a URL, for people to compare with what their browser shows.
pub(super) fn host(url: &str) -> Option<String> {
    Url::parse(url).ok()?.host_str().map(str::to_owned)
}

// === impl Page ===

impl Page {
    /// Asks, and has the one button.
    pub(super) fn request(request: &Request<'_>) -> Self {
        let Request {
            operator,
            tenant,
            user,
            connector,
            purpose,
            scopes,
            provider,
            asks,
            typed,
            action,
            return_url,
        } = request;
        let content = html! {
            p { "You are about to connect your account at " strong { (connector) } "." }
            // Whoever was sent somebody else's link would give that one their account.
            p {
                "It will be used for " strong { (tenant) }
                @if let Some(user) = user { ", by " strong { (user) } }
                @if let Some(operator) = operator { ", at " strong { (operator) } }
                ". If you do not know them, close this page."
            }
            @if !purpose.is_empty() { p { (purpose) } }
            @if *typed != Typed::Nothing {
                p { "What you type is tried, and kept for as long as you are connected. It is shown to nobody." }
            } @else if scopes.is_empty() {
                p { "No particular permissions are asked for." }
            } @else {
                p id="asked" { "You will be asked to grant:" }
                ul aria-labelledby="asked" { @for scope in *scopes { li { code { (scope) } } } }
            }
            @if let Some(provider) = provider {
                p { "You sign in at " strong { (provider) } ". Your password is not shown to anybody else." }
            }
            form method="post" action=(action) {
                @for (name, summary) in asks {
                    p {
                        label for=(name) { @if summary.is_empty() { (name) } @else { (summary) } }
                        input id=(name) name={ (VARIABLE) (name) } required maxlength=(VALUE_LETTERS_MAX)
                            autocomplete="off" autocapitalize="none" spellcheck="false";
                    }
                }
                @match typed {
                    Typed::Nothing => {}
                    Typed::Key => { (secret(KEY, "Key or token")) }
                    Typed::Login => {
                        p {
                            label for=(USER) { "User" }
                            input id=(USER) name=(USER) required autocomplete="off"
                                autocapitalize="none" spellcheck="false";
                        }
                        (secret(PASSWORD, "Password"))
                    }
                }
                button type="submit" { "Continue" }
            }
        };
        // A browser holds the policy of the page against every address that its form is redirected to, up to the
        // last one. Providers send people through hosts of theirs that no descriptor can list, so TLS is asked for.
        let mut leads_to = vec!["https:".to_owned()];
        let origin = |url: &str| Some(Url::parse(url).ok()?.origin().ascii_serialization());
        leads_to.extend(origin(action));
        leads_to.extend(return_url.and_then(origin));
        Self { title: "Connect your account".to_owned(), content, leads_to }
    }

    /// Says that it is done.
    pub(super) fn done() -> Self {
        let content = html! { p { "Your account is connected. You can close this window." } };
        Self { title: "Connected".to_owned(), content, leads_to: vec![] }
    }

    /// Says what to do.
    pub(super) fn failed(code: Code) -> Self {
        let content = html! {
            p { "Your account was not connected." }
            p { (advice(code)) }
            p { "If you ask for help, say: " code { (code.as_str()) } }
        };
        Self { title: "Not connected".to_owned(), content, leads_to: vec![] }
    }

    /// The page in an operator's clothes.
    pub(super) fn render(self, brand: &Brand, status: StatusCode) -> Response {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let policy = self.policy(brand, &nonce);
        let page = self.page(brand, &nonce);
        let mut response = Response::new(Body::from(page.into_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let fixed: [(HeaderName, &'static str); 3] = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (X_FRAME_OPTIONS, "DENY"),
            // To other sites nothing. With `no-referrer`, a browser would say `Origin: null` of the page's own form.
            (REFERRER_POLICY, "same-origin"),
        ];
        headers.extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
        // Origins as the parser of URLs writes them: ASCII, without a space or a semicolon.
        let policy = HeaderValue::from_str(&policy)
            .unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        response
    }

    fn policy(&self, brand: &Brand, nonce: &str) -> String {
        let images = brand.logo.as_ref().map_or("'none'".to_owned(), |logo| logo.origin());
        let forms = if self.leads_to.is_empty() {
            "'none'".to_owned()
        } else {
            format!("'self' {}", self.leads_to.join(" "))
        };
        format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; img-src {images}; form-action {forms}; \
             base-uri 'none'; frame-ancestors 'none'"
        )
    }

    fn page(&self, brand: &Brand, nonce: &str) -> Markup {
        let Self { title, content, .. } = self;
        let name = brand.name.as_deref();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (title) @if let Some(name) = name { " – " (name) } }
                    style nonce=(nonce) { (PreEscaped(style(brand.colours))) }
                }
                body {
                    main {
                        @if let Some(logo) = &brand.logo {
                            header { img src=(logo.as_str()) alt=(name.unwrap_or_default()); }
                        } @else if let Some(name) = name {
                            header { (name) }
                        }
                        h1 { (title) }
                        (content)
                        @if brand.powered_by { footer { "Made with Keyway" } }
                    }
                }
            }
        }
    }
}

/// A field that nobody looks over a shoulder at. A password may be empty, where the user is the key.
fn secret(name: &str, label: &str) -> Markup {
    html! {
        p {
            label for=(name) { (label) }
            input id=(name) name=(name) type="password" required[name == KEY] autocomplete="off"
                autocapitalize="none" spellcheck="false";
        }
    }
}

fn style(colours: Colours) -> String {
    let Colours { accent, background, text } = colours;
    let on_accent = accent.readable();
    format!(
        ":root{{--accent:{accent};--on-accent:{on_accent};--background:{background};--text:{text}}}{STYLE}"
    )
}

/// What a person can do about it.
fn advice(code: Code) -> &'static str {
    match code {
        Code::ConnectSessionInvalid => {
            "This link has been used, or its time is over. Ask for a new one where you got it."
        }
        Code::ConnectStateInvalid => {
            "The answer did not come back to the browser that asked, came twice, or came too late. \
             Open your link once more and stay in one browser."
        }
        Code::ConsentRefused => {
            "Permission was not given. If that was not what you wanted, open your link once more."
        }
        Code::AccountMismatch => {
            "You signed in with another account than the one that was connected before. Open your link \
             once more and sign in with that one, or ask for it to be disconnected first."
        }
        Code::ProbeFailed | Code::CredentialInvalid => {
            "The other side does not take what it was shown. Open your link once more. If you type a key or a password, type \
             it as it is shown there; if you sign in, do so with an account that may use what is connected."
        }
        Code::InvalidRequest => {
            "What you typed is not of the form that the other side uses. Open your link once more, and copy it from \
             where you see it there."
        }
        Code::TokenEndpointFailed | Code::ProbeUndecided => {
            "The other side is not answering as it should. Open your link once more in a few minutes."
        }
        _ => "This is not your fault, and nothing you can change. Tell whoever gave you the link.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(markup: &Markup) -> &str {
        &markup.0
    }

    fn request<'a>(scopes: &'a [String], purpose: &'a str) -> Request<'a> {
        Request {
            operator: Some("<u>operator</u>"),
            tenant: "<s>acme</s>",
            user: Some("<em>ann</em>"),
            connector: "<script>alert(1)</script>".to_owned(),
            purpose,
            scopes,
            provider: Some("auth.example.test".to_owned()),
            asks: vec![("sub\"><b>", "<b>Your subdomain</b>")],
            typed: Typed::Login,
            action: "https://shop.example/connect/\"><b>/start".to_owned(),
            return_url: Some("http://127.0.0.1:9/back"),
        }
    }

    #[test]
    fn what_comes_from_elsewhere_is_escaped() {
        let scopes = ["<img src=x onerror=alert(1)>".to_owned()];
        let page = Page::request(&request(&scopes, "&\"'<i>"));
        let brand = Brand { name: Some("</title><b>".to_owned()), ..Brand::default() };
        let page = page.page(&brand, "nonce");
        let text = text(&page);
        for mark in ["<script", "<img", "<b>", "<i>", "<u>", "<s>", "<em>", "/\"><"] {
            assert!(!text.contains(mark), "{mark} in {text}");
        }
        assert!(text.contains("&lt;script&gt;"));
        for whom in ["&lt;u&gt;operator", "&lt;s&gt;acme", "&lt;em&gt;ann"] {
            assert!(text.contains(whom), "{whom} in {text}");
        }
    }

    #[test]
    fn nothing_says_what_it_is_made_with_unless_that_is_wanted() {
        let plain = Page::done().page(&Brand::default(), "n");
        assert!(!text(&plain).to_lowercase().contains("keyway"));
        let proud = Brand { powered_by: true, ..Brand::default() };
        assert!(text(&Page::done().page(&proud, "n")).contains("Made with Keyway"));
    }

    #[test]
    fn a_page_may_load_its_logo_and_send_its_form() {
        let brand: Brand =
            serde_json::from_str(r#"{"logo":"https://cdn.shop.example/a/logo.svg"}"#).unwrap();
        let policy = Page::request(&request(&[], "")).policy(&brand, "abc");
        for part in [
            "default-src 'none';",
            "style-src 'nonce-abc';",
            "img-src https://cdn.shop.example;",
            "form-action 'self' https: https://shop.example http://127.0.0.1:9;",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part} not in {policy}");
        }
        let done = Page::done().policy(&Brand::default(), "abc");
        assert!(done.contains("form-action 'none'") && done.contains("img-src 'none'"));
    }
}
