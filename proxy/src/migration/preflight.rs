//! The command `check`: looks at both servers and says what stands in the way.

use pgwal::check::{self, CheckOptions, Finding, LargeObjects, Level, Verifiers};
use pgwal::schema::setup::migration_id;
use pgwal::wire::Endpoint;
use router::Side;

use crate::admin::protocol::Response;
use crate::config::{Config, KeylessTables};
use crate::exit::Exit;

/// The word of `--accept` for large objects.
const LARGE_OBJECTS: &str = "large-objects";

/// Checks both servers; changes nothing.
pub(super) async fn check(
    config: &Config,
    source: &Endpoint,
    target: &Endpoint,
    ours: Vec<i32>,
    accept: &[String],
) -> Response {
    if let Some(unknown) = accept.iter().find(|word| *word != LARGE_OBJECTS) {
        let text = format!("--accept {unknown}: the only thing to accept is {LARGE_OBJECTS}");
        return Response {
            exit: Exit::Usage,
            ..Response::refused(text)
        };
    }
    let options = CheckOptions {
        keyless_tables: match config.copy.keyless_tables {
            KeylessTables::Full => check::KeylessTables::Full,
            KeylessTables::Refuse => check::KeylessTables::Refuse,
        },
        large_objects: match accept.is_empty() {
            true => LargeObjects::Refuse,
            false => LargeObjects::Accept,
        },
        tables: config.copy.tables.filter(),
        pg_dump_dir: config.copy.pg_dump_dir.clone(),
        verifiers: match config.auth.query {
            None => Verifiers::Catalog,
            Some(_) => Verifiers::Query,
        },
        migration_id: begun(source).await,
        ours,
        nologin: config.fence.nologin.clone(),
        trusted_roles: config.fence.trusted_roles.clone(),
        trusted_workers: config.fence.trusted_workers.clone(),
    };
    let findings = check::run(source, target, &options).await;
    answer(&findings)
}

/// The migration that is under way, whose own objects are no leftovers.
async fn begun(source: &Endpoint) -> Option<String> {
    let client = source.connect_sql("pointsman check").await.ok()?;
    migration_id(&client, Side::Source).await.ok()?
}

fn answer(findings: &[Finding]) -> Response {
    let count = |level: Level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (fail, warn) = (count(Level::Fail), count(Level::Warn));
    let mut lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    lines.push(match (fail, warn) {
        (0, 0) => "nothing stands in the way".to_owned(),
        (0, warn) => format!("nothing stands in the way; {warn} to know about"),
        (fail, _) => format!("{fail} to mend before `pointsman start`"),
    });
    let text = lines.join("\n");
    let response = if fail == 0 {
        Response::done(text)
    } else {
        Response::refused(text)
    };
    response.with_result(findings)
}
