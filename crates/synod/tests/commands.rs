//! The client commands of the binary over running nodes, and `synod etcd`: what they print, how they
//! end. `put`, `get`, `del`, `status` and `run` are used by all other tests; what needs no server is in
//! `cli.rs`, what is refused in `bad_input/`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::cluster::Cluster;
use support::etcdctl::Etcdctl;
use support::port::Ports;
use support::process::Process;
use support::{PATIENCE, binary, http, refused, succeed, synod, wait_for};
use tempfile::TempDir;

/// One node, and where it is.
struct Bench {
    cluster: Cluster,
    client: String,
}

impl Bench {
    fn new() -> Bench {
        let cluster = Cluster::start(1);
        let client = cluster.nodes[0].client();
        Bench { cluster, client }
    }

    fn folder(&self) -> &Path {
        self.cluster.folder()
    }

    /// Runs a command that must succeed; what it prints.
    fn run(&self, arguments: &[&str]) -> String {
        succeed(&[arguments, &["--endpoints", &self.client]].concat())
    }

    /// Starts a command, whose options come before what it is to run itself.
    fn start(&self, arguments: &[&str], program: &[&str]) -> Process {
        let all = [arguments, &["--endpoints", &self.client], program].concat();
        Process::start(arguments[0], &mut synod(&all), self.folder())
    }

    /// Runs `synod lock NAME` with a command of the shell, which finds the binary in `$0` and the
    /// endpoint in `$1`.
    fn lock_and_run(&self, name: &str, script: &str) -> Output {
        let binary = binary();
        let mut command = synod(&["lock", name, "--endpoints", &self.client, "sh", "-c", script]);
        command.arg(&binary).arg(&self.client).stdin(Stdio::null()).output().unwrap()
    }

    /// The names of the keys with a prefix.
    fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.run(&["get", prefix, "--prefix", "--keys-only"]);
        keys.lines().map(str::to_owned).collect()
    }

    /// Runs `synod txn` with this on its standard input.
    fn txn(&self, text: &str) -> Output {
        let mut command = synod(&["txn", "--endpoints", &self.client]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_watch_tells_what_happened_since_a_revision_and_then_goes_on() {
    let bench = Bench::new();
    bench.run(&["put", "w", "1"]);
    bench.run(&["put", "elsewhere", "x"]);
    bench.run(&["put", "w", "2"]);
    bench.run(&["del", "w"]);
    let mut watch = bench.start(&["watch", "w", "--rev", "1"], &[]);
    let history = "PUT\nw\n1\nPUT\nw\n2\nDELETE\nw\n\n";
    watch.wait_for_output(|output| output == history);
    bench.run(&["put", "w/child", "3"]);
    bench.run(&["put", "w", "4"]);
    watch.wait_for_output(|output| output == format!("{history}PUT\nw\n4\n"));

    let mut prefix = bench.start(&["watch", "w", "--prefix", "--json", "--rev", "4"], &[]);
    let lines = prefix.wait_for_output(|output| output.lines().count() == 4);
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen = |event: &Value| {
        let name = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        (name("event"), name("key"), event["mod_revision"].as_i64().unwrap())
    };
    let put = |key: &str, revision| ("PUT".to_owned(), key.to_owned(), revision);
    let deleted = ("DELETE".to_owned(), "w".to_owned(), 5);
    let want = [put("w", 4), deleted, put("w/child", 6), put("w", 7)];
    assert_eq!(events.iter().map(seen).collect::<Vec<_>>(), want);
    assert_eq!(events[2]["value"], "3");
}

#[test]
fn a_transaction_does_one_branch_and_says_which() {
    let bench = Bench::new();
    let once = "# only once\nversion(\"greeting\") = \"0\"\n\nput greeting \"hello, world\"\n\n\
                get greeting\ndel nothing\n";
    let output = bench.txn(once);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "SUCCESS\n\nOK\n".into()));
    let output = bench.txn(once);
    let failure = "FAILURE\n\ngreeting\nhello, world\n\n0\n";
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), failure.into()));
    let output = bench.txn("\n\nput only\n");
    let line = text(&output.stderr);
    assert_eq!((output.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    assert!(line.contains("line 3") && line.contains("write put, get or del"), "{line}");
}

#[test]
fn a_lease_is_granted_shown_kept_alive_and_revoked() {
    let bench = Bench::new();
    let granted = bench.run(&["lease", "grant", "600"]);
    let id = granted.split(' ').next().unwrap();
    assert_eq!(granted, format!("{id} ttl 600s\n"));
    bench.run(&["put", "mine", "x", "--lease", id]);
    assert_eq!(bench.run(&["lease", "list"]), format!("{id}\n"));
    let left = bench.run(&["lease", "timetolive", id, "--keys"]);
    let seconds = left.strip_prefix(&format!("{id} granted 600s left ")).expect(&left);
    let seconds: u32 = seconds.strip_suffix("s\nmine\n").expect(&left).parse().unwrap();
    assert!((500..=600).contains(&seconds), "{left}");
    assert_eq!(bench.run(&["lease", "keep-alive", id, "--once"]), format!("{id} ttl 600s\n"));
    assert_eq!(bench.run(&["lease", "revoke", id]), format!("{id} revoked\n"));
    assert_eq!((bench.keys("mine"), bench.run(&["lease", "list"])), (vec![], String::new()));
    let line = refused(&["lease", "timetolive", id, "--endpoints", &bench.client], 1);
    assert!(line.contains(id) && line.contains("grant a new one"), "{line}");

    let granted = bench.run(&["lease", "grant", "2"]);
    let id = granted.split(' ').next().unwrap();
    bench.run(&["put", "kept", "x", "--lease", id]);
    let mut keeper = bench.start(&["lease", "keep-alive", id], &[]);
    // It renews three times in the lease's life, so without it the lease were over by then.
    keeper.wait_for_output(|output| output.lines().count() == 6);
    assert_eq!(bench.keys("kept"), ["kept"]);
    bench.run(&["lease", "revoke", id]);
    assert_eq!(keeper.wait(PATIENCE).code(), Some(1));
    assert!(keeper.stderr().contains(&format!("there is no lease {id}")), "{}", keeper.stderr());
}

#[test]
fn a_lock_is_held_while_a_command_runs_whose_exit_code_becomes_ours() {
    let bench = Bench::new();
    let script = r#"echo "$SYNOD_LOCK_KEY $SYNOD_LOCK_TOKEN"
        "$0" get "$SYNOD_LOCK_KEY" --json --endpoints "$1"; exit 7"#;
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let output = bench.lock_and_run("door", script);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        let (told, found) = printed.split_once('\n').unwrap();
        let (key, token) = told.split_once(' ').unwrap();
        let found: Value = serde_json::from_str(found).expect("the key is there");
        assert!(key.starts_with("door/") && found["key"] == key, "{printed}");
        assert_eq!(found["create_revision"].to_string(), token, "it is the fencing token");
        tokens.push(token.parse::<i64>().unwrap());
    }
    assert!(tokens[0] < tokens[1], "later owners have higher tokens: {tokens:?}");
    assert_eq!(bench.lock_and_run("door", "exit 0").status.code(), Some(0));
    assert_eq!(bench.lock_and_run("door", "kill -TERM $$").status.code(), Some(128 + 15));
    let unknown = ["lock", "door", "--endpoints", &bench.client, "/no/such/program"];
    assert!(refused(&unknown, 1).contains("cannot run `/no/such/program`"));
    assert_eq!(bench.keys("door"), [""; 0], "nothing is held any more");
}

