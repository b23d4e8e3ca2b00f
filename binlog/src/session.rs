//! The clients' sessions: log-in, relay, state, twins.
