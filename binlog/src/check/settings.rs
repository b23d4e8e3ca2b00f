//! Settings that applications notice, compared.

use router::Side;

use super::report::{Advice, Report, listed};
use super::server::Server;

/// They must be equal: names and rows mean something else otherwise.
const MUST: [(&str, &str); 1] = [(
    "lower_case_table_names",
    "names of tables are kept and compared in another way; it can only be set when a server is \
     made new",
)];

/// They should be equal: new sessions would behave otherwise.
const NOTICED: [&str; 22] = [
    "sql_mode",
    "time_zone",
    "system_time_zone",
    "character_set_server",
    "collation_server",
    "transaction_isolation",
    "tx_isolation",
    "autocommit",
    "auto_increment_increment",
    "auto_increment_offset",
    "explicit_defaults_for_timestamp",
    "default_storage_engine",
    "innodb_strict_mode",
    "innodb_lock_wait_timeout",
    "innodb_rollback_on_timeout",
    "group_concat_max_len",
    "init_connect",
    "mandatory_roles",
    "activate_all_roles_on_login",
    "partial_revokes",
    "default_table_encryption",
    "innodb_encrypt_tables",
];

/// The target should have as much as the source.
const AS_MUCH: [&str; 5] = [
    "max_allowed_packet",
    "max_connections",
    "wait_timeout",
    "interactive_timeout",
    "innodb_buffer_pool_size",
];

pub(super) fn both(source: &Server, target: &Server, report: &mut Report) {
    for (name, why) in MUST {
        let (here, there) = (source.variable(name), target.variable(name));
        if here != there {
            let fix = format!(
                "make the target anew with {name}={}",
                here.unwrap_or_default()
            );
            let what = format!("{name} is {there:?} and on the source {here:?}");
            report.fail(Side::Target, &what, Advice { why, fix: &fix });
        }
    }
    let differ: Vec<String> = NOTICED
        .iter()
        .filter_map(|name| {
            let (here, there) = (source.variable(name)?, target.variable(name)?);
            (here != there).then(|| format!("{name} = {here:?} (there: {there:?})"))
        })
        .collect();
    if differ.is_empty() {
        let what = "the settings that applications notice are those of the source";
        report.ok(Side::Target, what);
    } else {
        let advice = Advice {
            why: "new sessions would behave otherwise after the switch",
            fix: "SET GLOBAL them on the target to the source's values, and in its option file",
        };
        let what = format!(
            "settings that applications notice differ: {}",
            listed(&differ)
        );
        report.warn(Side::Target, &what, advice);
    }
    let less: Vec<String> = AS_MUCH
        .iter()
        .filter_map(|name| {
            let (here, there) = (source.number(name)?, target.number(name)?);
            (there < here).then(|| format!("{name} = {here} (there: {there})"))
        })
        .collect();
    if !less.is_empty() {
        let advice = Advice {
            why: "what the source took could be too much for the target: packets, sessions, \
                  pauses, or the working set",
            fix: "SET GLOBAL them on the target to at least the source's value, and in its option \
                  file",
        };
        let what = format!("less than the source has: {}", listed(&less));
        report.warn(Side::Target, &what, advice);
    }
}
