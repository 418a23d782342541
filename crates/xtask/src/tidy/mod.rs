//! The house rules as code: what rustc, rustfmt and clippy cannot know.
//!
//! `source` reads the files and knows which lines are tests; `rules` looks at lines; `arrows` at the
//! crates' dependencies; `map` at ARCHITECTURE.md. Long files are reported, never refused.

mod arrows;
mod map;
mod rules;
mod source;

use std::path::Path;

use anyhow::{Result, bail};

/// Looks at the whole workspace, prints every breach, and the long files.
pub fn tidy(root: &Path) -> Result<()> {
    let files = source::read_all(root)?;
    let mut breaches = rules::breaches(&files);
    let manifests = arrows::read_manifests(root)?;
    breaches.extend(arrows::breaches(&manifests));
    let architecture = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    let crates = manifests.iter().map(|manifest| manifest.folder.as_str());
    breaches.extend(map::breaches(&architecture, crates));
    for file in &files {
        let lines = file.code_lines();
        if lines > LONG_FILE {
            println!("tidy: {} has {lines} lines of code; is there a wall missing?", file.path);
        }
    }
    breaches.iter().for_each(|breach| eprintln!("tidy: {breach}"));
    if !breaches.is_empty() {
        bail!("{} breaches of the house rules; see above", breaches.len());
    }
    println!("xtask: tidy: {} files keep the house rules", files.len());
    Ok(())
}

/// Lines of code from which a file is reported.
const LONG_FILE: usize = 400;
