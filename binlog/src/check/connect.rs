//! Reaching the servers and logging in.

use router::{Side, words};

use super::report::{Advice, Report};
use super::server::Server;
use crate::wire::{ConnectError, Endpoint, quote};

/// Connects, or says why it cannot be.
pub(super) async fn connect(
    endpoint: &Endpoint,
    side: Side,
    report: &mut Report,
) -> Option<Server> {
    let conn = match endpoint.connect_sql("pointsman check").await {
        Ok(conn) => conn,
        Err(error) => {
            refused(endpoint, side, &error, report);
            return None;
        }
    };
    let version = conn.version_text().to_owned();
    match Server::read(conn, side).await {
        Ok(server) => {
            let flavour = server.version.flavour;
            let what = format!(
                "logged in to {endpoint} as {}; {flavour} {version}",
                server.account
            );
            report.ok(side, &what);
            Some(server)
        }
        Err(error) => {
            let advice = Advice {
                why: "nothing can be asked of this server",
                fix: "look into the server's log, mend it, and check again",
            };
            let what = format!("{endpoint} answers with an error: {}", words(&error));
            report.fail(side, &what, advice);
            None
        }
    }
}

/// Access denied.
const ACCESS_DENIED: u16 = 1045;
/// This host may not connect.
const HOST_NOT_PRIVILEGED: u16 = 1130;
/// No connection is left.
const TOO_MANY_CONNECTIONS: u16 = 1040;

fn refused(endpoint: &Endpoint, side: Side, error: &ConnectError, report: &mut Report) {
    let user = &endpoint.user;
    let fix = match error.server().map(|error| error.code) {
        Some(ACCESS_DENIED) => format!(
            "set the right password in the {side}'s password file or URL, or make the account: \
             CREATE USER {} IDENTIFIED BY '...'",
            quote::account(user, "%")
        ),
        Some(HOST_NOT_PRIVILEGED) => format!(
            "make an account for this address: CREATE USER {} IDENTIFIED BY '...'",
            quote::account(user, "%")
        ),
        Some(TOO_MANY_CONNECTIONS) => {
            "raise max_connections, or end sessions that are not needed".to_owned()
        }
        Some(_) => "do what the server's message says".to_owned(),
        None => "check host and port in the URL, that the server runs and listens there \
                 (bind_address, skip_networking), and that no firewall is between; for TLS, the \
                 words ssl-mode and ssl-ca"
            .to_owned(),
    };
    let what = format!("{endpoint} cannot be used: {}", words(error));
    let why = "both servers must be reached by the account of pointsman";
    report.fail(side, &what, Advice { why, fix: &fix });
}
