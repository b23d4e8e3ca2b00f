//! Reaching the servers and logging in, as SQL and as a replication connection.

use std::error::Error;

use router::{Side, words};
use tokio_postgres::error::SqlState;

use super::report::{Advice, Report};
use super::server::Server;
use crate::name::quote_identifier;
use crate::wire::{Conn, ConnectError, Endpoint};

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
    let server = match Server::read(conn, side).await {
        Ok(server) => server,
        Err(error) => {
            let advice = Advice {
                why: "nothing can be asked of this server",
                fix: "look into the server's log, mend it, and check again",
            };
            report.fail(
                side,
                &format!("{endpoint} answers with an error: {error}"),
                advice,
            );
            return None;
        }
    };
    let superuser = if server.superuser {
        ", a superuser"
    } else {
        ""
    };
    let what = format!(
        "logged in to {endpoint} as {}{superuser}; PostgreSQL {}",
        server.role,
        server.version_text()
    );
    report.ok(side, &what);
    match side {
        Side::Source => replication_login(endpoint, report).await,
        Side::Target => {}
    }
    Some(server)
}

/// The stream needs a login of its own kind, which `pg_hba.conf` and the role may refuse.
async fn replication_login(endpoint: &Endpoint, report: &mut Report) {
    let parameters = [
        ("replication", "database"),
        ("application_name", "pointsman check"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    match Conn::connect_own(endpoint, &parameters).await {
        Ok(conn) => {
            conn.close().await;
            report.ok(Side::Source, "a replication connection can be opened");
        }
        Err(error) => {
            let what = format!(
                "a replication connection cannot be opened: {}",
                words(&error)
            );
            let fix = format!(
                "ALTER ROLE {} REPLICATION; make sure that pg_hba.conf lets the role in, and that \
                 max_wal_senders leaves a connection free",
                quote_identifier(&endpoint.user)
            );
            let why = "the stream of changes is read through such a connection";
            report.fail(Side::Source, &what, Advice { why, fix: &fix });
        }
    }
}

fn refused(endpoint: &Endpoint, side: Side, error: &ConnectError, report: &mut Report) {
    let (what, fix) = match sqlstate(error) {
        Some(code) => refused_by_server(endpoint, side, error, &code),
        None => (
            format!("{endpoint} cannot be used: {}", words(error)),
            "check host and port in the URL, that the server runs and listens there \
             (listen_addresses), and that no firewall is between; if the login is refused, check \
             user and password"
                .to_owned(),
        ),
    };
    let why = "both servers must be reached by the role of pointsman";
    report.fail(side, &what, Advice { why, fix: &fix });
}

fn refused_by_server(
    endpoint: &Endpoint,
    side: Side,
    error: &ConnectError,
    code: &SqlState,
) -> (String, String) {
    let user = &endpoint.user;
    if *code == SqlState::INVALID_PASSWORD {
        let fix = format!("set the right password in the {side}'s password file or URL");
        (
            format!("{endpoint} refuses the password of user {user}"),
            fix,
        )
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        let fix = format!(
            "CREATE ROLE {} LOGIN, or let it in from this address in pg_hba.conf",
            quote_identifier(user)
        );
        (
            format!("{endpoint} refuses user {user}: {}", server_message(error)),
            fix,
        )
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        let fix = match side {
            Side::Source => "correct the database's name in the URL",
            Side::Target => {
                "CREATE DATABASE there, with the source's encoding and collation, or correct the \
                 name in the URL"
            }
        };
        (
            format!("{endpoint}: there is no database {}", endpoint.database),
            fix.to_owned(),
        )
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        let fix = "raise max_connections, or end sessions that are not needed";
        (format!("{endpoint} has no connection left"), fix.to_owned())
    } else {
        let fix = "do what the server's message says";
        (
            format!(
                "{endpoint} refuses the connection: {}",
                server_message(error)
            ),
            fix.to_owned(),
        )
    }
}

fn sqlstate(error: &ConnectError) -> Option<SqlState> {
    match error {
        ConnectError::Sql { source, .. } => source.code().cloned(),
        ConnectError::Refused { source, .. } => Some(SqlState::from_code(&source.sqlstate)),
        ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Tls { .. }
        | ConnectError::Auth { .. }
        | ConnectError::Wire { .. } => None,
    }
}

fn server_message(error: &ConnectError) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(db) = error.downcast_ref::<tokio_postgres::error::DbError>() {
            return db.message().to_owned();
        }
        cause = error.source();
    }
    words(error)
}
