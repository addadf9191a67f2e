//! What a file is: a core module or a component; serving HTTP, running as a command, or holding functions to call.
//!
//! Only looks; whether the code is valid is for the engine that compiles it to say.

use wasmparser::{ComponentExternalKind, Encoding, ExternalKind, Parser, Payload};

/// The binary form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Form {
    /// A core module, run through WASI preview 1.
    Module,
    /// A component.
    Component,
}

/// What it does when it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum World {
    /// Answers HTTP requests.
    Http,
    /// Has a main function.
    Command,
    /// Has neither; its functions are called one by one.
    Functions,
}

/// Tells form and world of a file, or why it cannot run.
pub(in crate::commands) fn inspect(bytes: &[u8]) -> Result<(Form, World), String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        let text = bytes.trim_ascii_start();
        if text.starts_with(b"(module") || text.starts_with(b"(component") || text.starts_with(b";;") {
            return Err("is WebAssembly text; assemble it first: wasm-tools parse FILE.wat -o FILE.wasm".to_owned());
        }
        return Err("is not WebAssembly: it does not start with \\0asm".to_owned());
    }
    let broken = |error: wasmparser::BinaryReaderError| format!("is damaged WebAssembly: {error}");
    let mut form = None;
    let mut depth = 0_u32;
    let mut exports: Vec<String> = Vec::new();
    let mut typed = false;
    let mut functions = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding, .. } if form.is_none() => {
                form = Some(match encoding {
                    Encoding::Module => Form::Module,
                    Encoding::Component => Form::Component,
                });
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(reader) if depth == 0 => {
                for export in reader {
                    let export = export.map_err(broken)?;
                    if export.kind == ComponentExternalKind::Instance {
                        exports.push(export.name.name.to_owned());
                    }
                    functions |= export.kind == ComponentExternalKind::Func;
                }
            }
            Payload::ExportSection(reader) if depth == 0 => {
                for export in reader {
                    let export = export.map_err(broken)?;
                    if export.kind == ExternalKind::Func {
                        exports.push(export.name.to_owned());
                    }
                }
            }
            Payload::CustomSection(section) if depth == 0 => typed |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    match form {
        Some(Form::Module) => module(&exports, typed).map(|world| (Form::Module, world)),
        Some(Form::Component) => component(&exports, functions).map(|world| (Form::Component, world)),
        None => Err("is damaged WebAssembly: it has no header".to_owned()),
    }
}

fn module(exports: &[String], typed: bool) -> Result<World, String> {
    if typed {
        // It carries its interface, whose functions are exported as `wasi:http/handler@0.3.0#handle`, those of an
        // asynchronous one with `[async-lift]` before that.
        let interface = |name: &String| {
            let (interface, _function) = name.split_once('#')?;
            Some(interface.split_once(']').map_or(interface, |(_, interface)| interface).to_owned())
        };
        let interfaces: Vec<String> = exports.iter().filter_map(interface).collect();
        if let Ok(world @ (World::Http | World::Command)) = component(&interfaces, false) {
            return Ok(world);
        }
    }
    if exports.iter().any(|name| name == "_start") {
        return Ok(World::Command);
    }
    if exports.iter().any(|name| !name.starts_with('_')) {
        return Ok(World::Functions);
    }
    Err("is a module without a main function (_start) and without other functions; wk runs commands and wasi:http \
         components"
        .to_owned())
}

