//! Writing: a batch in, one outcome for each item out.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::from_caller;
use crate::{Extra, Failure, Result, json_text};

/// A connector that writes: the contract's interface `writer`. Implement the operations it has.
pub trait Write {
    /// Writes a batch. A failure means that no item was written; the default asks the operation.
    fn write(request: WriteRequest) -> Result<Vec<Outcome>> {
        match request.operation {
            Operation::Create => Self::create(request),
            Operation::Update => Self::update(request),
            Operation::Upsert => Self::upsert(request),
            Operation::Delete => Self::delete(request),
        }
    }

    /// Makes new records.
    fn create(request: WriteRequest) -> Result<Vec<Outcome>> {
        Err(request.unsupported())
    }

    /// Changes records that exist.
    fn update(request: WriteRequest) -> Result<Vec<Outcome>> {
        Err(request.unsupported())
    }

    /// Changes records, or makes them.
    fn upsert(request: WriteRequest) -> Result<Vec<Outcome>> {
        Err(request.unsupported())
    }

    /// Removes records, or archives them where the provider archives.
    fn delete(request: WriteRequest) -> Result<Vec<Outcome>> {
        Err(request.unsupported())
    }
}

/// A kind of write.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Make a new record.
    Create,
    /// Change a record that exists.
    Update,
    /// Change it, or make it.
    Upsert,
    /// Remove it, or archive it where the provider archives.
    Delete,
}

/// One thing to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The caller's own id for this write, echoed in its outcome.
    pub reference: String,
    /// The provider's id, for update and delete; for upsert, the value of `match_on`.
    pub id: Option<String>,
    /// JSON text.
    pub data: String,
    /// Stable across retries and across releases; the host derives it.
    pub idempotency_key: String,
    /// Anything else.
    pub extra: Extra,
}

/// A batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteRequest {
    /// Of what.
    pub object: String,
    /// What to do.
    pub operation: Operation,
    /// For upsert and update: the field that `item.id` holds a value of. None means the provider's
    /// own id.
    pub match_on: Option<String>,
    /// What to write.
    pub items: Vec<Item>,
    /// Refuse the whole batch if one item fails, where the provider can.
    pub all_or_none: bool,
    /// Anything else.
    pub extra: Extra,
}

/// How one item ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The provider has it.
    Written(Written),
    /// The provider refused it.
    Rejected(Rejected),
}

/// An item that the provider took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The item's reference.
    pub reference: String,
    /// The provider's id.
    pub id: String,
    /// JSON text of the record as the provider answered it.
    pub data: Option<String>,
    /// Anything else.
    pub extra: Extra,
}

/// An item that was not written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The item's reference.
    pub reference: String,
    /// Why.
    pub failure: Failure,
}

// === impl Operation ===

impl Operation {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

// === impl Item ===

impl Item {
    /// An item without a provider's id.
    pub fn new<T: Serialize + ?Sized>(reference: impl Into<String>, data: &T) -> Result<Self> {
        let reference = reference.into();
        Ok(Self {
            id: None,
            data: json_text(data)?,
            idempotency_key: reference.clone(),
            reference,
            extra: Extra::new(),
        })
    }

    /// With the provider's id, or the value of the field that the batch matches on.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The data, typed. Another shape is the caller's fault.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T> {
        from_caller("item data", &self.data)
    }
}

// === impl WriteRequest ===

impl WriteRequest {
    /// A batch that may succeed in part.
    pub fn new(object: impl Into<String>, operation: Operation, items: Vec<Item>) -> Self {
        Self {
            object: object.into(),
            operation,
            match_on: None,
            items,
            all_or_none: false,
            extra: Extra::new(),
        }
    }

    fn unsupported(&self) -> Failure {
        let (operation, object) = (self.operation.as_str(), &self.object);
        Failure::unsupported(format!("`{object}` offers no {operation}"))
    }
}

// === impl Outcome ===

impl Outcome {
    /// An item that the provider took.
    pub fn written(reference: impl Into<String>, id: impl Into<String>) -> Self {
        let (reference, id) = (reference.into(), id.into());
        Self::Written(Written { reference, id, data: None, extra: Extra::new() })
    }

    /// An item that was not written.
    pub fn rejected(reference: impl Into<String>, failure: Failure) -> Self {
        Self::Rejected(Rejected { reference: reference.into(), failure })
    }

    /// The reference of the item that ended so.
    pub fn reference(&self) -> &str {
        match self {
            Self::Written(written) => &written.reference,
            Self::Rejected(rejected) => &rejected.reference,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::FailureKind;

    struct CreateOnly;

    impl Write for CreateOnly {
        fn create(request: WriteRequest) -> Result<Vec<Outcome>> {
            Ok(request
                .items
                .into_iter()
                .map(|item| Outcome::written(item.reference, "1"))
                .collect())
        }
    }

    #[test]
    fn operations_that_are_not_implemented_are_unsupported() {
        let batch = |operation| {
            WriteRequest::new("contacts", operation, vec![Item::new("a", &json!({})).unwrap()])
        };
        assert_eq!(
            CreateOnly::write(batch(Operation::Create)),
            Ok(vec![Outcome::written("a", "1")])
        );
        for operation in [Operation::Update, Operation::Upsert, Operation::Delete] {
            let failure = CreateOnly::write(batch(operation)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Unsupported);
        }
    }
}
