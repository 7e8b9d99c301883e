//! Who is connected, and who has to go when somebody new comes and there is no place left.
//!
//! A connection on which nobody has shown a token yet is a *stranger*. Strangers never fill the host: some places are kept
//! for those who have shown one, and where a place is needed, the stranger goes that has been silent for longest.
//! So a crowd that connects and says nothing, or asks and does not read, takes places from itself alone. Of
//! those who are known, only one that has asked for nothing for a while goes, as any HTTP connection may. Whoever is being
//! answered stays. No token makes more than its part of the connections known: with one more, another of its own has to go,
//! or the request is refused.
//!
//! How long a stranger may be silent while there is room is not decided here, but in [`super::pace`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_core::Digest;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a known connection is spared after its last answer: its next request is often on the way.
const KNOWN_IDLE_MIN: Duration = Duration::from_secs(1);

/// How many may be connected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// In all.
    pub(super) connections_max: usize,
    /// Of these, places that no stranger gets; half of them at most.
    pub(super) known_min: usize,
    /// From one address.
    pub(super) peer_max: usize,
    /// Known by one token.
    pub(super) token_max: usize,
}

/// A token, as far as one is told from another here: the beginning of its hash, which is never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct TokenMark(NonZeroU64);

/// All connections. Shared.
pub(super) struct Crowd {
    bounds: Bounds,
    began_at: Instant,
    table: Mutex<Table>,
    /// A place is free that was not before.
    freed: Notify,
}

#[derive(Default)]
struct Table {
    members: HashMap<u64, Arc<Member>>,
    peers: HashMap<Peer, usize>,
    tokens: HashMap<TokenMark, usize>,
    strangers: usize,
    next: u64,
    /// Members that were told to go and have not gone yet.
    leaving: usize,
}

/// An address, as far as it says who somebody is: whoever has one address of IPv6 has its whole network of 64 bits (RFC
/// 6177).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Peer(IpAddr);

/// One connection.
pub(crate) struct Member {
    crowd: Arc<Crowd>,
    id: u64,
    peer: Peer,
    /// The token that was shown last; zero for a stranger.
    token: AtomicU64,
    /// Told to go.
    leaving: AtomicBool,
    /// [`BUSY`], [`TAKING`] and [`ANSWERING`].
    doing: AtomicU8,
    /// Milliseconds from the crowd's beginning to when bytes last went either way.
    moved_at: AtomicU64,
    told: Notify,
}

/// A place, until it is dropped.
pub(super) struct Seat(Arc<Member>);

/// What a connection does at the moment, until it is dropped.
pub(super) struct Doing {
    member: Arc<Member>,
    what: u8,
}

/// A request is under way, from its head to the end of its answer.
pub(super) const BUSY: u8 = 1;
/// Its body is not there yet.
pub(super) const TAKING: u8 = 2;
/// Its answer is not taken yet.
pub(super) const ANSWERING: u8 = 4;

/// Why somebody is not let in, or has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    Seated,
    /// Somebody was told to go, or everybody is busy.
    Wait,
    /// Its address has as many connections as it may, and all of them are busy.
    Refused,
}

// === impl Crowd ===

impl Crowd {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            began_at: Instant::now(),
            table: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// A place for somebody from this address, who waits for it while everybody is busy; none if it is this address
    /// that has all it may. For one caller at a time.
    pub(super) async fn seat(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let peer = Peer::of(address);
        loop {
            match self.turn(peer) {
                Turn::Seated => return Some(self.sit(peer)),
                Turn::Wait => self.freed.notified().await,
                Turn::Refused => return None,
            }
        }
    }

    /// Whether there is room, made if need be.
    fn turn(&self, peer: Peer) -> Turn {
        let Bounds { connections_max, known_min, peer_max, token_max: _ } = self.bounds;
        let mut table = self.table();
        if table.leaving > 0 {
            return Turn::Wait;
        }
        // However few places there are: somebody known was a stranger first.
        let strangers_max = connections_max - known_min.min(connections_max / 2);
        if table.peers.get(&peer).is_some_and(|count| *count >= peer_max) {
            let victim = self.victim(&table, |member| member.peer == peer);
            return victim.map_or(Turn::Refused, |victim| table.send_away(&victim));
        }
        let victim = if table.members.len() >= connections_max {
            self.victim(&table, |_| true)
        } else if table.strangers >= strangers_max {
            self.victim(&table, |member| !member.is_known())
        } else {
            return Turn::Seated;
        };
        victim.map_or(Turn::Wait, |victim| table.send_away(&victim))
    }

    /// Who goes first: strangers before others, and of equals who has been silent for longest.
    fn victim(&self, table: &Table, may: impl Fn(&Member) -> bool) -> Option<Arc<Member>> {
        let now = self.millis();
        let stays = |member: &Member| !member.leaving.load(Ordering::Relaxed);
        let ranked = table.members.values().filter(|member| stays(member) && may(member));
        let ranked = ranked.filter_map(|member| Some((member.rank(now)?, member)));
        ranked.min_by_key(|(rank, member)| (*rank, member.id)).map(|(_, member)| Arc::clone(member))
    }

