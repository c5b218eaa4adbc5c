//! The `pipette` command. Everything is in `cli.rs`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipette::cli::main(std::env::args_os())
}
