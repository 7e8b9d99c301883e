//! Queues: messages in the order they were enqueued, each settled once.
//!
//! Enqueueing and settling are steps of a `Batch`; here is what happens in between. A claim hides a
//! message for a while; if it is not settled by then, somebody else may claim it, and the first claim
//! is worth nothing. Work may therefore run twice, and is settled once. A message that was claimed too
//! often becomes a dead letter with the reason that was last given.

use std::time::Duration;

use bytes::Bytes;
use time::OffsetDateTime;

use crate::backend::{Commit, Row, Verdict, Write, after};
use crate::error::{Collision, Error};
use crate::key::{Key, Space};
use crate::model::{Claim, DeadLetter};
use crate::row::{self, DeadRow, MessageRow};
use crate::store::Store;

/// What a dead letter says that nobody gave back: its claimers died, or forgot it.
const NEVER_SETTLED: &str = "claimed and never settled";

/// Bytes of a reason for giving a message back; the rest is cut. Twice as many as JSON still fit a row
/// beside the longest body.
const REASON_BYTES_MAX: usize = 256;

// === impl Store ===

impl Store {
    /// Takes the first message of a queue that nobody has, for `visibility`. None means that there is
    /// none now.
    pub async fn claim(&self, queue: &str, visibility: Duration) -> Result<Option<Claim>, Error> {
        let prefix = Key::of(Space::Message).part(queue);
        let mut last = None;
        loop {
            let page = self.page(&prefix, last.take()).await?;
            let now = self.now().await?;
            for (key, row) in &page {
                let (message, body) = row::decode::<MessageRow>(key, row)?.inline(key)?;
                if message.visible_at.is_some_and(|at| now < at) {
                    continue;
                }
                if message.attempts >= self.0.limits.attempts_max {
                    self.bury(key, row, message, &body, now).await?;
                    continue;
                }
                let claim = self.hide(queue, (key, row), message, body, after(now, visibility));
                // Not ours means that somebody else was first: the next message, then.
                if let Some(claim) = claim.await? {
                    return Ok(Some(claim));
                }
            }
            match page.last() {
                Some((key, _)) => last = Some(key.clone()),
                None => return Ok(None),
            }
        }
    }

    /// Removes a claimed message. A conflict means that the claim was not valid any more.
    pub async fn settle(&self, claim: &Claim) -> Result<(), Error> {
        self.batch().settle(claim).commit().await
    }

    /// Lets somebody else claim the message after `delay`, or gives it up if this was the last
    /// attempt. A conflict means that the claim was not valid any more.
    pub async fn give_back(
        &self,
        claim: &Claim,
        delay: Duration,
        reason: &str,
    ) -> Result<(), Error> {
        let reason = brief(reason);
        let (key, row, message) = self.claimed(claim).await?;
        let now = self.now().await?;
        let message = MessageRow { reason: Some(reason), ..message };
        let done = if message.attempts >= self.0.limits.attempts_max {
            self.bury(&key, &row, message, &claim.body, now).await?
        } else {
            let message = MessageRow { visible_at: Some(after(now, delay)), ..message };
            self.replace(&key, &row, row::encode(&message, &claim.body)?).await?
        };
        if done { Ok(()) } else { Err(Error::Conflict { what: Collision::Claim }) }
    }

    /// Messages of a queue that were given up, the oldest first.
    pub async fn dead_letters(&self, queue: &str) -> Result<Vec<DeadLetter>, Error> {
        let rows = self.all(Key::of(Space::Dead).part(queue)).await?;
        rows.iter()
            .map(|(key, row)| {
                let (dead, body) = row::decode::<DeadRow>(key, row)?.inline(key)?;
                let DeadRow { attempts, reason, at } = dead;
                Ok(DeadLetter { seq: key.last_number()?, attempts, reason, at, body })
            })
            .collect()
    }

    /// Everything that waits in a queue, claimed or not, the oldest first.
    pub async fn messages(&self, queue: &str) -> Result<Vec<(u64, Bytes)>, Error> {
        let rows = self.all(Key::of(Space::Message).part(queue)).await?;
        rows.iter()
            .map(|(key, row)| {
                let (_, body) = row::decode::<MessageRow>(key, row)?.inline(key)?;
                Ok((key.last_number()?, body))
            })
            .collect()
    }

    /// The row of a claimed message, if the claim is still the newest.
    pub(crate) async fn claimed(&self, claim: &Claim) -> Result<(Key, Row, MessageRow), Error> {
        let key = Key::of(Space::Message).part(&claim.queue).number(claim.seq);
        let found = self.read::<MessageRow>(&key).await?;
        let valid = found.filter(|(_, message)| u64::from(message.header.attempts) == claim.fence);
        let (row, message) = valid.ok_or(Error::Conflict { what: Collision::Claim })?;
        Ok((key, row, message.header))
    }

    /// Claims a message that is there to be claimed, unless somebody was first.
    async fn hide(
        &self,
        queue: &str,
        (key, row): (&Key, &Row),
        message: MessageRow,
        body: Bytes,
        until: OffsetDateTime,
    ) -> Result<Option<Claim>, Error> {
        let attempts = message.attempts + 1;
        let message = MessageRow { attempts, visible_at: Some(until), ..message };
        let claimed = self.replace(key, row, row::encode(&message, &body)?).await?;
        let (queue, seq) = (queue.to_owned(), key.last_number()?);
        Ok(claimed.then_some(Claim { queue, seq, attempts, fence: attempts.into(), body }))
    }

    /// Makes a dead letter of a message, unless it has changed.
    async fn bury(
        &self,
        key: &Key,
        row: &Row,
        message: MessageRow,
        body: &[u8],
        at: OffsetDateTime,
    ) -> Result<bool, Error> {
        let reason = message.reason.unwrap_or_else(|| NEVER_SETTLED.to_owned());
        let dead = DeadRow { attempts: message.attempts, reason, at };
        let mut commit = Commit::default();
        commit.unchanged(key, Some(row));
        commit.writes.push(Write::Remove { key: key.clone() });
        commit.put(key.moved(Space::Dead), row::encode(&dead, body)?);
        Ok(matches!(self.apply(commit).await?, Verdict::Committed { .. }))
    }

    /// Writes a row that is still as it was read.
    async fn replace(&self, key: &Key, row: &Row, value: Bytes) -> Result<bool, Error> {
        let mut commit = Commit::default();
        commit.unchanged(key, Some(row));
        commit.put(key.clone(), value);
        Ok(matches!(self.apply(commit).await?, Verdict::Committed { .. }))
    }
}

/// A reason short enough to be kept beside any body: control characters, which JSON writes six times as
/// long, become spaces.
fn brief(reason: &str) -> String {
    let cut = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
