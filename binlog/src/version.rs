//! Flavours and versions of servers.
