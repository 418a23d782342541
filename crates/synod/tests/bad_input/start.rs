//! Starts that are refused: ports, folders, versions, names.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::support::cluster::{Cluster, Node};
use crate::support::process::Process;
use crate::support::{PATIENCE, http, permissions, refused, succeed, synod, wait_for};

/// Starts a server that must end of itself with this code and one line; the line.
fn start_refused(node: &Node, more: &[&str], code: i32) -> String {
    let command = node.command();
    let arguments = command.get_args().filter(|argument| *argument != "--stop-with-stdin");
    let arguments: Vec<&str> = arguments.map(|argument| argument.to_str().unwrap()).collect();
    refused(&[&arguments, more].concat(), code)
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = TempDir::new().unwrap();
    let node = Node::new("n1", folder.path());
    for address in [node.client(), node.peer()] {
        let _taken = TcpListener::bind(&address).unwrap();
        let line = start_refused(&node, &[], 1);
        assert!(line.contains(&address) && line.contains("choose another port"), "{line}");
    }
}

#[test]
fn a_file_in_the_place_of_the_data_folder_is_refused_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let node = Node::new("n1", folder.path());
    fs::write(node.data(), "somebody's file").unwrap();
    let line = start_refused(&node, &[], 1);
    assert!(line.contains(node.data().to_str().unwrap()), "{line}");
    assert_eq!(fs::read_to_string(node.data()).unwrap(), "somebody's file");
}

