//! Every kind of log-in, right and wrong, with the answers of the server itself as the measure.

use std::io::Write;
use std::sync::Arc;

use integration::server::{PgClient, PgOptions, PgServer};
use pgwal::session::Users;
use router::Side;

use super::house::House;

const ROLES: &str = "\
    SET password_encryption = 'scram-sha-256'; CREATE ROLE scrammed LOGIN PASSWORD 'right'; \
    CREATE ROLE expired LOGIN PASSWORD 'right' VALID UNTIL '2001-01-01'; \
    CREATE ROLE barred NOLOGIN PASSWORD 'right'; \
    SET password_encryption = 'md5'; CREATE ROLE fived LOGIN PASSWORD 'right'; \
    RESET password_encryption; CREATE ROLE bare LOGIN; CREATE ROLE trusted LOGIN";

const RULES: &str = "\
    host all,replication postgres,trusted 127.0.0.1/32 trust\n\
    host all fived 127.0.0.1/32 md5\n\
    host all all 127.0.0.1/32 scram-sha-256\n";

async fn house(major: u32) -> House {
    let options = PgOptions::default().without_fsync().hba(RULES);
    let server = PgServer::start(major, options).await.unwrap();
    server.execute("postgres", ROLES).await.unwrap();
    House::over(server, None, |_options| {}).await
}

/// What a log-in comes to: the user, or SQLSTATE and message.
async fn outcome(url: &str) -> String {
    match PgClient::connect(url).await {
        Ok(client) => client.value("SELECT session_user").await.unwrap(),
        Err(error) => {
            let error = error.downcast::<tokio_postgres::Error>().unwrap();
            match error.as_db_error() {
                Some(server) => format!("{} {}", server.code().code(), server.message()),
                None => error.to_string(),
            }
        }
    }
}

