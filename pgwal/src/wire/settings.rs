//! The settings of every session of ours, in one place: a value must have the same text wherever it
//! is read, streamed, copied, applied or compared.

/// One statement that sets everything, whatever the server's version.
///
/// By a statement and not by startup options, which some managed servers refuse. One statement and
/// not a list, so that a walsender of any version takes it; by way of `pg_settings`, since
/// `idle_session_timeout` came with version 14 and `transaction_timeout` with 17.
pub const SESSION_SETTINGS: &str = "\
    SELECT pg_catalog.set_config(s.name, ours.value, false) FROM (VALUES \
    ('search_path', ''), ('client_encoding', 'UTF8'), ('standard_conforming_strings', 'on'), \
    ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), \
    ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('lc_monetary', 'C'), \
    ('xmloption', 'content'), \
    ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'), \
    ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), \
    ('default_transaction_read_only', 'off'), ('synchronous_commit', 'on')\
    ) AS ours (name, value) JOIN pg_catalog.pg_settings AS s ON s.name = ours.name";
