//! The settings file of `synod server`: plain data, unknown keys refused, the unit in the key.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use synod::jobs::size::parse_memory;

use super::ClusterState;

/// What the file may say; the flags of the same names explain it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub name: Option<String>,
    pub data: Option<PathBuf>,
    pub listen_client: Option<Vec<String>>,
    pub listen_peer: Option<Vec<String>>,
    pub advertise_client: Option<Vec<String>>,
    pub advertise_peer: Option<Vec<String>>,
    pub initial_cluster: Option<String>,
    pub initial_cluster_state: Option<ClusterState>,
    pub initial_cluster_token: Option<String>,
    pub disk_reserve_bytes: Option<u64>,
    pub max_client_connections: Option<usize>,
    pub join_timeout_ms: Option<u64>,
    pub jobs: Option<bool>,
    pub job_slots: Option<u32>,
    pub job_memory: Option<JobMemory>,
    pub job_commands: Option<bool>,
    pub job_ahead_percent: Option<u8>,
    pub insecure: Option<bool>,
}

/// Memory for the tasks of jobs, bytes; in the file it is a size with its unit, as in the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct JobMemory(pub u64);

impl TryFrom<String> for JobMemory {
    type Error = String;

    fn try_from(text: String) -> Result<JobMemory, String> {
        parse_memory(&text).map(JobMemory)
    }
}

impl Settings {
    /// Reads a file; an error names it and the line.
    pub fn read(path: &Path) -> Result<Settings, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Settings::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = Settings::parse("name = \"a\"\nlisten_clients = []\n").unwrap_err();
        assert!(error.starts_with("line 2: unknown field `listen_clients`"), "{error}");
    }

    #[test]
    fn memory_without_sense_is_refused_with_its_line() {
        let error = Settings::parse("name = \"a\"\njob_memory = \"12\"\n").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("1M is the least"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        assert!(Settings::parse("join_timeout_ms = \"soon\"").is_err());
        assert!(Settings::parse("initial_cluster_state = \"old\"").is_err());
        assert!(Settings::parse("name = ").is_err());
    }

    #[test]
    fn an_empty_file_is_all_defaults() {
        assert!(Settings::parse("").is_ok_and(|settings| settings.name.is_none()));
    }
}
