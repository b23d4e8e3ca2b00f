//! Running one of the tools: its connection, its password, what it says.

use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempPath;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;

use super::DumpError;
use crate::wire::Endpoint;

/// Error lines that are kept of what a tool says.
const ERROR_LINES_MAX: usize = 20;

/// The longest line that is kept; a longer one is cut.
const LINE_BYTES_MAX: usize = 1_000;

/// How far a restore has come; read it at any time.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    total: AtomicUsize,
    done: AtomicUsize,
}

impl RestoreProgress {
    /// Entries restored, and entries in all.
    #[must_use]
    pub fn done_of_total(&self) -> (usize, usize) {
        let total = self.total.load(Ordering::Relaxed);
        (self.done.load(Ordering::Relaxed).min(total), total)
    }

    pub(in crate::schema) fn expect(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn note(&self, line: &str) {
        if line.starts_with("pg_restore: creating ") {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One call of a tool.
pub(super) struct Invocation<'a> {
    pub(super) tool: &'static str,
    pub(super) program: PathBuf,
    pub(super) endpoint: &'a Endpoint,
    pub(super) application_name: &'a str,
    pub(super) arguments: Vec<String>,
}

/// Runs a tool to its end; it is killed when this future is dropped.
pub(super) async fn run(
    call: Invocation<'_>,
    progress: Option<&RestoreProgress>,
) -> Result<(), DumpError> {
    let passfile = write_passfile(call.endpoint)?;
    let mut command = Command::new(&call.program);
    for (name, _) in std::env::vars_os() {
        // libpq reads many of these; only what the endpoint says counts.
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
        .args(&call.arguments)
        .arg(format!("--dbname={}", connection_string(&call)))
        .env("PGPASSFILE", &passfile)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(DumpError::io(format!(
        "starting {}",
        call.program.display()
    )))?;
    let mut kept = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        read_lines(stderr, |line| {
            if let Some(progress) = progress {
                progress.note(line);
            }
            if is_error(line) && kept.len() < ERROR_LINES_MAX {
                kept.push(line.to_owned());
            }
        })
        .await
        .map_err(DumpError::io(format!("reading what {} says", call.tool)))?;
    }
    let status = child
        .wait()
        .await
        .map_err(DumpError::io(format!("waiting for {}", call.tool)))?;
    if status.success() {
        return Ok(());
    }
    if kept.is_empty() {
        kept.push(status.to_string());
    }
    let endpoint = call.endpoint.to_string();
    Err(DumpError::Failed {
        tool: call.tool,
        endpoint,
        said: kept.join("; "),
    })
}

/// The error lines of a text, joined.
pub(super) fn error_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| is_error(line))
        .take(ERROR_LINES_MAX)
        .collect();
    lines.join("; ")
}

/// Whether a line tells an error. `Command was:` and what follows quotes SQL and is left out.
fn is_error(line: &str) -> bool {
    let from_tool = line.starts_with("pg_dump: ") || line.starts_with("pg_restore: ");
    from_tool && ["error: ", "hint: "].iter().any(|word| line.contains(word))
}

async fn read_lines(
    stream: impl AsyncRead + Unpin,
    mut each: impl FnMut(&str),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            each(&String::from_utf8_lossy(&line));
            line.clear();
        }
    }
}

/// `key='value'` pairs, without the password.
fn connection_string(call: &Invocation<'_>) -> String {
    let endpoint = call.endpoint;
    [
        ("host", endpoint.host.clone()),
        ("port", endpoint.port.to_string()),
        ("user", endpoint.user.clone()),
        ("dbname", endpoint.database.clone()),
        ("sslmode", endpoint.tls.as_str().to_owned()),
        (
            "sslrootcert",
            endpoint.tls_roots.clone().unwrap_or_default(),
        ),
        (
            "connect_timeout",
            endpoint.connect_timeout.as_secs().max(2).to_string(),
        ),
        ("application_name", call.application_name.to_owned()),
    ]
    .map(|(key, value)| {
        format!(
            "{key}='{}'",
            value.replace('\\', "\\\\").replace('\'', "\\'")
        )
    })
    .join(" ")
}

/// A file with the one password, readable by nobody else; empty without a password, so that
/// nobody's own file is read.
fn write_passfile(endpoint: &Endpoint) -> Result<TempPath, DumpError> {
    let mut file = tempfile::Builder::new()
        .prefix("pointsman-pass-")
        .tempfile()
        .map_err(DumpError::io("making a temporary passfile"))?;
    if let Some(password) = &endpoint.password {
        let escaped = password.expose().replace('\\', "\\\\").replace(':', "\\:");
        writeln!(file, "*:*:*:*:{escaped}").map_err(DumpError::io("writing a passfile"))?;
    }
    Ok(file.into_temp_path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_not_kept_of_an_error() {
        let said = "pg_restore: while PROCESSING TOC:\npg_restore: from TOC entry 1; 2 3 TABLE\n\
            pg_restore: error: could not execute query: ERROR:  no\n\
            Command was: CREATE TABLE t (a int DEFAULT 'secret');\n";
        assert_eq!(
            error_lines(said),
            "pg_restore: error: could not execute query: ERROR:  no"
        );
    }

    #[test]
    fn connection_strings_quote_and_hold_no_password() {
        let endpoint: Endpoint = "postgres://o'neil:hidden@h:5/db%20x".parse().unwrap();
        let call = Invocation {
            tool: "pg_dump",
            program: PathBuf::new(),
            endpoint: &endpoint,
            application_name: "a",
            arguments: Vec::new(),
        };
        let text = connection_string(&call);
        assert!(
            text.contains("user='o\\'neil'") && text.contains("dbname='db x'"),
            "{text}"
        );
        assert!(!text.contains("hidden"));
    }

    #[test]
    fn a_passfile_escapes_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let endpoint: Endpoint = "postgres://u:a%3Ab%5Cc@h/d".parse().unwrap();
        let path = write_passfile(&endpoint).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "*:*:*:*:a\\:b\\\\c\n"
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
