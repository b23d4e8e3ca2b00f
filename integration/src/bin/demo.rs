//! The demonstration: two real servers, a load, a cutover under it, and the account.
#![expect(clippy::print_stderr, reason = "why it failed")]

use std::process::ExitCode;

use clap::Parser;
use integration::demo::{self, DemoOptions};

/// Moves a database under load from one real server to another, and accounts for every transaction.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which kind of server.
    #[arg(default_value = "postgres", value_parser = ["postgres"])]
    engine: String,
    /// The source's major version.
    #[arg(long, default_value_t = 14)]
    from: u32,
    /// The target's major version.
    #[arg(long, default_value_t = 17)]
    to: u32,
    /// Hundreds of thousands of rows to copy.
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// Clients that write all the time.
    #[arg(long, default_value_t = 8)]
    clients: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = DemoOptions {
        from: arguments.from,
        to: arguments.to,
        scale: arguments.scale,
        clients: arguments.clients,
    };
    match demo::run(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
            eprintln!("the demonstration failed: {}", causes.join(": "));
            ExitCode::FAILURE
        }
    }
}
