//! Roles with their attributes, verifiers, memberships and settings, and the database's own
//! privileges, from the source to the target.
//!
//! Roles belong to a whole server, so one that is there already is left as it is; a differing
//! verifier is reported, since its users could not log in after the switch. Each change is made in
//! one transaction with the statement that takes it back (`pointsman.undo`), so `abort` leaves no
//! role of ours behind, whenever it comes.
//!
//! Verifiers are never logged, and never appear in an error.

mod apply;
mod read;

pub use apply::copy_roles;
pub use read::RoleSet;

/// What to do with a role that is on the target with another verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifierPolicy {
    /// Leave it and say so.
    #[default]
    Report,
    /// Set the source's verifier.
    Overwrite,
}

/// What the operator should know about the roles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RolesReport {
    /// Roles that were made.
    pub created: Vec<String>,
    /// Sentences about what was not, or not fully, carried.
    pub warnings: Vec<String>,
}
