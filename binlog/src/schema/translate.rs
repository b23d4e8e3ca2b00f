//! What one flavour or version says otherwise than another, and what it cannot say at all.

use super::catalog::Database;
use super::create_table::CreateTable;
use super::definitions::Program;
use super::error::SchemaError;
use crate::version::ServerVersion;

/// The way from one server's words to another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    from: ServerVersion,
    to: ServerVersion,
}

impl Translation {
    /// A translation between two servers.
    #[must_use]
    pub fn new(from: ServerVersion, to: ServerVersion) -> Self {
        Self { from, to }
    }

    /// A database's character set and collation.
    ///
    /// # Errors
    /// The target has no such collation.
    pub fn database(&self, database: &Database) -> Result<(String, String), SchemaError> {
        Ok((database.charset.clone(), database.collation.clone()))
    }

    /// A table's definition.
    ///
    /// # Errors
    /// The target cannot have the table.
    pub fn table(
        &self,
        table: &CreateTable,
        _warnings: &mut Vec<String>,
    ) -> Result<CreateTable, SchemaError> {
        Ok(table.clone())
    }

    /// A stored program or view.
    ///
    /// # Errors
    /// The target cannot have it.
    pub fn program(
        &self,
        program: &Program,
        _warnings: &mut Vec<String>,
    ) -> Result<Program, SchemaError> {
        Ok(program.clone())
    }
}
