//! What a yes of a token endpoint has in it, and what is left of one that cannot be read.
//!
//! The server said yes, so what was presented may be spent, and what it issued exists nowhere else: whatever can be used is
//! used, and an empty member is one that is not there.

use std::collections::BTreeSet;
use std::time::Duration;

use keyway_core::descriptor::{self, Oauth, split_scopes};
use secrecy::SecretString;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::oauth::endpoint::answer::{Answer, Fields, Value};
use crate::oauth::endpoint::{Endpoint, Issued, Leftover, Refused, no, problem, retry_after};
use crate::oauth::record::TOKEN_BYTES_MAX;
use crate::oauth::skew;

/// Seconds that a lifetime may have at most: ten years. What is above is a mistake, such as milliseconds or a date.
const LIFETIME_MAX_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// The first number that is no count of seconds from then on but a time, in milliseconds since 1970: that of 2001.
const UNIX_MILLISECONDS_MIN: f64 = 1e12;

/// Something that an answer has in it: where the release says that it is, and where the standard has it (RFC 6749 section
/// 5.1).
type Place = (fn(&descriptor::Places) -> &Option<String>, &'static str);

const ACCESS: Place = (|said| &said.access_token, "/access_token");
const REFRESH: Place = (|said| &said.refresh_token, "/refresh_token");
const SCOPE: Place = (|said| &said.scope, "/scope");
const EXPIRES: &str = "/expires_in";

/// Parts of the names of what stands in a yes.
const OF_TOKENS: [&str; 4] = ["token", "expires", "jwt", "credential"];

/// What says in so many words that it is one.
const WORDS_OF_YES: [&str; 3] = ["ok", "success", "true"];

/// Names of what says so by being true.
const FLAGS: [&str; 3] = ["ok", "success", "succeeded"];

/// Names of what says so by being zero.
const NUMBERS: [&str; 4] = ["errcode", "error_code", "errno", "code"];

/// Where an answer has what is in it: first where the release says.
struct Places<'a> {
    oauth: &'a Oauth,
    /// Whether the standard's place will do as well: what a refresh brings is of the token that was presented, wherever it
    /// stands.
    either: bool,
}

// === impl Endpoint ===

impl Endpoint<'_> {
    /// What an answer says.
    pub(super) fn read(&self, response: &Answer, refreshed: bool) -> Result<Issued, Refused> {
        let oauth = self.oauth;
        if !(200..300).contains(&response.status) {
            return Err(problem(oauth, response));
        }
        let places = Places { oauth, either: refreshed };
        let broken = |what: &str, fields: &Fields| {
            places.broken(format!("the token endpoint's answer {what}"), response, Some(fields))
        };
        let Some(fields) = response.fields() else {
            // One that broke off where nobody could see it, such as behind a length that is not said, or an odd one.
            let problem = "the token endpoint's answer is neither JSON nor a form".to_owned();
            return Err(places.beginning(problem, response));
        };
        let Some(access) = places.find(&fields, ACCESS) else {
            // One that has a name is an answer: nothing was spent.
            return Err(match no(oauth, response, Some(&fields)) {
                Some(refused) => refused,
                None => match broken("has no `access_token`", &fields) {
                    // Likewise, in words that nobody has a name for: it is whole, and no token is in it, so none was issued.
                    Refused::Ambiguous(_) if says_error(&fields) || says_no(&fields) => {
                        let problem =
                            "the token endpoint's answer is an error that nobody has a name for";
                        Refused::Plain(retry_after(response), problem.to_owned())
                    }
                    broken => broken,
                },
            });
        };
        let unusable = || broken("has no usable `access_token`", &fields);
        let access = token(access).ok_or_else(unusable)?;
        let refresh = places.find(&fields, REFRESH);
        let usable = refresh.and_then(token);
        let date = skew::date(response);
        let pointed = |pointer: Option<&str>| {
            fields.pointer(pointer?)?.written().map(|text| text.to_string())
        };
        Ok(Issued {
            access,
            doubtful: refresh.is_some() && usable.is_none(),
            refresh: usable,
            lifetime: places.lifetime(&fields, date.unwrap_or(self.now)).or(stated(oauth)),
            scopes: scopes(places.find(&fields, SCOPE), oauth),
            base_url: pointed(oauth.base_url.as_deref()),
            account: pointed(oauth.account.as_deref()),
            date,
        })
    }

    /// What is left of an answer that broke off on its way, for this reason.
    pub(super) fn read_part(&self, partial: &Answer, refreshed: bool, problem: &str) -> Refused {
        let places = Places { oauth: self.oauth, either: refreshed };
        let problem = format!("the token endpoint's answer broke off: {problem}");
        match partial.status {
            200..300 => places.beginning(problem, partial),
            // Whether it was to be a no of this server, only a name that it has begun with can say.
            _ => no(self.oauth, partial, partial.begun().as_ref())
                .unwrap_or(Refused::Ambiguous(problem)),
        }
    }
}

