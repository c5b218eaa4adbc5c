//! The `pipette` command. Everything is in `cli.rs`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: pipette::allocator::Allocator = pipette::allocator::Allocator;

fn main() -> ExitCode {
    pipette::allocator::give_free_pages_back_soon();
    pipette::telemetry::tell_panics();
    pipette::cli::main(std::env::args_os())
}
