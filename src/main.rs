//! `isthmus`: see `isthmus help`, or docs/command-line.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    isthmus::admin::cli::main()
}
