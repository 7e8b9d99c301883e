//! Whether an operation is one that the release declares.
//!
//! Refusing here costs no instance and gives the caller the name that is wrong. What a connector can do
//! beyond its descriptor does not exist for callers.

use keyway_core::call::{Extra, Operation, ReadRequest, WriteRequest};
use keyway_core::descriptor::{ObjectSpec, ReadSpec};
use keyway_core::ids::Object;
use keyway_core::limits::{BATCH_ITEMS_MAX, EXTRA_BYTES_MAX, EXTRA_PAIRS_MAX, INPUT_BYTES_MAX};
use keyway_core::{Code, Descriptor, Fault};

/// What an operation may carry.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of JSON that go into one call.
    pub input_bytes_max: usize,
    /// Records in a page, and items in a batch: what the runtime takes back.
    pub batch_items_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { input_bytes_max: INPUT_BYTES_MAX, batch_items_max: BATCH_ITEMS_MAX }
    }
}

/// Refuses what `descriptor` does not declare, and fills in what the caller left to it.
pub fn check(
    limits: &Limits,
    descriptor: &Descriptor,
    operation: Operation,
) -> Result<Operation, Fault> {
    match operation {
        Operation::Invoke { action, input } => {
            if !descriptor.actions.contains_key(&action) {
                let detail = format!("{} declares no action `{action}`", descriptor.name);
                let fault = Fault::new(Code::UnknownAction, detail);
                return Err(fault.but_there_is(descriptor.actions.keys()));
            }
            within(input.len(), limits.input_bytes_max, "input")?;
            Ok(Operation::Invoke { action, input })
        }
        Operation::Discover { object } => {
            if let Some(object) = &object {
                known(descriptor, object)?;
            }
            Ok(Operation::Discover { object })
        }
        Operation::Read(request) => read(limits, descriptor, request).map(Operation::Read),
        Operation::Write(request) => write(limits, descriptor, request).map(Operation::Write),
    }
}

/// What the descriptor says of an object; none if it may exist all the same.
fn known<'d>(descriptor: &'d Descriptor, object: &Object) -> Result<Option<&'d ObjectSpec>, Fault> {
    match descriptor.objects.get(object) {
        None if !descriptor.custom_objects => {
            let detail = format!("{} declares no object `{object}`", descriptor.name);
            Err(Fault::new(Code::UnknownObject, detail).but_there_is(descriptor.objects.keys()))
        }
        spec => Ok(spec),
    }
}

/// That an object is not for something, and which are.
fn but_others(descriptor: &Descriptor, detail: String, of: impl Fn(&ObjectSpec) -> bool) -> Fault {
    let others = descriptor.objects.iter().filter(|(_, spec)| of(spec)).map(|(name, _)| name);
    Fault::new(Code::UnknownObject, detail).but_there_is(others)
}

fn read(
    limits: &Limits,
    descriptor: &Descriptor,
    mut request: ReadRequest,
) -> Result<ReadRequest, Fault> {
    let spec = match known(descriptor, &request.object)? {
        Some(ObjectSpec { read: None, .. }) => {
            let detail = format!("object `{}` is not read by this release", request.object);
            let read = |spec: &ObjectSpec| spec.read.is_some();
            return Err(but_others(descriptor, detail, read));
        }
        Some(ObjectSpec { read: Some(spec), .. }) => spec.clone(),
        None => ReadSpec { incremental: true, deletes: false, page_size: 100 },
    };
    if request.page_size == 0 {
        // The operator's bound may be below what the release would like.
        request.page_size = spec.page_size.min(limits.batch_items_max);
    }
    if request.page_size > limits.batch_items_max {
        let detail = format!("`page_size` is over {}", limits.batch_items_max);
        return Err(Fault::new(Code::InputInvalid, detail));
    }
    if (request.since.is_some() || request.until.is_some()) && !spec.incremental {
        let detail = format!("object `{}` cannot be read by time of change", request.object);
        return Err(Fault::new(Code::Unsupported, detail));
    }
    within(request.cursor.as_ref().map_or(0, String::len), limits.input_bytes_max, "`cursor`")?;
    extra(&request.extra)?;
    Ok(request)
}

fn write(
    limits: &Limits,
    descriptor: &Descriptor,
    request: WriteRequest,
) -> Result<WriteRequest, Fault> {
    let items_max = limits.batch_items_max;
    if let Some(spec) = known(descriptor, &request.object)?
        && !spec.write.contains(&request.operation)
    {
        let detail = format!("object `{}` does not take this write", request.object);
        let takes = |spec: &ObjectSpec| spec.write.contains(&request.operation);
        return Err(but_others(descriptor, detail, takes));
    }
    if request.items.is_empty() || request.items.len() > items_max as usize {
        let detail = format!("a batch has 1 to {items_max} items");
        return Err(Fault::new(Code::InputInvalid, detail));
    }
    let mut references = std::collections::HashSet::new();
    if let Some(twice) = request.items.iter().find(|item| !references.insert(&item.reference)) {
        let detail = format!("two items have the reference `{}`", twice.reference);
        return Err(Fault::new(Code::InputInvalid, detail));
    }
    within(
        request.items.iter().map(|item| item.data.len()).sum(),
        limits.input_bytes_max,
        "batch",
    )?;
    extra(&request.extra)?;
    request.items.iter().try_for_each(|item| extra(&item.extra))?;
    Ok(request)
}

