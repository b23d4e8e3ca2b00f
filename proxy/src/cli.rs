//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Moves a live database to another server, with the application not noticing.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How a command finds the running proxy.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reach {
    /// Configuration file; names the admin socket.
    #[arg(short, long, value_name = "FILE", default_value = "pointsman.toml")]
    pub config: PathBuf,
    /// Admin socket of the running proxy, instead of the one in the configuration.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
}

/// The commands of the operator's contract.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy until a signal ends it. All other commands talk to its admin socket.
    Run {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE", default_value = "pointsman.toml")]
        config: PathBuf,
        /// Admin socket, instead of the one in the configuration.
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
    },
    /// Look at both servers and say what stands in the way; changes nothing.
    Check {
        #[command(flatten)]
        reach: Reach,
        /// Accept what would otherwise refuse the migration (`large-objects`).
        #[arg(long, value_name = "WHAT")]
        accept: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Copy the source to the target and keep the copy current.
    Start {
        #[command(flatten)]
        reach: Reach,
        /// Accept what would otherwise refuse the migration (`large-objects`).
        #[arg(long, value_name = "WHAT")]
        accept: Vec<String>,
        /// Come back only when the target is current.
        #[arg(long)]
        wait: bool,
    },
    /// Show where the migration stands.
    Status {
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Show it again every second until interrupted.
        #[arg(long)]
        watch: bool,
    },
    /// Compare both sides exactly, while both live; changes nothing on either.
    Verify {
        #[command(flatten)]
        reach: Reach,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Move all clients to the target.
    Cutover {
        #[command(flatten)]
        reach: Reach,
        /// Longest pause; passing it gives the cutover up with the source serving.
        #[arg(long, value_name = "PERIOD", value_parser = humantime::parse_duration)]
        max_pause: Option<Duration>,
        /// Say what would happen to each session, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// After the cutover: move all clients back to the source, with everything written since.
    Rollback {
        #[command(flatten)]
        reach: Reach,
        /// Longest pause; passing it gives the rollback up with the target serving.
        #[arg(long, value_name = "PERIOD", value_parser = humantime::parse_duration)]
        max_pause: Option<Duration>,
        /// Say what would happen to each session, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// After the cutover: remove everything of ours from both servers.
    Finish {
        #[command(flatten)]
        reach: Reach,
        /// Let applications connect to the source again. By default it stays closed, so that
        /// nobody writes to the old server by mistake.
        #[arg(long)]
        lift_fence: bool,
    },
    /// Before the cutover: stop, and remove every trace from both servers.
    Abort {
        #[command(flatten)]
        reach: Reach,
    },
}

impl Command {
    /// How the running proxy is reached; `None` for `run`, which is it.
    #[must_use]
    pub(crate) fn reach(&self) -> Option<&Reach> {
        match self {
            Self::Run { .. } => None,
            Self::Check { reach, .. }
            | Self::Start { reach, .. }
            | Self::Status { reach, .. }
            | Self::Verify { reach, .. }
            | Self::Cutover { reach, .. }
            | Self::Rollback { reach, .. }
            | Self::Finish { reach, .. }
            | Self::Abort { reach } => Some(reach),
        }
    }
}