    fn sit(self: &Arc<Self>, peer: Peer) -> Seat {
        let mut table = self.table();
        table.next += 1;
        let member = Arc::new(Member {
            crowd: Arc::clone(self),
            id: table.next,
            peer,
            token: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            doing: AtomicU8::new(0),
            moved_at: AtomicU64::new(self.millis()),
            told: Notify::new(),
        });
        table.members.insert(member.id, Arc::clone(&member));
        *table.peers.entry(peer).or_default() += 1;
        table.strangers += 1;
        Seat(member)
    }

    fn leave(&self, member: &Member) {
        let mut table = self.table();
        table.members.remove(&member.id);
        table.strangers -= usize::from(!member.is_known());
        table.leaving -= usize::from(member.leaving.load(Ordering::Relaxed));
        one_less(&mut table.peers, member.peer);
        if let Some(token) = member.token() {
            one_less(&mut table.tokens, token);
        }
        drop(table);
        self.freed.notify_one();
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whole whatever panicked while it was held: nothing in it can.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Table ===

impl Table {
    fn send_away(&mut self, member: &Member) -> Turn {
        member.leaving.store(true, Ordering::Relaxed);
        self.leaving += 1;
        member.told.notify_one();
        Turn::Wait
    }
}

/// Forgets what there is none of.
fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

// === impl TokenMark ===

impl TokenMark {
    pub(crate) fn of(hash: &Digest) -> Self {
        let mut beginning = [0; 8];
        beginning.copy_from_slice(&hash.as_bytes()[..8]);
        Self(NonZeroU64::new(u64::from_be_bytes(beginning)).unwrap_or(NonZeroU64::MIN))
    }
}

// === impl Peer ===

impl Peer {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from(network)))
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

// === impl Member ===

impl Member {
    /// A token was shown that this host knows. False if so many connections are known by it that it gets no other, and
    /// all of them are busy; then this one is what it was before.
    pub(crate) fn know(&self, token: TokenMark) -> bool {
        let before = self.token();
        // Nearly always: it is the same for the whole connection.
        if before == Some(token) {
            return true;
        }
        let mut table = self.crowd.table();
        if table.tokens.get(&token).is_some_and(|count| *count >= self.crowd.bounds.token_max) {
            let own = |member: &Member| member.token() == Some(token);
            let Some(victim) = self.crowd.victim(&table, own) else { return false };
            table.send_away(&victim);
        }
        *table.tokens.entry(token).or_default() += 1;
        match before {
            Some(before) => one_less(&mut table.tokens, before),
            None => table.strangers -= 1,
        }
        self.token.store(token.0.get(), Ordering::Relaxed);
        drop(table);
        // A stranger may have waited for this.
        self.crowd.freed.notify_one();
        true
    }

    fn token(&self) -> Option<TokenMark> {
        NonZeroU64::new(self.token.load(Ordering::Relaxed)).map(TokenMark)
    }

    fn is_known(&self) -> bool {
        self.token().is_some()
    }

    /// Bytes went one way or the other.
    pub(super) fn moved(&self) {
        self.moved_at.store(self.crowd.millis(), Ordering::Relaxed);
    }

    /// Does this until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>, what: u8) -> Doing {
        self.doing.fetch_or(what, Ordering::Relaxed);
        Doing { member: Arc::clone(self), what }
    }

    /// Lower goes first; none stays.
    fn rank(&self, now: u64) -> Option<(bool, u64)> {
        let doing = self.doing.load(Ordering::Relaxed);
        let moved_at = self.moved_at.load(Ordering::Relaxed);
        let known = self.is_known();
        let may_go = match known {
            // While it sends or is sent to, it is the one who is waited for.
            false => doing & BUSY == 0 || doing & (TAKING | ANSWERING) != 0,
            true => {
                doing & BUSY == 0
                    && Duration::from_millis(now.saturating_sub(moved_at)) >= KNOWN_IDLE_MIN
            }
        };
        may_go.then_some((known, moved_at))
    }
}

// === impl Seat ===

impl Seat {
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.0
    }

    /// Ends when it is time to go.
    pub(super) async fn told_to_go(&self) {
        self.0.told.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.crowd.leave(&self.0);
    }
}

// === impl Doing ===

