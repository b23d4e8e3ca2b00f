//! The file with users and their secrets, where no server may be asked for them.
//!
//! One user a line, in the form of PgBouncer's `userlist.txt`: `"name" "secret"`. The secret is what
//! the server stores (`SCRAM-SHA-256$...` or `md5...`), or the password itself. A quotation mark in
//! either is doubled; empty lines, and lines that begin with `;` or `#`, mean nothing.
//!
//! Who a client is stays the server's decision: it logs in there as the user it claims to be.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use postgres_protocol::password;
use router::Secret;
use thiserror::Error;

use crate::wire::auth::Verifier;

/// What a client's proof is checked by.
#[derive(Debug, Clone)]
pub(super) enum UserSecret {
    /// What the server stores.
    Verifier(Verifier),
    /// The password, and a verifier that was made of it.
    Password {
        /// Opens the server by whatever method it asks for.
        password: Secret,
        /// What the client is checked by.
        verifier: Verifier,
    },
}

/// The users of one reading of the file.
#[derive(Default)]
pub struct Users {
    users: HashMap<String, Entry>,
}

struct Entry {
    stored: Secret,
    /// Made when it is asked for, since that takes some milliseconds; then it stays, with its salt.
    verifier: OnceLock<Option<Verifier>>,
}

/// A file that cannot be used. The messages show no secret.
#[derive(Debug, Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("cannot read the users' file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is not a user and a secret.
    #[error("line {line} of the users' file {} is not \"name\" \"secret\"", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A user stands there twice.
    #[error("line {line} of the users' file {} names the user {user} again", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The second line, from 1.
        line: usize,
        /// The user.
        user: String,
    },
}

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or has a line that is not understood.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let text = std::fs::read_to_string(path).map_err(|source| UsersError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            let (user, stored) = user_and_secret(line).ok_or_else(|| UsersError::Line {
                path: path.to_owned(),
                line: number,
            })?;
            let entry = Entry {
                stored: Secret::new(stored),
                verifier: OnceLock::new(),
            };
            if users.insert(user.clone(), entry).is_some() {
                return Err(UsersError::Twice {
                    path: path.to_owned(),
                    line: number,
                    user,
                });
            }
        }
        Ok(Self { users })
    }

    /// The secret of a user; `None` when the file has none that opens anything.
    pub(super) fn find(&self, user: &str) -> Option<UserSecret> {
        let entry = self.users.get(user)?;
        let stored = entry.stored.expose();
        if let Some(verifier) = Verifier::parse(stored) {
            return Some(UserSecret::Verifier(verifier));
        }
        if stored.is_empty() {
            return None;
        }
        let made = || Verifier::parse(&password::scram_sha_256(stored.as_bytes()));
        let verifier = entry.verifier.get_or_init(made).clone()?;
        let password = entry.stored.clone();
        Some(UserSecret::Password { password, verifier })
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

/// Takes a line apart: two quoted words with blanks between them.
fn user_and_secret(line: &str) -> Option<(String, String)> {
    let (user, rest) = quoted(line)?;
    let between = rest.trim_start();
    let (secret, after) = quoted(between)?;
    let well_formed = !user.is_empty() && between.len() < rest.len() && after.is_empty();
    well_formed.then_some((user, secret))
}

/// A quoted word at the beginning, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut word = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        word.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                word.push('"');
                rest = after;
            }
            None => return Some((word, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{UserSecret, Users, UsersError};
    use crate::wire::auth::Verifier;

    const MD5: &str = "md5a6a30fd2cf2a3b3ed5ea5c4f8cb1dd15";

    fn read(text: &str) -> Result<Users, UsersError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Users::read(file.path())
    }

    #[test]
    fn secrets_are_verifiers_or_passwords() {
        let scram = postgres_protocol::password::scram_sha_256(b"right");
        let text = format!(
            "; users\n\n\"five\" \"{MD5}\"\n\"scram\"\t\"{scram}\"\n  \"plain\" \"a \"\"b\"\" c\"\n# \"off\" \"x\"\n\"empty\" \"\"\n"
        );
        let users = read(&text).unwrap();
        let five = users.find("five").unwrap();
        assert!(matches!(five, UserSecret::Verifier(Verifier::Md5(_))));
        let stored = users.find("scram").unwrap();
        assert!(matches!(stored, UserSecret::Verifier(Verifier::Scram(_))));
        let Some(UserSecret::Password { password, verifier }) = users.find("plain") else {
            panic!("plain is a password");
        };
        assert_eq!(password.expose(), "a \"b\" c");
        // A salt that changed between two attempts would tell that the file has the password.
        let Some(UserSecret::Password {
            verifier: again, ..
        }) = users.find("plain")
        else {
            panic!("plain is a password");
        };
        assert_eq!(verifier, again);
        assert!(users.find("off").is_none());
        assert!(users.find("empty").is_none());
        assert!(users.find("nobody").is_none());
        assert_eq!(format!("{users:?}"), "Users { users: 4, .. }");
    }

    #[test]
    fn a_line_that_is_not_understood_is_named_without_its_secret() {
        for wrong in [
            "app right",
            "\"app\"",
            "\"app\" \"right",
            "\"app\"\"right\"",
            "\"app\" \"right\" more",
            "\"\" \"right\"",
        ] {
            let error = read(&format!("\n{wrong}\n")).unwrap_err();
            assert!(matches!(error, UsersError::Line { line: 2, .. }), "{wrong}");
            assert!(!error.to_string().contains("right"), "{error}");
        }
        let twice = read("\"a\" \"1\"\n\"a\" \"2\"\n").unwrap_err();
        assert!(matches!(twice, UsersError::Twice { line: 2, .. }));
    }
}
