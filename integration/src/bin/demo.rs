//! The demonstration: two real servers, a load, a cutover under it, and the account.
#![expect(clippy::print_stderr, reason = "why it failed")]

use std::process::ExitCode;

use clap::Parser;
use integration::demo::{self, DemoEngine, DemoOptions};

/// Moves a database under load from one real server to another, and accounts for every transaction.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which kind of server.
    #[arg(default_value = "postgres", value_parser = ["postgres", "mysql"])]
    engine: String,
    /// The source's version: 14, or mysql-9.7, mysql-5.6, mariadb-10.11, mariadb-11.8.
    #[arg(long)]
    from: Option<String>,
    /// The target's version: 17, or mysql-9.7 and so on.
    #[arg(long)]
    to: Option<String>,
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
    let engine = if arguments.engine == "mysql" {
        DemoEngine::MySql
    } else {
        DemoEngine::Postgres
    };
    let options = DemoOptions {
        engine,
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
