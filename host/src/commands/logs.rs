//! `keyway logs`: what the logs have, page by page and as it comes.
//!
//! What an entry of a log is and looks like, each has in a file of its own.

mod calls;
mod exchanges;

use std::marker::PhantomData;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use time::macros::format_description;

use crate::answer::{Answer, Members};
use crate::args::{Logged, LogsCommand};
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output::{self, Table};

/// Entries that one page may have.
const PAGE_MAX: usize = 1_000;

/// Entries that are shown if no number is typed: a screenful or two, and what comes before new ones.
const LIMIT: usize = 100;
const LIMIT_BEFORE_NEW: usize = 10;

/// What a log has, as a row of so many columns.
trait Entry<const N: usize>: DeserializeOwned {
    /// What many are called: in the path, in a page and to people.
    const MANY: &'static str;
    /// What one is called in a line of a stream.
    const ONE: &'static str;
    /// Above the columns.
    const HEADER: [&'static str; N];
    /// Widths of the columns of rows that are printed one by one.
    const WIDTHS: [usize; N];

    /// Its cells.
    fn row(&self) -> [String; N];
    /// Its id.
    fn id(&self) -> u64;

    /// Lines below its row.
    fn below(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What is asked of a log.
struct Wanted<'a> {
    typed: &'a Logged,
    /// Parameters beside those that every log has.
    more: Vec<String>,
}

/// Shows what a log has.
pub(crate) async fn logs(session: &Session, command: LogsCommand) -> anyhow::Result<Exit> {
    match command {
        LogsCommand::Calls(typed) => calls::calls(session, typed).await,
        LogsCommand::Exchanges(typed) => exchanges::exchanges(session, typed).await,
    }
}

/// Shows the newest, or the newest and what is new.
async fn show<E: Entry<N>, const N: usize>(
    session: &Session,
    wanted: Wanted<'_>,
) -> anyhow::Result<Exit> {
    if wanted.typed.follow {
        return follow::<E, N>(session, wanted).await;
    }
    let entries = newest::<E, N>(session, &wanted, wanted.typed.limit.unwrap_or(LIMIT)).await?;
    let mut whole = Members::default();
    whole.set(E::MANY, &entries)?;
    session.show(Answer::of(&whole)?, |whole: Members| {
        let entries: Vec<E> = whole.read(E::MANY).ok().flatten().unwrap_or_default();
        let table = Table::of(E::HEADER, &entries.iter().map(E::row).collect::<Vec<_>>());
        table.header();
        entries.iter().for_each(|entry| print(entry, &table));
    })
}

/// The newest `limit` that fit, oldest first.
async fn newest<E: Entry<N>, const N: usize>(
    session: &Session,
    wanted: &Wanted<'_>,
    limit: usize,
) -> anyhow::Result<Vec<Box<RawValue>>> {
    let mut pages = Pages::new(session, E::MANY, wanted, limit);
    let mut entries = Vec::new();
    while let Some(page) = pages.next(entries.len(), None).await? {
        let page = page.members()?;
        pages.after = page.read("next")?;
        entries.extend(page.read::<Vec<_>>(E::MANY)?.unwrap_or_default());
    }
    entries.reverse();
    Ok(entries)
}

/// Shows the newest, and goes on with what is new.
async fn follow<E: Entry<N>, const N: usize>(
    session: &Session,
    wanted: Wanted<'_>,
) -> anyhow::Result<Exit> {
    let path = path(session, E::MANY, "/follow", &wanted.parameters());
    let mut lines = session.lines(&path).await?;
    // The first line says that from here on nothing is missed; only then what was before is looked up.
    let begun = lines.next().await?;
    let limit = wanted.typed.limit.unwrap_or(LIMIT_BEFORE_NEW);
    let before = newest::<E, N>(session, &wanted, limit).await?;
    let mut printer = Printer::<E, N>::begin(session.json());
    for entry in before {
        let mut line = Members::default();
        line.set(E::ONE, &entry)?;
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
    many: &'static str,
    wanted: Vec<String>,
    limit: usize,
    begun: bool,
    after: Option<u64>,
}

/// Prints lines of a stream.
struct Printer<E: Entry<N>, const N: usize> {
    /// None: as JSON.
    table: Option<Table<N>>,
    of: PhantomData<E>,
    /// Id of the last one printed: what was looked up may be told again.
    last: u64,
}

// === impl Wanted ===

impl Wanted<'_> {
    /// What pages and streams are narrowed by.
    fn parameters(&self) -> Vec<String> {
        let Logged { tenant, connector, call, release, .. } = self.typed;
        let mut parameters = parameters(&[
            ("tenant", tenant.as_deref()),
            ("connector", connector.as_deref()),
            ("call", call.as_deref()),
            ("release", release.as_deref()),
        ]);
        parameters.extend(self.more.iter().cloned());
        parameters
    }
}

// === impl Pages ===

impl<'a> Pages<'a> {
    fn new(session: &'a Session, many: &'static str, wanted: &Wanted<'_>, limit: usize) -> Self {
        let Logged { since, until, .. } = wanted.typed;
        let mut parameters = wanted.parameters();
        let times = [("since", since.as_deref()), ("until", until.as_deref())];
        parameters.extend(self::parameters(&times));
        Self { session, many, wanted: parameters, limit, begun: false, after: None }
    }

    /// The next page, if there is one and more than `had` are wanted. The first is always asked for, so that what
    /// the host would refuse is refused.
    async fn next(&mut self, had: usize, format: Option<&str>) -> anyhow::Result<Option<Answer>> {
        let first = !std::mem::replace(&mut self.begun, true);
        let left = self.limit.saturating_sub(had);
        if !first && (left == 0 || self.after.is_none()) {
            return Ok(None);
        }
        let mut query = self.wanted.clone();
        query.extend(format.map(|format| format!("format={format}")));
        query.push(format!("limit={}", left.min(PAGE_MAX)));
        query.extend(self.after.map(|after| format!("after={after}")));
        self.session.get(&path(self.session, self.many, "", &query)).await.map(Some)
    }
}

// === impl Printer ===

impl<E: Entry<N>, const N: usize> Printer<E, N> {
    fn begin(json: bool) -> Self {
        let table = (!json).then(|| Table::at_most(E::HEADER, E::WIDTHS));
        if let Some(table) = &table {
            table.header();
        }
        Self { table, of: PhantomData, last: 0 }
    }

    fn line(&mut self, text: &Answer) -> anyhow::Result<()> {
        let line = text.members()?;
        let (entry, missed) = (line.read::<E>(E::ONE)?, line.read::<u64>("missed")?);
        let id = entry.as_ref().map(E::id);
        let again = id.is_some_and(|id| id <= self.last);
        // A line of nothing says that the stream goes on.
        if again || (id.is_none() && missed.is_none()) {
            return Ok(());
        }
        self.last = id.unwrap_or(self.last);
        let Some(table) = &self.table else {
            output::json(text.text(), false);
            return Ok(());
        };
        if let Some(entry) = entry {
            print(&entry, table);
        }
        if let Some(missed) = missed {
            output::note(format!("{missed} {} went by unread; they are in the log", E::MANY));
        }
        Ok(())
    }
}

fn print<E: Entry<N>, const N: usize>(entry: &E, table: &Table<N>) {
    table.row(&entry.row());
    entry.below().iter().for_each(output::line);
}

fn parameters(named: &[(&str, Option<&str>)]) -> Vec<String> {
    named
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))))
        .collect()
}

fn path(session: &Session, many: &str, rest: &str, query: &[String]) -> String {
    let environment = encoded(session.environment());
    format!("/v1/environments/{environment}/{many}{rest}?{}", query.join("&"))
}

/// What is not known.
fn or_none(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-".to_owned())
}

/// RFC 3339 to the millisecond: many begin in a second.
fn timestamp(at: time::OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC).format(format).unwrap_or_else(|_| at.to_string())
}