#[test]
fn a_lock_is_handed_on_and_its_loss_ends_the_command() {
    let bench = Bench::new();
    let mut holder = bench.start(&["lock", "door"], &[]);
    let held = holder.wait_for_output(|output| output.ends_with('\n'));
    assert!(held.starts_with("door/") && held.contains(" token "), "{held}");
    let mut impatient = bench.start(&["lock", "door"], &["true"]);
    wait_for("a second place", PATIENCE, || (bench.keys("door/").len() == 2).then_some(()));
    assert_eq!(impatient.interrupt().code(), Some(130), "{}", impatient.stderr());
    wait_for("the place to be left", PATIENCE, || (bench.keys("door/").len() == 1).then_some(()));

    let mut next = bench.start(&["lock", "door"], &["sh", "-c", "echo inside; exec sleep 600"]);
    wait_for("a second place", PATIENCE, || (bench.keys("door/").len() == 2).then_some(()));
    assert_eq!(next.stdout(), "", "one at a time");
    assert_eq!(holder.interrupt().code(), Some(0), "{}", holder.stderr());
    next.wait_for_output(|output| output == "inside\n");
    let key = bench.keys("door/").pop().unwrap();
    bench.run(&["lease", "revoke", key.strip_prefix("door/").unwrap()]);
    assert_eq!(next.wait(PATIENCE).code(), Some(1));
    assert!(next.stderr().contains("the lock was lost"), "{}", next.stderr());
}

#[test]
fn etcds_lock_and_ours_are_one_line() {
    let bench = Bench::new();
    let Some(etcdctl) = Etcdctl::find(&bench.client) else { return };
    let mut holder = etcdctl.start(&["lock", "door"], bench.folder());
    let held = holder.wait_for_output(|output| output.ends_with('\n'));
    assert!(held.starts_with("door/"), "{held}");
    let mut ours = bench.start(&["lock", "door"], &["sh", "-c", "echo $SYNOD_LOCK_TOKEN; exit 3"]);
    wait_for("our place", PATIENCE, || (bench.keys("door/").len() == 2).then_some(()));
    assert!(ours.is_running() && ours.stdout().is_empty(), "{}", ours.stdout());
    assert!(holder.interrupt().success(), "{}", holder.stderr());
    assert_eq!(ours.wait(PATIENCE).code(), Some(3), "{}", ours.stderr());
    assert!(ours.stdout().trim().parse::<i64>().is_ok_and(|token| token > 0));
}

