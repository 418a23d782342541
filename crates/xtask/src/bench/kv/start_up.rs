//! How long `synod up` takes on an empty folder until it says that it is ready.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cluster::free_addresses;
use crate::bench::process::Process;
use crate::bench::statistics::Spread;
use crate::bench::workplace::Workplace;

/// From before the process is made until its `ready` line is read, in milliseconds.
pub fn measure(synod: &Path, work: &Workplace) -> Result<Spread> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(once(synod, work)?.as_secs_f64() * 1e3);
    }
    Spread::of(runs).context("no run")
}

fn once(synod: &Path, work: &Workplace) -> Result<Duration> {
    let data = work.absent("up")?;
    let log = work.fresh("up-log")?.join("log");
    let port = free_port_pair()?.to_string();
    let data = data.to_string_lossy().into_owned();
    let arguments = ["up", "--data", &data, "--client-port", &port].map(str::to_owned);
    let start = Instant::now();
    let mut process = Process::start(synod, &arguments, log, Stdio::piped())?;
    Ok(process.wait_until_ready()? - start)
}

/// A port with a free one above it: `up` takes both.
fn free_port_pair() -> Result<u16> {
    for _ in 0..100 {
        let port = free_addresses(1)?[0].port();
        if port < u16::MAX && std::net::TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no two free ports side by side")
}

const RUNS: usize = 11;
