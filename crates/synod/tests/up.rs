//! `synod up`: a cluster on this machine by one command, and how it ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use support::port::Ports;
use support::process::Process;
use support::{PATIENCE, http, succeed, synod, wait_for};
use tempfile::TempDir;

/// A cluster of three by `synod up`, and where its clients connect.
struct Up {
    process: Process,
    clients: Vec<String>,
    _ports: Ports,
    folder: TempDir,
}

impl Up {
    fn start() -> Up {
        let folder = TempDir::new().expect("a folder can be made");
        // Node i is at P+10*(i-1), its peer port one above.
        let ports = Ports::claim(22);
        let port = ports.number(0).to_string();
        let mut command = synod(&["up", "--nodes", "3", "--client-port", &port]);
        let mut process = Process::start("up", command.current_dir(folder.path()), folder.path());
        process
            .wait_for_output(|output| output.lines().any(|line| line.starts_with("synod ready")));
        let clients = [0, 10, 20].map(|step| ports.address(step)).to_vec();
        Up { process, clients, _ports: ports, folder }
    }

    fn wait_until_all_are_gone(&self) {
        for client in &self.clients {
            wait_for("a node to go with its parent", PATIENCE, || {
                http::get(client, "/health").is_none().then_some(())
            });
        }
    }
}

#[test]
fn a_cluster_is_ready_when_it_says_so_and_goes_with_its_command() {
    let mut up = Up::start();
    assert_eq!(up.process.stdout().matches("ready").count(), 1, "one line for all");
    for client in &up.clients {
        assert!(up.process.stdout().contains(client.as_str()), "{}", up.process.stdout());
        assert!(http::is_healthy(client));
    }
    succeed(&["put", "k", "v", "--endpoints", &up.clients[1]]);
    assert!(up.folder.path().join("synod-data/n3").is_dir());
    let status = up.process.interrupt();
    assert!(status.success(), "{status}");
    up.wait_until_all_are_gone();
}

#[test]
fn no_node_outlives_a_command_that_was_killed() {
    let mut up = Up::start();
    up.process.kill();
    up.wait_until_all_are_gone();
}
