//! The apply: windows of source transactions, written to the target as row events or as SQL.
