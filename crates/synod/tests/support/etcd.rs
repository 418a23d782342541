//! A real etcd of one member, if one is installed.

use std::path::Path;
use std::process::{Command, Stdio};

use super::port::Ports;
use super::process::Process;
use super::{PATIENCE, leave_out, wait_for};

/// A running etcd; it ends with this value.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    ports: Ports,
}

impl Etcd {
    /// Starts one, its data in `folder`; or says loudly that there is none, and fails if one is demanded.
    pub fn start(folder: &Path) -> Option<Etcd> {
        let binary = std::env::var("SYNOD_ETCD").unwrap_or_else(|_| "etcd".to_owned());
        let version = Command::new(&binary).arg("--version").stdout(Stdio::null()).status();
        if version.is_err() {
            leave_out(&format!("workers over etcd: no `{binary}`"), "SYNOD_REQUIRE_ETCD");
            return None;
        }
        let ports = Ports::claim(2);
        let (client, peer) =
            (format!("http://{}", ports.address(0)), format!("http://{}", ports.address(1)));
        let mut command = Command::new(&binary);
        command
            .arg("--data-dir")
            .arg(folder.join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        let etcd = Etcd { process: Process::start("etcd", &mut command, folder), ports };
        wait_for("etcd to serve", PATIENCE, || {
            etcd.process.stderr().contains("ready to serve client requests").then_some(())
        });
        Some(etcd)
    }

    /// Where clients connect.
    pub fn endpoint(&self) -> String {
        self.ports.address(0)
    }
}
