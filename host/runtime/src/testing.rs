//! An outside that only remembers, for the unit tests of this crate.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use keyway_core::call::{Failure, Json};
use keyway_core::exchange::{Request, Response};
use keyway_core::ports::Outside;
use keyway_core::said::Line;

/// Remembers the log.
#[derive(Default)]
pub(crate) struct Recorder {
    lines: Mutex<Vec<String>>,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

/// The recorder as the port it implements.
pub(crate) fn outside(recorder: &Arc<Recorder>) -> Arc<dyn Outside> {
    Arc::clone(recorder) as _
}

#[async_trait]
impl Outside for Recorder {
    async fn send(&self, _request: Request) -> Result<Response, Failure> {
        Err(Failure::denied("no-network", "there is no network here"))
    }

    fn now(&self) -> u64 {
        0
    }

    fn random(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }

    fn config(&self) -> Json {
        "{}".to_owned()
    }

    fn connection(&self) -> Json {
        "{}".to_owned()
    }

    fn log(&self, Line { source, level, message, fields }: &Line<'_>) {
        let line = format!("{} {level:?} {message} {fields}", source.as_str());
        self.lines.lock().unwrap().push(line);
    }
}
