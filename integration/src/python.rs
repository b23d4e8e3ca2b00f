//! Programs in Python that stand for applications: their drivers are those that people have.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::binaries;

/// A program that answers each line with one. It ends with this value.
#[derive(Debug)]
pub struct Python {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// Starts a program, with the interpreter that has the drivers: `POINTSMAN_PYTHON` names it,
    /// else it is the one that `test.sh` makes.
    ///
    /// # Errors
    /// There is no such interpreter.
    pub fn start(program: &str, arguments: &[&str]) -> io::Result<Self> {
        let python = std::env::var_os("POINTSMAN_PYTHON").map_or_else(
            || binaries::project_root().join(".cache/python/bin/python"),
            std::path::PathBuf::from,
        );
        let mut child = Command::new(&python)
            .args(["-c", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                let message = format!("{}: {error}; run ./test.sh", python.display());
                io::Error::new(error.kind(), message)
            })?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            _child: child,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    /// The answer to a line.
    ///
    /// # Errors
    /// The program has ended.
    pub async fn ask(&mut self, line: &str) -> io::Result<String> {
        let line = format!("{line}\n");
        self.input.write_all(line.as_bytes()).await?;
        let answer = self.output.next_line().await?;
        answer.ok_or_else(|| io::Error::other("the program ended; its error is above"))
    }
}
