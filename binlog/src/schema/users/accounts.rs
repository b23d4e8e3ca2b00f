//! Making accounts and roles.

use std::collections::HashSet;

use router::Side;

use super::{Account, AccountKind, accounts_of, is_among, record_undo};
use crate::name::quote_literal;
use crate::schema::error::SchemaError;
use crate::schema::sql::{Token, TokenKind, joined, tokens};
use crate::version::{Flavour, ServerVersion};
use crate::wire::SqlConn;

/// The account exists, by the answer to CREATE USER.
const CANNOT_CREATE: u16 = 1396;

/// The oldest and most common method, and what the older servers have without naming it.
const NATIVE: &str = "mysql_native_password";

/// How an account proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    /// It has no password.
    Nothing,
    /// The plugin, and the verifier as SQL.
    Verifier { plugin: String, literal: String },
    /// In more ways than one, or in one that no other server takes.
    Other(String),
}

/// Makes the source's accounts and roles on the target. Gives warnings.
///
/// # Errors
/// A server refused.
pub async fn copy_users(source: &SqlConn, target: &SqlConn) -> Result<Vec<String>, SchemaError> {
    if source.version().is_mysql_at_least(8, 0, 17) {
        // Verifiers hold bytes that no text carries.
        let hex = "SET SESSION print_identified_with_as_hex = 1";
        let set = source.execute(hex).await;
        set.map_err(SchemaError::sql(
            Side::Source,
            "asking for verifiers as hex",
        ))?;
    }
    let there = accounts_of(target, Side::Target).await?;
    let plugins = plugins_of(target).await?;
    let mut warnings = Vec::new();
    for account in accounts_of(source, Side::Source).await? {
        if account.is_reserved() {
            continue;
        }
        if account.user.is_empty() {
            warnings.push(format!(
                "the anonymous account @{} was not carried",
                account.host
            ));
            continue;
        }
        if is_among(&account, &there) {
            continue;
        }
        let statement = creating(source, target, &account, &plugins, &mut warnings).await?;
        let name = account.quoted(target.version().flavour);
        let kind = match account.kind {
            AccountKind::User => "USER",
            AccountKind::Role => "ROLE",
        };
        record_undo(target, &format!("DROP {kind} {name}")).await?;
        match target.execute(&statement).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(CANNOT_CREATE) => {}
            Err(error) => {
                return Err(SchemaError::sql(
                    Side::Target,
                    format!("making account {account}"),
                )(error));
            }
        }
    }
    Ok(warnings)
}

/// The methods that the target knows.
async fn plugins_of(target: &SqlConn) -> Result<HashSet<String>, SchemaError> {
    let query = "SELECT PLUGIN_NAME FROM information_schema.PLUGINS
                 WHERE PLUGIN_TYPE = 'AUTHENTICATION' AND PLUGIN_STATUS = 'ACTIVE'";
    let rows = target.query(query).await;
    let rows = rows.map_err(SchemaError::sql(
        Side::Target,
        "looking how accounts may log in",
    ))?;
    let names = rows.iter().filter_map(|row| row.text(0));
    Ok(names.map(str::to_ascii_lowercase).collect())
}

/// The statement that makes an account on the target.
async fn creating(
    source: &SqlConn,
    target: &SqlConn,
    account: &Account,
    plugins: &HashSet<String>,
    warnings: &mut Vec<String>,
) -> Result<String, SchemaError> {
    let (from, to) = (source.version().flavour, target.version().flavour);
    let name = account.quoted(to);
    if account.kind == AccountKind::Role && (from != to || to == Flavour::MariaDb) {
        return Ok(format!("CREATE ROLE {name}"));
    }
    let definition = definition_of(source, account).await?;
    let proof = proof_of(&definition);
    let conditions = conditions_of(&definition, target.version());
    let known = match &proof {
        Proof::Nothing => true,
        Proof::Verifier { plugin, .. } => plugins.contains(&plugin.to_ascii_lowercase()),
        Proof::Other(_) => from == to,
    };
    if !known {
        let method = match &proof {
            Proof::Verifier { plugin, .. } => plugin.as_str(),
            Proof::Other(methods) => methods.as_str(),
            Proof::Nothing => "no password",
        };
        warnings.push(format!(
            "account {account} logs in by {method}, which the target does not know; it was made \
             locked there: ALTER USER .. IDENTIFIED BY .. ACCOUNT UNLOCK"
        ));
        let lock = if conditions.ends_with(LOCKED) {
            ""
        } else {
            LOCKED
        };
        return Ok(format!("CREATE USER {name}{conditions}{lock}"));
    }
    // An empty password is the same in every method.
    let has_method = method_of(&definition).is_none_or(|method| plugins.contains(&method));
    if from == to && has_method {
        return Ok(without_default_role(&definition));
    }
    let made = match (&proof, to) {
        (Proof::Verifier { plugin, literal }, Flavour::MySql) => {
            let plugin = quote_literal(plugin);
            format!("CREATE USER {name} IDENTIFIED WITH {plugin} AS {literal}")
        }
        (Proof::Verifier { plugin, literal }, Flavour::MariaDb) => {
            format!("CREATE USER {name} IDENTIFIED VIA {plugin} USING {literal}")
        }
        (Proof::Nothing | Proof::Other(_), Flavour::MySql | Flavour::MariaDb) => {
            format!("CREATE USER {name}")
        }
    };
    Ok(made + &conditions)
}

