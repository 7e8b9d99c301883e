//! `keyway logs`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use keyway_api::contract::exchange::{Exchange, ExchangeLine, ExchangeList};
use serde_json::value::RawValue;
use time::macros::format_description;

use crate::answer::{Answer, Members};
use crate::args::LoggedExchanges;
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// Exchanges that one page may have.
const PAGE_MAX: usize = 1_000;

/// Exchanges that are shown if no number is typed: a screenful or two, and what comes before new ones.
const LIMIT: usize = 100;
const LIMIT_BEFORE_NEW: usize = 10;

const HEADER: [&str; 8] = ["TIME", "TENANT", "METHOD", "URL", "STATUS", "MS", "RELEASE", "CALL"];

/// Widths of the columns of rows that are printed one by one.
const WIDTHS: [usize; 8] = [24, 16, 6, 60, 6, 6, 20, 37];

/// Shows exchanges.
pub(crate) async fn exchanges(session: &Session, typed: LoggedExchanges) -> anyhow::Result<Exit> {
    match &typed.har {
        Some(file) => archive(session, &typed, file).await,
        None if typed.follow => follow(session, &typed).await,
        None => {
            let exchanges = newest(session, &typed, typed.limit.unwrap_or(LIMIT)).await?;
            let mut whole = Members::default();
            whole.set("exchanges", &exchanges)?;
            session.show(Answer::of(&whole)?, |list: ExchangeList| {
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
) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut pages = Pages::new(session, typed, limit);
    let mut exchanges = Vec::new();
    while let Some(page) = pages.next(exchanges.len(), "json").await? {
        let page = page.members()?;
        pages.after = page.read("next")?;
        exchanges.extend(page.read::<Vec<_>>("exchanges")?.unwrap_or_default());
    }
    exchanges.reverse();
    Ok(exchanges)
}

/// Writes the newest that fit to a file, as one archive.
async fn archive(session: &Session, typed: &LoggedExchanges, file: &Path) -> anyhow::Result<Exit> {
    let mut pages = Pages::new(session, typed, typed.limit.unwrap_or(LIMIT));
    let (mut har, mut log, mut entries) =
        (Members::default(), Members::default(), Vec::<Box<RawValue>>::new());
    while let Some(page) = pages.next(entries.len(), "har").await? {
        har = page.members()?;
        log = har.read("log")?.unwrap_or_default();
        pages.after = log.read::<Members>("_keyway")?.unwrap_or_default().read("next")?;
        log.set("_keyway", &Members::default())?;
        // Oldest first in a page, while the pages go towards older ones.
        entries.extend(log.read::<Vec<_>>("entries")?.unwrap_or_default().into_iter().rev());
    }
    entries.reverse();
    let count = entries.len();
    log.set("entries", &entries)?;
    har.set("log", &log)?;
    let har = Answer::of(&har)?;
    if file == Path::new("-") {
        output::json(har.text(), true);
        return Ok(Exit::Success);
    }
    write(file, har.text()).with_context(|| format!("archive {}", file.display()))?;
    output::note(format!("{count} exchanges in {}", file.display()));
    Ok(Exit::Success)
}

/// For the owner's eyes: what was asked of providers is the tenants' business.
fn write(file: &Path, har: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    Ok(to.write_all(format!("{}\n", output::json_text(har, true)).as_bytes())?)
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
        let mut line = Members::default();
        line.set("exchange", &exchange)?;
        printer.line(&Answer::of(&line)?)?;
    }
    let mut next = begun;
    while let Some(line) = next {
        printer.line(&Answer::read(&line).context("a line of the stream")?)?;
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
    async fn next(&mut self, had: usize, format: &str) -> anyhow::Result<Option<Answer>> {
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
            output::row(&HEADER.map(str::to_owned), WIDTHS);
        }
        Self { json, last: 0 }
    }

    fn line(&mut self, text: &Answer) -> anyhow::Result<()> {
        let line: ExchangeLine = text.to()?;
        let id = line.exchange.as_ref().map(|exchange| exchange.id);
        let again = id.is_some_and(|id| id <= self.last);
        // A line of nothing says that the stream goes on.
        if again || (id.is_none() && line.missed.is_none()) {
            return Ok(());
        }
        self.last = id.unwrap_or(self.last);
        if self.json {
            output::json(text.text(), false);
            return Ok(());
        }
        if let Some(exchange) = line.exchange {
            output::row(&row(&exchange), WIDTHS);
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

fn row(exchange: &Exchange) -> [String; 8] {
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
        or_none(exchange.call.clone()),
    ]
}

/// RFC 3339 to the millisecond: many exchanges begin in a second.
fn timestamp(at: time::OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}
