//! MySQL and MariaDB: the same modules under the same names as `pgwal`.
//!
//! Empty in this version: pointsman moves PostgreSQL databases.