/// Nobody logs in.
const LOCKED: &str = " ACCOUNT LOCK";

/// What every server counts.
const LIMITS: [&str; 4] = [
    "MAX_QUERIES_PER_HOUR",
    "MAX_UPDATES_PER_HOUR",
    "MAX_CONNECTIONS_PER_HOUR",
    "MAX_USER_CONNECTIONS",
];

/// The method that a definition names.
fn method_of(definition: &str) -> Option<String> {
    let all = tokens(definition);
    let mut meaning = all.iter().filter(|token| token.is_meaning());
    meaning.find(|token| token.is_word("IDENTIFIED"))?;
    let with = meaning.next()?;
    if !with.is_word("WITH") {
        return None;
    }
    let name = meaning.next()?.text.trim_matches(['\'', '`', '"']);
    Some(name.to_ascii_lowercase())
}

/// What a definition asks of whoever logs in, in words that both flavours have: encryption, limits,
/// a password that has expired, a lock.
fn conditions_of(definition: &str, to: ServerVersion) -> String {
    if !(to.is_mariadb_at_least(10, 4, 2) || to.is_mysql_at_least(5, 7, 6)) {
        return String::new();
    }
    let all = tokens(definition);
    let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let is = |at: usize, word: &str| meaning.get(at).is_some_and(|token| token.is_word(word));
    let text = |at: usize| meaning.get(at).map_or("", |token| token.text);
    let mut encryption = String::new();
    let mut limits = String::new();
    let mut expiry = String::new();
    let mut lock = "";
    for at in 0..meaning.len() {
        // PASSWORD REQUIRE CURRENT is about changing it.
        let is_required = is(at, "REQUIRE") && !is(at + 1, "CURRENT");
        if is_required && !is(at + 1, "NONE") {
            let rest = meaning.get(at + 1..).unwrap_or_default().iter();
            let ends = ["WITH", "PASSWORD", "ACCOUNT", "DEFAULT"];
            let words: Vec<&str> = rest
                .take_while(|token| !ends.iter().any(|end| token.is_word(end)))
                .map(|token| token.text)
                .collect();
            encryption = format!(" REQUIRE {}", words.join(" "));
        } else if LIMITS.iter().any(|limit| is(at, limit)) {
            limits.push_str(if limits.is_empty() { " WITH " } else { " " });
            limits.push_str(&format!("{} {}", text(at), text(at + 1)));
        } else if is(at, "PASSWORD") && is(at + 1, "EXPIRE") && !is(at + 2, "DEFAULT") {
            expiry = " PASSWORD EXPIRE".to_owned();
            if is(at + 2, "NEVER") {
                expiry.push_str(" NEVER");
            } else if is(at + 2, "INTERVAL") {
                expiry.push_str(&format!(" INTERVAL {} DAY", text(at + 3)));
            }
        } else if is(at, "ACCOUNT") && is(at + 1, "LOCK") {
            lock = LOCKED;
        }
    }
    format!("{encryption}{limits}{expiry}{lock}")
}

/// The same out of the table that older servers keep accounts in.
const OLD_CONDITIONS: &str = "CONCAT(
    CASE ssl_type WHEN '' THEN '' WHEN 'ANY' THEN ' REQUIRE SSL' WHEN 'X509' THEN ' REQUIRE X509'
        ELSE CONCAT(' REQUIRE', IF(ssl_cipher = '', '', CONCAT(' CIPHER ', QUOTE(ssl_cipher))),
                    IF(x509_issuer = '', '', CONCAT(' ISSUER ', QUOTE(x509_issuer))),
                    IF(x509_subject = '', '', CONCAT(' SUBJECT ', QUOTE(x509_subject)))) END,
    IF(max_questions + max_updates + max_connections + max_user_connections = 0, '',
       CONCAT(' WITH MAX_QUERIES_PER_HOUR ', max_questions, ' MAX_UPDATES_PER_HOUR ', max_updates,
              ' MAX_CONNECTIONS_PER_HOUR ', max_connections,
              ' MAX_USER_CONNECTIONS ', max_user_connections)),
    IF(password_expired = 'Y', ' PASSWORD EXPIRE', ''))";

