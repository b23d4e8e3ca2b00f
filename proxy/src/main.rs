//! `pointsman`: moves a live database to another server, with the application not noticing.
//!
//! This file parses the command line, runs the proxy or asks a running one, and turns the outcome
//! into the exit codes of the operator's contract.

mod admin;
mod cli;
mod config;
mod engine;
mod exit;
mod failpoint;
mod migration;
mod output;
mod run;
mod status;
mod task;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Cli, Command, Reach};
use crate::config::Config;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _closed_pipe = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    match cli.command {
        Command::Run { config, socket } => run::run(&config, socket),
        command => ask(&command),
    }
    .into()
}

/// Sends the command to the running proxy and prints its answer.
fn ask(command: &Command) -> Exit {
    let Some(reach) = command.reach() else {
        return Exit::Usage;
    };
    match socket_path(reach) {
        Ok(socket) => output::carry_out(command, &socket),
        Err(error) => {
            output::error(&error);
            Exit::Usage
        }
    }
}

fn socket_path(reach: &Reach) -> Result<PathBuf, config::ConfigError> {
    match &reach.socket {
        Some(socket) => Ok(socket.clone()),
        None => Config::load(&reach.config).map(|config| config.admin.socket),
    }
}