impl Doing {
    /// This as well, until the end of what it does already.
    pub(super) fn also(mut self, what: u8) -> Self {
        self.member.doing.fetch_or(what, Ordering::Relaxed);
        self.what |= what;
        self
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.member.doing.fetch_and(!self.what, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { connections_max: 4, known_min: 1, peer_max: 3, token_max: 4 };

    fn token(name: &str) -> TokenMark {
        TokenMark::of(&Digest::of(name.as_bytes()))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    /// Somebody new, from an address of its own, and whoever goes for it.
    async fn seat(crowd: &Arc<Crowd>, last: u8) -> Seat {
        crowd.seat(address(last)).await.unwrap()
    }

    fn leaving(seats: &[Seat]) -> Vec<u64> {
        let gone = seats.iter().filter(|seat| seat.0.leaving.load(Ordering::Relaxed));
        gone.map(|seat| seat.0.id).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn the_stranger_goes_that_has_been_silent_for_longest() {
        let crowd = Crowd::new(BOUNDS);
        let mut seats = Vec::new();
        for last in 0..3 {
            seats.push(seat(&crowd, last).await);
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        seats[0].0.moved();
        // Three strangers of four places: one is kept for those who are known.
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        assert_eq!(leaving(&seats), [2], "the first has moved since");
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        assert_eq!(leaving(&seats), [2], "one place is wanted, so one goes");
        drop(seats.remove(1));
        let _new = seat(&crowd, 9).await;
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_take_no_place_of_those_who_are_known() {
        let crowd = Crowd::new(BOUNDS);
        let mut known = Vec::new();
        for last in 0..4 {
            let seat = seat(&crowd, last).await;
            assert!(seat.0.know(token("one")) && seat.0.know(token("one")));
            known.push((seat.0.begin(BUSY | ANSWERING), seat));
        }
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        let (busy, seats): (Vec<_>, Vec<_>) = known.into_iter().unzip();
        assert!(leaving(&seats).is_empty(), "whoever is being answered stays");
        drop(busy);
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        assert_eq!(leaving(&seats), [1], "it asked for nothing for an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_just_answered_is_spared() {
        let crowd = Crowd::new(Bounds { connections_max: 1, ..BOUNDS });
        let seats = [seat(&crowd, 0).await];
        assert!(seats[0].0.know(token("one")));
        tokio::time::advance(KNOWN_IDLE_MIN - Duration::from_millis(1)).await;
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        assert!(leaving(&seats).is_empty());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
        assert_eq!(leaving(&seats), [1]);
    }

    #[tokio::test]
    async fn a_stranger_that_is_waited_for_may_go_and_one_that_waits_stays() {
        for (doing, goes) in
            [(0, true), (BUSY, false), (BUSY | TAKING, true), (BUSY | ANSWERING, true)]
        {
            let crowd = Crowd::new(Bounds { connections_max: 1, ..BOUNDS });
            let seats = [seat(&crowd, 0).await];
            let _doing = seats[0].0.begin(doing);
            assert_eq!(crowd.turn(Peer::of(address(9))), Turn::Wait);
            assert_eq!(!leaving(&seats).is_empty(), goes, "{doing}");
        }
    }

    #[tokio::test]
    async fn an_address_has_its_bound_and_pays_for_it_itself() {
        let crowd = Crowd::new(Bounds { connections_max: 100, ..BOUNDS });
        let other = seat(&crowd, 1).await;
        let mut seats = Vec::new();
        for _ in 0..3 {
            seats.push(seat(&crowd, 0).await);
        }
        assert_eq!(crowd.turn(Peer::of(address(0))), Turn::Wait);
        assert_eq!((leaving(&seats), leaving(&[other])), (vec![2], vec![]));
        drop(seats.remove(0));
        seats.push(seat(&crowd, 0).await);
        let busy: Vec<_> = seats.iter().map(|seat| seat.0.begin(BUSY)).collect();
        assert!(crowd.seat(address(0)).await.is_none(), "all of its own are busy");
        drop((busy, seats));
        assert!(crowd.table().peers.is_empty());
    }

    /// Catches one token that takes all places, and with them those of everybody else.
    #[tokio::test(start_paused = true)]
    async fn a_token_has_its_bound_and_pays_for_it_itself() {
        let crowd = Crowd::new(Bounds { connections_max: 100, token_max: 2, ..BOUNDS });
        let (one, two) = (token("one"), token("two"));
        let mut seats = Vec::new();
        for last in 0..4 {
            seats.push(seat(&crowd, last).await);
        }
        let busy: Vec<_> = seats[..2].iter().map(|seat| seat.0.begin(BUSY)).collect();
        assert!(seats[0].0.know(one) && seats[1].0.know(one) && seats[0].0.know(one));
        assert!(!seats[2].0.know(one), "both are busy");
        assert_eq!((crowd.table().strangers, leaving(&seats)), (2, vec![]));
        assert!(seats[2].0.know(two), "another token's bound is its own");
        drop(busy);
        assert!(!seats[3].0.know(one), "just answered, so the next request may be on its way");
        tokio::time::advance(KNOWN_IDLE_MIN).await;
        assert!(seats[3].0.know(one));
        assert_eq!(leaving(&seats), [1], "the one that has been silent for longest");
        // A connection that shows another token, as a proxy's does, counts for that one.
        assert!(seats[1].0.know(two) && crowd.table().tokens[&two] == 2);
        drop(seats);
        assert!(crowd.table().tokens.is_empty() && crowd.table().strangers == 0);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address_and_a_mapped_one_is_itself() {
        let of = |text: &str| Peer::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
