//! Ports of our own on the loopback interface.
//!
//! A port asked of the kernel and given back may be gone before the server binds it. So ports come
//! from below the range that the kernel hands out by itself, and a file lock keeps other test
//! processes off while the [`Port`] lives: a server that is down keeps its port.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

use crate::scratch;

const FIRST: u16 = 21_000;
const COUNT: u16 = 10_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port that nothing listens on.
    ///
    /// # Errors
    ///
    /// When none is free.
    pub fn reserve() -> Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let start = u16::try_from(std::process::id() % u32::from(COUNT))?;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::SeqCst);
            let offset = (u32::from(start) * 37 + u32::from(step)) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset)?;
            let Some(lock) = scratch::try_lock(&format!("port-{number}"))? else {
                continue;
            };
            if TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        bail!("no port is free between {FIRST} and {}", FIRST + COUNT)
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
