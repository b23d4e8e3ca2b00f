//! What is left out of the structure's first part.

use router::Side;
use tokio_postgres::Client;

use super::super::dump::SystemPrivileges;
use super::super::error::SchemaError;

/// The catalog of schemas.
const PG_NAMESPACE: u32 = 2615;

/// Catalog and OID on the source of entries that the target's role cannot restore and need not: the
/// schema `public` is there already, and only who could act as its owner may hand it over.
pub(super) async fn not_ours_to_make(
    source: &Client,
    target: &Client,
) -> Result<Vec<(u32, u32)>, SchemaError> {
    let query = "SELECT n.oid, pg_catalog.pg_get_userbyid(n.nspowner)::pg_catalog.text
                 FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public'";
    let row = source.query_opt(query, &[]).await;
    let row = row.map_err(SchemaError::sql(Side::Source, "reading the schema public"))?;
    let Some(row) = row else {
        return Ok(Vec::new());
    };
    let (oid, owner): (u32, String) = (row.get(0), row.get(1));
    let query = "SELECT pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER')
                 FROM pg_catalog.pg_roles r WHERE r.rolname = $1::pg_catalog.text";
    let row = target.query_opt(query, &[&owner]).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "reading our memberships"))?;
    Ok(match row.is_some_and(|row| row.get(0)) {
        true => Vec::new(),
        false => vec![(PG_NAMESPACE, oid)],
    })
}

/// What our role on the target can do about privileges on objects of the system.
pub(super) async fn system_privileges(target: &Client) -> Result<SystemPrivileges, SchemaError> {
    let query = "SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = session_user";
    let row = target.query_one(query, &[]).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "reading our own role"))?;
    Ok(match row.get(0) {
        true => SystemPrivileges::Restore,
        false => SystemPrivileges::LeaveOut,
    })
}
