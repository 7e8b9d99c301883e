//! `keyway logs exchanges`: as a table, as JSON, as an archive, and as they come.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use keyway_api::contract::exchange::Exchange;
use serde_json::value::RawValue;

use super::{Entry, LIMIT, Pages, Wanted, or_none, parameters, show, timestamp};
use crate::answer::{Answer, Members};
use crate::args::LoggedExchanges;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output;

/// Shows exchanges.
pub(super) async fn exchanges(session: &Session, typed: LoggedExchanges) -> anyhow::Result<Exit> {
    let LoggedExchanges { logged, to, status, failed, purpose, har } = &typed;
    let more = parameters(&[
        ("host", to.as_deref()),
        ("status", status.as_deref()),
        ("failed", failed.then_some("true")),
        ("purpose", purpose.as_deref()),
    ]);
    let wanted = Wanted { typed: logged, more };
    match har {
        Some(file) => archive(session, &wanted, file).await,
        None => show::<Exchange, _>(session, wanted).await,
    }
}

/// Writes the newest that fit to a file, as one archive.
async fn archive(session: &Session, wanted: &Wanted<'_>, file: &Path) -> anyhow::Result<Exit> {
    let limit = wanted.typed.limit.unwrap_or(LIMIT);
    let mut pages = Pages::new(session, Exchange::MANY, wanted, limit);
    let (mut har, mut log, mut entries) =
        (Members::default(), Members::default(), Vec::<Box<RawValue>>::new());
    while let Some(page) = pages.next(entries.len(), Some("har")).await? {
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

// === impl Entry ===

impl Entry<8> for Exchange {
    const MANY: &'static str = "exchanges";
    const ONE: &'static str = "exchange";
    const HEADER: [&'static str; 8] =
        ["TIME", "TENANT", "METHOD", "URL", "STATUS", "MS", "RELEASE", "CALL"];
    const WIDTHS: [usize; 8] = [24, 16, 6, 60, 6, 6, 20, 37];

    fn row(&self) -> [String; 8] {
        let status = self.response.as_ref().map(|response| response.status.to_string());
        let outcome: Vec<String> = status.into_iter().chain(self.stopped.clone()).collect();
        // What was refused early may be neither method nor URL.
        [
            timestamp(self.at),
            or_none(self.tenant.clone()),
            or_none(Some(self.request.method.clone())),
            or_none(Some(self.request.url.clone())),
            outcome.join(" "),
            format!("{:.0}", self.timings.total_ms),
            or_none(self.release.as_ref().map(|it| format!("{}@{}", it.connector, it.version))),
            or_none(self.call.clone()),
        ]
    }

    fn id(&self) -> u64 {
        self.id
    }
}
