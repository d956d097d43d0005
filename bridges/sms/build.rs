//! Lists the provider files of `config/providers`, so that the program has them at hand and no code names one.
#![allow(clippy::print_stdout, reason = "how cargo is told")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/providers");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let mut list = String::from(
        "/// Name and text of every shipped provider file.\npub(crate) const SHIPPED: &[(&str, &str)] = &[\n",
    );
    for path in &files {
        println!("cargo::rerun-if-changed={}", path.display());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let full = path.canonicalize()?;
        let _ = writeln!(list, "    ({name:?}, include_str!({:?})),", full.display().to_string());
    }
    list.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    std::fs::write(out.join("shipped.rs"), list)
}
