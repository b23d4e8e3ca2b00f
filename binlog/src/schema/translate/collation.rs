//! Collations: what each flavour calls them.

use super::{Notes, Translation};
use crate::version::Flavour;

/// What becomes of a collation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mapped {
    /// The target has it.
    Same,
    /// The target has one that compares nearly alike: the same levels, the same padding, another
    /// version of Unicode.
    To(String),
    /// It has none.
    Unknown,
}

/// MySQL's collations of Unicode 9.0, and MariaDB's of Unicode 14 with the same levels and the same
/// (no) padding.
const PAIRS: [(&str, &str); 3] = [
    ("utf8mb4_0900_ai_ci", "utf8mb4_uca1400_nopad_ai_ci"),
    ("utf8mb4_0900_as_ci", "utf8mb4_uca1400_nopad_as_ci"),
    ("utf8mb4_0900_as_cs", "utf8mb4_uca1400_nopad_as_cs"),
];

/// Compared byte by byte, without padding.
const BINARY: (&str, &str) = ("utf8mb4_0900_bin", "utf8mb4_nopad_bin");

impl Translation {
    pub(super) fn mapped(&self, name: &str) -> Mapped {
        let name = name.to_ascii_lowercase();
        let is_known = |name: &str| self.collations.contains(name);
        // The old name of the character set, under which each server knows it too.
        let renamed = name
            .strip_prefix("utf8_")
            .map(|rest| format!("utf8mb3_{rest}"));
        let older = name
            .strip_prefix("utf8mb3_")
            .map(|rest| format!("utf8_{rest}"));
        let same = [Some(name.clone()), renamed, older];
        if name == "binary" || same.iter().flatten().any(|name| is_known(name)) {
            return Mapped::Same;
        }
        let pairs = PAIRS.iter().chain(std::iter::once(&BINARY));
        for (mysql, mariadb) in pairs {
            let (ours, theirs) = match self.to.flavour {
                Flavour::MySql => (mariadb, mysql),
                Flavour::MariaDb => (mysql, mariadb),
            };
            if name == *ours && is_known(theirs) {
                return Mapped::To((*theirs).to_owned());
            }
        }
        Mapped::Unknown
    }

    /// For what no row depends on (a database's default, the words of a program):
    /// the nearest that the target has.
    pub(super) fn nearest_collation(&self, name: &str, notes: &mut Notes<'_>) -> String {
        let nearest = match self.mapped(name) {
            Mapped::Same => return name.to_owned(),
            Mapped::To(nearest) => nearest,
            Mapped::Unknown => {
                let charset = name.split('_').next().unwrap_or_default();
                let candidates = [
                    format!("{charset}_0900_ai_ci"),
                    format!("{charset}_unicode_ci"),
                    format!("{charset}_general_ci"),
                ];
                let known = candidates
                    .into_iter()
                    .find(|candidate| self.mapped(candidate) == Mapped::Same);
                match known {
                    Some(known) => known,
                    None => {
                        notes.refused(format!("the target has no collation {name}"));
                        return name.to_owned();
                    }
                }
            }
        };
        notes.changed(format!(
            "collation {name} becomes {nearest} there, which sorts some letters otherwise"
        ));
        nearest
    }
}