/// What the source says made the account.
async fn definition_of(source: &SqlConn, account: &Account) -> Result<String, SchemaError> {
    let name = account.quoted(source.version().flavour);
    let what = format!("showing how account {account} is made");
    let version = source.version();
    if version.is_mariadb() || version.is_mysql_at_least(5, 7, 6) {
        let query = format!("SHOW CREATE USER {name}");
        let row = source.query_first(&query).await;
        let row = row.map_err(SchemaError::sql(Side::Source, what))?;
        let text = row.as_ref().and_then(|row| row.text(0));
        return text
            .map(ToOwned::to_owned)
            .ok_or_else(|| SchemaError::Hidden {
                object: format!("account {account}"),
                privilege: "SELECT on mysql.*",
            });
    }
    let query = format!(
        "SELECT plugin, Password, authentication_string, {OLD_CONDITIONS} FROM mysql.user
         WHERE User = {} AND Host = {}",
        quote_literal(&account.user),
        quote_literal(&account.host)
    );
    let row = source.query_first(&query).await;
    let row = row.map_err(SchemaError::sql(Side::Source, what))?;
    let cell = |index| {
        let text = row.as_ref().and_then(|row| row.text(index));
        text.unwrap_or_default().to_owned()
    };
    let plugin = if cell(0).is_empty() {
        NATIVE.to_owned()
    } else {
        cell(0)
    };
    let verifier = if cell(1).is_empty() { cell(2) } else { cell(1) };
    let conditions = cell(3);
    Ok(if verifier.is_empty() {
        format!("CREATE USER {name}{conditions}")
    } else {
        let (plugin, verifier) = (quote_literal(&plugin), quote_literal(&verifier));
        format!("CREATE USER {name} IDENTIFIED WITH {plugin} AS {verifier}{conditions}")
    })
}

/// How an account proves itself, out of the statement that makes it.
fn proof_of(definition: &str) -> Proof {
    let all = tokens(definition);
    let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
    let Some(at) = meaning.iter().position(|token| token.is_word("IDENTIFIED")) else {
        return Proof::Nothing;
    };
    let word = |offset: usize| meaning.get(at + offset).copied();
    let is = |offset: usize, text: &str| word(offset).is_some_and(|token| token.is_word(text));
    // IDENTIFIED BY PASSWORD '*..' (MariaDB)
    if is(1, "BY") && is(2, "PASSWORD") {
        return word(3).map_or(Proof::Nothing, |literal| Proof::Verifier {
            plugin: NATIVE.to_owned(),
            literal: literal.text.to_owned(),
        });
    }
    let plugin = word(2).map_or_else(String::new, |token| {
        token.text.trim_matches(['\'', '`', '"']).to_owned()
    });
    let several = meaning.iter().skip(at).any(|token| token.is_word("OR"))
        || meaning.iter().skip(at).any(|token| token.is_word("AND"));
    if several {
        return Proof::Other("several methods".to_owned());
    }
    // IDENTIFIED WITH plugin AS '..' (MySQL), IDENTIFIED VIA plugin USING '..' (MariaDB)
    if is(3, "AS") || is(3, "USING") {
        let literal = word(4).map_or("''", |token| token.text);
        if matches!(literal, "''" | "0x") {
            return Proof::Nothing;
        }
        return Proof::Verifier {
            plugin,
            literal: literal.to_owned(),
        };
    }
    match plugin.as_str() {
        NATIVE | "caching_sha2_password" | "sha256_password" => Proof::Nothing,
        _other => Proof::Other(plugin),
    }
}

/// Without `DEFAULT ROLE a, b`: the roles are granted later.
fn without_default_role(definition: &str) -> String {
    let all = tokens(definition);
    let Some(begin) = (0..all.len()).find(|at| is_default_role(&all, *at)) else {
        return definition.to_owned();
    };
    // Names, at signs and commas belong to the list; the next word does not.
    let end = all
        .iter()
        .enumerate()
        .skip(begin + 1)
        .filter(|(_, token)| token.kind == TokenKind::Word && !token.is_word("ROLE"))
        .map(|(at, _)| at)
        .next()
        .unwrap_or(all.len());
    format!(
        "{}{}",
        joined(all.get(..begin).unwrap_or_default()),
        joined(all.get(end..).unwrap_or_default())
    )
}

