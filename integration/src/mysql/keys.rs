//! A server that can encrypt its tables: MySQL with a keyring, MariaDB with a file of keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Version;

/// Keys of MariaDB, which are numbered.
const KEYS: &str = "1;a7addd9adea9978fda19f21e6be987880e68ac92632ca052e5bb42b1a506939a\n\
                    7;49c16acc2dffe616710c9ba9a10b94944a737de1beccb52dc1560abfdd67388b\n";

/// How a server with keys is started.
pub(super) struct Keyed {
    /// The program, where it is another one.
    pub(super) program: Option<PathBuf>,
    pub(super) arguments: Vec<String>,
}

/// Makes what a server needs beside its data, in a folder of its own.
pub(super) fn ready(version: Version, dir: &Path) -> Result<Keyed> {
    let dir = dir.join("keys");
    fs::create_dir_all(&dir)?;
    match version {
        Version::MySql97 => keyring(&version.home()?, &dir),
        Version::MySql56 => bail!("MySQL 5.6 has no encrypted tables"),
        Version::MariaDb1011 | Version::MariaDb118 => {
            let file = dir.join("keys.txt");
            fs::write(&file, KEYS)?;
            Ok(Keyed {
                program: None,
                arguments: vec![
                    "--plugin-load-add=file_key_management".to_owned(),
                    format!("--file-key-management-filename={}", file.display()),
                ],
            })
        }
    }
}

/// A keyring is read from a file beside the server's program, and told of its own file by one
/// beside itself; so the server is started in a place that only looks like its home.
fn keyring(home: &Path, dir: &Path) -> Result<Keyed> {
    let program = dir.join("bin/mysqld");
    if !program.exists() {
        fs::create_dir_all(dir.join("bin"))?;
        fs::create_dir_all(dir.join("usr/sbin"))?;
        fs::create_dir_all(dir.join("plugin"))?;
        fs::copy(home.join("bin/mysqld"), &program)?;
        for place in ["usr/lib", "usr/share", "usr/sbin/mysqld"] {
            symlink(home.join(place), dir.join(place))?;
        }
        let component = "component_keyring_file";
        let library = format!("{component}.so");
        symlink(
            home.join("usr/lib/mysql/plugin").join(&library),
            dir.join("plugin").join(&library),
        )?;
        let manifest = format!("{{\"components\": \"file://{component}\"}}");
        fs::write(dir.join("usr/sbin/mysqld.my"), manifest)?;
        let file = dir.join("keyring");
        let configured = format!("{{\"path\": \"{}\", \"read_only\": false}}", file.display());
        fs::write(
            dir.join("plugin").join(format!("{component}.cnf")),
            configured,
        )?;
    }
    Ok(Keyed {
        program: Some(program),
        arguments: vec![format!("--plugin-dir={}", dir.join("plugin").display())],
    })
}
