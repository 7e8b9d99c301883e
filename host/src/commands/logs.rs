//! `keyway logs`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use keyway_api::contract::exchange::{Exchange, ExchangeLine, ExchangeList};
use serde_json::{Value, json};
use time::macros::format_description;

use crate::args::LoggedExchanges;
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// Exchanges that one page may have.
const PAGE_MAX: usize = 1_000;

/// Exchanges that are shown if no number is typed: a screenful or two, and what comes before new ones.
const LIMIT: usize = 100;
const LIMIT_BEFORE_NEW: usize = 10;

const HEADER: [&str; 7] = ["TIME", "TENANT", "METHOD", "URL", "STATUS", "MS", "RELEASE"];

/// Widths of the columns of rows that are printed one by one; the last has what it needs.
const WIDTHS: [usize; 6] = [24, 16, 6, 60, 6, 6];

/// Shows exchanges.
pub(crate) async fn exchanges(session: &Session, typed: LoggedExchanges) -> anyhow::Result<Exit> {
    match &typed.har {
        Some(file) => archive(session, &typed, file).await,
        None if typed.follow => follow(session, &typed).await,
        None => {
            let exchanges = newest(session, &typed, typed.limit.unwrap_or(LIMIT)).await?;
            session.show(json!({ "exchanges": exchanges }), |list: ExchangeList| {
                output::table(HEADER, &list.exchanges.iter().map(row).collect::<Vec<_>>());
            })
        }
    }
}

/// The newest `limit` that fit, oldest first.
async fn newest(
    session: &Session,
    typed: &LoggedExchanges,
    limit: usize,
) -> anyhow::Result<Vec<Value>> {
    let mut pages = Pages::new(session, typed, limit);
    let mut exchanges = Vec::new();
    while let Some(mut page) = pages.next(exchanges.len(), "json").await? {
        pages.after = page["next"].as_u64();
        if let Value::Array(more) = page["exchanges"].take() {
            exchanges.extend(more);
        }
    }
    exchanges.reverse();
    Ok(exchanges)
}

/// Writes the newest that fit to a file, as one archive.
async fn archive(session: &Session, typed: &LoggedExchanges, file: &Path) -> anyhow::Result<Exit> {
    let mut pages = Pages::new(session, typed, typed.limit.unwrap_or(LIMIT));
    let (mut har, mut entries) = (Value::Null, Vec::new());
    while let Some(mut page) = pages.next(entries.len(), "har").await? {
        let log = &mut page["log"];
        pages.after = log["_keyway"]["next"].as_u64();
        log["_keyway"] = json!({});
        // Oldest first in a page, while the pages go towards older ones.
        if let Value::Array(more) = log["entries"].take() {
            entries.extend(more.into_iter().rev());
        }
        har = page;
    }
    entries.reverse();
    let count = entries.len();
    har["log"]["entries"] = Value::Array(entries);
    if file == Path::new("-") {
        output::json(&har, true);
        return Ok(Exit::Success);
    }
    write(file, &har).with_context(|| format!("archive {}", file.display()))?;
    output::note(format!("{count} exchanges in {}", file.display()));
    Ok(Exit::Success)
}

/// For the owner's eyes: what was asked of providers is the tenants' business.
fn write(file: &Path, har: &Value) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    Ok(to.write_all(format!("{har:#}\n").as_bytes())?)
}

/// Shows the newest, and goes on with what is new.
async fn follow(session: &Session, typed: &LoggedExchanges) -> anyhow::Result<Exit> {
    let path = path(session, "/follow", &wanted(typed));
    let mut lines = session.lines(&path).await?;
    // The first line says that from here on nothing is missed; only then what was before is looked up.
    let begun = lines.next().await?;
    let before = newest(session, typed, typed.limit.unwrap_or(LIMIT_BEFORE_NEW)).await?;
    let mut printer = Printer::begin(session.json());
    for exchange in before {
        printer.line(json!({ "exchange": exchange }))?;
    }
    let mut next = begun;
    while let Some(line) = next {
        printer.line(serde_json::from_str(&line).context("a line of the stream")?)?;
        if output::unread() {
            return Ok(Exit::Success);
        }
        next = lines.next().await?;
    }
    output::note("the host has ended the stream: it stops, or the token does not do any more");
    Ok(Exit::Unreachable)
}

/// Pages from the newest on, until there are enough.
struct Pages<'a> {
    session: &'a Session,
    wanted: Vec<String>,
    limit: usize,
    begun: bool,
    after: Option<u64>,
}

