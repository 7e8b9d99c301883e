//! Holds what a descriptor promises against what the component exports.
//!
//! A promise without an export would fail at a tenant's first call; here it fails at publication.

use keyway_core::{Code, Descriptor, Fault};

/// Refuses a descriptor that promises more than `exports` can keep.
pub fn check(descriptor: &Descriptor, exports: &[String]) -> Result<(), Fault> {
    let has = |name: &str| exports.iter().any(|export| export == name);
    let require = |promised: bool, what: &str, interface: &str| {
        if promised && !has(interface) {
            let detail =
                format!("descriptor declares {what}, and the component exports no `{interface}`");
            return Err(Fault::new(Code::DescriptorInvalid, detail));
        }
        Ok(())
    };
    let reads = descriptor.objects.values().any(|object| object.read.is_some());
    let writes = descriptor.objects.values().any(|object| !object.write.is_empty());
    require(!descriptor.actions.is_empty(), "actions", "actions")?;
    require(reads || descriptor.custom_objects, "objects to read", "reader")?;
    require(writes, "objects to write", "writer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(rest: &str) -> Descriptor {
        let json = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0"{rest}}}"#);
        Descriptor::parse(&json).unwrap()
    }

    #[test]
    fn each_promise_needs_its_export() {
        let cases = [
            (r#","actions":{"x":{}}"#, "actions"),
            (r#","objects":{"x":{"read":{}}}"#, "reader"),
            (r#","custom-objects":true"#, "reader"),
            (r#","objects":{"x":{"write":["create"]}}"#, "writer"),
        ];
        for (rest, export) in cases {
            let descriptor = descriptor(rest);
            assert!(check(&descriptor, &[export.to_owned()]).is_ok(), "{rest}");
            let fault = check(&descriptor, &["state".to_owned()]).unwrap_err();
            assert_eq!(fault.code, Code::DescriptorInvalid);
            assert!(fault.detail.contains(export), "{}", fault.detail);
        }
        assert!(check(&descriptor(""), &[]).is_ok());
    }
}
