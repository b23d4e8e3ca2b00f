//! Findings that are one catalog query each: the names it gives, and what is said about them.

use tokio_postgres::types::ToSql;

use super::report::{Advice, Level, Report, listed};
use super::server::Server;

/// One query and the finding it makes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// Major version that has the catalog columns the query uses.
    pub(super) since: i32,
    /// The first column of its rows names what was found. `{relations}` stands for a condition
    /// that leaves the application's relations of `pg_class c`, `pg_namespace n`.
    pub(super) sql: &'static str,
    /// The level if there is any row.
    pub(super) level: Level,
    /// What is said if there is any row; `{}` stands for the names.
    pub(super) found: &'static str,
    pub(super) why: &'static str,
    /// `{}` stands for the first name.
    pub(super) fix: &'static str,
    /// What is said if there is none; empty if nothing.
    pub(super) none: &'static str,
}

/// Relations of the application: none of the system, of extensions, or ours.
const RELATIONS: &str = "n.oid = c.relnamespace AND n.nspname !~ '^pg_' \
    AND n.nspname NOT IN ('information_schema', 'pointsman') AND NOT EXISTS ( \
    SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::regclass \
    AND e.objid = c.oid AND e.deptype = 'e')";

/// The statement with its placeholder filled.
pub(super) fn expand(sql: &str) -> String {
    sql.replace("{relations}", RELATIONS)
}

impl Rule {
    pub(super) async fn run(
        &self,
        server: &Server,
        params: &[&(dyn ToSql + Sync)],
        report: &mut Report,
    ) -> Result<(), tokio_postgres::Error> {
        if server.major() < self.since {
            return Ok(());
        }
        let names = server.names(&expand(self.sql), params).await?;
        match names.first() {
            Some(first) => report.add(
                self.level,
                server.side,
                &self.found.replace("{}", &listed(&names)),
                Advice {
                    why: self.why,
                    fix: &self.fix.replace("{}", first),
                },
            ),
            None if self.none.is_empty() => {}
            None => report.ok(server.side, self.none),
        }
        Ok(())
    }
}

/// Runs rules that have no parameters.
pub(super) async fn run_all(
    rules: &[Rule],
    server: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    for rule in rules {
        rule.run(server, &[], report).await?;
    }
    Ok(())
}
