//! `cargo xtask VERB`: sets up, runs, tests and measures dkimwatch. One file or folder a verb.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program answers on its terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod command;
mod kernels;
mod picture;
mod run;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, runs, tests and measures dkimwatch", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the other verbs need; says for each thing whether it was there
    Setup(setup::Arguments),
    /// Build, and watch this host's keys; without any key, a demonstration
    Run(run::Arguments),
    /// Every check there is, with one summary at the end
    Test(test::Arguments),
    /// Boot a stock Debian kernel over this machine's own root and run a command in it as root
    Vm(vm::Arguments),
    /// Fetch stock Debian kernels, or list those that can be had by name
    Kernels(kernels::Arguments),
    /// What watching costs an unrelated open, in instructions; how many opens a second are told; memory
    Bench(bench::Arguments),
    /// Draw the picture in the README: what a terminal shows of a watch on a mail host, in a guest
    Picture(picture::Arguments),
    /// The rules of this house, checked
    Tidy(tidy::Arguments),
    /// The guest's half of `bench`
    #[command(hide = true)]
    GuestBench(bench::guest::Arguments),
    /// Open and close one file again and again, and print what one round costs
    #[command(hide = true)]
    GuestOpenLoop(bench::open_loop::Arguments),
    /// The guest's half of the flood
    #[command(hide = true)]
    GuestFlood(bench::flood::Arguments),
    /// Open one file a given number of times, at a given rate
    #[command(hide = true)]
    GuestStranger(bench::stranger::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup(arguments) => setup::main(&arguments),
        Verb::Run(arguments) => run::main(&arguments),
        Verb::Test(arguments) => test::main(&arguments),
        Verb::Vm(arguments) => vm::main(&arguments),
        Verb::Kernels(arguments) => kernels::main(&arguments),
        Verb::Bench(arguments) => bench::main(&arguments),
        Verb::Picture(arguments) => picture::main(&arguments),
        Verb::Tidy(arguments) => tidy::main(&arguments),
        Verb::GuestBench(arguments) => bench::guest::main(&arguments),
        Verb::GuestOpenLoop(arguments) => bench::open_loop::main(&arguments),
        Verb::GuestFlood(arguments) => bench::flood::main(&arguments),
        Verb::GuestStranger(arguments) => bench::stranger::main(&arguments),
    };
    done.unwrap_or_else(|error| {
        // By hand: with RUST_BACKTRACE set, returning it would bury the sentence under a stack.
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    })
}
