//! What kind of definition statement it is, and which objects it names.

use super::words::{DoubleQuotes, Word, words};
use crate::name::QualifiedName;

/// What a statement defines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tables and their indexes.
    Table(Verb),
    /// A view, routine, trigger or other thing in a database.
    Object,
    /// An event, which must not run before the cutover.
    Event(Verb),
    /// A database.
    Database,
    /// Users, roles and what they may do.
    Account,
    /// Nothing: statistics, caches and the like.
    Nothing,
    /// Something that is not known here, or of the server rather than of a database.
    Other,
}

/// What is done to tables or events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Create,
    Alter,
    /// `ALTER TABLE .. EXCHANGE PARTITION`: two tables change their rows, and nothing else.
    Exchange,
    Drop,
    Rename,
    Truncate,
}

/// What the first words say of every kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Creates,
    /// `CREATE OR REPLACE`.
    Replaces,
    Drops,
    Renames,
    Revokes,
    /// It alters or grants or sets something.
    Other,
}

/// A statement as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) kind: Kind,
    pub(super) form: Form,
    pub(super) objects: Vec<QualifiedName>,
    /// The first words, for messages.
    pub(super) shown: String,
    /// Whether the same statement may give other values here than on the source.
    pub(super) values_may_differ: bool,
}

/// Reads the statement; names without a database are of `schema`.
pub(super) fn parse(sql: &str, schema: &str, double_quotes: DoubleQuotes) -> Parsed {
    let words = words(sql, double_quotes);
    let mut reader = Reader {
        words: &words,
        at: 0,
        schema,
    };
    let (kind, objects, shown) = reader.statement();
    Parsed {
        kind,
        form: form(&words),
        objects,
        shown,
        values_may_differ: values_may_differ(kind, &words),
    }
}

fn form(words: &[Word]) -> Form {
    let is = |place: usize, keyword| words.get(place).is_some_and(|word| word.is(keyword));
    if is(0, "CREATE") && is(1, "OR") && is(2, "REPLACE") {
        return Form::Replaces;
    }
    let forms = [
        ("CREATE", Form::Creates),
        ("DROP", Form::Drops),
        ("RENAME", Form::Renames),
        ("REVOKE", Form::Revokes),
    ];
    let found = forms.iter().find(|(keyword, _)| is(0, keyword));
    found.map_or(Form::Other, |(_, form)| *form)
}

struct Reader<'a> {
    words: &'a [Word],
    at: usize,
    schema: &'a str,
}

type Found = (Kind, Vec<QualifiedName>, String);

