//! The structure of the database by `pg_dump` and `pg_restore`: the only complete writer of it.
//!
//! One archive is made under the copy's snapshot and restored in two sections: tables, types and
//! functions before the rows (`pre-data`), indexes, constraints and triggers after them
//! (`post-data`, in parallel). Publications, subscriptions, tablespaces and our own schema stay
//! behind.
//!
//! # Crash behaviour
//! An interrupted `pre-data` leaves objects behind: the caller empties the target and restores
//! again. An interrupted `post-data` goes on: each entry of the archive is one statement to the
//! server, so an object is there or not, and those that are there are left off the list.
//!
//! # Secrets
//! The password goes through a passfile that only we can read, never through arguments or the
//! environment. Of what the tools say only the lines with errors are kept, and not the statements.

mod process;
mod toc;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempPath;
use thiserror::Error;

pub use process::RestoreProgress;
pub use toc::Section;
pub use tools::DumpTools;

use process::{Invocation, run};
use toc::TocItem;

use crate::wire::Endpoint;

/// What can go wrong with the two tools.
#[derive(Debug, Error)]
pub enum DumpError {
    /// No usable `pg_dump` was found.
    #[error(
        "no pg_dump that can read PostgreSQL {source_major} and write for {target_major}: {found}; \
         install postgresql-client-{wanted} or set `pg_dump_dir`"
    )]
    NoTools {
        /// Major version of the source.
        source_major: u32,
        /// Major version of the target.
        target_major: u32,
        /// The best major version to install.
        wanted: u32,
        /// What was found, and why it does not do.
        found: String,
    },
    /// A tool could not be started, or its files not be written.
    #[error("{what} failed")]
    Io {
        /// What was done.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A tool ended with an error.
    #[error("{tool} failed on {endpoint}: {said}")]
    Failed {
        /// `pg_dump` or `pg_restore`.
        tool: &'static str,
        /// The server.
        endpoint: String,
        /// Its error lines.
        said: String,
    },
}

impl DumpError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// How long `pg_dump` waits for a table that somebody locked.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// A dumped structure; the file goes when this is dropped.
#[derive(Debug)]
pub struct Archive {
    tools: DumpTools,
    file: TempPath,
}

/// What happens to privileges that were given on objects of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemPrivileges {
    /// They are given on the target too.
    Restore,
    /// They are left out: only a superuser could give them.
    LeaveOut,
}

/// How to restore one section.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which section.
    pub section: Section,
    /// Parallel connections.
    pub jobs: usize,
    /// Privileges on objects of the system.
    pub system_privileges: SystemPrivileges,
    /// `application_name` on the target.
    pub application_name: String,
}

impl Archive {
    /// Dumps the structure of the source, under a snapshot if one is given.
    ///
    /// # Errors
    /// The tool failed; what it said is in the error.
    pub async fn dump(
        tools: DumpTools,
        source: &Endpoint,
        snapshot: Option<&str>,
        application_name: &str,
    ) -> Result<Self, DumpError> {
        let file = tempfile::Builder::new()
            .prefix("pointsman-schema-")
            .tempfile()
            .map_err(DumpError::io("making a temporary file for the schema"))?
            .into_temp_path();
        let mut arguments: Vec<String> = [
            "--format=custom",
            "--schema-only",
            "--no-publications",
            "--no-subscriptions",
            "--no-tablespaces",
            "--exclude-schema=pointsman",
            "--no-password",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()));
        arguments.push(format!("--file={}", file.display()));
        arguments.extend(snapshot.map(|snapshot| format!("--snapshot={snapshot}")));
        let call = Invocation {
            tool: "pg_dump",
            program: tools.pg_dump.clone(),
            endpoint: source,
            application_name,
            arguments,
        };
        run(call, None).await?;
        Ok(Self { tools, file })
    }

    /// The entries of a section, in the order of restoring.
    ///
    /// # Errors
    /// `pg_restore --list` failed.
    async fn items(&self, section: Section) -> Result<Vec<TocItem>, DumpError> {
        let output = tokio::process::Command::new(&self.tools.pg_restore)
            .arg("--list")
            .arg(format!("--section={}", section.as_str()))
            .arg(&self.file)
            .output()
            .await
            .map_err(DumpError::io("starting pg_restore"))?;
        if !output.status.success() {
            return Err(DumpError::Failed {
                tool: "pg_restore",
                endpoint: "the archive".to_owned(),
                said: process::error_lines(&String::from_utf8_lossy(&output.stderr)),
            });
        }
        Ok(toc::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The catalog and OID on the source of each entry of a section that has one.
    ///
    /// # Errors
    /// `pg_restore --list` failed.
    pub async fn objects(&self, section: Section) -> Result<Vec<(u32, u32)>, DumpError> {
        let items = self.items(section).await?;
        Ok(items
            .iter()
            .map(|item| (item.class, item.object))
            .filter(|(_, oid)| *oid != 0)
            .collect())
    }

    /// Restores a section without the entries that `skip` names by catalog and OID on the source.
    ///
    /// # Errors
    /// The tool failed; what it said is in the error.
    pub async fn restore(
        &self,
        target: &Endpoint,
        options: &RestoreOptions,
        skip: &[(u32, u32)],
        progress: &RestoreProgress,
    ) -> Result<(), DumpError> {
        let mut items = self.items(options.section).await?;
        items.retain(|item| !skip.contains(&(item.class, item.object)));
        if options.system_privileges == SystemPrivileges::LeaveOut {
            items.retain(|item| !item.is_system_privilege());
        }
        progress.expect(items.len());
        // pg_restore gives privileges last, but a role that is no superuser can only hand a table
        // over to an owner who may already create in its schema.
        let (schemas, rest): (Vec<_>, Vec<_>) = items.into_iter().partition(TocItem::is_of_schema);
        for items in [schemas, rest] {
            if !items.is_empty() {
                self.restore_items(target, options, &items, progress)
                    .await?;
            }
        }
        Ok(())
    }

    async fn restore_items(
        &self,
        target: &Endpoint,
        options: &RestoreOptions,
        items: &[TocItem],
        progress: &RestoreProgress,
    ) -> Result<(), DumpError> {
        let list = tempfile::Builder::new()
            .prefix("pointsman-list-")
            .tempfile()
            .map_err(DumpError::io(
                "making a temporary file for the list of objects",
            ))?
            .into_temp_path();
        let lines: Vec<&str> = items.iter().map(|item| item.line.as_str()).collect();
        tokio::fs::write(&list, lines.join("\n") + "\n")
            .await
            .map_err(DumpError::io("writing the list of objects"))?;
        let mut arguments: Vec<String> = [
            "--exit-on-error",
            "--no-publications",
            "--no-subscriptions",
            "--no-tablespaces",
            "--no-password",
            "--verbose",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.push(format!("--section={}", options.section.as_str()));
        arguments.push(format!("--use-list={}", list.display()));
        if options.jobs > 1 {
            arguments.push(format!("--jobs={}", options.jobs));
        }
        arguments.push(self.file.display().to_string());
        let call = Invocation {
            tool: "pg_restore",
            program: self.tools.pg_restore.clone(),
            endpoint: target,
            application_name: &options.application_name,
            arguments,
        };
        run(call, Some(progress)).await
    }

    /// Where the archive is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.file.to_path_buf()
    }
}