/// Prints lines of a stream.
struct Printer {
    json: bool,
    /// Id of the last one printed: what was looked up may be told again.
    last: u64,
}

// === impl Pages ===

impl<'a> Pages<'a> {
    fn new(session: &'a Session, typed: &LoggedExchanges, limit: usize) -> Self {
        let mut wanted = wanted(typed);
        let times = [("since", &typed.since), ("until", &typed.until)];
        wanted.extend(parameters(&times.map(|(name, value)| (name, value.as_deref()))));
        Self { session, wanted, limit, begun: false, after: None }
    }

    /// The next page, if there is one and more than `had` are wanted. The first is always asked for, so that what
    /// the host would refuse is refused.
    async fn next(&mut self, had: usize, format: &str) -> anyhow::Result<Option<Value>> {
        let first = !std::mem::replace(&mut self.begun, true);
        let left = self.limit.saturating_sub(had);
        if !first && (left == 0 || self.after.is_none()) {
            return Ok(None);
        }
        let mut query = self.wanted.clone();
        query.push(format!("format={format}&limit={}", left.min(PAGE_MAX)));
        query.extend(self.after.map(|after| format!("after={after}")));
        self.session.get(&path(self.session, "", &query)).await.map(Some)
    }
}

// === impl Printer ===

impl Printer {
    fn begin(json: bool) -> Self {
        if !json {
            output::line(columns(HEADER.map(str::to_owned)));
        }
        Self { json, last: 0 }
    }

    fn line(&mut self, line: Value) -> anyhow::Result<()> {
        let id = line["exchange"]["id"].as_u64();
        let again = id.is_some_and(|id| id <= self.last);
        if again || line == json!({}) {
            return Ok(());
        }
        self.last = id.unwrap_or(self.last);
        if self.json {
            output::json(&line, false);
            return Ok(());
        }
        let line: ExchangeLine =
            serde_json::from_value(line).context("a line of another shape than this version's")?;
        if let Some(exchange) = line.exchange {
            output::line(columns(row(&exchange)));
        }
        if let Some(missed) = line.missed {
            output::note(format!("{missed} exchanges went by unread; they are in the log"));
        }
        Ok(())
    }
}

/// What pages and streams are narrowed by.
fn wanted(typed: &LoggedExchanges) -> Vec<String> {
    parameters(&[
        ("tenant", typed.tenant.as_deref()),
        ("connector", typed.connector.as_deref()),
        ("call", typed.call.as_deref()),
        ("release", typed.release.as_deref()),
        ("host", typed.to.as_deref()),
        ("status", typed.status.as_deref()),
        ("failed", typed.failed.then_some("true")),
        ("purpose", typed.purpose.as_deref()),
    ])
}

fn parameters(named: &[(&str, Option<&str>)]) -> Vec<String> {
    named
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))))
        .collect()
}

fn path(session: &Session, rest: &str, query: &[String]) -> String {
    let environment = encoded(session.environment());
    format!("/v1/environments/{environment}/exchanges{rest}?{}", query.join("&"))
}

fn row(exchange: &Exchange) -> [String; 7] {
    let status = exchange.response.as_ref().map(|response| response.status.to_string());
    let outcome: Vec<String> = status.into_iter().chain(exchange.stopped.clone()).collect();
    let or_none = |text: Option<String>| text.unwrap_or("-".to_owned());
    // What was refused early may be neither method nor URL.
    let shown = |text: &str| or_none(Some(text.to_owned()).filter(|text| !text.is_empty()));
    [
        timestamp(exchange.at),
        or_none(exchange.tenant.clone()),
        shown(&exchange.request.method),
        shown(&exchange.request.url),
        outcome.join(" "),
        format!("{:.0}", exchange.timings.total_ms),
        or_none(exchange.release.as_ref().map(|it| format!("{}@{}", it.connector, it.version))),
    ]
}

/// RFC 3339 to the millisecond: many exchanges begin in a second.
fn timestamp(at: time::OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}

/// A row of a table whose other rows are not known yet.
fn columns(row: [String; 7]) -> String {
    let width = |at: usize| WIDTHS.get(at).copied().unwrap_or_default();
    let cells = row.into_iter().enumerate().map(|(at, cell)| format!("{cell:0$}", width(at)));
    cells.collect::<Vec<_>>().join("  ")
}