#[test]
fn a_data_folder_that_may_not_be_read_or_written_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let Some(wrapper) = permissions::enforced() else { return };
    let folder = TempDir::new().unwrap();
    let mut node = Node::new("n1", folder.path());
    node.wrapper = wrapper;
    fs::create_dir(node.data()).unwrap();
    let allow = |mode| fs::set_permissions(node.data(), fs::Permissions::from_mode(mode)).unwrap();
    for mode in [0o000, 0o300, 0o500] {
        allow(mode);
        let mut process = Process::start("n1", &mut node.command(), folder.path());
        let (status, line) = (process.wait(PATIENCE), process.stderr());
        assert_eq!((status.code(), line.lines().count()), (Some(1), 1), "{mode:o}: {line}");
        let named = format!("synod: cannot use data folder {}", node.data().display());
        assert!(line.starts_with(&named) && line.contains("Permission denied"), "{mode:o}: {line}");
        assert!(line.contains("right to read and write it"), "{mode:o}: {line}");
    }
    allow(0o700);
    assert_eq!(fs::read_dir(node.data()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn an_address_that_is_not_this_machines_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    // An address that is reserved for examples.
    let mut command = synod(&["server", "--listen-client", "192.0.2.1:2379", "--insecure"]);
    command.args(["--listen-peer", "127.0.0.1:0"]).arg("--data").arg(folder.path().join("data"));
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let line = stderr.lines().last().unwrap_or_default();
    assert!(line.starts_with("synod: cannot listen on 192.0.2.1:2379: "), "{stderr}");
    assert!(line.contains("this machine has no such address"), "{stderr}");
}

#[test]
fn a_data_folder_serves_one_process_at_a_time() {
    let mut cluster = Cluster::start(1);
    // The same name in the same folder, at other ports.
    let second = Node::new("n1", cluster.folder());
    let line = start_refused(&second, &[], 1);
    let pid = cluster.nodes[0].process().id();
    assert!(line.contains(&format!("used by another process (pid {pid})")), "{line}");
    assert!(http::is_healthy(&cluster.nodes[0].client()));
    // Once the first is gone, however it went, the folder is free.
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready();
}

#[test]
fn data_of_a_newer_format_is_refused_and_not_touched() {
    let mut cluster = Cluster::start(1);
    let node = &mut cluster.nodes[0];
    let client = node.client();
    succeed(&["put", "kept", "value", "--endpoints", &client]);
    node.kill();
    let identity = node.data().join("identity.toml");
    let ours = fs::read_to_string(&identity).unwrap();
    let newer = ours.replace("format_version = 1", "format_version = 99");
    assert_ne!(ours, newer);
    fs::write(&identity, &newer).unwrap();
    let before = files(&node.data());
    let line = start_refused(node, &[], 1);
    assert!(line.contains("format version 99") && line.contains("newer program"), "{line}");
    assert!(files(&node.data()) == before, "a newer program finds what it left");

    fs::write(&identity, &ours).unwrap();
    node.start();
    node.wait_ready();
    assert_eq!(succeed(&["get", "kept", "--values-only", "--endpoints", &client]), "value\n");
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_refused_and_never_cut() {
    let mut cluster = Cluster::start(1);
    let node = &mut cluster.nodes[0];
    let client = node.client();
    for number in 0..20 {
        succeed(&["put", &format!("k{number:02}"), "value", "--endpoints", &client]);
    }
    node.kill();
    let log = node.data().join("wal/0000000000000001.wal");
    let good = fs::read(&log).unwrap();
    let written = good.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = good.clone();
    damaged[written / 2] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let line = start_refused(node, &[], 1);
    assert!(line.contains("log is damaged") && line.contains("segment 1 at byte"), "{line}");
    assert!(line.contains("remove the member"), "{line}");
    assert!(fs::read(&log).unwrap() == damaged, "what is behind the damage is still there");

    fs::write(&log, &good).unwrap();
    node.start();
    node.wait_ready();
    let keys = succeed(&["get", "k", "--prefix", "--keys-only", "--endpoints", &client]);
    assert_eq!(keys.lines().count(), 20);
}

/// Every file below a folder, with what is in it; the lock's owner aside.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("LOCK") {
                found.push((path.display().to_string(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_data_folder_knows_whose_it_is() {
    let mut cluster = Cluster::start(1);
    cluster.nodes[0].kill();
    let node = &cluster.nodes[0];
    let line = start_refused(node, &["--initial-cluster-token", "another"], 1);
    assert!(line.contains("belongs to cluster") && line.contains("'another'"), "{line}");
    let mut stranger = Node::new("stranger", cluster.folder());
    fs::rename(node.data(), stranger.data()).unwrap();
    let line = start_refused(&stranger, &[], 1);
    assert!(line.contains("belongs to member 'n1', not 'stranger'"), "{line}");
    stranger.name = "another".to_owned();
    fs::create_dir(stranger.data()).unwrap();
    fs::create_dir(stranger.data().join("wal")).unwrap();
    let line = start_refused(&stranger, &[], 1);
    assert!(line.contains("holds data but no identity.toml"), "{line}");
}

#[test]
fn names_that_do_not_match_are_refused_before_anything_is_made() {
    let folder = TempDir::new().unwrap();
    let node = Node::new("n1", folder.path());
    let others = "n2=127.0.0.1:1,n3=127.0.0.1:2";
    let line = start_refused(&node, &["--initial-cluster", others], 2);
    assert!(line.contains("n2, n3") && line.contains("'n1'"), "{line}");
    let twice = format!("n1={0},n2={0}", node.peer());
    let line = start_refused(&node, &["--initial-cluster", &twice], 2);
    assert!(line.contains("twice"), "{line}");
    assert!(!node.data().exists());
}

#[test]
fn a_node_of_another_cluster_is_turned_away_and_told_why() {
    let folder = TempDir::new().unwrap();
    let mut nodes = ["n1", "n2", "n3"].map(|name| Node::new(name, folder.path()));
    let members = nodes.each_ref().map(|node| format!("{}={}", node.name, node.peer())).join(",");
    for node in &mut nodes {
        let token = if node.name == "n3" { "another" } else { "ours" };
        let arguments = ["--initial-cluster", &members, "--initial-cluster-token", token];
        node.arguments = arguments.map(str::to_owned).to_vec();
        node.start();
    }
    let [first, second, third] = &mut nodes;
    first.wait_ready();
    second.wait_ready();
    wait_for("an explanation", PATIENCE, || {
        third.process().stderr().contains("different initial clusters or tokens").then_some(())
    });
    assert!(third.process().is_running() && !third.process().stdout().contains("ready"));
    succeed(&["put", "k", "v", "--endpoints", &second.client()]);
    let unready = ["get", "k", "--timeout", "1s", "--endpoints", &third.client()];
    refused(&unready, 1);
}

#[test]
fn a_node_that_was_not_added_does_not_join() {
    let cluster = Cluster::start(1);
    let folder = TempDir::new().unwrap();
    let node = Node::new("n2", folder.path());
    let members = format!("n1={},n2={}", cluster.nodes[0].peer(), node.peer());
    let existing = ["--initial-cluster-state", "existing", "--join-timeout-ms", "300"];
    let line = start_refused(&node, &[&existing[..], &["--initial-cluster", &members]].concat(), 1);
    assert!(line.contains("run `member add` first"), "{line}");
    // Nothing is left that would hinder a later try.
    let line = start_refused(&node, &[&existing[..], &["--initial-cluster", &members]].concat(), 1);
    assert!(line.contains("run `member add` first"), "{line}");
}

#[test]
fn who_insists_on_an_open_address_is_warned() {
    let folder = TempDir::new().unwrap();
    // The folder is not one: the server warns, and ends before a port opens on the test's machine.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let open = ["server", "--listen-client", "0.0.0.0:0", "--listen-peer", "127.0.0.1:0"];
    let mut command = synod(&open);
    let output = command.arg("--insecure").arg("--data").arg(&file).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("synod: WARNING: 0.0.0.0:0"), "{stderr}");
    assert!(stderr.contains("nothing is encrypted"), "{stderr}");
    assert_eq!((stderr.lines().count(), output.status.code()), (2, Some(1)), "{stderr}");
    let line = refused(&open, 2);
    assert!(line.contains("TLS") && line.contains("--insecure"), "{line}");
}

#[test]
fn an_unknown_settings_key_is_wrong_use() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("settings.toml");
    fs::write(&file, "heartbeat_interval = 100\n").unwrap();
    let line = refused(&["server", "--config", file.to_str().unwrap()], 2);
    assert!(line.contains("line 1") && line.contains("heartbeat_interval"), "{line}");
}

#[test]
fn a_server_that_was_stopped_in_order_says_nothing_and_starts_again() {
    let folder = TempDir::new().unwrap();
    let mut node = Node::new("n1", folder.path());
    for _ in 0..2 {
        node.start();
        node.wait_ready();
        let status = node.process().interrupt();
        assert!(status.success() && node.process().stderr().is_empty());
        assert!(!node.process().is_running());
        node.kill();
    }
}
