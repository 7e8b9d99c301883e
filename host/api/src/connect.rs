//! How people are taken to a provider and back: the address that providers know, and how pages look.
//!
//! Data only. Whatever goes into a page's style or its headers is parsed here, so that no text of a configuration can
//! say more than a colour or an address. Colours that cannot be read are refused at the start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use keyway_core::ids::Environment;
use serde::Deserialize;
use url::{Host, Url};

/// Contrast of text that everybody can read: WCAG 2.2, success criterion 1.4.3, level AA.
const CONTRAST_MIN: f64 = 4.5;

/// Where consents are begun and end, and how their pages look.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Where browsers reach this host: `https://…`, without a slash at its end. Providers are told
    /// `{public-url}/connect/callback`. Default: the address that the host listens on, if it is a loopback one.
    pub public_url: Option<PublicUrl>,
    /// How pages look in an environment. Default: plain, and without a name.
    pub environments: BTreeMap<Environment, Brand>,
}

/// Where browsers reach this host.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl {
    /// Without a slash at its end.
    text: String,
    secure: bool,
}

/// How pages look.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(try_from = "Wanted")]
pub struct Brand {
    /// Who asks, as people know them.
    pub name: Option<String>,
    /// An image; its origin is allowed on the page, and nothing else.
    pub logo: Option<Logo>,
    /// The colours.
    pub colours: Colours,
    /// Whether pages say what they are made with.
    pub powered_by: bool,
}

/// Where a logo is.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Logo(Url);

/// The colours of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Colours {
    /// The button.
    pub accent: Colour,
    /// Behind everything.
    pub background: Colour,
    /// Text.
    pub text: Colour,
}

/// `#rrggbb`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Colour([u8; 3]);

/// A [`Brand`] as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Wanted {
    name: Option<String>,
    logo: Option<Logo>,
    accent: Colour,
    background: Colour,
    text: Colour,
    powered_by: bool,
}

// === impl PublicUrl ===

impl PublicUrl {
    /// The address that a host listens on, where only this machine reaches it.
    pub(crate) fn of_loopback(address: SocketAddr) -> Option<Self> {
        address
            .ip()
            .is_loopback()
            .then(|| Self { text: format!("http://{address}"), secure: false })
    }

    /// A path on it.
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }

    /// As browsers write it.
    pub(crate) fn origin(&self) -> String {
        Url::parse(&self.text)
            .map_or_else(|_| self.text.clone(), |url| url.origin().ascii_serialization())
    }

    /// The host name, or the address, in it.
    pub fn host(&self) -> Option<String> {
        Url::parse(&self.text).ok()?.host_str().map(str::to_owned)
    }

    /// Whether browsers reach it by TLS.
    pub(crate) const fn secure(&self) -> bool {
        self.secure
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = web(&text)?;
        if url.query().is_some() || text.ends_with('/') {
            return Err(format!("`{text}` has a query, or a slash at its end"));
        }
        Ok(Self { secure: url.scheme() == "https", text })
    }
}

// === impl Logo ===

impl Logo {
    /// For the page.
    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// For its policy.
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }
}

impl TryFrom<String> for Logo {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        web(&text).map(Self)
    }
}

/// A URL that a browser can be sent to in safety: by TLS, or on its own machine.
pub(crate) fn web(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is no URL: {error}"))?;
    let safe = match url.scheme() {
        "https" => true,
        "http" => url.host().is_some_and(loopback),
        _ => false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if safe && plain {
        return Ok(url);
    }
    Err(format!("`{text}` is not `https` (or `http` on this machine) without user and fragment"))
}

fn loopback(host: Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(address).is_loopback(),
    }
}

// === impl Brand ===

impl TryFrom<Wanted> for Brand {
    type Error = String;

    fn try_from(wanted: Wanted) -> Result<Self, String> {
        let Wanted { name, logo, accent, background, text, powered_by } = wanted;
        let contrast = text.contrast(background);
        if contrast < CONTRAST_MIN {
            return Err(format!(
                "`text` on `background` has a contrast of {contrast:.1}; {CONTRAST_MIN} can be read"
            ));
        }
        Ok(Self { name, logo, colours: Colours { accent, background, text }, powered_by })
    }
}

