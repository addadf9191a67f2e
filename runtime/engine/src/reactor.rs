//! Gives a preview-1 reactor an interface: a core module without a main function, whose exported functions are called
//! one by one.
//!
//! A module says of its functions only what the machine sees: numbers. Those become functions of the component, so
//! that `exec`, probes and hooks can call them (`Engine::invoke`). Modules that carry their own interface, as bindings
//! generators embed it, need none of this.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::adapt::{failed, push_length, push_name};
use crate::prepare::PrepareError;

/// The module with an interface of its functions embedded; none if it has no function that can be called.
pub(crate) fn described(module: &[u8]) -> Result<Option<Vec<u8>>, PrepareError> {
    let functions = functions(module).map_err(failed)?;
    if functions.is_empty() {
        return Ok(None);
    }
    let mut wit = String::from("package wk:reactor; world reactor {\n");
    for (name, signature) in functions.values() {
        let _ = writeln!(wit, "export %{name}: func{signature};");
    }
    wit.push('}');
    let mut renamed = with_names(module, &functions).map_err(failed)?;
    let mut resolve = Resolve::default();
    let package = resolve.push_str("reactor.wit", &wit).map_err(failed)?;
    let world = resolve.select_world(&[package], Some("reactor")).map_err(failed)?;
    embed_component_metadata(&mut renamed, &resolve, world, StringEncoding::UTF8).map_err(failed)?;
    Ok(Some(renamed))
}

/// Functions by their names in the module, each with its name and signature in WIT.
type Functions = BTreeMap<String, (String, String)>;

fn functions(module: &[u8]) -> Result<Functions, wasmparser::BinaryReaderError> {
    let mut types: Vec<Option<FuncType>> = Vec::new();
    let mut functions: Vec<u32> = Vec::new();
    let mut found = Functions::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    types.extend(group?.into_types().map(|ty| match ty.composite_type.inner {
                        CompositeInnerType::Func(function) => Some(function),
                        _ => None,
                    }));
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    if let TypeRef::Func(ty) | TypeRef::FuncExact(ty) = import?.ty {
                        functions.push(ty);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    functions.push(ty?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    // What begins so is between the module and its toolchain.
                    if export.kind != ExternalKind::Func || export.name.starts_with('_') {
                        continue;
                    }
                    let ty = functions.get(export.index as usize).and_then(|ty| types.get(*ty as usize));
                    let signature = ty.and_then(Option::as_ref).and_then(signature);
                    let Some((signature, name)) = signature.zip(wit_name(export.name)) else { continue };
                    if !found.values().any(|(other, _)| *other == name) {
                        found.insert(export.name.to_owned(), (name, signature));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// In WIT, if it takes and answers numbers.
fn signature(ty: &FuncType) -> Option<String> {
    let name = |ty: &ValType| match ty {
        ValType::I32 => Some("s32"),
        ValType::I64 => Some("s64"),
        ValType::F32 => Some("f32"),
        ValType::F64 => Some("f64"),
        ValType::V128 | ValType::Ref(_) => None,
    };
    let mut text = String::from("(");
    for (at, ty) in ty.params().iter().enumerate() {
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}p{at}: {}", name(ty)?);
    }
    text.push(')');
    match ty.results() {
        [] => Some(text),
        [one] => Some(format!("{text} -> {}", name(one)?)),
        _ => None,
    }
}

/// `add_up` as WIT spells it, `add-up`; none for a name that WIT has no spelling for.
fn wit_name(name: &str) -> Option<String> {
    let words: Vec<&str> = name.split(['_', '-']).filter(|word| !word.is_empty()).collect();
    let plain = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    (!words.is_empty() && words.iter().all(plain)).then(|| words.join("-"))
}

/// The module with its functions exported by their names in WIT.
fn with_names(module: &[u8], functions: &Functions) -> Result<Vec<u8>, wasmparser::BinaryReaderError> {
    let mut renamed = Vec::with_capacity(module.len());
    let mut copied = 0;
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(section) = payload? else { continue };
        let range = section.range();
        let mut content = Vec::new();
        push_length(&mut content, section.count() as usize);
        for export in section {
            let export = export?;
            let name = functions.get(export.name).filter(|_| export.kind == ExternalKind::Func);
            push_name(&mut content, name.map_or(export.name, |(name, _)| name));
            content.push(match export.kind {
                ExternalKind::Func => 0,
                ExternalKind::Table => 1,
                ExternalKind::Memory => 2,
                ExternalKind::Global => 3,
                ExternalKind::Tag => 4,
                ExternalKind::FuncExact => 0x20,
            });
            push_length(&mut content, export.index as usize);
        }
        renamed.extend_from_slice(&module[copied..crate::adapt::start_of_section(module, &range)]);
        renamed.push(EXPORT_SECTION);
        push_length(&mut renamed, content.len());
        renamed.append(&mut content);
        copied = range.end;
    }
    renamed.extend_from_slice(&module[copied..]);
    Ok(renamed)
}

const EXPORT_SECTION: u8 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_numbers_are_found_and_others_left_out() {
        let module = wat::parse_str(
            r#"(module
                (memory (export "memory") 1)
                (func (export "_initialize"))
                (func (export "add_up") (param i32 f64) (result i64) i64.const 0)
                (func (export "twice") (result i32 i32) i32.const 0 i32.const 0)
                (func (export "Wrong Name"))
                (func (export "list")))"#,
        )
        .expect("is WebAssembly text");
        let found: Vec<_> = functions(&module).expect("parses").into_values().map(|(name, ty)| name + &ty).collect();
        assert_eq!(found, ["add-up(p0: s32, p1: f64) -> s64", "list()"]);
    }

    #[test]
    fn module_without_functions_is_left_alone() {
        let module = wat::parse_str(r#"(module (memory (export "memory") 1))"#).expect("is WebAssembly text");
        assert_eq!(described(&module).expect("parses"), None);
    }
}
