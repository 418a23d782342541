//! A disk that fills up while the node writes: it refuses writes, keeps reading, and recovers when
//! there is room, with everything that was acknowledged.
//!
//! The disk is a small tmpfs on the data folder, in a mount namespace of its own that a shell keeps
//! open; the server enters it. Where that is not allowed the tests say so and pass, unless
//! SYNOD_TEST_REQUIRE_MOUNT=1 (as in `.ci/run` wherever something can be mounted).

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;

use synod::client::{ClientError, Kv, Remote, RequestError};
use synod::kv::PutRequest;
use tempfile::TempDir;

use crate::support::cluster::Node;
use crate::support::etcdctl::Etcdctl;
use crate::support::load::{read_all, remote, runtime};
use crate::support::mount::way_to_mount;
use crate::support::process::Process;
use crate::support::{PATIENCE, http, refused, succeed, wait_for};

const MIB: u64 = 1024 * 1024;

/// What keeps the small disk mounted; its end is the disk's.
struct SmallDisk {
    keeper: Process,
    node: Node,
    folder: TempDir,
}

impl SmallDisk {
    /// A node that has not been started, on a disk of this size; `None` if there can be none here.
    fn mount(size_mib: u64, arguments: &[&str]) -> Option<SmallDisk> {
        let folder = TempDir::new().expect("a folder can be made");
        let mut node = Node::new("n1", folder.path());
        fs::create_dir(node.data()).expect("a folder can be made");
        let data = node.data().display().to_string();
        let (unshare, enter) = way_to_mount(&data)?;
        let script =
            format!("mount -t tmpfs -o size={size_mib}m none '{data}' && echo mounted && exec cat");
        let mut keeper = Command::new("unshare");
        let keeper = keeper.args(unshare).args(["sh", "-c", &script]);
        let mut keeper = Process::start("keeper", keeper, folder.path());
        keeper.wait_for_output(|output| output == "mounted\n");
        node.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        node.wrapper = vec!["nsenter".to_owned(), "-t".to_owned(), keeper.id().to_string()];
        node.wrapper.extend(enter.iter().map(|&flag| flag.to_owned()));
        Some(SmallDisk { keeper, node, folder })
    }

    /// A file on the small disk, as seen from here.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        let data = self.node.data();
        root.join(data.strip_prefix("/").expect("an absolute path")).join(name)
    }

    /// Leaves at most this much free, also if the node takes its share at the same time.
    fn fill(&self, leave_bytes: u64) {
        let mut ballast = File::create(self.path("ballast")).expect("there is room for a name");
        loop {
            let stat = rustix::fs::statvfs(self.path("")).expect("the disk is mounted");
            if stat.f_bavail * stat.f_frsize <= leave_bytes {
                return;
            }
            match ballast.write_all(&[0; PIECE_BYTES]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("cannot fill the disk: {error}"),
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path("ballast")).expect("it can be removed");
    }
}

#[test]
fn a_node_whose_reserve_is_touched_refuses_writes_reads_on_and_recovers() {
    let reserve = (16 * MIB).to_string();
    let Some(mut disk) = SmallDisk::mount(160, &["--disk-reserve-bytes", &reserve]) else { return };
    disk.node.start();
    disk.node.wait_ready();
    let client = disk.node.client();
    let put = ["put", "k", "v", "--endpoints", &client];
    succeed(&put);

    disk.fill(8 * MIB);
    wait_for("the reserve to be noticed", PATIENCE, || (!http::is_healthy(&client)).then_some(()));
    let line = refused(&put, 1);
    assert!(line.contains("database space exceeded") && line.contains("make room"), "{line}");
    assert_eq!(succeed(&["get", "k", "--endpoints", &client]), "k\nv\n");
    let (status, body) = http::get(&client, "/health").expect("it answers");
    assert!(status == 503 && body.contains("NOSPACE"), "{body}");
    if let Some(etcdctl) = Etcdctl::find(&client) {
        assert!(etcdctl.run(&["alarm", "list"]).contains("alarm:NOSPACE"));
        let refused = etcdctl.fail(&["alarm", "disarm"]);
        assert!(refused.contains("NOSPACE stands as long as the disk is full"), "{refused}");
    }
    // What makes room is allowed.
    succeed(&["del", "k", "--endpoints", &client]);

    disk.make_room();
    wait_for("the room to be noticed", PATIENCE, || http::is_healthy(&client).then_some(()));
    if let Some(etcdctl) = Etcdctl::find(&client) {
        assert_eq!(etcdctl.run(&["alarm", "list"]) + &etcdctl.run(&["alarm", "disarm"]), "");
    }
    succeed(&put);
    assert!(disk.node.process().is_running() && disk.folder.path().exists());
}

