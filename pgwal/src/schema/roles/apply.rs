//! Making the target's roles like the source's.

use std::collections::HashSet;

use router::Side;
use tokio_postgres::Client;

use super::super::error::{SchemaError, SqlCause};
use super::read::{
    DatabaseGrant, Membership, Rank, Role, RoleSet, RoleSetting, SettingScope, VerifierAccess,
};
use super::{RolesReport, VerifierPolicy};
use crate::name::{quote_identifier, quote_literal};

/// Copies the source's roles to the target; may be called again after a crash.
///
/// # Errors
/// A statement failed for another reason than a missing privilege; those are reported instead.
pub async fn copy_roles(
    source: &RoleSet,
    target: &Client,
    policy: VerifierPolicy,
) -> Result<RolesReport, SchemaError> {
    let standing = RoleSet::read(target, Side::Target).await?;
    let mut work = Work {
        target,
        report: RolesReport::default(),
        power: power(target).await?,
        ourselves: ourselves(target).await?,
    };
    work.keep_statements_out_of_the_log().await;
    for role in &source.roles {
        match standing.role(&role.name) {
            Some(found) => work.compare(role, found, source, &standing, policy).await?,
            None => work.create(role).await?,
        }
    }
    if source.verifiers == VerifierAccess::Hidden {
        work.report.warnings.push(
            "the source does not let us read verifiers (only superusers may): new roles on the \
             target have no password; set them there"
                .to_owned(),
        );
    }
    work.memberships(source, &standing).await?;
    if work.power == Power::Ordinary {
        work.join_owners(source).await?;
    }
    work.public_schema(source, &standing).await?;
    work.settings(source, &standing).await?;
    work.database(source, &standing).await?;
    Ok(work.report)
}

/// Whether we may make superusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    Superuser,
    Ordinary,
}

async fn power(target: &Client) -> Result<Power, SchemaError> {
    let query = "SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
    let row = target.query_one(query, &[]).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "reading our own role"))?;
    Ok(if row.get(0) {
        Power::Superuser
    } else {
        Power::Ordinary
    })
}

async fn ourselves(target: &Client) -> Result<String, SchemaError> {
    let query = "SELECT session_user::pg_catalog.text";
    let row = target.query_one(query, &[]).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "reading our own role"))?;
    Ok(row.get(0))
}

struct Work<'a> {
    target: &'a Client,
    report: RolesReport,
    power: Power,
    /// Our own role on the target.
    ourselves: String,
}

