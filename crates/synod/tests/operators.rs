//! What an operator sees and does from the command line on running nodes: the table of `synod status`,
//! and `synod compact`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::path::Path;

use support::cluster::Cluster;
use support::{PATIENCE, http, refused, succeed, wait_for};

#[test]
fn status_shows_the_disk_and_the_memory_that_a_node_really_takes() {
    let mut cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    let large = "v".repeat(100_000);
    succeed(&["put", "large", &large, "--endpoints", &client]);
    let data = cluster.nodes[0].data();
    // The node prepares its next log file in the background, so both sides grow for a moment.
    let row = wait_for("a DISK that is the folder's", PATIENCE, || {
        let row = status_row(&client);
        let in_files = bytes_below(&data.join("wal")) + bytes_below(&data.join("engine"));
        about(size(&row[DISK]), in_files, 5).then_some(row)
    });
    assert_eq!((&*row[0], &*row[ROLE]), ("n1", "leader"));
    let log = bytes_below(&data.join("wal"));
    assert!(log > 100_000, "the value is in the log");
    assert!(size(&row[DISK]) >= log / 100 * 99, "{row:?}: the log is in it");
    let resident = cluster.nodes[0].process().resident_bytes();
    assert!(about(size(&row[MEMORY]), resident, 30), "{row:?}, resident {resident}");

    let (_, metrics) = http::get(&client, "/metrics").expect("it answers");
    let metric = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.expect("the metric is there").parse().expect("a whole number")
    };
    assert!(about(metric("synod_disk_bytes"), size(&row[DISK]), 5), "{row:?}");
}

#[test]
fn compact_forgets_the_history_before_a_revision_and_only_that() {
    let cluster = Cluster::start(1);
    let client = cluster.nodes[0].client();
    let at = |arguments: &[&str]| succeed(&[arguments, &["--endpoints", &client]].concat());
    let refused_at =
        |arguments: &[&str]| refused(&[arguments, &["--endpoints", &client]].concat(), 1);
    at(&["put", "k", "old"]);
    at(&["put", "k", "new"]);
    assert_eq!(at(&["get", "k", "--rev", "2"]), "k\nold\n");
    assert_eq!(at(&["compact", "3"]), "compacted revision 3\n");
    let gone = refused_at(&["get", "k", "--rev", "2"]);
    assert!(gone.contains("has been compacted"), "{gone}");
    assert_eq!(at(&["get", "k", "--rev", "3"]), "k\nnew\n");
    assert_eq!(at(&["get", "k"]), "k\nnew\n");
    let again = refused_at(&["compact", "3"]);
    assert!(again.contains("has been compacted") && again.contains("later revision"), "{again}");
    let future = refused_at(&["compact", "99"]);
    assert!(future.contains("future revision") && future.contains("synod status"), "{future}");
}

/// The one node's row, cell by cell.
fn status_row(client: &str) -> Vec<String> {
    let table = succeed(&["status", "--endpoints", client]);
    let row = table.lines().nth(1).unwrap_or_else(|| panic!("no row: {table}"));
    // Columns are two spaces apart; a size has one in it.
    row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

/// Bytes, of what was written for people.
fn size(cell: &str) -> u64 {
    let (number, unit) = cell.split_once(' ').unwrap_or_else(|| panic!("not a size: {cell}"));
    let each = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        _ => panic!("no test takes so much: {cell}"),
    };
    (number.parse::<f64>().unwrap() * each) as u64
}

/// Whether two figures are the same within some percent.
fn about(one: u64, other: u64, percent: u64) -> bool {
    one > 0 && one.abs_diff(other) <= other / 100 * percent
}

/// Lengths of all files below a folder.
fn bytes_below(folder: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { bytes_below(&entry.path()) } else { metadata.len() };
    }
    bytes
}

const ROLE: usize = 3;
const DISK: usize = 7;
const MEMORY: usize = 8;
