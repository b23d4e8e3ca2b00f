//! Which keys exist, and the nearest of them to one that does not.
//!
//! The list is the serialized form of a configuration with all its defaults, so it cannot differ
//! from the structs.

use serde_json::Value;

use super::{
    Admin, Apply, Auth, Config, ConfigError, Copy, Cutover, Fence, Sessions, Spool, Tls, Verify,
};

/// How alike two keys must be before one is proposed for the other.
const LIKENESS_MIN: f64 = 0.7;

/// Every key that exists, with its sections (`copy.workers`, `copy.tables.include`).
pub(super) fn known_keys() -> Vec<String> {
    let mut keys = Vec::new();
    if let Ok(value) = serde_json::to_value(defaults()) {
        gather("", &value, &mut keys);
    }
    keys
}

fn gather(path: &str, value: &Value, keys: &mut Vec<String>) {
    match value {
        // Its keys are the operator's own words; they are checked later.
        Value::Object(section) if section.is_empty() => keys.push(path.to_owned()),
        Value::Object(section) => {
            for (name, value) in section {
                gather(&join(path, name), value, keys);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            keys.push(path.to_owned());
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A configuration in which every key stands.
fn defaults() -> Config {
    Config {
        source: String::new(),
        target: None,
        listen: ([0, 0, 0, 0], 6432).into(),
        tls: Tls::default(),
        auth: Auth::default(),
        copy: Copy::default(),
        apply: Apply::default(),
        verify: Verify::default(),
        spool: Spool::default(),
        cutover: Cutover::default(),
        fence: Fence::default(),
        sessions: Sessions::default(),
        admin: Admin::default(),
    }
}

/// Refuses the first key that does not exist.
pub(super) fn refuse_unknown_keys(table: &toml::Table) -> Result<(), ConfigError> {
    refuse_in("", table, &known_keys())
}

fn refuse_in(path: &str, table: &toml::Table, known: &[String]) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = join(path, name);
        let is_section = known
            .iter()
            .any(|known| known.starts_with(&format!("{key}.")));
        match value {
            toml::Value::Table(section) if is_section => refuse_in(&key, section, known)?,
            // A section that is no table: the types are checked later.
            _ if is_section => {}
            _ => refuse_unless_known(known, key)?,
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