#[test]
fn a_disk_that_is_really_full_loses_nothing_that_was_acknowledged() {
    let Some(mut disk) = SmallDisk::mount(112, &["--disk-reserve-bytes", "0"]) else { return };
    disk.node.start();
    disk.node.wait_ready();
    let client = disk.node.client();
    disk.fill(0);
    let acknowledged = write_until_full(&client);
    assert!(!acknowledged.is_empty(), "the log is filled in advance, so there was some room");
    assert!(disk.node.process().is_running(), "a full disk is no reason to stop");
    check(&client, &acknowledged);

    disk.make_room();
    wait_for("the room to be noticed", PATIENCE, || http::is_healthy(&client).then_some(()));
    succeed(&["put", "after", "room", "--endpoints", &client]);
    disk.node.kill();
    disk.node.start();
    disk.node.wait_ready();
    check(&client, &acknowledged);
    assert_eq!(succeed(&["get", "after", "--endpoints", &client]), "after\nroom\n");
}

#[test]
fn a_node_that_is_killed_on_a_full_disk_starts_again_when_there_is_room() {
    let Some(mut disk) = SmallDisk::mount(112, &["--disk-reserve-bytes", "0"]) else { return };
    disk.node.start();
    disk.node.wait_ready();
    let client = disk.node.client();
    disk.fill(0);
    let acknowledged = write_until_full(&client);
    disk.node.kill();
    disk.make_room();
    disk.node.start();
    disk.node.wait_ready();
    check(&client, &acknowledged);
    succeed(&["put", "after", "room", "--endpoints", &client]);
}

/// Writes large values until one is refused for want of room; the keys that were acknowledged.
fn write_until_full(client: &str) -> Vec<String> {
    runtime().block_on(async {
        let remote = remote(&[client.to_owned()]);
        let mut acknowledged = Vec::new();
        for number in 0..MOST_PUTS {
            let key = format!("large/{number:04}");
            match put(&remote, &key).await {
                Ok(()) => acknowledged.push(key),
                Err(ClientError::Request(RequestError::DiskFull)) => return acknowledged,
                // The one that met the full disk may wait for room until its time is up.
                Err(ClientError::Request(RequestError::TimedOut)) => {}
                Err(error) => panic!("{key}: {error}"),
            }
        }
        panic!("{MOST_PUTS} MiB went onto a full disk");
    })
}

async fn put(remote: &Remote, key: &str) -> Result<(), ClientError> {
    let value = value_of(key);
    let put =
        PutRequest { key: key.to_owned().into(), value: value.into(), ..PutRequest::default() };
    remote.put(put).await.map(|_| ())
}

fn check(client: &str, acknowledged: &[String]) {
    let stored = read_all(&[client.to_owned()], "large/");
    for key in acknowledged {
        assert!(stored.get(key).is_some_and(|found| found.value == value_of(key)), "{key} is lost");
    }
}

fn value_of(key: &str) -> String {
    format!("{key} ").repeat(MIB as usize / (key.len() + 1))
}

const PIECE_BYTES: usize = 4096;

/// More MiB than the disk has.
const MOST_PUTS: usize = 200;