impl Work<'_> {
    /// Verifiers stand in statements; a server that logs DDL would write them into its log.
    async fn keep_statements_out_of_the_log(&mut self) {
        let quiet = "SET log_statement = 'none'; SET log_min_duration_statement = -1; \
                     SET log_min_error_statement = 'panic'";
        if self.target.batch_execute(quiet).await.is_err() {
            self.report.warnings.push(
                "the target may write the statements that make roles, with their verifiers, into \
                 its log: only a superuser may switch that off"
                    .to_owned(),
            );
        }
    }

    /// Runs a statement together with the one that takes it back. A missing privilege is reported.
    async fn run(
        &mut self,
        what: &str,
        statement: &str,
        undo: &[String],
    ) -> Result<bool, SchemaError> {
        let undo: Vec<String> = undo
            .iter()
            .map(|undo| {
                format!(
                    "INSERT INTO pointsman.undo (statement) VALUES ({});",
                    quote_literal(undo)
                )
            })
            .collect();
        let block = format!("BEGIN; {} {statement}; COMMIT", undo.concat());
        let Err(error) = self.target.batch_execute(&block).await else {
            return Ok(true);
        };
        let cause = SqlCause::from(error);
        let SqlCause::Refused { sqlstate, message } = &cause else {
            return Err(SchemaError::Sql {
                side: Side::Target,
                what: what.to_owned(),
                cause,
            });
        };
        let warning = format!("{what} was refused by the target: {message} ({sqlstate})");
        let rolled_back = self.target.batch_execute("ROLLBACK").await;
        rolled_back.map_err(SchemaError::sql(
            Side::Target,
            "leaving a refused change of roles",
        ))?;
        self.report.warnings.push(warning);
        Ok(false)
    }

    async fn create(&mut self, role: &Role) -> Result<(), SchemaError> {
        let name = quote_identifier(&role.name);
        let superuser = match (role.rank, self.power) {
            (Rank::Superuser, Power::Superuser) => "SUPERUSER ",
            (Rank::Superuser, Power::Ordinary) => {
                self.report.warnings.push(format!(
                    "role {} is a superuser on the source and an ordinary role on the target, \
                     since we are no superuser there",
                    role.name
                ));
                ""
            }
            (Rank::Ordinary, _) => "",
        };
        let password = role.verifier.as_ref().map_or_else(String::new, |verifier| {
            format!(" PASSWORD {}", quote_literal(verifier.expose()))
        });
        let comment = role.comment.as_ref().map_or_else(String::new, |comment| {
            format!("; COMMENT ON ROLE {name} IS {}", quote_literal(comment))
        });
        let statement = format!(
            "CREATE ROLE {name} WITH {superuser}{}{password}{comment}",
            role.attributes
        );
        // Undone from the last to the first: privileges go before their role.
        let undo = [
            format!("DROP ROLE IF EXISTS {name}"),
            format!("DROP OWNED BY {name} CASCADE"),
        ];
        if self
            .run(&format!("making role {}", role.name), &statement, &undo)
            .await?
        {
            self.report.created.push(role.name.clone());
        }
        Ok(())
    }

    async fn compare(
        &mut self,
        role: &Role,
        found: &Role,
        source: &RoleSet,
        standing: &RoleSet,
        policy: VerifierPolicy,
    ) -> Result<(), SchemaError> {
        if role.name == self.ourselves {
            return Ok(());
        }
        if role.rank != found.rank || role.attributes != found.attributes {
            self.report.warnings.push(format!(
                "role {} has other attributes on the target; it was left as it is",
                role.name
            ));
        }
        let known = source.verifiers == VerifierAccess::Readable
            && standing.verifiers == VerifierAccess::Readable;
        let Some(verifier) = role.verifier.as_ref() else {
            return Ok(());
        };
        if !known || found.verifier.as_ref() == Some(verifier) {
            return Ok(());
        }
        match policy {
            VerifierPolicy::Report => {
                self.report.warnings.push(format!(
                    "role {} has another password verifier on the target: the proxy cannot log it \
                     in on both sides; give it the source's verifier",
                    role.name
                ));
                Ok(())
            }
            VerifierPolicy::Overwrite => {
                let set = |verifier: Option<&str>| {
                    let literal = verifier.map_or_else(|| "NULL".to_owned(), quote_literal);
                    format!(
                        "ALTER ROLE {} PASSWORD {literal}",
                        quote_identifier(&role.name)
                    )
                };
                let undo = set(found.verifier.as_ref().map(|verifier| verifier.expose()));
                let what = format!("setting the verifier of role {}", role.name);
                self.run(&what, &set(Some(verifier.expose())), &[undo])
                    .await
                    .map(drop)
            }
        }
    }

    async fn memberships(
        &mut self,
        source: &RoleSet,
        standing: &RoleSet,
    ) -> Result<(), SchemaError> {
        let there: HashSet<(&str, &str)> = standing
            .memberships
            .iter()
            .map(|membership| (membership.role.as_str(), membership.member.as_str()))
            .collect();
        // What we may do is the operator's to say, and not the source's.
        let ours = match self.power {
            Power::Superuser => None,
            Power::Ordinary => Some(self.ourselves.clone()),
        };
        let new = |membership: &&Membership| {
            ours.as_ref() != Some(&membership.member)
                && !there.contains(&(membership.role.as_str(), membership.member.as_str()))
        };
        for membership in source.memberships.iter().filter(new) {
            let role = quote_identifier(&membership.role);
            let member = quote_identifier(&membership.member);
            let statement = format!(
                "GRANT {role} TO {member}{}",
                self.grant_options(membership).await?
            );
            let undo = format!("REVOKE {role} FROM {member}");
            let what = format!("granting {} to {}", membership.role, membership.member);
            self.run(&what, &statement, &[undo]).await?;
        }
        Ok(())
    }

    /// Makes us a member of the roles whose objects we shall make, as far as we are not: without
    /// that only a superuser can hand them over, or drop them again. `finish` takes it back.
    async fn join_owners(&mut self, source: &RoleSet) -> Result<(), SchemaError> {
        let wanted: Vec<&str> = source
            .owners
            .iter()
            .chain(&self.report.created)
            .map(String::as_str)
            .collect();
        let version_16 = self.version().await? >= 160_000;
        let (hand_over, options) = match version_16 {
            true => ("SET", " WITH INHERIT TRUE, SET TRUE"),
            false => ("MEMBER", ""),
        };
        let query = format!(
            "SELECT DISTINCT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles r
             WHERE r.rolname::pg_catalog.text = ANY ($1) AND NOT (
                 pg_catalog.pg_has_role(session_user, r.oid, 'USAGE')
                 AND pg_catalog.pg_has_role(session_user, r.oid, '{hand_over}')) ORDER BY 1"
        );
        let rows = self.target.query(&query, &[&wanted]).await;
        let rows = rows.map_err(SchemaError::sql(Side::Target, "reading our memberships"))?;
        for row in rows {
            let name: String = row.get(0);
            let statement = format!(
                "GRANT {} TO SESSION_USER{options}; \
                 INSERT INTO pointsman.granted_role (role_name) VALUES ({})",
                quote_identifier(&name),
                quote_literal(&name)
            );
            let what = format!("becoming a member of {name}");
            self.run(&what, &statement, &[]).await?;
        }
        Ok(())
    }

    /// What may be done in the schema `public`: a dump leaves out what was the source's default,
    /// which another version has not. `abort` puts it back from `pointsman.saved_acl`.
    async fn public_schema(
        &mut self,
        source: &RoleSet,
        standing: &RoleSet,
    ) -> Result<(), SchemaError> {
        let new = |grant: &&DatabaseGrant| !standing.public_grants.contains(grant);
        for grant in source.public_grants.iter().filter(new) {
            let to = grantee(&grant.grantee);
            let option = grant_option(grant);
            let statement = format!("GRANT {} ON SCHEMA public TO {to}{option}", grant.privilege);
            let what = format!("granting {} on the schema public to {to}", grant.privilege);
            self.run(&what, &statement, &[]).await?;
        }
        Ok(())
    }

    async fn version(&self) -> Result<i32, SchemaError> {
        let query = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4";
        let row = self.target.query_one(query, &[]).await;
        let row = row.map_err(SchemaError::sql(Side::Target, "reading its version"))?;
        Ok(row.get(0))
    }

    async fn grant_options(&self, membership: &Membership) -> Result<String, SchemaError> {
        if self.version().await? < 160_000 {
            return Ok(if membership.admin {
                " WITH ADMIN OPTION"
            } else {
                ""
            }
            .to_owned());
        }
        let mut options = vec![format!("ADMIN {}", membership.admin)];
        options.extend(
            membership
                .inherit
                .map(|inherit| format!("INHERIT {inherit}")),
        );
        options.extend(membership.set.map(|set| format!("SET {set}")));
        Ok(format!(" WITH {}", options.join(", ")))
    }

    async fn settings(&mut self, source: &RoleSet, standing: &RoleSet) -> Result<(), SchemaError> {
        let database = self.database_name().await?;
        let same_place = |a: &RoleSetting, b: &RoleSetting| {
            a.role == b.role && a.scope == b.scope && a.name == b.name
        };
        for setting in &source.settings {
            if standing
                .settings
                .iter()
                .any(|found| same_place(found, setting))
            {
                continue;
            }
            let place = match (&setting.role, setting.scope) {
                (None, SettingScope::ThisDatabase) => format!("DATABASE {database}"),
                (Some(role), SettingScope::ThisDatabase) => {
                    format!("ROLE {} IN DATABASE {database}", quote_identifier(role))
                }
                (Some(role), SettingScope::AllDatabases) => {
                    format!("ROLE {}", quote_identifier(role))
                }
                (None, SettingScope::AllDatabases) => "ROLE ALL".to_owned(),
            };
            let name = quote_setting(&setting.name);
            let value = setting_value(&setting.name, &setting.value);
            let statement = format!("ALTER {place} SET {name} TO {value}");
            let undo = format!("ALTER {place} RESET {name}");
            self.run(
                &format!("setting {} for {place}", setting.name),
                &statement,
                &[undo],
            )
            .await?;
        }
        Ok(())
    }

    async fn database_name(&self) -> Result<String, SchemaError> {
        let query = "SELECT pg_catalog.current_database()::pg_catalog.text";
        let row = self.target.query_one(query, &[]).await;
        let row = row.map_err(SchemaError::sql(
            Side::Target,
            "asking for its database's name",
        ))?;
        Ok(quote_identifier(row.get(0)))
    }

    /// The database's owner and privileges; `abort` puts them back from `pointsman.saved_acl`.
    async fn database(&mut self, source: &RoleSet, standing: &RoleSet) -> Result<(), SchemaError> {
        let database = self.database_name().await?;
        if source.database_owner != standing.database_owner {
            let owner = quote_identifier(&source.database_owner);
            let statement = format!("ALTER DATABASE {database} OWNER TO {owner}");
            let what = format!("giving the database to {}", source.database_owner);
            self.run(&what, &statement, &[]).await?;
        }
        for grant in source
            .grants
            .iter()
            .filter(|grant| !standing.grants.contains(grant))
        {
            let option = grant_option(grant);
            let to = grantee(&grant.grantee);
            let statement = format!(
                "GRANT {} ON DATABASE {database} TO {to}{option}",
                grant.privilege
            );
            let what = format!("granting {} on the database to {to}", grant.privilege);
            self.run(&what, &statement, &[]).await?;
        }
        for grant in standing
            .grants
            .iter()
            .filter(|grant| grant.grantee.is_none())
        {
            if !source
                .grants
                .iter()
                .any(|wanted| wanted.grantee.is_none() && wanted.privilege == grant.privilege)
            {
                let statement = format!(
                    "REVOKE {} ON DATABASE {database} FROM PUBLIC",
                    grant.privilege
                );
                let what = format!("revoking {} on the database from PUBLIC", grant.privilege);
                self.run(&what, &statement, &[]).await?;
            }
        }
        Ok(())
    }
}