fn is_default_role(all: &[Token<'_>], at: usize) -> bool {
    let next = all.iter().skip(at + 1).find(|token| token.is_meaning());
    all.get(at).is_some_and(|token| token.is_word("DEFAULT"))
        && next.is_some_and(|token| token.is_word("ROLE"))
}

/// The `DEFAULT ROLE` list of a MySQL account, as SQL.
pub(super) async fn default_roles(
    source: &SqlConn,
    account: &Account,
) -> Result<Option<String>, SchemaError> {
    let definition = definition_of(source, account).await?;
    let all = tokens(&definition);
    let Some(begin) = (0..all.len()).find(|at| is_default_role(&all, *at)) else {
        return Ok(None);
    };
    let list: Vec<Token<'_>> = all
        .iter()
        .skip(begin + 1)
        .skip_while(|token| !token.is_word("ROLE"))
        .skip(1)
        .take_while(|token| token.kind != TokenKind::Word)
        .copied()
        .collect();
    Ok(Some(joined(&list).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_are_found_in_the_words_of_each_server() {
        let verifier = |plugin: &str, literal: &str| Proof::Verifier {
            plugin: plugin.to_owned(),
            literal: literal.to_owned(),
        };
        for (definition, proof) in [
            (
                "CREATE USER `a`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x2441 REQUIRE NONE",
                verifier("caching_sha2_password", "0x2441"),
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*AB'",
                verifier(NATIVE, "'*AB'"),
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED VIA ed25519 USING 'x'",
                verifier("ed25519", "'x'"),
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED VIA unix_socket OR mysql_native_password USING 'x'",
                Proof::Other("several methods".to_owned()),
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED VIA unix_socket",
                Proof::Other("unix_socket".to_owned()),
            ),
            (
                "CREATE USER 'a'@'%' IDENTIFIED WITH 'caching_sha2_password' REQUIRE NONE",
                Proof::Nothing,
            ),
            ("CREATE USER `IDENTIFIED`@`%`", Proof::Nothing),
        ] {
            assert_eq!(proof_of(definition), proof, "{definition}");
        }
    }

    #[test]
    fn what_an_account_must_fulfil_is_said_in_words_of_both() {
        let to = |text: &str| ServerVersion::parse(text).unwrap();
        for (definition, conditions) in [
            (
                "CREATE USER `a`@`%` IDENTIFIED WITH 'caching_sha2_password' AS 0x24 REQUIRE SSL \
                 WITH MAX_QUERIES_PER_HOUR 5 MAX_USER_CONNECTIONS 2 PASSWORD EXPIRE INTERVAL 9 DAY \
                 ACCOUNT LOCK PASSWORD HISTORY DEFAULT PASSWORD REUSE INTERVAL DEFAULT",
                " REQUIRE SSL WITH MAX_QUERIES_PER_HOUR 5 MAX_USER_CONNECTIONS 2 PASSWORD EXPIRE \
                 INTERVAL 9 DAY ACCOUNT LOCK",
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED WITH 'x' REQUIRE NONE PASSWORD EXPIRE DEFAULT \
                 ACCOUNT UNLOCK PASSWORD HISTORY DEFAULT PASSWORD REQUIRE CURRENT DEFAULT",
                "",
            ),
            (
                "CREATE USER `a`@`%` IDENTIFIED BY PASSWORD '*AB' REQUIRE ISSUER 'ACCOUNT LOCK' \
                 SUBJECT 's' WITH MAX_STATEMENT_TIME 3.000000 MAX_UPDATES_PER_HOUR 1 ACCOUNT LOCK \
                 PASSWORD EXPIRE",
                " REQUIRE ISSUER 'ACCOUNT LOCK' SUBJECT 's' WITH MAX_UPDATES_PER_HOUR 1 PASSWORD \
                 EXPIRE ACCOUNT LOCK",
            ),
        ] {
            assert_eq!(conditions_of(definition, to("9.7.0")), conditions);
            assert_eq!(conditions_of(definition, to("11.8.6-MariaDB")), conditions);
            assert_eq!(conditions_of(definition, to("5.6.24")), "");
        }
    }

    #[test]
    fn default_roles_come_later() {
        assert_eq!(
            without_default_role(
                "CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 0x24 DEFAULT ROLE `r`@`%`,`s`@`%` \
                 REQUIRE NONE PASSWORD EXPIRE DEFAULT"
            ),
            "CREATE USER `a`@`%` IDENTIFIED WITH 'x' AS 0x24 REQUIRE NONE PASSWORD EXPIRE DEFAULT"
        );
        let plain = "CREATE USER `a`@`%` PASSWORD EXPIRE DEFAULT ACCOUNT UNLOCK";
        assert_eq!(without_default_role(plain), plain);
    }
}
