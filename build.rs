//! How the program is linked.
#![allow(clippy::disallowed_methods, reason = "cargo tells build scripts by the environment")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The functions that a running gateway calls, one name a line, as `tests/bench/order` writes them.
const CALLED: &str = "src/functions.txt";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={CALLED}");
    let cfg = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if cfg("OS") != "linux" || cfg("ENV") != "gnu" {
        return;
    }
    // A position-independent program is relocated at every start. In their packed form (RELR, glibc 2.36) the relocations are a tenth of the size,
    // which is a megabyte less to read into memory.
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    // The kernel maps a program's text 64 KiB around each function that is called for the first time. What is called at all is a fifth of the text;
    // where it lies together, the rest stays on the disk (decision 0035).
    if env::var("PROFILE").as_deref() == Ok("release") {
        match together() {
            Ok(argument) => println!("cargo::rustc-link-arg-bins={argument}"),
            Err(reason) => {
                println!("cargo::warning=functions are not ordered, the program needs 7 MiB more memory: {reason}")
            }
        }
    }
}

/// Writes the linker's script that puts the called functions first, tries whether the linker takes it, and returns the argument.
fn together() -> Result<String, String> {
    let folder = env::var("OUT_DIR").map_err(|error| error.to_string())?;
    let folder = Path::new(&folder);
    let names = fs::read_to_string(CALLED).map_err(|error| format!("{CALLED}: {error}"))?;
    let mut script = String::from("SECTIONS\n{\n  .text.called :\n  {\n");
    for name in names.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        writeln!(script, "    *(.text.{name} .text.unlikely.{name})").map_err(|error| error.to_string())?;
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    let path = folder.join("called.ld");
    fs::write(&path, script).map_err(|error| format!("{}: {error}", path.display()))?;
    let argument = format!("-Wl,-T,{}", path.display());
    tried(folder, &argument)?;
    Ok(argument)
}

/// Links a program of one line. Linkers that know scripts with INSERT: GNU ld and LLD, which Rust has brought along since 1.90; others say no here.
fn tried(folder: &Path, argument: &str) -> Result<(), String> {
    let source = folder.join("tried.rs");
    fs::write(&source, "fn main() {}\n").map_err(|error| format!("{}: {error}", source.display()))?;
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg(&source).arg("-o").arg(folder.join("tried")).arg("-C").arg(format!("link-arg={argument}"));
    if let Ok(target) = env::var("TARGET") {
        rustc.arg("--target").arg(target);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut how = std::ffi::OsString::from("linker=");
        how.push(linker);
        rustc.arg("-C").arg(how);
    }
    rustc.args(env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().split('\x1f').filter(|flag| !flag.is_empty()));
    let output = rustc.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .find(|line| line.contains("ld:") || line.starts_with("error"))
        .unwrap_or("the linker refuses it")
        .to_owned())
}
