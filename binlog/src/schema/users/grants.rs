//! What accounts and roles may do.

use std::collections::HashSet;

use router::Side;

use super::{Account, AccountKind, accounts::default_roles, accounts_of, is_among, record_undo};
use crate::schema::error::SchemaError;
use crate::schema::sql::{Token, joined, tokens};
use crate::version::{Flavour, ServerVersion};
use crate::wire::{ServerError, SqlConn};

/// Whoever logs in, on MariaDB.
const EVERYBODY: &str = "PUBLIC";

/// Gives the target's accounts what they may do on the source. Gives warnings.
///
/// # Errors
/// A server cannot be asked. What the target does not grant is a warning.
pub async fn copy_grants(source: &SqlConn, target: &SqlConn) -> Result<Vec<String>, SchemaError> {
    let known = privileges_of(target).await?;
    let there = accounts_of(target, Side::Target).await?;
    let mut warnings = Vec::new();
    for account in accounts_of(source, Side::Source).await? {
        // Whoever administers the target may do what he does there.
        let is_kept = account.is_reserved() || account.user == "root" || account.user.is_empty();
        let is_everybody = account.user == EVERYBODY && account.kind == AccountKind::Role;
        if is_everybody && !target.version().is_mariadb_at_least(10, 11, 0) {
            warnings.push(
                "what is granted to PUBLIC, which the target does not have, was not carried; grant \
                 it to the accounts that need it"
                    .to_owned(),
            );
            continue;
        }
        if !is_everybody && (is_kept || !is_among(&account, &there)) {
            continue;
        }
        // A server where nothing was granted to everybody has nothing to show.
        let before = match grants_of(target, Side::Target, &account).await {
            Err(_) if is_everybody => Vec::new(),
            found => found?,
        };
        let before: HashSet<String> = before.into_iter().collect();
        for line in grants_of(source, Side::Source, &account).await? {
            if before.contains(&line) {
                continue;
            }
            let grant = Grant::parse(&line, source.version(), target.version(), &known);
            if grant.is_lost_revoke(&line) {
                warnings.push(format!(
                    "{account} may do more on the target, which has no partial revokes: {}",
                    grant.dropped.join(", ")
                ));
            } else if !grant.dropped.is_empty() {
                warnings.push(format!(
                    "{account} has privileges that the target does not know: {}",
                    grant.dropped.join(", ")
                ));
            }
            let Some(statement) = grant.statement(&account, target.version().flavour) else {
                continue;
            };
            if let Some(undo) = grant.undo(&account, target.version().flavour) {
                record_undo(target, &undo).await?;
            }
            if let Err(error) = target.execute(&statement).await {
                let Some(server) = error.server() else {
                    let what = format!("granting to {account}");
                    return Err(SchemaError::sql(Side::Target, what)(error));
                };
                warnings.push(grant.not_taken(&account, &line, &statement, server));
            }
        }
        set_default_roles(source, target, &account, &mut warnings).await?;
    }
    Ok(warnings)
}

/// The names of the privileges that a server knows.
async fn privileges_of(target: &SqlConn) -> Result<HashSet<String>, SchemaError> {
    let rows = target.query("SHOW PRIVILEGES").await;
    let rows = rows.map_err(SchemaError::sql(Side::Target, "asking for its privileges"))?;
    let names = rows.iter().filter_map(|row| row.text(0));
    let names = names.map(str::to_ascii_uppercase);
    let always = ["ALL PRIVILEGES", "ALL", "USAGE", "PROXY"].map(str::to_owned);
    Ok(names.chain(always).collect())
}

async fn grants_of(
    client: &SqlConn,
    side: Side,
    account: &Account,
) -> Result<Vec<String>, SchemaError> {
    let query = format!(
        "SHOW GRANTS FOR {}",
        account.quoted(client.version().flavour)
    );
    let rows = client.query(&query).await;
    let what = format!("showing what {account} may do");
    let rows = rows.map_err(SchemaError::sql(side, what))?;
    let lines = rows.iter().filter_map(|row| row.text(0));
    Ok(lines.map(ToOwned::to_owned).collect())
}

async fn set_default_roles(
    source: &SqlConn,
    target: &SqlConn,
    account: &Account,
    warnings: &mut Vec<String>,
) -> Result<(), SchemaError> {
    if !source.version().is_mysql_at_least(8, 0, 0) || account.kind == AccountKind::Role {
        return Ok(());
    }
    let Some(roles) = default_roles(source, account).await? else {
        return Ok(());
    };
    let name = account.quoted(target.version().flavour);
    let statement = match target.version().flavour {
        Flavour::MySql => format!("ALTER USER {name} DEFAULT ROLE {roles}"),
        Flavour::MariaDb => {
            let role = roles.split('@').next().unwrap_or_default();
            format!("SET DEFAULT ROLE {role} FOR {name}")
        }
    };
    match target.execute(&statement).await {
        Ok(_) => Ok(()),
        Err(error) => match error.server() {
            Some(server) => {
                warnings.push(format!("{account} has no default role there: {server}"));
                Ok(())
            }
            None => Err(SchemaError::sql(Side::Target, "setting a default role")(
                error,
            )),
        },
    }
}

