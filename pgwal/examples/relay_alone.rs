//! A relay in front of one server, without a migration:
//! `cargo run -p pgwal --example relay_alone -- postgres://user@host/db 127.0.0.1:6432 [threads]`

use std::process::ExitCode;

use pgwal::session::{Relay, RelayOptions};
use pgwal::wire::Endpoint;
use router::{Side, Switch};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!(%failure, "the relay ends");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let source: Endpoint = arguments
        .next()
        .ok_or("the first argument is the server's URL")?
        .parse()?;
    let listen = arguments
        .next()
        .ok_or("the second argument is the address to listen on")?;
    let threads = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let switch = Switch::new(threads, Side::Source);
    let relay = Relay::new(RelayOptions {
        threads,
        ..RelayOptions::new(source, switch)
    })?;
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (client, address) = listener.accept().await?;
        relay.accept(client, address);
    }
}