impl Reader<'_> {
    fn statement(&mut self) -> Found {
        let Some(first) = self.words.first().and_then(Word::name) else {
            return (Kind::Other, Vec::new(), "a statement".to_owned());
        };
        let verb = first.to_ascii_uppercase();
        self.at = 1;
        match verb.as_str() {
            "TRUNCATE" => {
                self.take("TABLE");
                self.one(Kind::Table(Verb::Truncate), "TRUNCATE TABLE")
            }
            "RENAME" if self.take("TABLE") || self.take("TABLES") => {
                self.list(Kind::Table(Verb::Rename), "RENAME TABLE")
            }
            "CREATE" | "ALTER" | "DROP" => self.definition(&verb),
            "GRANT" | "REVOKE" => self.account(&verb),
            "RENAME" | "SET" => self.account(&verb),
            "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK" | "CHECKSUM" | "FLUSH" | "RESET"
            | "CACHE" | "LOAD" => (Kind::Nothing, Vec::new(), verb),
            _unknown => (Kind::Other, Vec::new(), verb),
        }
    }

    /// `GRANT` and its like; objects are those behind `ON`.
    fn account(&mut self, verb: &str) -> Found {
        let on = self.words.iter().position(|word| word.is("ON"));
        let mut objects = Vec::new();
        if let Some(on) = on {
            self.at = on + 1;
            for kind in ["TABLE", "FUNCTION", "PROCEDURE"] {
                self.take(kind);
            }
            objects.extend(self.name());
        }
        let known = match verb {
            "GRANT" | "REVOKE" => true,
            "RENAME" => self.words.get(1).is_some_and(|word| word.is("USER")),
            _set => {
                let second = self.words.get(1);
                ["PASSWORD", "DEFAULT", "ROLE"]
                    .iter()
                    .any(|word| second.is_some_and(|second| second.is(word)))
            }
        };
        let kind = if known { Kind::Account } else { Kind::Other };
        (kind, objects, verb.to_owned())
    }

    fn definition(&mut self, verb: &str) -> Found {
        let done = match verb {
            "CREATE" => Verb::Create,
            "ALTER" => Verb::Alter,
            _drop => Verb::Drop,
        };
        // Everything that may stand between the verb and the kind of object.
        while let Some(word) = self.words.get(self.at) {
            let Some(text) = word.name().map(str::to_ascii_uppercase) else {
                self.at += 1;
                continue;
            };
            self.at += 1;
            let shown = format!("{verb} {text}");
            match text.as_str() {
                "TEMPORARY" => return (Kind::Nothing, Vec::new(), shown),
                "TABLE" | "TABLES" => {
                    let done = if self.words.iter().any(|word| word.is("EXCHANGE")) {
                        Verb::Exchange
                    } else {
                        done
                    };
                    return match done {
                        Verb::Drop => self.list(Kind::Table(done), &shown),
                        Verb::Alter => self.alter_table(&shown),
                        Verb::Exchange => self.exchange(&shown),
                        _one => self.one(Kind::Table(done), &shown),
                    };
                }
                "INDEX" => return self.index(&shown),
                "DATABASE" | "SCHEMA" => return self.database(&shown),
                "VIEW" if done == Verb::Drop => return self.list(Kind::Object, &shown),
                "VIEW" | "TRIGGER" | "PROCEDURE" | "FUNCTION" => {
                    return self.one(Kind::Object, &shown);
                }
                "PACKAGE" => {
                    self.take("BODY");
                    return self.one(Kind::Object, &shown);
                }
                "EVENT" => return self.event(done, &shown),
                "USER" | "ROLE" => return (Kind::Account, Vec::new(), shown),
                "SEQUENCE" | "SERVER" | "TABLESPACE" | "LOGFILE" | "RESOURCE" | "SPATIAL"
                    if text != "SPATIAL" || !self.followed_by("INDEX") =>
                {
                    return (Kind::Other, Vec::new(), shown);
                }
                _modifier => {}
            }
        }
        (Kind::Other, Vec::new(), verb.to_owned())
    }

    fn followed_by(&self, keyword: &str) -> bool {
        self.words.get(self.at).is_some_and(|word| word.is(keyword))
    }

    fn alter_table(&mut self, shown: &str) -> Found {
        let (kind, mut objects, shown) = self.one(Kind::Table(Verb::Alter), shown);
        // `RENAME TO x` and `RENAME x`, not `RENAME COLUMN`, `INDEX` or `KEY`.
        let renamed = self.words.iter().rposition(|word| word.is("RENAME"));
        if let Some(place) = renamed.filter(|place| *place >= self.at) {
            self.at = place + 1;
            let other = ["COLUMN", "INDEX", "KEY"];
            if !other.iter().any(|word| self.followed_by(word)) {
                let _to = self.take("TO") || self.take("AS");
                objects.extend(self.name());
            }
        }
        (kind, objects, shown)
    }

    /// Both tables of `EXCHANGE PARTITION .. WITH TABLE ..`.
    fn exchange(&mut self, shown: &str) -> Found {
        let (kind, mut objects, shown) = self.one(Kind::Table(Verb::Exchange), shown);
        let with = self
            .words
            .windows(2)
            .rposition(|pair| pair[0].is("WITH") && pair[1].is("TABLE"));
        if let Some(place) = with {
            self.at = place + 2;
            objects.extend(self.name());
        }
        (kind, objects, shown)
    }

    /// An event, and the name that it gets.
    fn event(&mut self, verb: Verb, shown: &str) -> Found {
        let (kind, mut objects, shown) = self.one(Kind::Event(verb), shown);
        let renamed = self.words.iter().position(|word| word.is("RENAME"));
        if verb == Verb::Alter
            && let Some(place) = renamed
        {
            self.at = place + 1;
            self.take("TO");
            objects.extend(self.name());
        }
        (kind, objects, shown)
    }

    fn index(&mut self, shown: &str) -> Found {
        let on = self.words.iter().position(|word| word.is("ON"));
        self.at = on.map_or(self.words.len(), |on| on + 1);
        self.one(Kind::Table(Verb::Alter), shown)
    }

    fn database(&mut self, shown: &str) -> Found {
        self.take_exists();
        let name = self.words.get(self.at).and_then(Word::name);
        // `ALTER DATABASE CHARACTER SET ..` means the current one.
        let name = match name {
            Some(name)
                if !["CHARACTER", "DEFAULT", "COLLATE", "CHARSET"]
                    .iter()
                    .any(|word| name.eq_ignore_ascii_case(word)) =>
            {
                name
            }
            Some(_) | None => self.schema,
        };
        let shown = format!("{shown} {name}");
        (Kind::Database, vec![QualifiedName::new(name, "")], shown)
    }

    fn one(&mut self, kind: Kind, shown: &str) -> Found {
        self.take_exists();
        match self.name() {
            Some(name) => {
                let shown = format!("{shown} {name}");
                (kind, vec![name], shown)
            }
            None => (Kind::Other, Vec::new(), shown.to_owned()),
        }
    }

    /// Names with commas or `TO` between them.
    fn list(&mut self, kind: Kind, shown: &str) -> Found {
        let (kind, mut names, shown) = self.one(kind, shown);
        while self.words.get(self.at) == Some(&Word::Sign(',')) || self.followed_by("TO") {
            self.at += 1;
            names.extend(self.name());
        }
        (kind, names, shown)
    }

    fn take_exists(&mut self) {
        if self.take("IF") {
            self.take("NOT");
            self.take("EXISTS");
        }
    }

    fn take(&mut self, keyword: &str) -> bool {
        let found = self.followed_by(keyword);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Option<QualifiedName> {
        let first = self.words.get(self.at)?.name()?.to_owned();
        self.at += 1;
        if self.words.get(self.at) == Some(&Word::Sign('.'))
            && self.words.get(self.at + 1) == Some(&Word::Sign('*'))
        {
            self.at += 2;
            return Some(QualifiedName::new(first, ""));
        }
        if self.words.get(self.at) == Some(&Word::Sign('.'))
            && let Some(second) = self.words.get(self.at + 1).and_then(Word::name)
        {
            let name = QualifiedName::new(first, second);
            self.at += 2;
            return Some(name);
        }
        Some(QualifiedName::new(self.schema, first))
    }
}

