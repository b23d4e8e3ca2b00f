//! Which keys exist, and the nearest of them to one that does not.
//!
//! The list is the serialized form of a configuration with all its defaults, so it cannot differ
//! from the structs.

use serde_json::Value;

use super::{Admin, Apply, Auth, Config, ConfigError, Copy, Cutover, Fence, Sessions, Spool};

/// How alike two keys must be before one is proposed for the other.
const LIKENESS_MIN: f64 = 0.7;

/// Every key that exists, with its section (`copy.workers`).
pub(super) fn known_keys() -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(Value::Object(top)) = serde_json::to_value(defaults()) {
        for (name, value) in top {
            match value {
                Value::Object(section) => {
                    keys.extend(section.keys().map(|key| format!("{name}.{key}")));
                }
                _ => keys.push(name),
            }
        }
    }
    keys
}

/// A configuration in which every key stands.
fn defaults() -> Config {
    Config {
        source: String::new(),
        target: None,
        listen: ([0, 0, 0, 0], 6432).into(),
        auth: Auth::default(),
        copy: Copy::default(),
        apply: Apply::default(),
        spool: Spool::default(),
        cutover: Cutover::default(),
        fence: Fence::default(),
        sessions: Sessions::default(),
        admin: Admin::default(),
    }
}

/// Refuses the first key that does not exist.
pub(super) fn refuse_unknown_keys(table: &toml::Table) -> Result<(), ConfigError> {
    let known = known_keys();
    let is_section = |name: &str| known.iter().any(|key| key.starts_with(&format!("{name}.")));
    for (name, value) in table {
        match value {
            toml::Value::Table(section) if is_section(name) => {
                for key in section.keys() {
                    refuse_unless_known(&known, format!("{name}.{key}"))?;
                }
            }
            _ if is_section(name) => {}
            _ => refuse_unless_known(&known, name.clone())?,
        }
    }
    Ok(())
}

fn refuse_unless_known(known: &[String], key: String) -> Result<(), ConfigError> {
    if known.contains(&key) {
        return Ok(());
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
    let likeness = |candidate: &String| {
        let whole = strsim::jaro_winkler(candidate, &key);
        whole.max(strsim::jaro_winkler(&last(candidate), &last(&key)))
    };
    let nearest = known
        .iter()
        .map(|candidate| (likeness(candidate), candidate))
        .max_by(|one, two| one.0.total_cmp(&two.0))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .map(|(_, candidate)| candidate.clone());
    Err(ConfigError::UnknownKey { key, nearest })
}
