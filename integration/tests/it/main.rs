//! Tests on real servers.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod servers;