/// One line of `SHOW GRANTS`, as the target takes it.
#[derive(Debug, PartialEq, Eq)]
struct Grant {
    what: What,
    /// `WITH GRANT OPTION` or `WITH ADMIN OPTION`, or nothing.
    option: &'static str,
    /// Privileges that the target does not know.
    dropped: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// Privileges, on an object.
    Privileges { list: String, object: String },
    /// Roles.
    Roles(String),
    /// A role that is active from the log-in on (MariaDB).
    DefaultRole(String),
    /// Anything that can be said there in the same words.
    Verbatim(String),
    /// Nothing to be said.
    Nothing,
}

/// What the other flavour calls a privilege.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("BINLOG MONITOR", "REPLICATION CLIENT"),
    ("CONNECTION ADMIN", "CONNECTION_ADMIN"),
    ("BINLOG ADMIN", "BINLOG_ADMIN"),
    ("REPLICATION SLAVE ADMIN", "REPLICATION_SLAVE_ADMIN"),
    ("SET USER", "SET_ANY_DEFINER"),
    ("SET USER", "SET_USER_ID"),
    ("SHOW CREATE ROUTINE", "SHOW_ROUTINE"),
    ("DELETE HISTORY", "DELETE"),
];

impl Grant {
    fn parse(line: &str, from: ServerVersion, to: ServerVersion, known: &HashSet<String>) -> Self {
        let all = tokens(line);
        let find = |word: &str| top_level(&all, word);
        let mut grant = Self {
            what: What::Nothing,
            option: option_of(&all),
            dropped: Vec::new(),
        };
        let part = |begin: usize, end: usize| {
            let part = all.get(begin + 1..end).unwrap_or_default();
            joined(part).trim().to_owned()
        };
        let begins = |word: &str| all.first().is_some_and(|token| token.is_word(word));
        if begins("SET") {
            if let (Some(role), Some(end)) = (find("ROLE"), find("FOR")) {
                grant.what = What::DefaultRole(part(role, end));
            }
        } else if begins("REVOKE") {
            if from.flavour == to.flavour {
                grant.what = What::Verbatim(line.to_owned());
            } else {
                grant.dropped.push(line.to_owned());
            }
        } else if let (Some(on), Some(end)) = (find("ON"), find("TO")) {
            let list = kept(&part(0, on), known, &mut grant.dropped);
            let object = part(on, end);
            if !list.is_empty() {
                grant.what = What::Privileges { list, object };
            }
        } else if let Some(end) = find("TO") {
            let roles = part(0, end);
            grant.what = What::Roles(if from.flavour == to.flavour {
                roles
            } else {
                roles.replace("@`%`", "")
            });
        }
        grant
    }

    /// Whether this would take something away, and cannot.
    fn is_lost_revoke(&self, line: &str) -> bool {
        !self.dropped.is_empty() && line.starts_with("REVOKE ")
    }

    fn statement(&self, account: &Account, flavour: Flavour) -> Option<String> {
        let name = account.quoted(flavour);
        let option = self.option;
        match (&self.what, flavour) {
            (What::Privileges { list, object }, _) => {
                Some(format!("GRANT {list} ON {object} TO {name}{option}"))
            }
            (What::Roles(roles), _) => Some(format!("GRANT {roles} TO {name}{option}")),
            (What::DefaultRole(role), Flavour::MariaDb) => {
                Some(format!("SET DEFAULT ROLE {role} FOR {name}"))
            }
            (What::DefaultRole(role), Flavour::MySql) => {
                Some(format!("ALTER USER {name} DEFAULT ROLE {role}"))
            }
            (What::Verbatim(line), _) => Some(line.clone()),
            (What::Nothing, _) => None,
        }
    }

    /// What the target did not take, and what to do.
    fn not_taken(
        &self,
        account: &Account,
        line: &str,
        statement: &str,
        server: &ServerError,
    ) -> String {
        match &self.what {
            What::Verbatim(_) => format!(
                "{account} may do more on the target: it did not take a partial revoke ({server}); \
                 SET PERSIST partial_revokes = ON there and run it again: {line}"
            ),
            What::Privileges { .. } | What::Roles(_) | What::DefaultRole(_) | What::Nothing => {
                format!(
                    "not granted to {account} on the target ({server}); somebody who may do so \
                     there runs: {statement}"
                )
            }
        }
    }

