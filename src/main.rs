//! The `pipette` command. Everything is in `cli.rs`.

use std::process::ExitCode;

/// A batch is thousands of small values made by one thread and dropped by it; glibc's allocator gives their memory back to
/// the kernel and takes it again (docs/decisions).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pipette::telemetry::tell_panics();
    pipette::cli::main(std::env::args_os())
}