fn grantee(name: &Option<String>) -> String {
    name.as_deref()
        .map_or_else(|| "PUBLIC".to_owned(), quote_identifier)
}

fn grant_option(grant: &DatabaseGrant) -> &'static str {
    if grant.with_grant_option {
        " WITH GRANT OPTION"
    } else {
        ""
    }
}

/// Settings whose value is a list of names: each is quoted by itself, as pg_dump does it.
const LIST_SETTINGS: [&str; 8] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
    "DateStyle",
    "createrole_self_grant",
];

fn setting_value(name: &str, value: &str) -> String {
    if !LIST_SETTINGS
        .iter()
        .any(|list| list.eq_ignore_ascii_case(name))
    {
        return quote_literal(value);
    }
    // The stored form is already a list of identifiers, quoted where they need it.
    split_list(value)
        .iter()
        .map(|item| quote_literal(item))
        .collect::<Vec<_>>()
        .join(", ")
}

fn quote_setting(name: &str) -> String {
    name.split('.')
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(".")
}

/// Splits `a, "b ""c", d` into its items.
fn split_list(value: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                item.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            ' ' if !quoted => {}
            other => item.push(other),
        }
    }
    items.push(item);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_stays_a_list_and_other_settings_stay_one_value() {
        assert_eq!(
            setting_value("search_path", "\"$user\", public, \"a \"\"b\""),
            "'$user', 'public', 'a \"b'"
        );
        assert_eq!(setting_value("work_mem", "64MB"), "'64MB'");
        assert_eq!(setting_value("my.list", "a, b"), "'a, b'");
        assert_eq!(quote_setting("my.list"), "\"my\".\"list\"");
    }
}
