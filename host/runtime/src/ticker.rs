//! The thread that makes time pass for guests: it advances the engine's epoch, and calls those whose turn it is.
//!
//! A thread of the operating system, not a task: guests that spin can hold every worker of the async
//! runtime, and then no task runs that could stop them. What a tick means to a guest is decided in
//! [`crate::meter`], and whose turn it is in [`crate::turns`].

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasmtime::EngineWeak;

use crate::turns::Turns;

/// How often a running guest is looked at, and must let others run. Each look costs a switch of
/// stacks, 1 microsecond, so 10 ms is free; and a spinning neighbour delays a call by no more.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// How long after a tick those who compute long go on: everybody else goes first, and what has come from the network is
/// looked at.
const GAP: Duration = Duration::from_millis(1);

/// Starts the thread. It ends by itself once the engine is gone; nobody has to wait for it.
pub(crate) fn start(engine: EngineWeak, turns: Turns) -> io::Result<JoinHandle<()>> {
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            // First, so that those who yield to the tick find it so.
            turns.rest();
            engine.increment_epoch();
            // Not held while asleep, or the engine would live a tick longer than its last user.
            drop(engine);
            thread::sleep(GAP);
            turns.call(Instant::now());
            thread::sleep(TICK - GAP);
        }
    };
    thread::Builder::new().name("keyway-epoch".to_owned()).spawn(tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_with_its_engine() {
        let engine = wasmtime::Engine::default();
        let ticker = start(engine.weak(), Turns::new(2)).unwrap();
        drop(engine);
        // Hangs if it does not.
        ticker.join().unwrap();
    }
}
