//! A real etcd for tests, if one is installed.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Path of the `etcd` to test with; else the one in PATH.
const ETCD_VARIABLE: &str = "SYNOD_ETCD";
/// Set to 1, a missing etcd is a failure.
const REQUIRE_VARIABLE: &str = "SYNOD_REQUIRE_ETCD";

/// A running etcd of one member; killed when dropped.
pub struct Etcd {
    child: Child,
    pub endpoint: String,
}

impl Etcd {
    /// Starts one on this folder, or says loudly that it cannot.
    pub fn start(data: &Path) -> Option<Etcd> {
        Etcd::start_at(data, &free_address())
    }

    /// The same, on this client address.
    pub fn start_at(data: &Path, endpoint: &str) -> Option<Etcd> {
        let binary = std::env::var(ETCD_VARIABLE).unwrap_or_else(|_| "etcd".to_owned());
        let client_url = format!("http://{endpoint}");
        let peer_url = format!("http://{}", free_address());
        let spawned = Command::new(&binary)
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            assert_ne!(std::env::var(REQUIRE_VARIABLE).as_deref(), Ok("1"), "no `{binary}` here");
            let note = format!("\nSKIPPED: no `{binary}` to test with; set {ETCD_VARIABLE}\n");
            // Written directly, because the test harness hides what is printed.
            std::io::stderr().write_all(note.as_bytes()).expect("stderr can be written");
            return None;
        };
        let mut log = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !line.contains("ready to serve client requests") {
            line.clear();
            let length = log.read_line(&mut line).expect("the log can be read");
            assert_ne!(length, 0, "etcd ended before it served");
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Etcd { child, endpoint: endpoint.to_owned() })
    }

    /// As kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("our child can be killed");
        self.child.wait().expect("our child can be waited for");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address that nobody listens on now.
pub fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}
