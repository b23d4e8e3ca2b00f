//! A migration user that is no superuser: the privileges that `docs/config.md` lists are enough for
//! a whole migration, what cannot do without a superuser is told by `check`, and nothing stays.

use std::io::Write;

use integration::binaries;
use integration::catalog::{self, Facts};
use integration::proxy::{Proxy, ProxyOptions};
use integration::server::PgServer;

use super::stage::{DATABASE, PATIENCE, Stage, configured, empty_target, filled_source, usual};

/// The statements that the documentation gives: for the source, and for the target.
fn documented() -> [String; 2] {
    let path = binaries::project_root().join("docs/config.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text
        .split_once("## What the migration user must be allowed to do")
        .expect("the section is there");
    let blocks: Vec<String> = section
        .split("```sql")
        .skip(1)
        .map(|rest| {
            rest.split("```")
                .next()
                .unwrap()
                .replace("'...'", "'moving'")
        })
        .collect();
    blocks.try_into().expect("two blocks of SQL")
}

struct Moving {
    stage: Stage,
    source: Facts,
    target: Facts,
}

async fn facts(server: &PgServer) -> Facts {
    catalog::read(&server.client(DATABASE).await.unwrap())
        .await
        .unwrap()
}

fn as_mover(source: &PgServer, target: &PgServer) -> ProxyOptions {
    let url = |server: &PgServer| server.url_with_password("mover", "moving", DATABASE);
    configured(source, target).urls(url(source), url(target))
}

/// Servers with the role, and more SQL of a test's own on either.
async fn servers(from: u32, to: u32, more: [&str; 2]) -> (PgServer, PgServer) {
    let source = filled_source(from, usual()).await;
    let target = empty_target(to, usual()).await;
    let servers = [&source, &target].into_iter();
    for ((server, sql), more) in servers.zip(documented()).zip(more) {
        server.execute(DATABASE, &sql).await.unwrap();
        server.execute(DATABASE, more).await.unwrap();
    }
    (source, target)
}

impl Moving {
    async fn new(from: u32, to: u32, more: [&str; 2]) -> Self {
        let (source, target) = servers(from, to, more).await;
        let before = (facts(&source).await, facts(&target).await);
        let proxy = Proxy::start(as_mover(&source, &target)).await.unwrap();
        Self {
            stage: Stage {
                source,
                target,
                proxy,
            },
            source: before.0,
            target: before.1,
        }
    }

    async fn assert_source_untouched(&self) {
        let after = facts(&self.stage.source).await;
        let differences = catalog::differences(&self.source, &after);
        assert_eq!(differences, Vec::<String>::new());
    }

    async fn moves(&self) {
        let stage = &self.stage;
        stage.proxy.done(&["check"]).await.unwrap();
        let load = stage.load(4).await;
        stage.stream().await;
        load.more_commits(50, PATIENCE).await.unwrap();
        stage.cutover().await;
        load.more_commits(50, PATIENCE).await.unwrap();
        stage.proxy.done(&["finish", "--lift-fence"]).await.unwrap();
        let report = load.stop().await.unwrap();
        stage.assert_perfect(&report, &stage.target).await;
        stage.assert_same_contents().await;
        self.assert_source_untouched().await;
        // On the target nothing is ours, and the role acts for nobody but itself.
        let traces = facts(&stage.target).await;
        let traces: Vec<_> = traces
            .iter()
            .filter(|one| one.contains("pointsman"))
            .collect();
        assert!(traces.is_empty(), "{traces:#?}");
        let member = "SELECT pg_has_role('mover', 'app', 'USAGE')";
        assert_eq!(stage.target.psql(DATABASE, member).unwrap(), "f");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_no_superuser_moves_14_to_17() {
    Moving::new(14, 17, ["", ""]).await.moves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_no_superuser_moves_16_to_18() {
    Moving::new(16, 18, ["", ""]).await.moves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_no_superuser_leaves_nothing_when_it_aborts() {
    let moving = Moving::new(14, 17, ["", ""]).await;
    moving.stage.stream().await;
    moving.stage.proxy.done(&["abort"]).await.unwrap();
    moving.assert_source_untouched().await;
    let after = facts(&moving.stage.target).await;
    let differences = catalog::differences(&moving.target, &after);
    assert_eq!(differences, Vec::<String>::new());
}

/// Managed servers let nobody read `pg_authid`: then the operator gives a function that looks
/// passwords up, and makes the roles on the target with the same verifiers.
#[tokio::test(flavor = "multi_thread")]
async fn without_pg_authid_a_query_of_the_operator_and_roles_made_by_hand_do() {
    let hidden = "REVOKE SELECT ON pg_catalog.pg_authid FROM mover";
    let (source, target) = servers(16, 18, [hidden, ""]).await;
    let proxy = Proxy::start(as_mover(&source, &target)).await.unwrap();
    let said = proxy.cli(&["check"]).await.unwrap().to_string();
    for words in [
        "may not read pg_authid",
        "[auth] query",
        "not there yet: app",
        "CREATE ROLE",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    drop(proxy);

    let lookup = "CREATE SCHEMA lookup; GRANT USAGE ON SCHEMA lookup TO mover;
        CREATE FUNCTION lookup.verifier(who text) RETURNS TABLE (name text, verifier text)
        LANGUAGE sql SECURITY DEFINER SET search_path = '' AS
        $$SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = who$$;
        ALTER FUNCTION lookup.verifier OWNER TO keeper; ALTER SCHEMA lookup OWNER TO keeper";
    let keeper = "CREATE ROLE keeper; GRANT SELECT ON pg_catalog.pg_authid TO keeper";
    source.execute(DATABASE, keeper).await.unwrap();
    source.execute(DATABASE, lookup).await.unwrap();
    let verifier = verifier_of_app(&source);
    let roles = format!(
        "CREATE ROLE app LOGIN PASSWORD '{verifier}'; CREATE ROLE keeper;
         GRANT app, keeper TO mover"
    );
    target.execute(DATABASE, &roles).await.unwrap();
    let query = "auth.query = \"SELECT name, verifier FROM lookup.verifier($1)\"";
    moves_under_load(source, target, query).await;
}

/// The same with a file in place of the function.
#[tokio::test(flavor = "multi_thread")]
async fn without_pg_authid_a_file_with_the_users_does_too() {
    let hidden = "REVOKE SELECT ON pg_catalog.pg_authid FROM mover";
    let (source, target) = servers(14, 17, [hidden, ""]).await;
    let verifier = verifier_of_app(&source);
    let roles = format!("CREATE ROLE app LOGIN PASSWORD '{verifier}'; GRANT app TO mover");
    target.execute(DATABASE, &roles).await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "\"app\" \"{verifier}\"").unwrap();
    let line = format!("auth.users_file = \"{}\"", file.path().display());
    moves_under_load(source, target, &line).await;
}

fn verifier_of_app(source: &PgServer) -> String {
    let sql = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    source.psql(DATABASE, sql).unwrap()
}

/// The whole movement, with a line more in the configuration.
async fn moves_under_load(source: PgServer, target: PgServer, line: &str) {
    let options = as_mover(&source, &target).key(line);
    let proxy = Proxy::start(options).await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    let load = stage.load(2).await;
    stage.stream().await;
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

/// What only a superuser of the target could make, or could read.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_superuser_on_the_target_is_refused_by_name() {
    let on_source = "
        CREATE TABLE of_a_superuser (id int PRIMARY KEY); GRANT SELECT ON of_a_superuser TO mover;
        CREATE TABLE hidden (id int PRIMARY KEY); ALTER TABLE hidden OWNER TO app;
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION watch();
        GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO app";
    let on_target = "CREATE ROLE app LOGIN";
    let (source, target) = servers(16, 18, [on_source, on_target]).await;
    let proxy = Proxy::start(as_mover(&source, &target)).await.unwrap();
    let said = proxy.cli(&["check"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    for words in [
        "may not hand objects over to app, postgres",
        "GRANT \"app\" TO \"mover\"",
        "subject to the row security of public.hidden",
        "ALTER ROLE \"mover\" BYPASSRLS",
        "event trigger watcher",
        "privileges on objects of the system: pg_ls_dir(text) to app",
    ] {
        assert!(said.to_string().contains(words), "no {words:?} in {said}");
    }
}
