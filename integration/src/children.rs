//! Child processes that end with us.
//!
//! `setpriv --pdeathsig` makes the kernel signal a child when the *thread* that started it ends. A
//! thread of a test runtime may end long before the test does, so one thread that never ends starts
//! all children.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

use anyhow::{Context as _, Result};
use rustix::process::Pid;

struct Order {
    command: Command,
    reply: SyncSender<io::Result<Child>>,
}

/// Starts a command on the thread that outlives all others.
///
/// # Errors
///
/// When the program cannot be started.
pub fn spawn(command: Command) -> Result<Child> {
    static ORDERS: OnceLock<SyncSender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = sync_channel::<Order>(16);
        std::thread::Builder::new()
            .name("children".to_owned())
            .spawn(move || {
                for mut order in receiver {
                    let child = order.command.spawn();
                    order.reply.send(child).unwrap_or_default();
                }
            })
            .expect("invariant: a thread can be started");
        sender
    });
    let (reply, answer) = sync_channel(1);
    orders
        .send(Order { command, reply })
        .context("the thread that starts children is gone")?;
    Ok(answer.recv()??)
}

/// A child's process id.
///
/// # Errors
///
/// When it is no process id.
pub fn pid(child: &Child) -> Result<Pid> {
    Pid::from_raw(i32::try_from(child.id())?).context("a child has a process id")
}