/// Whether an answer says that it is an error.
fn says_error(fields: &Fields) -> bool {
    fields.get("error").is_some_and(|error| !is_void(error))
}

/// Whether an answer without a token says anything, and nothing of it is what stands in a yes. What is empty, or a yes
/// whose token nobody finds, may have issued one all the same.
fn says_no(fields: &Fields) -> bool {
    !says_yes(fields) && fields.iter().any(|(name, value)| is_false(name, value) || !is_void(value))
}

/// Whether anything in an answer is what stands in a yes: something of a token, or its word.
fn says_yes(fields: &Fields) -> bool {
    fields.iter().any(|(name, value)| {
        let name = name.to_ascii_lowercase();
        let of_token = OF_TOKENS.iter().any(|part| name.contains(part)) && !is_void(value);
        let word = match value {
            Value::Text(text) => {
                WORDS_OF_YES.iter().any(|yes| text.trim().eq_ignore_ascii_case(yes))
            }
            Value::Bool(value) => *value && FLAGS.contains(&name.as_str()),
            // Zero is no error.
            Value::Number(_) => NUMBERS.contains(&name.as_str()) && is_void(value),
            _ => false,
        };
        of_token || word || within(value).any(says_yes)
    })
}

/// What a value has within.
fn within(value: &Value) -> impl Iterator<Item = &Fields> {
    let items = match value {
        Value::List(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    items.iter().filter_map(|item| match item {
        Value::Fields(fields) => Some(fields),
        _ => None,
    })
}

/// Whether a flag of success says no.
fn is_false(name: &str, value: &Value) -> bool {
    let no = match value {
        Value::Bool(value) => !value,
        Value::Text(text) => text.trim().eq_ignore_ascii_case("false"),
        _ => false,
    };
    no && FLAGS.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a value says nothing: what languages write for "none", such as PHP's empty list for an empty object.
fn is_void(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::Number(number) => number.parse::<f64>() == Ok(0.0),
        Value::List(items) => items.is_empty(),
        Value::Fields(fields) => fields.iter().next().is_none(),
        Value::Bool(true) | Value::Other => false,
    }
}

/// How long a token lives where the answer does not say.
pub(super) fn stated(oauth: &Oauth) -> Option<Duration> {
    oauth.lifetime.map(|seconds| Duration::from_secs(seconds.into()))
}

// === impl Places ===

impl Places<'_> {
    /// A member that is there, and not empty.
    fn find<'f>(&self, fields: &'f Fields, (said, standard): Place) -> Option<&'f Value> {
        let at = |place: &str| fields.pointer(place).filter(|value| !is_void(value));
        match said(&self.oauth.answer) {
            Some(place) if self.either => at(place).or_else(|| at(standard)),
            Some(place) => at(place),
            None => at(standard),
        }
    }

    fn lifetime(&self, fields: &Fields, now: OffsetDateTime) -> Option<Duration> {
        let at = |place: &str| fields.pointer(place);
        match &self.oauth.answer.expires {
            Some(place) => at(place)
                .and_then(|value| left(value, now))
                .or_else(|| at(EXPIRES).filter(|_| self.either).and_then(seconds)),
            None => at(EXPIRES).and_then(seconds),
        }
    }

    /// A success of which the beginning can be read. An error that it names is an answer, as it is in one that is whole:
    /// nothing was spent. A name that may go on behind what came is none.
    fn beginning(&self, problem: String, response: &Answer) -> Refused {
        let begun = response.begun();
        let no_access = begun.as_ref().filter(|begun| self.find(begun, ACCESS).is_none());
        let refused = no(self.oauth, response, no_access);
        refused.unwrap_or_else(|| self.broken(problem, response, None))
    }

    /// A yes that has no access token where it should be, and the tokens that it has all the same. `fields` are its members,
    /// if it is whole.
    fn broken(&self, problem: String, response: &Answer, fields: Option<&Fields>) -> Refused {
        let text = response.text();
        let begun = if fields.is_some() { None } else { response.begun() };
        let leftover = begun
            .as_ref()
            .and_then(|begun| self.begun(begun))
            .or_else(|| self.elsewhere(&text, fields.or(begun.as_ref())));
        match leftover {
            Some(leftover) => Refused::Broken(problem, leftover),
            None => Refused::Ambiguous(problem),
        }
    }

    /// Tokens of an answer that broke off, where they should be.
    fn begun(&self, fields: &Fields) -> Option<Leftover> {
        let access = self.find(fields, ACCESS).and_then(token)?;
        let refresh = self.find(fields, REFRESH).and_then(token);
        Some(Leftover { access: Some(access), refresh, cut: true })
    }

    /// Tokens anywhere in a text, also such as may not be whole.
    fn elsewhere(&self, text: &str, fields: Option<&Fields>) -> Option<Leftover> {
        let form = Fields::of_form(text, false);
        // Of what cannot be read as anything, the standard's names are all that there is to go by.
        let unread = fields.is_none() && form.is_none();
        let cut = unread && self.oauth.answer.access_token.is_none();
        let find = |place: Place| {
            let (said, standard) = place;
            let name =
                said(&self.oauth.answer).as_deref().unwrap_or(standard).rsplit('/').next()?;
            let placed = fields.or(form.as_ref()).and_then(|fields| self.find(fields, place));
            placed.and_then(token).or_else(|| quoted(text, name))
        };
        let (access, refresh) = (find(ACCESS), find(REFRESH));
        let found = access.is_some() || refresh.is_some();
        found.then_some(Leftover { access, refresh, cut })
    }
}

