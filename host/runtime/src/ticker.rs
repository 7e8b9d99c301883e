//! The thread that makes time pass for guests: it advances the engine's epoch, and nothing else.
//!
//! A thread of the operating system, not a task: guests that spin can hold every worker of the async
//! runtime, and then no task runs that could stop them. What a tick means to a guest is decided in
//! [`crate::meter`].

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::EngineWeak;

/// How often a running guest is looked at, and must let others run. Each look costs a switch of
/// stacks, 1 microsecond, so 10 ms is free; and a spinning neighbour delays a call by no more.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Starts the thread. It ends by itself once the engine is gone; nobody has to wait for it.
pub(crate) fn start(engine: EngineWeak) -> io::Result<JoinHandle<()>> {
    let tick = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            // Not held while asleep, or the engine would live a tick longer than its last user.
            drop(engine);
            thread::sleep(TICK);
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
        let ticker = start(engine.weak()).unwrap();
        drop(engine);
        // Hangs if it does not.
        ticker.join().unwrap();
    }
}