/// Whether the rows that are there get values that the statement does not determine: numbers in the
/// order in which a server happens to find the rows, or what a function makes up.
fn values_may_differ(kind: Kind, words: &[Word]) -> bool {
    if kind != Kind::Table(Verb::Alter) {
        return false;
    }
    let made_up = [
        "UUID",
        "RAND",
        "UUID_SHORT",
        "RANDOM_BYTES",
        "SYSDATE",
        "SYS_GUID",
    ];
    words.split(|word| *word == Word::Sign(',')).any(|part| {
        let adds = part.iter().any(|word| word.is("ADD"));
        let numbers = part
            .windows(2)
            .any(|pair| pair[0].is("AUTO_INCREMENT") && pair[1] != Word::Sign('='))
            || part.last().is_some_and(|word| word.is("AUTO_INCREMENT"));
        let calls = part
            .windows(2)
            .any(|pair| pair[1] == Word::Sign('(') && made_up.iter().any(|name| pair[0].is(name)));
        adds && (numbers || calls)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> (Kind, String) {
        let parsed = parse(sql, "shop", DoubleQuotes::Text);
        let names: Vec<_> = parsed.objects.iter().map(ToString::to_string).collect();
        (parsed.kind, names.join(" "))
    }

    #[test]
    fn statements_on_tables_name_their_tables() {
        for (sql, verb, names) in [
            (
                "CREATE TABLE IF NOT EXISTS `a b` (id int)",
                Verb::Create,
                "shop.a b",
            ),
            ("create or replace table x.y like z", Verb::Create, "x.y"),
            (
                "ALTER TABLE t ADD COLUMN c int, RENAME TO u",
                Verb::Alter,
                "shop.t shop.u",
            ),
            ("ALTER TABLE t RENAME COLUMN a TO b", Verb::Alter, "shop.t"),
            (
                "ALTER TABLE p EXCHANGE PARTITION q WITH TABLE r",
                Verb::Exchange,
                "shop.p shop.r",
            ),
            (
                "DROP TABLE IF EXISTS `a`,`d`.`b` /* generated by server */",
                Verb::Drop,
                "shop.a d.b",
            ),
            (
                "RENAME TABLE a TO b, x.c TO d",
                Verb::Rename,
                "shop.a shop.b x.c shop.d",
            ),
            ("/* hi */ TRUNCATE t -- end", Verb::Truncate, "shop.t"),
            (
                "CREATE UNIQUE INDEX i USING BTREE ON t (a)",
                Verb::Alter,
                "shop.t",
            ),
            ("CREATE SPATIAL INDEX i ON t (g)", Verb::Alter, "shop.t"),
            ("DROP INDEX i ON d.t", Verb::Alter, "d.t"),
        ] {
            assert_eq!(of(sql), (Kind::Table(verb), names.to_owned()), "{sql}");
        }
    }

    #[test]
    fn other_objects_are_found_behind_their_attributes() {
        let view =
            "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW v AS SELECT 1";
        assert_eq!(of(view), (Kind::Object, "shop.v".to_owned()));
        let trigger = "CREATE /*!50017 DEFINER=`a`@`b`*/ TRIGGER d.g BEFORE INSERT ON t FOR EACH ROW SET @a=1";
        assert_eq!(of(trigger), (Kind::Object, "d.g".to_owned()));
        let event = "ALTER DEFINER=a@b EVENT e DISABLE";
        assert_eq!(of(event), (Kind::Event(Verb::Alter), "shop.e".to_owned()));
        assert_eq!(
            of("DROP DATABASE IF EXISTS d"),
            (Kind::Database, "d.".to_owned())
        );
        assert_eq!(
            of("ALTER DATABASE CHARACTER SET utf8mb4"),
            (Kind::Database, "shop.".to_owned())
        );
        let grant = "GRANT SELECT ON d.* TO 'u'@'%'";
        assert_eq!(of(grant).0, Kind::Account);
        assert_eq!(of("ANALYZE TABLE t").0, Kind::Nothing);
        assert_eq!(of("INSTALL PLUGIN x SONAME 'y'").0, Kind::Other);
        assert_eq!(of("CREATE SEQUENCE s").0, Kind::Other);
        assert_eq!(of("").0, Kind::Other);
    }

    #[test]
    fn new_numbers_and_made_up_values_for_rows_that_are_there_are_noticed() {
        let differ = |sql| parse(sql, "d", DoubleQuotes::Text).values_may_differ;
        assert!(differ(
            "ALTER TABLE t ADD id INT AUTO_INCREMENT PRIMARY KEY"
        ));
        assert!(differ(
            "ALTER TABLE t ADD COLUMN u CHAR(36) DEFAULT (UUID())"
        ));
        assert!(!differ(
            "ALTER TABLE t AUTO_INCREMENT = 5, ADD COLUMN a INT"
        ));
        assert!(!differ(
            "ALTER TABLE t ADD a INT, MODIFY id INT AUTO_INCREMENT"
        ));
        assert!(!differ(
            "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY)"
        ));
    }
}