    /// What takes it back from an account that stays.
    fn undo(&self, account: &Account, flavour: Flavour) -> Option<String> {
        let name = account.quoted(flavour);
        match &self.what {
            What::Privileges { list, object } => {
                Some(format!("REVOKE {list} ON {object} FROM {name}"))
            }
            What::Roles(roles) => Some(format!("REVOKE {roles} FROM {name}")),
            What::DefaultRole(_) | What::Verbatim(_) | What::Nothing => None,
        }
    }
}

fn top_level(all: &[Token<'_>], word: &str) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, token) in all.iter().enumerate() {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth -= 1;
        } else if depth == 0 && token.is_word(word) {
            return Some(at);
        }
    }
    None
}

fn option_of(all: &[Token<'_>]) -> &'static str {
    let words: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let has = |word: &str| {
        words.windows(2).any(|pair| match pair {
            [one, two] => one.is_word(word) && two.is_word("OPTION"),
            _other => false,
        })
    };
    if has("GRANT") {
        " WITH GRANT OPTION"
    } else if has("ADMIN") {
        " WITH ADMIN OPTION"
    } else {
        ""
    }
}

/// The privileges of a list that the target knows, under its names.
fn kept(list: &str, known: &HashSet<String>, dropped: &mut Vec<String>) -> String {
    let mut kept = Vec::new();
    for privilege in split(list) {
        let (name, columns) = match privilege.split_once('(') {
            Some((name, columns)) => (name.trim(), format!(" ({columns}")),
            None => (privilege.as_str(), String::new()),
        };
        let name = name.to_ascii_uppercase();
        let other = OTHER_NAMES.iter().find_map(|(maria, mysql)| {
            let found = if name == *maria {
                Some(*mysql)
            } else if name == *mysql {
                Some(*maria)
            } else {
                None
            };
            found.filter(|other| known.contains(*other))
        });
        if known.contains(&name) {
            kept.push(format!("{name}{columns}"));
        } else if let Some(other) = other {
            kept.push(format!("{other}{columns}"));
        } else {
            dropped.push(name);
        }
    }
    kept.dedup();
    kept.join(", ")
}

/// A list cut at its commas, but not at those of column lists.
fn split(list: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_i32;
    for token in tokens(list) {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth -= 1;
        }
        if depth == 0 && token.is_symbol(",") {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(token.text);
        }
    }
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(line: &str, from: &str, to: &str) -> (Option<String>, Vec<String>) {
        let known = [
            "SELECT",
            "INSERT",
            "UPDATE",
            "ALL PRIVILEGES",
            "USAGE",
            "CONNECTION_ADMIN",
        ]
        .map(str::to_owned)
        .into_iter()
        .collect();
        let to = ServerVersion::parse(to).unwrap();
        let from = ServerVersion::parse(from).unwrap();
        let grant = Grant::parse(line, from, to, &known);
        let account = Account {
            user: "app".to_owned(),
            host: "%".to_owned(),
            kind: AccountKind::User,
        };
        (grant.statement(&account, to.flavour), grant.dropped)
    }

    #[test]
    fn grants_lose_their_passwords_and_what_the_target_does_not_know() {
        let (statement, dropped) = moved(
            "GRANT SELECT, INSERT (`on`, `b`), FEDERATED ADMIN, CONNECTION ADMIN ON `to`.* TO \
             `app`@`%` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION",
            "11.8.6-MariaDB",
            "9.7.4",
        );
        assert_eq!(
            statement.unwrap(),
            "GRANT SELECT, INSERT (`on`, `b`), CONNECTION_ADMIN ON `to`.* TO `app`@`%` WITH GRANT \
             OPTION"
        );
        assert_eq!(dropped, ["FEDERATED ADMIN"]);
    }

    #[test]
    fn roles_are_named_as_the_target_names_them() {
        let role = "GRANT `r`@`%` TO `app`@`%` WITH ADMIN OPTION";
        assert_eq!(
            moved(role, "9.7.4", "11.8.6-MariaDB").0.unwrap(),
            "GRANT `r` TO `app`@`%` WITH ADMIN OPTION"
        );
        assert_eq!(
            moved(
                "SET DEFAULT ROLE `r` FOR `app`@`%`",
                "11.8.6-MariaDB",
                "9.7.4"
            )
            .0
            .unwrap(),
            "ALTER USER `app`@`%` DEFAULT ROLE `r`"
        );
        let revoke = "REVOKE SELECT ON `mysql`.* FROM `app`@`%`";
        assert_eq!(moved(revoke, "9.7.4", "9.7.4").0.unwrap(), revoke);
    }
}