impl Default for Wanted {
    fn default() -> Self {
        let Colours { accent, background, text } = Colours::default();
        Self { name: None, logo: None, accent, background, text, powered_by: false }
    }
}

impl Default for Colours {
    fn default() -> Self {
        Self {
            accent: Colour([0x1d, 0x4e, 0x89]),
            background: Colour([0xff, 0xff, 0xff]),
            text: Colour([0x1f, 0x24, 0x2b]),
        }
    }
}

// === impl Colour ===

impl Colour {
    const BLACK: Self = Self([0; 3]);
    const WHITE: Self = Self([0xff; 3]);

    /// Black or white, whichever can be read on this. One of them always can.
    pub(crate) fn readable(self) -> Self {
        let black = self.contrast(Self::BLACK);
        if black >= self.contrast(Self::WHITE) { Self::BLACK } else { Self::WHITE }
    }

    /// WCAG 2.2, "contrast ratio": 1 to 21.
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        let [red, green, blue] = self.0.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || format!("`{text}` is no colour: `#rrggbb`");
        let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6);
        let digits = digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = u32::from_str_radix(digits.ok_or_else(refuse)?, 16).map_err(|_| refuse())?;
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self([red, green, blue]))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(text: &str) -> Result<Colour, String> {
        Colour::try_from(text.to_owned())
    }

    fn brand(json: &str) -> Result<Brand, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_colour_is_six_digits_and_nothing_that_ends_a_style() {
        assert_eq!(colour("#0aF09b").unwrap().to_string(), "#0af09b");
        for text in ["red", "#fff", "#1234567", "#+12345", "#12345;", "#}body{", "", "#ääb"] {
            assert!(colour(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_that_cannot_be_read_is_refused() {
        // By the standard's own examples: #767676 on white is the lightest grey that passes.
        assert!(brand(r##"{"text":"#767676","background":"#ffffff"}"##).is_ok());
        let refused = brand(r##"{"text":"#777777","background":"#ffffff"}"##);
        assert!(refused.is_err_and(|text| text.contains("contrast")));
        for level in 0..=255 {
            let accent = Colour([level; 3]);
            assert!(accent.contrast(accent.readable()) >= CONTRAST_MIN, "{accent}");
        }
    }

    #[test]
    fn addresses_are_safe_for_a_browser() {
        let public = |text: &str| PublicUrl::try_from(text.to_owned());
        let shop = public("https://connect.shop.example/eu").unwrap();
        assert_eq!(
            shop.join("/connect/callback"),
            "https://connect.shop.example/eu/connect/callback"
        );
        assert!(shop.secure());
        for text in ["http://127.0.0.1:8700", "http://localhost:8700", "http://[::1]:8700"] {
            assert!(!public(text).unwrap().secure(), "{text}");
        }
        for text in [
            "http://shop.example",
            "https://shop.example/",
            "https://shop.example?a=b",
            "https://shop.example#x",
            "https://ann@shop.example",
            "ftp://shop.example",
            "javascript:alert(1)",
            "shop.example",
        ] {
            assert!(public(text).is_err(), "{text}");
        }
        assert!(brand(r#"{"logo":"javascript:alert(1)"}"#).is_err());
        let logo = brand(r#"{"logo":"https://cdn.shop.example/logo.svg"}"#).unwrap().logo.unwrap();
        assert_eq!(logo.origin(), "https://cdn.shop.example");
        assert!(brand(r#"{"colour":"red"}"#).is_err(), "an unknown key");
    }

    #[test]
    fn without_a_setting_only_a_loopback_address_will_do() {
        let of = |text: &str| PublicUrl::of_loopback(text.parse().unwrap());
        assert_eq!(of("127.0.0.1:8700").unwrap().join("/x"), "http://127.0.0.1:8700/x");
        assert_eq!(of("[::1]:8700").unwrap().join("/x"), "http://[::1]:8700/x");
        assert_eq!(of("0.0.0.0:8700"), None);
        assert_eq!(of("192.0.2.1:8700"), None);
    }
}
