//! What the jobs read: real text, and an access log.
//!
//! The text is the sources of the crates that cargo has downloaded, in the order of their paths, up to the
//! size asked for. The log is made: addresses and URLs are drawn with a skew, times ascend. Both are kept
//! for the next run of the same size.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

/// A file of about this many bytes of real text.
pub fn text(folder: &Path, bytes: u64) -> Result<PathBuf> {
    kept(folder.join(format!("text-{bytes}")), |out| {
        let mut left = bytes;
        append_sources(&registry()?, out, &mut left)?;
        if left == bytes {
            bail!("cargo has downloaded no sources; build something first");
        }
        Ok(())
    })
}

/// A combined access log of about this many bytes.
pub fn access_log(folder: &Path, bytes: u64) -> Result<PathBuf> {
    kept(folder.join(format!("access-log-{bytes}")), |out| write_log(out, bytes))
}

/// The file, made first if it is not there; never half made.
fn kept(path: PathBuf, make: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<PathBuf> {
    if !path.is_file() {
        let unfinished = path.with_extension("unfinished");
        let file = File::create(&unfinished).with_context(|| unfinished.display().to_string())?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        make(&mut out)?;
        out.flush()?;
        fs::rename(&unfinished, &path)?;
    }
    Ok(path)
}

/// Where cargo keeps what it has downloaded.
fn registry() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    Ok(home.context("neither CARGO_HOME nor HOME is set")?.join("registry").join("src"))
}

/// Appends every source below `folder`, until nothing is left to write.
fn append_sources(folder: &Path, out: &mut dyn Write, left: &mut u64) -> Result<()> {
    let read = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> =
        read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in &paths {
        if *left == 0 {
            return Ok(());
        }
        let kind = fs::symlink_metadata(path)?.file_type();
        let is_source = path.extension().is_some_and(|extension| {
            SOURCES.iter().any(|wanted| extension.eq_ignore_ascii_case(wanted))
        });
        if kind.is_dir() {
            append_sources(path, out, left)?;
        } else if kind.is_file() && is_source {
            let mut file = File::open(path)?.take(*left);
            *left -= std::io::copy(&mut file, out)?;
        }
    }
    Ok(())
}

fn write_log(out: &mut dyn Write, bytes: u64) -> Result<()> {
    let mut random = Rng::with_seed(SEED);
    let mut written = 0;
    let mut second = 0_u64;
    while written < bytes {
        let address = skewed(&mut random, ADDRESSES);
        let url = skewed(&mut random, URLS);
        let (day, rest) = (second / 86_400, second % 86_400);
        let line = format!(
            "10.{}.{}.{} - - [{:02}/Oct/2025:{:02}:{:02}:{:02} +0000] \"GET /shop/item/{url} \
             HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n",
            address >> 16,
            address >> 8 & 255,
            address & 255,
            day % 31 + 1,
            rest / 3600,
            rest / 60 % 60,
            rest % 60,
            random.u32(200..50_000),
        );
        out.write_all(line.as_bytes())?;
        written += line.len() as u64;
        // A month's seconds, so that the times never start over.
        second = (second + u64::from(random.u8(..4) == 0)).min(31 * 86_400 - 1);
    }
    Ok(())
}

/// Small numbers often, large ones seldom.
fn skewed(random: &mut Rng, count: u32) -> u32 {
    let uniform = random.f64();
    (f64::from(count) * uniform * uniform * uniform) as u32
}

const SOURCES: [&str; 5] = ["rs", "md", "toml", "txt", "c"];
const ADDRESSES: u32 = 200_000;
const URLS: u32 = 50_000;
const SEED: u64 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_its_size_and_whole_lines() {
        let mut log = Vec::new();
        write_log(&mut log, 10_000).unwrap();
        assert!((10_000..10_200).contains(&log.len()));
        let text = String::from_utf8(log).unwrap();
        assert!(text.ends_with('\n') && text.lines().all(|line| line.contains("] \"GET /")));
    }
}