async fn every_login_ends_as_it_does_without_us(major: u32) {
    let house = house(major).await;
    for user in [
        "scrammed", "fived", "expired", "barred", "bare", "trusted", "nobody",
    ] {
        for password in ["right", "wrong"] {
            let direct = house.source.url_with_password(user, password, "postgres");
            let through = house.url(user, password);
            let (direct, through) = (outcome(&direct).await, outcome(&through).await);
            assert_eq!(
                direct, through,
                "{user} with the {password} password on {major}"
            );
        }
    }
    assert_eq!(outcome(&house.url("scrammed", "right")).await, "scrammed");
    assert_eq!(outcome(&house.url("fived", "right")).await, "fived");
    assert!(
        outcome(&house.url("scrammed", "wrong"))
            .await
            .starts_with("28P01")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_on_14_ends_as_it_does_without_us() {
    every_login_ends_as_it_does_without_us(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_on_18_ends_as_it_does_without_us() {
    every_login_ends_as_it_does_without_us(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_exist_is_refused_in_the_servers_words() {
    let house = House::new(18).await;
    let url = format!("postgres://postgres@{}/nowhere", house.address);
    let direct = outcome(&house.source.url("postgres", "nowhere")).await;
    assert_eq!(outcome(&url).await, direct);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auth_query_may_be_a_function_of_the_operator() {
    let options = PgOptions::default().without_fsync().hba(
        "host all postgres,lookup 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
    );
    let server = PgServer::start(16, options).await.unwrap();
    let setup = "SET password_encryption = 'scram-sha-256'; \
        CREATE ROLE app LOGIN PASSWORD 'right'; CREATE ROLE lookup LOGIN; \
        CREATE FUNCTION public.verifier(who text) RETURNS TABLE (name text, verifier text) \
        LANGUAGE sql SECURITY DEFINER SET search_path = '' AS \
        $$SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = who$$";
    server.execute("postgres", setup).await.unwrap();
    let source = server.url("lookup", "postgres").parse().unwrap();
    let house = House::over(server, None, |options| {
        options.source = source;
        options.auth_query = Some("SELECT name, verifier FROM public.verifier($1)".to_owned());
    })
    .await;
    assert_eq!(outcome(&house.url("app", "right")).await, "app");
    assert!(
        outcome(&house.url("app", "wrong"))
            .await
            .starts_with("28P01")
    );
}

/// Without a look at the catalog: the role of pointsman may not read it.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_file_log_in_and_move_with_the_secrets_that_stand_there() {
    let rules = "host all postgres,lookup,trusted 127.0.0.1/32 trust\n\
        host all fived 127.0.0.1/32 md5\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let options = PgOptions::default().without_fsync().hba(rules);
    let source = PgServer::start(16, options.clone()).await.unwrap();
    let target = PgServer::start(17, options).await.unwrap();
    let roles = "SET password_encryption = 'scram-sha-256'; \
        CREATE ROLE scrammed LOGIN PASSWORD 'right'; CREATE ROLE plain LOGIN PASSWORD 'right'; \
        CREATE ROLE unlisted LOGIN PASSWORD 'right'; CREATE ROLE stale LOGIN PASSWORD 'right'; \
        SET password_encryption = 'md5'; CREATE ROLE fived LOGIN PASSWORD 'right'; \
        CREATE ROLE lookup LOGIN; CREATE ROLE trusted LOGIN";
    source.execute("postgres", roles).await.unwrap();
    let stored = |role: &str| {
        let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'");
        source.psql("postgres", &sql).unwrap()
    };
    let (scrammed, fived) = (stored("scrammed"), stored("fived"));
    let carried = format!(
        "CREATE ROLE scrammed LOGIN PASSWORD '{scrammed}'; CREATE ROLE fived LOGIN PASSWORD '{fived}'; \
         SET password_encryption = 'scram-sha-256'; CREATE ROLE plain LOGIN PASSWORD 'right'; \
         CREATE ROLE trusted LOGIN"
    );
    target.execute("postgres", &carried).await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let lines = format!(
        "\"scrammed\" \"{scrammed}\"\n\"fived\" \"{fived}\"\n\"plain\" \"right\"\n\"stale\" \"left\"\n"
    );
    file.write_all(lines.as_bytes()).unwrap();
    let endpoint = source.url("lookup", "postgres").parse().unwrap();
    let house = House::over(source, Some(target), |options| {
        options.source = endpoint;
        options.users = Some(Arc::new(Users::read(file.path()).unwrap()));
    })
    .await;

    let mut clients = Vec::new();
    for user in ["scrammed", "fived", "plain", "trusted"] {
        let url = house.url(user, "right");
        clients.push((user, PgClient::connect(&url).await.unwrap()));
    }
    for (user, password) in [
        ("scrammed", "wrong"),
        ("fived", "wrong"),
        ("plain", "wrong"),
        ("unlisted", "right"),
        ("nobody", "right"),
    ] {
        let said = outcome(&house.url(user, password)).await;
        assert!(said.starts_with("28P01"), "{user}: {said}");
    }
    // What the file says opens the proxy's door, and the server's stays shut.
    let said = outcome(&house.url("stale", "left")).await;
    assert!(said.starts_with("28P01"), "{said}");

    house.move_to(Side::Target).await;
    for (user, client) in &clients {
        let sql =
            "SELECT session_user || ' ' || current_setting('server_version_num')::int / 10000";
        assert_eq!(client.value(sql).await.unwrap(), format!("{user} 17"));
    }

    file.write_all(b"\"late\" \"right\"\n").unwrap();
    let late = "CREATE ROLE late LOGIN PASSWORD 'right'";
    let target = house.target.as_ref().unwrap();
    target.execute("postgres", late).await.unwrap();
    assert!(
        outcome(&house.url("late", "right"))
            .await
            .starts_with("28P01")
    );
    house.relay.set_users(Users::read(file.path()).unwrap());
    assert_eq!(outcome(&house.url("late", "right")).await, "late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_a_clear_error_and_the_relay_goes_on_when_it_is_back() {
    let mut house = House::new(17).await;
    let client = house.client().await;
    assert_eq!(client.value("SELECT 1").await.unwrap(), "1");
    house.source.stop().unwrap();
    let refused = outcome(&house.url("postgres", "x")).await;
    assert!(
        refused.starts_with("58000 pointsman cannot look up"),
        "{refused}"
    );
    house.source.restart().await.unwrap();
    assert_eq!(outcome(&house.url("postgres", "x")).await, "postgres");
}
