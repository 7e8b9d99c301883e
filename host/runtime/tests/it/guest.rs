//! Small components, written as core modules in text and wrapped as `wasm-tools component new` does.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where `$ok` and `$err` write what a function returns.
const PRELUDE: &str = r#"
  (global $heap (mut i32) (i32.const 0x20000))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 0x10000)))
      (then
        (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1)
              (i32.div_u (local.get $size) (i32.const 0x10000)))))
          (then (unreachable)))))
    (local.get $at))
  ;; Returns ok(text) of a result<string, failure>.
  (func $ok (param $at i32) (param $length i32) (result i32)
    (i32.store8 (i32.const 0x100) (i32.const 0))
    (i32.store (i32.const 0x108) (local.get $at))
    (i32.store (i32.const 0x10c) (local.get $length))
    (i32.const 0x100))
"#;

/// What a component is made of.
#[derive(Clone)]
pub(crate) struct Guest {
    name: String,
    version: String,
    descriptor: Option<String>,
    describe: Option<String>,
    imports: Vec<(&'static str, &'static str)>,
    packages: Vec<&'static str>,
    exports: Vec<&'static str>,
    functions: String,
    memory: &'static str,
    stamp: Option<String>,
}

impl Guest {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            descriptor: None,
            describe: None,
            imports: Vec::new(),
            packages: Vec::new(),
            exports: vec!["descriptor"],
            functions: String::new(),
            memory: "2",
            stamp: None,
        }
    }

    /// A guest with one action, whose body is `body`: parameters `$name`, `$name_length`, `$input`
    /// and `$input_length`.
    pub(crate) fn action(name: &str, body: &str) -> Self {
        Self::new(name).export(
            "actions",
            &format!(
                r#"(func (export "keyway:connector/actions@1.0.0#invoke")
                     (param $name i32) (param $name_length i32)
                     (param $input i32) (param $input_length i32) (result i32)
                     (local $i i32) (local $at i32)
                     {body})"#
            ),
        )
    }

    /// A guest that answers an action with its input.
    pub(crate) fn echo() -> Self {
        Self::action("echo", "(call $ok (local.get $input) (local.get $input_length))")
    }

    pub(crate) fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    pub(crate) fn descriptor(mut self, json: &str) -> Self {
        self.descriptor = Some(json.to_owned());
        self
    }

    /// Replaces the body of `describe`.
    pub(crate) fn describe(mut self, body: &str) -> Self {
        self.describe = Some(body.to_owned());
        self
    }

    /// Imports an interface; `functions` import what the core module uses of it.
    pub(crate) fn import(mut self, interface: &'static str, functions: &'static str) -> Self {
        self.imports.push((interface, functions));
        self
    }

    /// Adds the text of a WIT package that an import needs.
    pub(crate) fn package(mut self, wit: &'static str) -> Self {
        self.packages.push(wit);
        self
    }

    pub(crate) fn export(mut self, interface: &'static str, functions: &str) -> Self {
        self.exports.push(interface);
        self.functions.push_str(functions);
        self
    }

    pub(crate) fn functions(mut self, functions: &str) -> Self {
        self.functions.push_str(functions);
        self
    }

    pub(crate) fn memory(mut self, pages: &'static str) -> Self {
        self.memory = pages;
        self
    }

    pub(crate) fn stamp(mut self, stamp: &str) -> Self {
        self.stamp = Some(stamp.to_owned());
        self
    }

    pub(crate) fn without_descriptor(mut self) -> Self {
        self.exports.retain(|export| *export != "descriptor");
        self
    }

    /// The component's bytes.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut module = wat::parse_str(self.module()).unwrap();
        let mut resolve = Resolve::default();
        resolve.push_dir("../../wit/v1").unwrap();
        for package in &self.packages {
            resolve.push_str("package.wit", package).unwrap();
        }
        let package = resolve.push_str("guest.wit", &self.world()).unwrap();
        let world = resolve.select_world(&[package], Some("guest")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
            .unwrap();
        ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap()
    }

    fn world(&self) -> String {
        let imports = self.imports.iter().map(|(interface, _)| format!("import {interface};"));
        let exports =
            self.exports.iter().map(|export| format!("export keyway:connector/{export}@1.0.0;"));
        let items: Vec<_> = imports.chain(exports).collect();
        format!("package test:guest;\nworld guest {{ {} }}", items.join("\n"))
    }

    fn module(&self) -> String {
        let (name, version) = (&self.name, &self.version);
        let plain = format!(r#"{{"format":1,"name":"test/{name}","version":"{version}"}}"#);
        let json = self.descriptor.as_ref().unwrap_or(&plain);
        let describe = if self.exports.contains(&"descriptor") {
            let returns = format!(
                "(i32.store (i32.const 0x100) (i32.const 0x1000))
                 (i32.store (i32.const 0x104) (i32.const {}))
                 (i32.const 0x100)",
                json.len()
            );
            let body = self.describe.as_ref().unwrap_or(&returns);
            format!(
                r#"(func (export "keyway:connector/descriptor@1.0.0#describe") (result i32) {body})"#
            )
        } else {
            String::new()
        };
        let imports: String = self.imports.iter().map(|(_, functions)| *functions).collect();
        let stamp = self
            .stamp
            .as_ref()
            .map_or(String::new(), |stamp| format!(r#"(@custom "keyway:contract" "{stamp}")"#));
        let (memory, functions) = (self.memory, &self.functions);
        let json = json.replace('\\', "\\\\").replace('"', "\\\"");
        format!(
            r#"(module {imports} (memory (export "memory") {memory}) {PRELUDE}
                 (data (i32.const 0x1000) "{json}") {describe} {functions} {stamp})"#
        )
    }
}
