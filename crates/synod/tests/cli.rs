//! The built binary, from outside: help, exit codes, one-line errors. What needs no running server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Every command of the binary, from the empty one on, as its help lists them.
fn commands() -> Vec<Vec<String>> {
    let folder = TempDir::new().unwrap();
    let mut commands = vec![Vec::new()];
    let mut next = 0;
    while let Some(command) = commands.get(next).cloned() {
        next += 1;
        let help = help(&command, folder.path());
        let list = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        let rows = list.lines().take_while(|line| !line.is_empty());
        // The rest of a description that is too long stands further to the right.
        let rows = rows.filter(|row| row.starts_with("  ") && !row.starts_with("   "));
        let names = rows.filter_map(|row| row.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            commands.push([&command[..], &[name.to_owned()]].concat());
        }
    }
    for known in [&["up"][..], &["lock"], &["lease", "timetolive"], &["member", "promote"]] {
        assert!(commands.iter().any(|command| command == known), "{known:?}: {commands:?}");
    }
    commands
}

fn help(command: &[String], folder: &Path) -> String {
    let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let output = synod(&arguments, folder);
    assert_eq!(output.status.code(), Some(0), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn synod(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synod"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("SYNOD_ENDPOINTS")
        .stdin(Stdio::null())
        .output()
        .expect("the binary can be run")
}

/// Runs it, and checks the exit code and that stderr is one line, which is given back.
fn refused(arguments: &[&str], code: i32) -> String {
    let folder = TempDir::new().expect("a folder can be made");
    refused_in(arguments, code, folder.path())
}

fn refused_in(arguments: &[&str], code: i32, folder: &Path) -> String {
    let output = synod(arguments, folder);
    let stderr = String::from_utf8(output.stderr).expect("errors are text");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("synod: "), "{arguments:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    stderr
}

/// A loopback address that nobody listens on now.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn the_help_of_every_command_has_an_example() {
    let folder = TempDir::new().unwrap();
    for command in commands() {
        let help = help(&command, folder.path());
        let (_, examples) = help.split_once("Example").expect(&help);
        let example = ["synod".to_owned(), command.join(" ")].join(" ");
        assert!(examples.contains(&example), "{command:?}: {help}");
    }
    let help = help(&[], folder.path());
    assert!(help.contains("Exit codes: 0 done, 1 failed, 2 wrong use; 130"), "{help}");
}

#[test]
fn an_unknown_flag_is_wrong_use_in_every_command() {
    for command in commands() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--no-such-flag");
        let stderr = refused(&arguments, 2);
        assert!(stderr.contains("--help"), "{stderr}");
    }
    let stderr = refused(&["etcd", "-heartbeat-interval", "100"], 2);
    assert!(stderr.contains("--heartbeat-interval"), "{stderr}");
}

#[test]
fn missing_and_unknown_arguments_are_wrong_use() {
    for arguments in [
        &["put", "only-a-key"][..],
        &["no-such-command"],
        &["lease", "revoke", "not-hex"],
        &["up", "--nodes", "0"],
        &["up", "--nodes", "many"],
        &["run", "no-such-job", "file", "--output", "out"],
        &["run", "wordcount", "--output", "out"],
        &["run", "wordcount", "file", "--output", "out", "--reduces", "0"],
        &["get", "k", "--timeout", "soon"],
        &["get", "k", "--endpoints", "nowhere"],
        &["elect", "name"],
        &["txn"],
        &["compact"],
        &["compact", "0"],
        &["compact", "latest"],
        &["server", "--initial-cluster", "n1"],
    ] {
        refused(arguments, 2);
    }
}

#[test]
fn an_endpoint_that_is_down_is_one_line_and_exit_code_1() {
    let address = free_address();
    let commands: [&[&str]; 11] = [
        &["put", "k", "v"],
        &["get", "k"],
        &["del", "k"],
        &["compact", "5"],
        &["watch", "k"],
        &["lease", "grant", "10"],
        &["lease", "list"],
        &["lock", "name"],
        &["elect", "name", "--listen"],
        &["member", "list"],
        &["status"],
    ];
    for command in commands {
        let stderr = refused(&[command, &["--endpoints", &address]].concat(), 1);
        assert!(stderr.contains(&address) && stderr.contains("synod up"), "{stderr}");
    }
}

#[test]
fn a_settings_file_is_read_strictly() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("n1.toml");
    fs::write(&file, "name = \"n1\"\nlisten_clients = [\"127.0.0.1:0\"]\n").unwrap();
    let stderr = refused_in(&["server", "--config", "n1.toml"], 2, folder.path());
    assert!(stderr.contains("n1.toml: line 2") && stderr.contains("listen_clients"), "{stderr}");
    fs::write(&file, "join_timeout_ms = \"soon\"\n").unwrap();
    refused_in(&["server", "--config", "n1.toml"], 2, folder.path());
    refused_in(&["server", "--config", "absent.toml"], 2, folder.path());
    assert!(!folder.path().join("synod-data").exists(), "refused before a file is touched");
}

#[test]
fn an_address_beyond_loopback_is_refused_and_the_reason_said() {
    for arguments in [
        &["server", "--listen-client", "0.0.0.0:0", "--listen-peer", "127.0.0.1:0"][..],
        &["server", "--listen-client", "127.0.0.1:0", "--listen-peer", "[::]:0"],
        &["etcd", "--listen-client-urls", "http://0.0.0.0:0"],
    ] {
        let stderr = refused(arguments, 2);
        assert!(stderr.contains("TLS") && stderr.contains("--insecure"), "{stderr}");
    }
}

#[test]
fn a_cluster_folder_is_not_started_with_another_count() {
    let folder = TempDir::new().unwrap();
    for node in ["n1", "n2", "n3"] {
        fs::create_dir_all(folder.path().join("data").join(node)).unwrap();
    }
    for nodes in ["1", "2", "5"] {
        let arguments = ["up", "--nodes", nodes, "--data", "data"];
        let stderr = refused_in(&arguments, 2, folder.path());
        assert!(stderr.contains("--nodes 3"), "{stderr}");
    }
}

#[test]
fn word_count_runs_here_without_a_server() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("in.txt"), "to be or not to be").unwrap();
    let arguments = ["run", "wordcount", "in.txt", "--output", "out", "--reduces", "1"];
    let output = synod(&arguments, folder.path());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let counts = fs::read_to_string(folder.path().join("out/part-00000")).unwrap();
    assert_eq!(counts, "be\t2\nnot\t1\nor\t1\nto\t2\n");
    assert!(!stderr.contains('\u{1b}'), "no terminal, no bar: {stderr}");

    let again = synod(&arguments, folder.path());
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("out exists"), "{stderr}");
}

#[test]
fn a_binary_called_etcd_takes_etcds_flags() {
    let folder = TempDir::new().unwrap();
    let etcd = folder.path().join("etcd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_synod"), &etcd).unwrap();
    let output = Command::new(&etcd)
        .args(["-name", "a", "-no-such-flag"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--no-such-flag"), "{stderr}");
}
