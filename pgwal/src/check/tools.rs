//! `pg_dump` and `pg_restore`, which carry the schema.

use std::path::Path;

use router::Side;

use super::report::{Advice, Report};
use super::server::Server;
use crate::schema::dump::DumpTools;

pub(super) async fn both(
    source: &Server,
    target: &Server,
    dir: Option<&Path>,
    report: &mut Report,
) {
    // A version that is no number of versions was refused already.
    let major = |server: &Server| u32::try_from(server.major()).unwrap_or_default();
    match DumpTools::find(dir, major(source), major(target)).await {
        Ok(tools) => {
            let path = tools.pg_dump.display();
            report.ok(
                Side::Source,
                &format!("{path} {} carries the schema", tools.major),
            );
        }
        Err(error) => {
            let advice = Advice {
                why: "only pg_dump writes a complete schema, and one that is older than the source \
                      refuses it",
                fix: "install the client package of the target's version on the proxy's machine \
                      (Debian: postgresql-client-17), or set [copy] pg_dump_dir to its folder",
            };
            report.fail(Side::Source, &error.to_string(), advice);
        }
    }
}
