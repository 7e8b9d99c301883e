//! A least pace: how long a peer may keep the host waiting in the middle of a message.
//!
//! Each direction of a connection has an allowance of time. It is used up only while the peer is waited for: while an
//! answer is ready and the peer takes none of it, or while a request's body is wanted and none of it comes. It is won
//! back with every byte, at the least rate, up to where it began. Where it is used up, the connection ends.
//!
//! So a peer that takes nothing ends after the allowance, one that takes a byte now and then soon after that, and one
//! that is slow and honest never. An answer of which there is nothing more for the moment (a follower of the
//! exchange log, a provider that thinks) costs its reader nothing, however long that lasts.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::crowd::Member;

/// What a peer is held to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The allowance.
    pub(super) stall_max: Duration,
    /// Bytes that win back a second of it.
    pub(super) rate_bytes_min: u32,
}

/// What is left of it in one direction.
pub(super) struct Allowance {
    pace: Pace,
    left: Duration,
    /// Since when the peer is waited for.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// A connection whose peer is held to a pace when it is written to, and whose member hears of what moves.
pub(super) struct Paced<S> {
    stream: S,
    member: Arc<Member>,
    written: Allowance,
}

/// The peer was waited for longer than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the peer was slower than it may be")]
pub(crate) struct TooSlow;

// === impl Allowance ===

impl Allowance {
    pub(super) fn new(pace: Pace) -> Self {
        Self { pace, left: pace.stall_max, since: None, timer: None }
    }

    /// The peer is being waited for. Ready once it has been for too long; until then the task is woken for that.
    pub(super) fn wait(&mut self, context: &mut Context<'_>) -> Poll<TooSlow> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + self.left;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context).map(|()| TooSlow)
    }

    /// So many bytes went through.
    pub(super) fn moved(&mut self, bytes: usize) {
        let Some(since) = self.since.take() else { return };
        let won =
            Duration::from_secs_f64(bytes as f64 / f64::from(self.pace.rate_bytes_min.max(1)));
        let left = self.left.saturating_sub(since.elapsed()).saturating_add(won);
        self.left = left.min(self.pace.stall_max);
    }
}

// === impl Paced ===

impl<S> Paced<S> {
    pub(super) fn new(stream: S, member: Arc<Member>, pace: Pace) -> Self {
        Self { stream, member, written: Allowance::new(pace) }
    }

    /// Counts what was written, or the time in which nothing could be.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.written.moved(bytes);
                self.member.moved();
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let too_slow = ready!(self.written.wait(context));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, too_slow)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.member.moved();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::crowd::{Bounds, Crowd};
    use super::*;

    const PACE: Pace = Pace { stall_max: Duration::from_secs(30), rate_bytes_min: 1_024 };

    /// Waits for this long at most; whether that was too long.
    async fn waits(allowance: &mut Allowance, time: Duration) -> bool {
        let over = poll_fn(|context| allowance.wait(context));
        tokio::time::timeout(time, over).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_has_the_allowance_and_no_more() {
        let mut allowance = Allowance::new(PACE);
        assert!(!waits(&mut allowance, Duration::from_millis(29_990)).await);
        assert!(waits(&mut allowance, Duration::from_millis(20)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_rate_lasts_for_ever_and_a_byte_now_and_then_does_not() {
        for (bytes, lasts) in [(10_240, true), (9_000, false), (1, false)] {
            let mut allowance = Allowance::new(PACE);
            let mut held = true;
            for _ in 0..10_000 {
                held &= !waits(&mut allowance, Duration::from_secs(10)).await;
                allowance.moved(bytes);
            }
            assert_eq!(held, lasts, "{bytes} bytes in ten seconds");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_saved_up_and_time_without_waiting_costs_nothing() {
        let mut allowance = Allowance::new(PACE);
        assert!(!waits(&mut allowance, Duration::from_secs(1)).await);
        allowance.moved(1 << 30);
        assert!(!waits(&mut allowance, Duration::from_millis(29_990)).await);
        assert!(waits(&mut allowance, Duration::from_millis(20)).await, "a gigabyte buys no hour");

        let mut allowance = Allowance::new(PACE);
        for _ in 0..100 {
            assert!(!waits(&mut allowance, Duration::from_secs(1)).await);
            allowance.moved(1_024);
            // Nothing to write, as with a follower of a quiet log.
            tokio::time::advance(Duration::from_secs(3_600)).await;
        }
    }

    /// Writes this much to a peer that takes `piece` bytes every so often; whether all of it went through.
    async fn written(bytes: usize, piece: usize, every: Duration) -> bool {
        let crowd =
            Crowd::new(Bounds { connections_max: 1, known_min: 0, peer_max: 1, token_max: 1 });
        let seat = crowd.seat([192, 0, 2, 1].into()).await.unwrap();
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let mut paced = Paced::new(near, Arc::clone(seat.member()), PACE);
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; piece];
            loop {
                tokio::time::sleep(every).await;
                if far.read(&mut taken).await.is_ok_and(|bytes| bytes == 0) {
                    return;
                }
            }
        });
        let outcome = paced.write_all(&vec![0; bytes]).await;
        reader.abort();
        match outcome {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                assert!(super::super::is_slow(&error), "{error:?}");
                false
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_and_honest_reader_gets_all_of_it_and_one_that_pretends_does_not() {
        let second = Duration::from_secs(1);
        // Hours: 16 MiB at 4 KiB a second, in pieces as a busy client takes them.
        assert!(written(16 << 20, 4 << 10, second).await);
        assert!(written(1 << 20, 60 << 10, 15 * second).await);
        assert!(!written(1 << 20, 1, second).await, "a byte a second");
        assert!(!written(1 << 20, 1 << 10, 29 * second).await, "just before the time is over");
        assert!(!written(1 << 20, 1 << 10, 3_600 * second).await, "nothing");
    }
}
