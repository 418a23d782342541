//! One node grows to three in place, as a newcomer would do it: `synod up`, two `synod member add`,
//! and the commands that these print.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::path::Path;
use std::process::Command;

use support::port::Ports;
use support::process::Process;
use support::{PATIENCE, binary, http, succeed, wait_for};
use tempfile::TempDir;

const KEYS: usize = 200;

#[test]
fn one_node_grows_to_three_in_place_and_the_first_may_die() {
    let folder = TempDir::new().unwrap();
    let ports = [Ports::claim(2), Ports::claim(2), Ports::claim(2)];
    let clients: Vec<String> = ports.iter().map(|ports| ports.address(0)).collect();
    let mut first = up(&ports[0], folder.path());
    write(&clients[0], "alone", KEYS);

    let mut others = Vec::new();
    for (name, ports) in [("n2", &ports[1]), ("n3", &ports[2])] {
        let added =
            succeed(&["member", "add", name, &ports.address(1), "--endpoints", &clients[0]]);
        let mut node = start_as_told(name, &added, folder.path());
        node.wait_for_output(|output| output.contains(" ready"));
        others.push(node);
        write(&clients[0], name, KEYS / 4);
    }
    let members = wait_for("the members' names", PATIENCE, || {
        let members = succeed(&["member", "list", "--endpoints", &clients[2]]);
        (!members.contains("(not started)")).then_some(members)
    });
    assert_eq!(members.matches("voter").count(), 3, "{members}");
    for client in &clients[1..] {
        wait_until_caught_up(client);
    }

    first.kill();
    for client in &clients[1..] {
        wait_for("health without the first", PATIENCE, || http::is_healthy(client).then_some(()));
        for (prefix, keys) in [("alone", KEYS), ("n2", KEYS / 4), ("n3", KEYS / 4)] {
            check(client, prefix, keys);
        }
    }
    write(&clients[1], "without-the-first", KEYS / 4);
    check(&clients[2], "without-the-first", KEYS / 4);

    let _first = up(&ports[0], folder.path());
    let grown = succeed(&["member", "list", "--endpoints", &clients[0]]);
    assert_eq!(grown, members, "the first comes back as a member of what it founded");
    check(&clients[0], "without-the-first", KEYS / 4);
}

/// `synod up`, and waits until it serves.
fn up(ports: &Ports, folder: &Path) -> Process {
    let port = ports.number(0).to_string();
    let mut command = Command::new(binary());
    command.args(["up", "--client-port", &port]).current_dir(folder);
    let mut process = Process::start("n1", &mut command, folder);
    process.wait_for_output(|output| output.contains(" ready"));
    process
}

/// Runs the command that `synod member add` has printed.
fn start_as_told(name: &str, printed: &str, folder: &Path) -> Process {
    let line = printed.lines().find(|line| line.starts_with("synod server ")).expect(printed);
    let mut command = Command::new(binary());
    command.args(line.split(' ').skip(1)).current_dir(folder);
    Process::start(name, &mut command, folder)
}

/// Writes this many keys, and waits for all the acknowledgements.
fn write(client: &str, prefix: &str, keys: usize) {
    use synod::client::Kv;
    use synod::kv::PutRequest;
    support::load::runtime().block_on(async {
        let remote = support::load::remote(&[client.to_owned()]);
        for number in 0..keys {
            let (key, value) = (format!("{prefix}/{number:04}"), format!("value {number}"));
            let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
            remote.put(put).await.expect("the cluster has a majority");
        }
    });
}

fn check(client: &str, prefix: &str, keys: usize) {
    let stored = support::load::read_all(&[client.to_owned()], &format!("{prefix}/"));
    let found: Vec<_> = stored.into_iter().map(|(key, stored)| (key, stored.value)).collect();
    let written = |number| (format!("{prefix}/{number:04}"), format!("value {number}"));
    let written: Vec<_> = (0..keys).map(written).collect();
    assert!(found == written, "{client}: {} of {keys} keys in {prefix}", found.len());
}

/// Waits until the node itself has every key, without asking the leader.
fn wait_until_caught_up(client: &str) {
    wait_for("the new node to catch up", PATIENCE, || {
        let own = ["get", "", "--prefix", "--keys-only", "--serializable", "--endpoints", client];
        (succeed(&own).lines().count() == KEYS + 2 * (KEYS / 4)).then_some(())
    });
}
