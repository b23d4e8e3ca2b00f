//! Positions in a binary log: GTID sets, MariaDB's GTIDs, files and offsets.