#[test]
fn an_election_has_one_leader_at_a_time_whom_listeners_are_told() {
    let bench = Bench::new();
    let mut listener = bench.start(&["elect", "captain", "--listen"], &[]);
    let mut first = bench.start(&["elect", "captain", "anne"], &[]);
    let won = first.wait_for_output(|output| output.lines().count() == 2);
    assert!(won.starts_with("captain/") && won.ends_with("\nanne\n"), "{won}");
    listener.wait_for_output(|output| output == won);
    let mut second = bench.start(&["elect", "captain", "mary"], &[]);
    wait_for("a second place", PATIENCE, || (bench.keys("captain/").len() == 2).then_some(()));
    assert_eq!(second.stdout(), "", "one at a time");
    assert_eq!(first.interrupt().code(), Some(0), "{}", first.stderr());
    let then = second.wait_for_output(|output| output.ends_with("\nmary\n"));
    listener.wait_for_output(|output| output == format!("{won}{then}"));
    assert_eq!(second.interrupt().code(), Some(0), "{}", second.stderr());
    assert_eq!(bench.keys("captain/"), [""; 0]);
}

#[test]
fn a_learner_is_added_promoted_and_removed() {
    let bench = Bench::new();
    let ports = Ports::claim(2);
    let added = bench.run(&["member", "add", "n2", &ports.address(1), "--learner"]);
    let id = added.split(' ').nth(1).unwrap();
    assert!(added.starts_with(&format!("member {id} added; 1 of 1 voters")), "{added}");
    let line = added.lines().last().unwrap().strip_prefix("synod ").expect(&added);
    let mut command = Command::new(binary());
    command.args(line.split(' ')).current_dir(bench.folder());
    let mut learner = Process::start("n2", &mut command, bench.folder());
    learner.wait_for_output(|output| output.contains(" ready"));
    let row = |members: &str| {
        let row = members.lines().find(|row| row.starts_with(id));
        row.and_then(|row| row.split_whitespace().last()).map(str::to_owned)
    };
    assert_eq!(row(&bench.run(&["member", "list"])).as_deref(), Some("learner"));

    // Refused until it has caught up.
    let promote = ["member", "promote", id, "--endpoints", &bench.client];
    let promoted = wait_for("the promotion", PATIENCE, || {
        let output = synod(&promote).output().unwrap();
        output.status.success().then(|| text(&output.stdout))
    });
    assert_eq!(row(&promoted).as_deref(), Some("voter"), "{promoted}");
    let line = refused(&promote, 1);
    assert!(line.contains("learner"), "{line}");
    let status = bench.run(&["status"]);
    assert!(status.contains("n1"), "{status}");

    let left = bench.run(&["member", "remove", id]);
    assert_eq!((row(&left), left.matches("voter").count()), (None, 1), "{left}");
    learner.kill();
    bench.run(&["put", "k", "v"]);
    let gone = refused(&["member", "remove", id, "--endpoints", &bench.client], 1);
    assert!(gone.contains("synod member list"), "{gone}");
}

#[test]
fn our_etcd_is_started_with_etcds_flags_and_keeps_its_data() {
    let folder = TempDir::new().unwrap();
    let ports = Ports::claim(2);
    let (client, peer) = (ports.address(0), format!("http://{}", ports.address(1)));
    let client_url = format!("http://{client}");
    let etcd = folder.path().join("etcd");
    std::os::unix::fs::symlink(binary(), &etcd).unwrap();
    let flags = ["-listen-peer-urls", &peer, "--listen-client-urls", &client_url];
    // By our name with a subcommand, then by etcd's name, with one dash and the environment.
    for called_etcd in [false, true] {
        let mut command = if called_etcd { Command::new(&etcd) } else { synod(&["etcd"]) };
        command.args(flags).args(["--advertise-client-urls", &client_url]);
        command.args(["--initial-cluster", &format!("infra0={peer}")]);
        command.args(["--initial-advertise-peer-urls", &peer]);
        command.env("ETCD_NAME", "infra0").current_dir(folder.path());
        let mut server = Process::start("etcd", &mut command, folder.path());
        server.wait_for_output(|output| output.contains("infra0 ready"));
        if !called_etcd {
            succeed(&["put", "greeting", "hello", "--endpoints", &client]);
        }
        assert_eq!(succeed(&["get", "greeting", "--endpoints", &client]), "greeting\nhello\n");
        let (status, version) = http::get(&client, "/version").expect("it answers");
        assert!(status == 200 && version.contains("etcdserver"), "{version}");
        let members = succeed(&["member", "list", "--endpoints", &client]);
        assert!(members.contains("infra0") && members.contains(&client_url), "{members}");
        assert!(server.interrupt().success(), "{}", server.stderr());
    }
    assert!(folder.path().join("infra0.etcd").is_dir(), "etcd's default folder");
}
