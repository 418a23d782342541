//! A real server of S3's protocol, `moto`, if Python has it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::port::Ports;
use super::process::Process;
use super::{PATIENCE, leave_out, synod, wait_for};

/// A running server with one bucket, `jobs`; it ends with this value.
#[derive(Debug)]
pub struct S3 {
    process: Process,
    ports: Ports,
}

impl S3 {
    /// Starts one; or says loudly that there is none, and fails if one is demanded.
    pub fn start(folder: &Path) -> Option<S3> {
        let python = std::env::var("SYNOD_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut look = Command::new(&python);
        look.args(["-c", "import moto.server"]).stdout(Stdio::null()).stderr(Stdio::null());
        if !look.status().is_ok_and(|status| status.success()) {
            let what = format!("jobs over objects: `{python}` cannot run moto.server");
            leave_out(&what, "SYNOD_TEST_REQUIRE_MOTO");
            return None;
        }
        let ports = Ports::claim(1);
        let mut command = Command::new(&python);
        let port = ports.number(0).to_string();
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port]);
        let s3 = S3 { process: Process::start("moto", &mut command, folder), ports };
        wait_for("moto to serve", PATIENCE, || {
            request(&s3.address(), "GET", "/moto-api/data.json", b"")
        });
        s3.expect("PUT", "/jobs", b"");
        Some(s3)
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> String {
        self.ports.address(0)
    }

    /// Makes an object.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.expect("PUT", &format!("/jobs/{key}"), bytes);
    }

    /// Removes an object.
    pub fn remove(&self, key: &str) {
        self.expect("DELETE", &format!("/jobs/{key}"), b"");
    }

    /// The content of an object.
    pub fn get(&self, key: &str) -> Vec<u8> {
        self.expect("GET", &format!("/jobs/{key}"), b"")
    }

    /// The keys that begin with this, a thousand at most.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        let list = self.expect("GET", &format!("/jobs?list-type=2&prefix={prefix}"), b"");
        between(&list, "<Key>", "</Key>")
    }

    /// The keys of uploads that are neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        between(&self.expect("GET", "/jobs?uploads", b""), "<Key>", "</Key>")
    }

    /// From now on it looks at who asks, and knows nobody.
    pub fn forbid_everything(&self) {
        self.expect("POST", "/moto-api/reset-auth", b"0");
    }

    /// The variables by which the binary finds a server at this address.
    pub fn variables(address: &str) -> Vec<String> {
        vec![
            format!("AWS_ENDPOINT_URL=http://{address}"),
            "AWS_ACCESS_KEY_ID=somebody".to_owned(),
            "AWS_SECRET_ACCESS_KEY=something".to_owned(),
            "AWS_REGION=us-east-1".to_owned(),
            "AWS_ALLOW_HTTP=true".to_owned(),
        ]
    }

    /// The binary with these arguments, for which a server is at this address.
    pub fn command(address: &str, arguments: &[&str]) -> Command {
        let mut command = synod(arguments);
        let variables = S3::variables(address);
        command.envs(variables.iter().filter_map(|variable| variable.split_once('=')));
        command.stdin(Stdio::null());
        command
    }

    fn expect(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let (status, answer) = request(&self.address(), method, path, body).expect("moto answers");
        let text = String::from_utf8_lossy(&answer);
        assert!((200..300).contains(&status), "{method} {path}: {status} {text}");
        answer
    }
}

fn between(text: &[u8], open: &str, close: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let pieces = text.split(open).skip(1);
    pieces.filter_map(|piece| Some(piece.split_once(close)?.0.to_owned())).collect()
}

/// Status and body of an answer; `None` if nobody answers.
fn request(address: &str, method: &str, path: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
         SignedHeaders=host, Signature=none\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer[end + 4..].to_vec()))
}
