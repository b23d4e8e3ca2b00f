//! Versions: which servers move, and from which to which.

use router::Side;

use super::report::{Advice, Report};
use super::server::Server;
use crate::version::{Flavour, ServerVersion};

/// Why a version may not be used, if so.
fn is_too_old(version: ServerVersion) -> bool {
    match version.flavour {
        Flavour::MySql => !version.is_mysql_at_least(5, 6, 0),
        Flavour::MariaDb => !version.is_mariadb_at_least(10, 5, 0),
    }
}

/// Whether it is newer than any that was tried.
fn is_newer_than_tried(version: ServerVersion) -> bool {
    match version.flavour {
        Flavour::MySql => version.is_mysql_at_least(9, 8, 0),
        Flavour::MariaDb => version.is_mariadb_at_least(11, 9, 0),
    }
}

/// Says so if a version is out of range.
pub(super) fn in_range(server: &Server, report: &mut Report) -> bool {
    let version = server.version;
    if is_too_old(version) {
        let advice = Advice {
            why: "pointsman moves MySQL from 5.6 on and MariaDB from 10.5 on",
            fix: "use a newer server",
        };
        report.fail(server.side, &format!("{version} is too old"), advice);
        return false;
    }
    if is_newer_than_tried(version) {
        let advice = Advice {
            why: "pointsman was never tried with it; events that it does not know stop the stream, \
                  nothing is skipped",
            fix: "try the migration with a copy of the server first",
        };
        let what = format!("{version} is newer than the servers that were tried");
        report.warn(server.side, &what, advice);
    }
    true
}

pub(super) fn both(source: &Server, target: &Server, report: &mut Report) {
    if !in_range(target, report) {
        return;
    }
    let (from, to) = (source.version, target.version);
    if from.flavour != to.flavour {
        let advice = Advice {
            why: "the two differ in types, collations, accounts and programs; what cannot be \
                  carried is named below",
            fix: "read the findings, and run `pointsman verify` before the cutover",
        };
        report.warn(Side::Target, &format!("from {from} to {to}"), advice);
    } else if (to.major, to.minor) < (from.major, from.minor) {
        let advice = Advice {
            why: "an older server need not understand what a newer one has",
            fix: "use a target of the source's version or a newer one",
        };
        let what = format!("{to} is older than the source's {from}");
        report.fail(Side::Target, &what, advice);
    } else {
        report.ok(Side::Target, &format!("{to} can take over from {from}"));
    }
    if source.number("server_id") == target.number("server_id")
        && source.variable("server_id").is_some()
    {
        let advice = Advice {
            why: "replicas take events with their own server_id for their own and skip them",
            fix: "SET GLOBAL server_id = another number on the target, and in its option file",
        };
        let what = "server_id is the same on both servers";
        report.fail(Side::Target, what, advice);
    }
    if source.variable("server_uuid").is_some()
        && source.variable("server_uuid") == target.variable("server_uuid")
    {
        let advice = Advice {
            why: "it is one server under two addresses, or a copy of its folder: GTIDs would clash",
            fix: "name another server, or remove auto.cnf from the target's data folder and \
                  restart it",
        };
        report.fail(Side::Target, "server_uuid is that of the source", advice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_range() {
        let version = |text: &str| text.parse::<ServerVersion>().unwrap();
        for old in ["5.5.62", "10.4.34-MariaDB"] {
            assert!(is_too_old(version(old)), "{old}");
        }
        for right in [
            "5.6.24",
            "9.7.4",
            "26.10.0",
            "10.5.2-MariaDB",
            "11.8.6-MariaDB",
        ] {
            assert!(!is_too_old(version(right)), "{right}");
        }
        for new in ["26.10.0", "12.3.1-MariaDB"] {
            assert!(is_newer_than_tried(version(new)), "{new}");
        }
    }
}
