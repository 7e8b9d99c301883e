//! Whether two values are one: order of members and spelling of numbers and texts aside.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};

use serde_json::Value;

use super::{Holds, Run, Stop, document};
use crate::schema::document::Kind;
use crate::schema::number::Number;

impl Run<'_, '_> {
    /// Whether a value is one of these.
    pub(super) fn among(&mut self, values: &[Value], node: document::At) -> Holds {
        for value in values {
            if self.is(node, value)? {
                return Ok(true);
            }
        }
        if !self.asked {
            return Ok(false);
        }
        let first: Vec<_> =
            values.iter().take(10).map(|value| super::cut(&value.to_string(), 40)).collect();
        let more = if values.len() > first.len() { ", …" } else { "" };
        self.misfit_value(node, &format!("is not one of {}{more}", first.join(", ")))
    }

    fn is(&mut self, node: document::At, value: &Value) -> Holds {
        self.spend(1)?;
        let document = self.document;
        let raw = document.raw(node);
        Ok(match (document.kind(node), value) {
            (Kind::Null, Value::Null) => true,
            (Kind::Bool, Value::Bool(flag)) => (raw == "true") == *flag,
            (Kind::Number, Value::Number(number)) => {
                self.value(node)? == Number::read(&number.to_string())
            }
            // Escapes make a text longer and never shorter.
            (Kind::Text, Value::String(text)) => {
                raw.len() >= text.len() + 2 && {
                    self.spend(raw.len() as u64 / 16)?;
                    document.text(node) == text.as_str()
                }
            }
            (Kind::List, Value::Array(items)) => {
                let mut others = items.iter();
                for item in document.items(node) {
                    match others.next() {
                        Some(other) if self.is(item, other)? => {}
                        _ => return Ok(false),
                    }
                }
                others.next().is_none()
            }
            (Kind::Fields, Value::Object(members)) => {
                let mut count = 0;
                for (name, member) in document.fields(node) {
                    count += 1;
                    match members.get(&*self.name(name)?) {
                        Some(other) if self.is(member, other)? => {}
                        _ => return Ok(false),
                    }
                }
                count == members.len()
            }
            _ => false,
        })
    }

    /// An item that a list has twice. Items are sorted by a hash with a key of its own, so nobody can choose many that
    /// share one.
    pub(super) fn twice(&mut self, list: document::At) -> Result<Option<document::At>, Stop> {
        let state = RandomState::new();
        let document = self.document;
        let mut hashes = Vec::new();
        for item in document.items(list) {
            hashes.push((self.hash(&state, item)?, item));
        }
        let sorting = hashes.len().checked_ilog2().unwrap_or(0);
        self.spend(hashes.len() as u64 * u64::from(sorting) / 8)?;
        hashes.sort_unstable();
        for pair in hashes.windows(2) {
            let ((one, first), (two, second)) = (pair[0], pair[1]);
            if one == two && self.equal(first, second)? {
                return Ok(Some(second));
            }
        }
        Ok(None)
    }

    fn hash(&mut self, state: &RandomState, node: document::At) -> Result<u64, Stop> {
        self.spend(1)?;
        let document = self.document;
        let raw = document.raw(node);
        let mut hasher = state.build_hasher();
        match document.kind(node) {
            Kind::Null | Kind::Bool => raw.hash(&mut hasher),
            Kind::Number => self.value(node)?.hash(&mut hasher),
            Kind::Text => {
                self.spend(raw.len() as u64 / 16)?;
                document.text(node).hash(&mut hasher);
            }
            Kind::List => {
                for item in document.items(node) {
                    self.hash(state, item)?.hash(&mut hasher);
                }
            }
            // Members have no order.
            Kind::Fields => {
                let mut sum = 1_u64;
                for (name, value) in document.fields(node) {
                    let name = self.hash(state, name)?;
                    let value = self.hash(state, value)?;
                    sum = sum.wrapping_add(state.hash_one((name, value)));
                }
                sum.hash(&mut hasher);
            }
        }
        Ok(hasher.finish())
    }

    /// Whether two values with one hash are really one.
    fn equal(&mut self, one: document::At, two: document::At) -> Holds {
        self.spend(1)?;
        let document = self.document;
        let kind = document.kind(one);
        if kind != document.kind(two) {
            return Ok(false);
        }
        match kind {
            Kind::Null | Kind::Bool => Ok(document.raw(one) == document.raw(two)),
            Kind::Number => Ok(self.value(one)? == self.value(two)?),
            Kind::Text => {
                self.spend(document.raw(one).len() as u64 / 16)?;
                Ok(document.text(one) == document.text(two))
            }
            Kind::List => {
                let (mut ones, mut twos) = (document.items(one), document.items(two));
                loop {
                    match (ones.next(), twos.next()) {
                        (None, None) => return Ok(true),
                        (Some(one), Some(two)) if self.equal(one, two)? => {}
                        _ => return Ok(false),
                    }
                }
            }
            Kind::Fields => {
                if self.count(one)? != self.count(two)? {
                    return Ok(false);
                }
                for (name, value) in document.fields(one) {
                    let name = self.name(name)?;
                    match self.member(&name, two)? {
                        Some(other) if self.equal(value, other)? => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
        }
    }
}