fn extra(extra: &Extra) -> Result<(), Fault> {
    if extra.len() > EXTRA_PAIRS_MAX {
        let detail = format!("`extra` has more than {EXTRA_PAIRS_MAX} pairs");
        return Err(Fault::new(Code::InputInvalid, detail));
    }
    let bytes = extra.iter().map(|(name, value)| name.len() + value.len()).sum();
    within(bytes, EXTRA_BYTES_MAX, "`extra`")
}

fn within(bytes: usize, max: usize, what: &str) -> Result<(), Fault> {
    if bytes > max {
        return Err(Fault::new(Code::BodyTooLarge, format!("{what} is over {max} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keyway_core::call::WriteItem;
    use keyway_core::descriptor::WriteOperation;

    use super::*;

    fn descriptor() -> Descriptor {
        Descriptor::parse(
            r#"{"format":1,"name":"a/b","version":"1.0.0","actions":{"go":{}},
                "objects":{"things":{"read":{"page-size":7},"write":["create"]},"mute":{}}}"#,
        )
        .unwrap()
    }

    fn read_of(object: &str, page_size: u32) -> Operation {
        Operation::Read(ReadRequest {
            object: object.parse().unwrap(),
            fields: vec![],
            cursor: None,
            since: None,
            until: None,
            page_size,
            extra: vec![],
        })
    }

    fn write_of(operation: WriteOperation, references: &[&str]) -> Operation {
        let item = |reference: &&str| WriteItem {
            reference: (*reference).to_owned(),
            id: None,
            data: "{}".to_owned(),
            idempotency_key: (*reference).to_owned(),
            extra: vec![],
        };
        Operation::Write(WriteRequest {
            object: "things".parse().unwrap(),
            operation,
            match_on: None,
            items: references.iter().map(item).collect(),
            all_or_none: false,
            extra: vec![],
        })
    }

    fn code(operation: Operation) -> Option<Code> {
        check(&Limits::default(), &descriptor(), operation).err().map(|fault| fault.code)
    }

    #[test]
    fn only_what_is_declared_passes() {
        let invoke = |action: &str, bytes: usize| Operation::Invoke {
            action: action.parse().unwrap(),
            input: "1".repeat(bytes),
        };
        assert_eq!(code(invoke("go", INPUT_BYTES_MAX)), None);
        assert_eq!(code(invoke("go", INPUT_BYTES_MAX + 1)), Some(Code::BodyTooLarge));
        assert_eq!(code(invoke("stop", 1)), Some(Code::UnknownAction));
        assert_eq!(code(read_of("things", BATCH_ITEMS_MAX)), None);
        assert_eq!(code(read_of("things", BATCH_ITEMS_MAX + 1)), Some(Code::InputInvalid));
        assert_eq!(code(read_of("mute", 1)), Some(Code::UnknownObject));
        let mute = check(&Limits::default(), &descriptor(), read_of("mute", 1)).unwrap_err();
        assert!(mute.detail.ends_with("; there is `things`"), "{}", mute.detail);
        assert_eq!(code(read_of("nothing", 1)), Some(Code::UnknownObject));
        assert_eq!(code(write_of(WriteOperation::Create, &["a", "b"])), None);
        assert_eq!(code(write_of(WriteOperation::Delete, &["a"])), Some(Code::UnknownObject));
        assert_eq!(code(write_of(WriteOperation::Create, &["a", "a"])), Some(Code::InputInvalid));
        assert_eq!(code(write_of(WriteOperation::Create, &[])), Some(Code::InputInvalid));
    }

    #[test]
    fn extra_is_held_at_the_limits() {
        let each = EXTRA_BYTES_MAX / EXTRA_PAIRS_MAX;
        let pairs =
            |count: usize, bytes: usize| vec![("n".to_owned(), "v".repeat(bytes - 1)); count];
        let too_many =
            [pairs(EXTRA_PAIRS_MAX, each), vec![(String::new(), String::new())]].concat();
        for (extra, expected) in [
            (pairs(EXTRA_PAIRS_MAX, each), None),
            (too_many, Some(Code::InputInvalid)),
            (pairs(EXTRA_PAIRS_MAX, each + 1), Some(Code::BodyTooLarge)),
        ] {
            let Operation::Read(mut read) = read_of("things", 1) else { unreachable!("it is one") };
            let Operation::Write(mut write) = write_of(WriteOperation::Create, &["a"]) else {
                unreachable!("it is one")
            };
            let mut with_item = write.clone();
            read.extra.clone_from(&extra);
            write.extra.clone_from(&extra);
            with_item.items[0].extra = extra;
            assert_eq!(code(Operation::Read(read)), expected);
            assert_eq!(code(Operation::Write(write)), expected);
            assert_eq!(code(Operation::Write(with_item)), expected);
        }
    }

    #[test]
    fn page_size_defaults_to_the_descriptors() {
        let checked = check(&Limits::default(), &descriptor(), read_of("things", 0));
        let Ok(Operation::Read(request)) = checked else { panic!("a declared read passes") };
        assert_eq!(request.page_size, 7);
    }
}
