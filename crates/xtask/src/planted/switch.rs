//! The switch of the planted bugs. The product has none: only the copy that they are planted in gets it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// Names the one bug that is switched on, for a program of the copy.
const VARIABLE: &str = "SYNOD_PLANTED";

/// Everything that bugs are planted in can call what is on the ground floor.
const GROUND_FLOOR: &str = "crates/synod-base";

/// Read once: bugs lie in inner loops, and what a program does must not change while it runs.
const SWITCH: &str = r#"
/// Whether this planted bug is switched on.
#[must_use]
pub fn planted(bug: &str) -> bool {
    static ON: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("SYNOD_PLANTED").ok()).as_deref() == Some(bug)
}
"#;

/// Cargo tells the crates of two workspaces apart by their features, not by where they lie. Without one of
/// its own for the ground floor, and so for what stands on it, what is built here could be taken for ours in
/// the target folder that both have.
const FEATURE: &str = "
[features]
default = [\"planted\"]
planted = []
";

/// Gives a copy of the workspace `synod_base::planted`.
pub(super) fn install(copy: &Path) -> Result<()> {
    let ground_floor = copy.join(GROUND_FLOOR);
    append(&ground_floor.join("src/lib.rs"), SWITCH)?;
    append(&ground_floor.join("Cargo.toml"), FEATURE)
}

fn append(path: &Path, text: &str) -> Result<()> {
    let appended = OpenOptions::new().append(true).open(path);
    appended
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot append to {}", path.display()))
}

/// For a program of the copy: this bug is on, or none.
pub(super) fn turn(program: &mut Command, bug: Option<&str>) {
    match bug {
        Some(bug) => program.env(VARIABLE, bug),
        None => program.env_remove(VARIABLE),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_hears_of_one_bug_or_of_none() {
        let told = |bug| {
            let mut program = Command::new("true");
            program.env(VARIABLE, "left over");
            turn(&mut program, bug);
            let told = program.get_envs().map(|(_, value)| value.map(|value| value.to_owned()));
            told.collect::<Vec<_>>()
        };
        assert_eq!(told(Some("two-winners")), [Some("two-winners".into())]);
        assert_eq!(told(None), [None], "not even what we were told ourselves");
        assert!(SWITCH.contains(VARIABLE));
    }
}
