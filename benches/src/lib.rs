//! Measurements, side by side with other tools in one run.
//!
//! `benches/run.sh` builds everything and runs the binary `figures`. Machines differ and are noisy,
//! so each figure is the median of several runs, and what is compared alternates within a run.

pub mod backlog;
pub mod copy;
pub mod cutover;
pub mod figure;
pub mod mysql;
pub mod peers;
pub mod pgbench;
pub mod select;
pub mod sessions;
pub mod stage;
