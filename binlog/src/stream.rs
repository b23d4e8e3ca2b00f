//! The stream: the source's binary log as whole transactions.
