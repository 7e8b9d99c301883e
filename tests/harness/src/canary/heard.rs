//! What was heard of a host, by kind, until it is searched.

use std::collections::BTreeMap;

use super::search::Search;
use crate::http::Reply;

/// What was heard. Each kind has what must be in it.
#[derive(Default)]
pub(super) struct Heard {
    kinds: BTreeMap<String, Kind>,
}

#[derive(Default)]
struct Kind {
    bytes: Vec<u8>,
    markers: Vec<String>,
}

// === impl Heard ===

impl Heard {
    /// An answer over HTTP: its head and its body.
    pub(super) fn reply(&mut self, reply: &Reply) {
        let kind = if reply.status.as_u16() < 400 { "answers" } else { "problem documents" };
        // Every answer is of JSON, and every problem has a code.
        let marker = if reply.status.as_u16() < 400 { "application/json" } else { "\"code\"" };
        self.keep(kind, format!("{} {:?}\n", reply.status, reply.headers).as_bytes(), marker);
        self.keep(kind, &reply.body, marker);
    }

    /// Something else, in which `marker` must be: somewhere in all that was heard of the kind.
    pub(super) fn keep(&mut self, kind: &str, bytes: &[u8], marker: &str) {
        let kept = self.kinds.entry(kind.to_owned()).or_default();
        kept.bytes.extend_from_slice(bytes);
        kept.bytes.push(b'\n');
        if !kept.markers.iter().any(|known| known == marker) {
            kept.markers.push(marker.to_owned());
        }
    }

    /// Has all of it searched.
    pub(super) fn search(&self, search: &mut Search) {
        for (kind, Kind { bytes, markers }) in &self.kinds {
            let markers: Vec<&str> = markers.iter().map(String::as_str).collect();
            search.look(kind, bytes, &markers);
        }
    }
}
