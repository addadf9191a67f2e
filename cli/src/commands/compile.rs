//! `wk compile`: machine code for a device, made where there is power to spare.
//!
//! What is written is what a node keeps: put into `compiled/` of a device's data directory it saves that device the
//! work. Who can write there owns the device, so nothing is signed; over the mesh, nodes sign what they hand out.

use std::path::{Path, PathBuf};

use wk_engine::Target;
use wk_image::Digest;

use super::deploy;
use crate::args::CompileArgs;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;

/// Compiles and writes.
pub(super) async fn run(args: CompileArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if args.target == Target::Native {
        return Err(usage("--target native is what a node does by itself; give \"portable\" or a target").into());
    }
    let profile = args.profile();
    let settings = profile.settings().map_err(|error| usage("--target").because(error))?;
    let wasm = std::fs::read(&args.file).map_err(|error| {
        let code = if error.kind() == std::io::ErrorKind::NotFound { Code::NotFound } else { Code::General };
        ExitError::new(code, format!("read {}", args.file.display())).because(error)
    })?;
    deploy::wasm::inspect(&wasm).map_err(|why| usage(format!("{}: {why}", args.file.display())))?;
    let digest = Digest::of(&wasm).to_string();
    ui.progress(&format!("compiling {} for {}", args.file.display(), args.target));
    let compiled = tokio::task::spawn_blocking(move || wk_engine::compile(&profile, &wasm)).await?;
    ui.settle();
    let code = compiled.map_err(|error| {
        ExitError::new(Code::General, format!("{} cannot be run", args.file.display())).because(error)
    })?;
    let stored = wk_engine::StoredCode::new(&settings, &digest, &code);
    let path = place(args.output.as_deref(), &args.file, &stored.file_name);
    std::fs::write(&path, &stored.bytes)
        .map_err(|error| ExitError::new(Code::General, format!("write {}", path.display())).because(error))?;
    ui.line(&path.display().to_string())?;
    ui.note(&format!(
        "{} KiB for {}. A device that runs `wk up --engine {}` uses it from compiled/{} of its data directory.",
        stored.bytes.len() >> 10,
        args.target,
        engine(&args.target),
        stored.file_name
    ));
    Ok(())
}

/// What such a device is started with, as `wk up --help` names it.
fn engine(target: &Target) -> &'static str {
    match target {
        Target::Native => "native",
        Target::Portable(_) => "portable",
        Target::Pulley => "pulley64",
    }
}

/// The file to write: as given, in the directory given, or beside the module.
fn place(output: Option<&Path>, wasm: &Path, name: &str) -> PathBuf {
    match output {
        Some(dir) if dir.is_dir() => dir.join(name),
        Some(file) => file.to_owned(),
        None => wasm.with_extension("cwasm"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_told_an_engine_that_wk_up_lists() {
        for (target, told) in [("aarch64", "portable"), ("portable", "portable"), ("riscv64", "pulley64")] {
            let target = target.parse().expect("tests run where there is a backend");
            assert_eq!(engine(&target), told);
        }
    }

    #[test]
    fn code_goes_where_it_was_sent_or_beside_the_module() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(place(None, Path::new("a/app.wasm"), "x"), Path::new("a/app.cwasm"));
        assert_eq!(place(Some(Path::new("b.cwasm")), Path::new("app.wasm"), "x"), Path::new("b.cwasm"));
        assert_eq!(place(Some(dir.path()), Path::new("app.wasm"), "x.cwasm"), dir.path().join("x.cwasm"));
    }
}
