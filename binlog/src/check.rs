//! The preflight check: what would make a migration fail, found before anything is changed.