/// The string behind a name, if it is whole.
fn quoted(text: &str, name: &str) -> Option<SecretString> {
    let member = format!("\"{name}\"");
    let mut found = text.match_indices(&member).filter_map(|(at, _)| {
        let rest = text.get(at + member.len()..)?.trim_start().strip_prefix(':')?.trim_start();
        let value = serde_json::Deserializer::from_str(rest).into_iter::<SecretString>().next();
        value?.ok()
    });
    found.find_map(|text| usable(secrecy::ExposeSecret::expose_secret(&text)).then_some(text))
}

fn token(value: &Value) -> Option<SecretString> {
    match value {
        Value::Text(text) if usable(text) => Some(SecretString::from(text.as_str())),
        _ => None,
    }
}

/// What goes into a header must be able to stand there.
fn usable(token: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

/// Seconds, as a number or, from some providers, as text.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = number(value)?;
    // In range, so the cast only cuts the fraction off.
    let fits = (1.0..=LIFETIME_MAX_SECONDS as f64).contains(&seconds);
    fits.then(|| Duration::from_secs(seconds as u64))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(text) | Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// What is left: seconds, or a time in seconds or milliseconds since 1970, or as RFC 3339 has it. No two of them meet.
fn left(value: &Value, now: OffsetDateTime) -> Option<Duration> {
    if let Some(lifetime) = seconds(value) {
        return Some(lifetime);
    }
    let at = match (number(value), value) {
        (Some(number), _) => {
            let unix = if number >= UNIX_MILLISECONDS_MIN { number / 1e3 } else { number };
            OffsetDateTime::from_unix_timestamp(unix as i64).ok()?
        }
        (None, Value::Text(text)) => OffsetDateTime::parse(text.trim(), &Rfc3339).ok()?,
        (None, _) => return None,
    };
    let left = Duration::try_from(at - now).ok()?;
    (1..=LIFETIME_MAX_SECONDS).contains(&left.as_secs()).then_some(left)
}

/// What was granted, in whatever form: a text with spaces, commas or the release's own separator, or a list.
fn scopes(value: Option<&Value>, oauth: &Oauth) -> Option<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut add = |text: &str| {
        let parts = text.split(oauth.scope_separator.as_str()).flat_map(split_scopes);
        found.extend(parts.map(str::to_owned));
    };
    match value? {
        Value::Text(text) => add(text),
        Value::List(items) => {
            for item in items {
                if let Value::Text(text) = item {
                    add(text);
                }
            }
        }
        _ => return None,
    }
    // A list without a scope is none that the standard knows (section 3.3): it says nothing.
    (!found.is_empty()).then(|| found.into_iter().collect())
}
