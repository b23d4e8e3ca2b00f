//! The CONNECT privileges of a database: read from its ACL, taken away, and put back.
//!
//! Everything here is text and values; nothing talks to a server. The servers' text form of an
//! `aclitem` is described in the manual's section "Privileges": `grantee=privileges/grantor`, a
//! missing grantee is PUBLIC, `c` is CONNECT, and `*` after it is the grant option.

use thiserror::Error;

use crate::name::quote_identifier;

/// Whether an ACL item holds CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connect {
    /// It does not.
    No,
    /// It does.
    Granted,
    /// It does, WITH GRANT OPTION.
    Grantable,
}

/// One item of a database's ACL, as far as CONNECT is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AclItem {
    /// `None` is PUBLIC.
    pub(super) grantee: Option<String>,
    pub(super) connect: Connect,
    pub(super) grantor: String,
}

/// An ACL item that is not in the servers' form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not an item of an access control list")]
pub struct AclSyntax(String);

impl AclItem {
    /// Reads the server's text form of one item.
    pub(super) fn parse(text: &str) -> Result<Self, AclSyntax> {
        let malformed = || AclSyntax(text.to_owned());
        let (grantee, rest) = role_name(text).ok_or_else(malformed)?;
        let (privileges, grantor) = rest
            .strip_prefix('=')
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(malformed)?;
        let (grantor, rest) = role_name(grantor).ok_or_else(malformed)?;
        if !rest.is_empty() || grantor.is_empty() {
            return Err(malformed());
        }
        let connect = match privileges.split_once('c') {
            None => Connect::No,
            Some((_, after)) if after.starts_with('*') => Connect::Grantable,
            Some(_) => Connect::Granted,
        };
        let grantee = (!grantee.is_empty()).then_some(grantee);
        Ok(Self {
            grantee,
            connect,
            grantor,
        })
    }

    fn holds_connect(&self) -> bool {
        match self.connect {
            Connect::No => false,
            Connect::Granted | Connect::Grantable => true,
        }
    }
}

/// A role's name as the server writes it in an ACL, and what follows it.
fn role_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.peek().is_some_and(|(_, next)| *next == '"') => {
                name.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            '=' | '/' if !quoted => return Some((name, text.get(at..)?)),
            other => name.push(other),
        }
    }
    (!quoted).then_some((name, ""))
}

/// The roles that matter when the ACL is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parties<'a> {
    pub(super) database: &'a str,
    pub(super) owner: &'a str,
    /// The role pointsman logs in as.
    pub(super) us: &'a str,
}

impl Parties<'_> {
    fn database(&self) -> String {
        quote_identifier(self.database)
    }

    fn is_us(&self, item: &AclItem) -> bool {
        item.grantee.as_deref() == Some(self.us)
    }
}

fn grantee_sql(grantee: Option<&str>) -> String {
    grantee.map_or_else(|| "PUBLIC".to_owned(), quote_identifier)
}

/// The statements that leave CONNECT to us alone, after [`grant_to_us`] was run.
pub(super) fn revoke_from_others(parties: &Parties<'_>, items: &[AclItem]) -> String {
    let database = parties.database();
    let mut grantees = vec!["PUBLIC".to_owned()];
    if parties.owner != parties.us {
        grantees.push(quote_identifier(parties.owner));
    }
    for item in items
        .iter()
        .filter(|item| item.holds_connect() && !parties.is_us(item))
    {
        let grantee = grantee_sql(item.grantee.as_deref());
        if !grantees.contains(&grantee) {
            grantees.push(grantee);
        }
    }
    let mut sql = format!(
        "REVOKE CONNECT ON DATABASE {database} FROM {} CASCADE;\n",
        grantees.join(", ")
    );
    if parties.owner != parties.us {
        // What we granted onwards would outlive the statement above, which speaks as the owner.
        sql.push_str(&format!(
            "REVOKE GRANT OPTION FOR CONNECT ON DATABASE {database} FROM {} CASCADE;\n",
            quote_identifier(parties.us)
        ));
    }
    sql
}

/// The statement that gives us a CONNECT of our own; it also locks the database's ACL.
pub(super) fn grant_to_us(parties: &Parties<'_>) -> String {
    format!(
        "GRANT CONNECT ON DATABASE {} TO {};\n",
        parties.database(),
        quote_identifier(parties.us)
    )
}

