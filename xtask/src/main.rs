//! The project's verbs. People and CI call these and nothing else; each installs what it lacks.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks on its terminal")]

mod bench;
mod build;
mod demo;
mod dist;
mod fuzz;
mod go_layouts;
mod kernel_side;
mod lint;
mod run;
mod setup;
mod test;
mod tidy;
mod tools;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Spandrel's verbs", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building the kernel object needs: a BPF compiler and linker
    Setup,
    /// Build the agent with its kernel object inside: target/release/spandrel
    Build,
    /// Trace a small shop of ordinary programs and show what comes out
    Demo(demo::Args),
    /// Run every test: units, fuzz corpora, the real kernel, real programs
    Test(test::Args),
    /// Measure what the agent costs, beside its goals
    Bench(bench::Args),
    /// Boot other kernels under QEMU and run the kernel tests there
    Vm(vm::Args),
    /// Fuzz the parsers for longer than `test` does
    Fuzz(fuzz::Args),
    /// Check format, clippy's lints, licences and duplicate dependencies
    Lint,
    /// Check the architecture's rules on the source text
    Tidy,
    /// Write the table of offsets inside Go's own structures, from small builds with each release
    GoLayouts,
    /// Build the static binary that runs on any distribution
    Dist,
}

fn main() -> ExitCode {
    let Cli { verb } = Cli::parse();
    let done = match verb {
        Verb::Setup => setup::run(),
        Verb::Build => build::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Vm(args) => vm::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Lint => lint::run(),
        Verb::Tidy => tidy::run(),
        Verb::GoLayouts => go_layouts::run(),
        Verb::Dist => dist::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