fn component(exports: &[String], functions: bool) -> Result<World, String> {
    let has = |interface: &str| exports.iter().any(|name| name.split('@').next() == Some(interface));
    if has("wasi:http/incoming-handler") || has("wasi:http/handler") {
        Ok(World::Http)
    } else if has("wasi:cli/run") {
        Ok(World::Command)
    } else if functions || exports.iter().any(|name| !name.starts_with("wasi:")) {
        Ok(World::Functions)
    } else {
        let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
        Err(format!(
            "is a component that wk cannot run: it exports {found}, and neither wasi:http/incoming-handler nor wasi:cli/run"
        ))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn section(id: u8, body: &[u8]) -> Vec<u8> {
        let length = u8::try_from(body.len()).expect("short");
        assert!(length < 128, "one byte of LEB128");
        [&[id, length], body].concat()
    }

    /// A module that exports a function of this name.
    pub(in crate::commands::deploy) fn module(export: &str) -> Vec<u8> {
        let length = u8::try_from(export.len()).expect("short");
        let types = section(1, &[1, 0x60, 0, 0]);
        let functions = section(3, &[1, 0]);
        let exports = section(7, &[&[1, length], export.as_bytes(), &[0, 0]].concat());
        let code = section(10, &[1, 2, 0, 0x0b]);
        [MODULE, &types, &functions, &exports, &code].concat()
    }

    /// A component that exports an empty instance of this name.
    pub(in crate::commands::deploy) fn component(export: &str) -> Vec<u8> {
        let length = u8::try_from(export.len()).expect("short");
        let instances = section(5, &[1, 1, 0]);
        let exports = section(11, &[&[1, 0, length], export.as_bytes(), &[5, 0, 0]].concat());
        [COMPONENT, &instances, &exports].concat()
    }

    #[test]
    fn module_with_main_is_a_command() {
        assert_eq!(inspect(&module("_start")), Ok((Form::Module, World::Command)));
        assert_eq!(inspect(&module("other")), Ok((Form::Module, World::Functions)));
        assert!(inspect(&module("_other")).expect_err("no main").contains("_start"));
    }

    #[test]
    fn what_a_component_exports_says_what_it_is() {
        let form = Form::Component;
        assert_eq!(inspect(&component("wasi:http/incoming-handler@0.2.6")), Ok((form, World::Http)));
        assert_eq!(inspect(&component("wasi:http/handler@0.3.0")), Ok((form, World::Http)));
        assert_eq!(inspect(&component("wasi:cli/run@0.2.0")), Ok((form, World::Command)));
        assert_eq!(inspect(&component("a:b/c@1.0.0")), Ok((form, World::Functions)));
        let other = inspect(&component("wasi:a/b@1.0.0")).expect_err("other");
        assert!(other.contains("it exports wasi:a/b@1.0.0"), "{other}");
    }

    #[test]
    fn module_that_carries_its_interface_is_what_that_says() {
        let typed = |export| [module(export), section(0, b"\x0ecomponent-type")].concat();
        let http = "wasi:http/incoming-handler@0.2.0#handle";
        assert_eq!(inspect(&typed(http)), Ok((Form::Module, World::Http)));
        let http = "[async-lift]wasi:http/handler@0.3.0#handle";
        assert_eq!(inspect(&typed(http)), Ok((Form::Module, World::Http)));
        assert_eq!(inspect(&typed("wasi:cli/run@0.2.0#run")), Ok((Form::Module, World::Command)));
        assert_eq!(inspect(&typed("refresh")), Ok((Form::Module, World::Functions)));
    }

    #[test]
    fn exports_of_inner_modules_do_not_count() {
        let bytes = [COMPONENT, &section(1, &module("_start"))].concat();
        assert!(inspect(&bytes).expect_err("nothing").contains("exports nothing"));
    }

    #[test]
    fn wrong_files_are_told_apart() {
        let typed = [MODULE, &section(0, b"\x0ecomponent-type")].concat();
        for (bytes, why) in [
            (&b""[..], "empty"),
            (b"#!/bin/sh", "does not start with"),
            (b"  (module)", "text"),
            (b"\0asm\x01\0\0\0\xff", "damaged"),
            (MODULE, "_start"),
            (&typed, "_start"),
        ] {
            let error = inspect(bytes).expect_err(why);
            assert!(error.contains(why), "{error}");
        }
    }
}