/// The statements that put the CONNECT privileges of `saved` back.
///
/// `may_become` tells whether we may take a role, which is needed for grants that the owner did
/// not make; those that we may not take are granted by the owner and returned as text.
pub(super) fn grant_back(
    parties: &Parties<'_>,
    saved: &[AclItem],
    may_become: impl Fn(&str) -> bool,
) -> (String, Vec<String>) {
    let mut sql = String::new();
    let mut by_owner_instead = Vec::new();
    for item in in_order_of_grant(parties.owner, saved) {
        let option = match item.connect {
            Connect::Grantable => " WITH GRANT OPTION",
            Connect::Granted | Connect::No => "",
        };
        let grantee = grantee_sql(item.grantee.as_deref());
        let grant = format!(
            "GRANT CONNECT ON DATABASE {} TO {grantee}{option};\n",
            parties.database()
        );
        if item.grantor == parties.owner {
            sql.push_str(&grant);
        } else if may_become(&item.grantor) {
            let grantor = quote_identifier(&item.grantor);
            sql.push_str(&format!(
                "SET LOCAL ROLE {grantor};\n{grant}SET LOCAL ROLE NONE;\n"
            ));
        } else {
            sql.push_str(&grant);
            let grantor = &item.grantor;
            by_owner_instead.push(format!("CONNECT of {grantee}, which {grantor} had granted"));
        }
    }
    let ours = |item: &&AclItem| parties.is_us(item) && item.grantor == parties.owner;
    match saved.iter().find(ours).map(|item| item.connect) {
        None | Some(Connect::No) => sql.push_str(&format!(
            "REVOKE CONNECT ON DATABASE {} FROM {} CASCADE;\n",
            parties.database(),
            quote_identifier(parties.us)
        )),
        Some(Connect::Granted | Connect::Grantable) => {}
    }
    (sql, by_owner_instead)
}

/// The items that hold CONNECT, each after the one that gave its grantor the grant option.
fn in_order_of_grant<'a>(owner: &str, saved: &'a [AclItem]) -> Vec<&'a AclItem> {
    let mut waiting: Vec<&AclItem> = saved.iter().filter(|item| item.holds_connect()).collect();
    let mut grantors = vec![owner.to_owned()];
    let mut ordered = Vec::with_capacity(waiting.len());
    // Every round but the last moves an item at least, so there are at most as many rounds.
    for _round in 0..=saved.len() {
        let (ready, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|item| grantors.contains(&item.grantor));
        grantors.extend(ready.iter().filter_map(|item| item.grantee.clone()));
        ordered.extend(ready);
        waiting = later;
    }
    ordered.extend(waiting);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(texts: &[&str]) -> Vec<AclItem> {
        texts
            .iter()
            .map(|text| AclItem::parse(text).unwrap())
            .collect()
    }

    const PARTIES: Parties<'_> = Parties {
        database: "shop",
        owner: "boss",
        us: "mig",
    };

    #[test]
    fn an_item_is_read_with_its_grant_option_and_odd_names() {
        let item = AclItem::parse("=Tc/boss").unwrap();
        assert_eq!((item.grantee, item.connect), (None, Connect::Granted));
        let item = AclItem::parse(r#""we""ird=n/m"=c*T/"b=s""#).unwrap();
        assert_eq!(item.grantee.as_deref(), Some(r#"we"ird=n/m"#));
        assert_eq!(
            (item.connect, item.grantor.as_str()),
            (Connect::Grantable, "b=s")
        );
        assert_eq!(AclItem::parse("a=CT/boss").unwrap().connect, Connect::No);
    }

    #[test]
    fn what_is_no_item_is_an_error() {
        for text in ["", "a", "a=c", "a=c/", "\"a=c/b", "a=c/b/d"] {
            assert!(AclItem::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn everybody_but_us_is_named_once_when_revoked() {
        let sql = revoke_from_others(
            &PARTIES,
            &items(&[
                "=Tc/boss",
                "boss=CTc/boss",
                "app=c*/boss",
                "x=c/app",
                "mig=c/boss",
                "t=T/boss",
            ]),
        );
        let first = sql.lines().next().unwrap();
        assert_eq!(
            first,
            r#"REVOKE CONNECT ON DATABASE "shop" FROM PUBLIC, "boss", "app", "x" CASCADE;"#
        );
    }

    #[test]
    fn the_owner_is_not_shut_out_when_the_owner_is_us() {
        let parties = Parties {
            us: "boss",
            ..PARTIES
        };
        let sql = revoke_from_others(&parties, &items(&["boss=CTc/boss", "app=c/boss"]));
        assert!(!sql.contains("\"boss\""), "{sql}");
    }

    #[test]
    fn a_grant_follows_the_one_that_allows_it() {
        let saved = items(&["x=c/app", "=Tc/boss", "app=c*/boss"]);
        let (sql, instead) = grant_back(&PARTIES, &saved, |_| true);
        assert!(instead.is_empty());
        let app = sql.find("TO \"app\" WITH GRANT OPTION").unwrap();
        let x = sql.find("SET LOCAL ROLE \"app\";\nGRANT CONNECT ON DATABASE \"shop\" TO \"x\"");
        assert!(app < x.unwrap(), "{sql}");
        assert!(sql.ends_with("REVOKE CONNECT ON DATABASE \"shop\" FROM \"mig\" CASCADE;\n"));
    }

    #[test]
    fn a_grant_of_a_role_we_cannot_take_is_made_by_the_owner_and_named() {
        let saved = items(&["app=c*/boss", "x=c/app", "mig=c/boss"]);
        let (sql, instead) = grant_back(&PARTIES, &saved, |_| false);
        assert!(
            !sql.contains("SET LOCAL ROLE") && !sql.contains("REVOKE"),
            "{sql}"
        );
        assert_eq!(instead, ["CONNECT of \"x\", which app had granted"]);
    }
}
