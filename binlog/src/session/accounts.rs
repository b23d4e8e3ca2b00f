//! Accounts of the serving side: which one a user's log-in through us is, and how it proves itself.
//!
//! The server chooses the account by the host it sees, which is ours. We choose as it does, only to
//! know what to ask the client for; whether the client is let in is the server's decision.

use std::net::IpAddr;

use super::fatal::Fatal;
use super::relay::Relay;
use super::servers::Common;
use crate::version::Flavour;
use crate::wire::auth::native::{self, NativeHash};
use crate::wire::auth::{SHA256_PLUGIN, caching_sha2};
use crate::wire::quote;

/// How an account proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// There is none.
    Unknown,
    /// Its password is empty.
    NoPassword,
    /// By `mysql_native_password`.
    Native(NativeHash),
    /// By `caching_sha2_password`.
    Sha2,
    /// By `sha256_password`.
    Sha256,
    /// By something that cannot pass a proxy.
    Foreign(String),
}

/// A method by which the server asks a client nothing.
const SILENT_PLUGIN: &str = "unix_socket";

/// Methods that an account may have the choice of, as far as they are read.
const ALTERNATIVES: usize = 4;

/// One line of the server's table.
#[derive(Debug, Clone)]
struct Line {
    user: String,
    host: String,
    /// Methods with their stored texts, in the server's order; any of them will do.
    methods: Vec<(String, String)>,
}

/// Finds the account that a user's log-in through us is.
pub(super) async fn find(relay: &Relay, common: &Common, user: &str) -> Result<Account, Fatal> {
    let lines = read(relay, common, user).await?;
    let mut matching: Vec<_> = lines
        .into_iter()
        .filter_map(|line| Some((specificity(&line.host, &common.our_host)?, line)))
        .collect();
    // As the server sorts: the host first, then users before the one without a name.
    matching.sort_by_key(|(rank, line)| (*rank, line.user.is_empty()));
    Ok(matching
        .first()
        .map_or(Account::Unknown, |(_, line)| account(&line.methods)))
}

fn account(methods: &[(String, String)]) -> Account {
    let mut foreign = None;
    for (plugin, stored) in methods {
        match plugin.as_str() {
            "" | native::PLUGIN if stored.is_empty() => return Account::NoPassword,
            "" | native::PLUGIN => {
                if let Some(hash) = NativeHash::parse(stored) {
                    return Account::Native(hash);
                }
                foreign.get_or_insert_with(|| native::PLUGIN.to_owned());
            }
            caching_sha2::PLUGIN | SHA256_PLUGIN if stored.is_empty() => {
                return Account::NoPassword;
            }
            caching_sha2::PLUGIN => return Account::Sha2,
            SHA256_PLUGIN => return Account::Sha256,
            SILENT_PLUGIN => {
                foreign.get_or_insert_with(|| SILENT_PLUGIN.to_owned());
            }
            // Asked before those that follow, and we have no answer.
            other => {
                foreign.get_or_insert_with(|| other.to_owned());
                break;
            }
        }
    }
    foreign.map_or(Account::Unknown, Account::Foreign)
}

async fn read(relay: &Relay, common: &Common, user: &str) -> Result<Vec<Line>, Fatal> {
    let mut alternatives = 0..0;
    let named = format!("User IN ({}, '')", quote::literal(user));
    let version = common.version;
    let sql = match version.flavour {
        Flavour::MariaDb if version.is_mariadb_at_least(10, 4, 0) => {
            alternatives = 0..ALTERNATIVES;
            let main = "JSON_VALUE(Priv, '$.plugin'), JSON_VALUE(Priv, '$.authentication_string')";
            let others: Vec<String> = alternatives
                .clone()
                .map(|at| {
                    format!(
                        "JSON_VALUE(Priv, '$.auth_or[{at}].plugin'), \
                         JSON_VALUE(Priv, '$.auth_or[{at}].authentication_string'), \
                         JSON_EXTRACT(Priv, '$.auth_or[{at}]')"
                    )
                })
                .collect();
            let others = others.join(", ");
            format!("SELECT User, Host, {main}, {others} FROM mysql.global_priv WHERE {named}")
        }
        // The hash of native passwords stood in a column of its own.
        Flavour::MariaDb => old_table(&named),
        Flavour::MySql if !version.is_mysql_at_least(5, 7, 6) => old_table(&named),
        Flavour::MySql => {
            format!(
                "SELECT User, Host, plugin, authentication_string FROM mysql.user WHERE {named}"
            )
        }
    };
    let rows = relay.servers.ask(relay, &sql).await?;
    let lines = rows.iter().map(|row| {
        let text = |at| row.text(at).unwrap_or_default().to_owned();
        let method = |at| (text(at), text(at + 1));
        // In the list of alternatives the main one is an empty object.
        let mut methods: Vec<_> = alternatives
            .clone()
            .map(|place| 4 + 3 * place)
            .filter(|at| !row.is_null(at + 2))
            .map(|at| method(if row.is_null(at) { 2 } else { at }))
            .collect();
        if methods.is_empty() {
            methods.push(method(2));
        }
        Line {
            user: text(0),
            host: text(1),
            methods,
        }
    });
    Ok(lines.collect())
}

