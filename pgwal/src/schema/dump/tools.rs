//! Finding a `pg_dump` and `pg_restore` whose version suits both servers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::DumpError;

/// `pg_restore` from this version on sets `transaction_timeout`, which older servers refuse.
const SETS_TRANSACTION_TIMEOUT: u32 = 17;

/// A pair of tools of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DumpTools {
    /// Path of `pg_dump`.
    pub pg_dump: PathBuf,
    /// Path of `pg_restore`.
    pub pg_restore: PathBuf,
    /// Their major version.
    pub major: u32,
}

impl DumpTools {
    /// Finds the pair that suits best: in `dir` if one is configured, else on `PATH` and where
    /// the distributions put them.
    ///
    /// # Errors
    /// None suits; the error lists what was found.
    pub async fn find(
        dir: Option<&Path>,
        source_major: u32,
        target_major: u32,
    ) -> Result<Self, DumpError> {
        let dirs = dir.map_or_else(default_dirs, |dir| vec![dir.to_owned()]);
        let mut found = Vec::new();
        for dir in dirs {
            found.extend(Self::in_dir(&dir).await);
        }
        let pair = Versions {
            source_major,
            target_major,
        };
        let best = found
            .iter()
            .filter(|tools| pair.refusal(tools.major).is_none());
        if let Some(best) = best.min_by_key(|tools| pair.distance(tools.major)) {
            return Ok(best.clone());
        }
        let mut words: Vec<String> = found
            .iter()
            .filter_map(|tools| {
                let why = pair.refusal(tools.major)?;
                Some(format!(
                    "{} is version {} and {why}",
                    tools.pg_dump.display(),
                    tools.major
                ))
            })
            .collect();
        if words.is_empty() {
            words.push("none was found".to_owned());
        }
        Err(DumpError::NoTools {
            source_major,
            target_major,
            wanted: target_major.max(source_major),
            found: words.join("; "),
        })
    }

    async fn in_dir(dir: &Path) -> Option<Self> {
        let pg_dump = dir.join("pg_dump");
        let pg_restore = dir.join("pg_restore");
        let major = version_of(&pg_dump).await?;
        let restore_major = version_of(&pg_restore).await?;
        (major == restore_major).then_some(Self {
            pg_dump,
            pg_restore,
            major,
        })
    }
}

#[derive(Clone, Copy)]
struct Versions {
    source_major: u32,
    target_major: u32,
}

impl Versions {
    /// Why tools of this version do not do.
    fn refusal(self, major: u32) -> Option<String> {
        if major < self.source_major {
            Some(format!("too old for a source of {}", self.source_major))
        } else if major >= SETS_TRANSACTION_TIMEOUT && self.target_major < SETS_TRANSACTION_TIMEOUT
        {
            Some(format!(
                "its output needs a target of {SETS_TRANSACTION_TIMEOUT} or newer"
            ))
        } else {
            None
        }
    }

    /// The target's own version is best, then the nearest older one, then newer ones.
    fn distance(self, major: u32) -> (bool, u32) {
        (major > self.target_major, major.abs_diff(self.target_major))
    }
}

async fn version_of(program: &Path) -> Option<u32> {
    let output = Command::new(program).arg("--version").output().await.ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `pg_dump (PostgreSQL) 15.18 (Debian ..)`.
fn parse_version(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    let digits = version
        .split(|letter: char| !letter.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

fn default_dirs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        dirs.extend(entries.flatten().filter_map(|entry| {
            let name = entry.file_name();
            is_version_dir(&name, prefix).then(|| entry.path().join("bin"))
        }));
    }
    dirs
}

fn is_version_dir(name: &OsStr, prefix: &str) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(prefix));
    digits.is_some_and(|digits| digits.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_tools_print() {
        assert_eq!(
            parse_version("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"),
            Some(15)
        );
        assert_eq!(parse_version("pg_dump (PostgreSQL) 18devel"), Some(18));
        assert_eq!(parse_version("gpg 2"), None);
    }

    #[test]
    fn tools_older_than_the_source_and_too_new_for_the_target_are_refused() {
        let pair = |source_major, target_major| Versions {
            source_major,
            target_major,
        };
        assert!(pair(14, 17).refusal(15).is_none());
        assert!(pair(16, 17).refusal(15).is_some());
        assert!(pair(14, 16).refusal(17).is_some());
        assert!(pair(14, 17).refusal(18).is_none());
    }

    #[test]
    fn the_targets_own_version_is_best_then_the_nearest_older_one() {
        let pair = Versions {
            source_major: 14,
            target_major: 17,
        };
        let mut majors = [18, 14, 15, 17, 16];
        majors.sort_by_key(|major| pair.distance(*major));
        assert_eq!(majors, [17, 16, 15, 14, 18]);
    }
}