fn old_table(named: &str) -> String {
    format!(
        "SELECT User, Host, plugin, IF(IFNULL(plugin, '') IN ('', 'mysql_native_password') \
         AND Password <> '', Password, authentication_string) FROM mysql.user WHERE {named}"
    )
}

/// How exactly an account's host matches ours: less is more exact; `None` when it does not.
fn specificity(pattern: &str, our_host: &str) -> Option<usize> {
    let local = ["localhost", "127.0.0.1", "::1"];
    let names: &[&str] = if local.contains(&our_host) {
        // Which of them the server sees depends on its skip_name_resolve.
        &local
    } else {
        &[our_host]
    };
    if pattern.eq_ignore_ascii_case(our_host) {
        return Some(0);
    }
    if names.iter().any(|name| pattern.eq_ignore_ascii_case(name)) {
        return Some(1);
    }
    if names.iter().any(|name| in_network(pattern, name)) {
        return Some(2);
    }
    let wild = pattern.find(['%', '_']);
    let matches = names.iter().any(|name| {
        like(
            pattern.to_ascii_lowercase().as_bytes(),
            name.to_ascii_lowercase().as_bytes(),
        )
    });
    if pattern.is_empty() {
        return Some(1000);
    }
    matches.then(|| 900_usize.saturating_sub(wild.unwrap_or(pattern.len())))
}

/// `10.0.0.0/255.255.255.0` or `10.0.0.0/24`.
fn in_network(pattern: &str, host: &str) -> bool {
    let Some((network, mask)) = pattern.split_once('/') else {
        return false;
    };
    let (Ok(IpAddr::V4(network)), Ok(IpAddr::V4(host))) = (network.parse(), host.parse()) else {
        return false;
    };
    let mask = match (mask.parse::<IpAddr>(), mask.parse::<u32>()) {
        (Ok(IpAddr::V4(mask)), _) => mask.to_bits(),
        (_, Ok(bits @ 1..=32)) => u32::MAX << (32 - bits),
        (_, Ok(0)) => 0,
        (_, _) => return false,
    };
    host.to_bits() & mask == network.to_bits()
}

/// SQL's LIKE.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'%', rest)), _) => {
            like(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, text)| like(pattern, text))
        }
        (Some((b'_', pattern)), Some((_, text))) => like(pattern, text),
        (Some((wanted, pattern)), Some((byte, text))) => wanted == byte && like(pattern, text),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_host_wins() {
        let ranks: Vec<_> = [
            "10.1.2.3",
            "10.1.2.0/255.255.255.0",
            "10.1.%",
            "10.%",
            "%",
            "",
        ]
        .into_iter()
        .map(|pattern| specificity(pattern, "10.1.2.3").unwrap())
        .collect();
        assert!(ranks.is_sorted(), "{ranks:?}");
        for pattern in ["10.1.2.4", "11.%", "10.1.3.0/24", "localhost"] {
            assert_eq!(specificity(pattern, "10.1.2.3"), None, "{pattern}");
        }
        assert!(specificity("127.0.0.1", "localhost").is_some());
        assert!(specificity("10.1.2.0/24", "10.1.2.3").is_some());
    }

    #[test]
    fn any_method_that_can_pass_is_taken() {
        let hash = "*6BB4837EB74329105EE4568DDA7DC67ED2CA2AD9";
        let of = |methods: &[(&str, &str)]| {
            let methods: Vec<_> = methods
                .iter()
                .map(|(plugin, stored)| ((*plugin).to_owned(), (*stored).to_owned()))
                .collect();
            account(&methods)
        };
        assert!(matches!(
            of(&[("unix_socket", ""), (native::PLUGIN, hash)]),
            Account::Native(_)
        ));
        assert_eq!(
            of(&[("auth_socket", "")]),
            Account::Foreign("auth_socket".to_owned())
        );
        assert_eq!(
            of(&[("ed25519", "x"), (native::PLUGIN, hash)]),
            Account::Foreign("ed25519".to_owned())
        );
        assert_eq!(of(&[("", "")]), Account::NoPassword);
        assert_eq!(of(&[(caching_sha2::PLUGIN, "$A$005$x")]), Account::Sha2);
        assert_eq!(of(&[(SHA256_PLUGIN, "$5$x")]), Account::Sha256);
        // "invalid" is what MariaDB stores for an account that nobody can use.
        assert!(matches!(
            of(&[(native::PLUGIN, "invalid")]),
            Account::Foreign(_)
        ));
    }
}
