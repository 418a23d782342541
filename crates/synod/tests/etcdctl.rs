//! etcd's own client, `etcdctl`, against three nodes of the real binary.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use serde_json::Value;
use support::cluster::Cluster;
use support::etcdctl::Etcdctl;

/// Three nodes and a client of the first; `None` if there is no etcdctl.
fn three_nodes() -> Option<(Cluster, Etcdctl)> {
    let etcdctl = Etcdctl::find("")?;
    let cluster = Cluster::start(3);
    let etcdctl = etcdctl.at(&cluster.nodes[0].client());
    Some((cluster, etcdctl))
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("not a number: {value}"))
}

#[test]
fn a_key_put_through_one_node_is_read_through_another() {
    let Some((cluster, first)) = three_nodes() else { return };
    assert_eq!(first.run(&["put", "greeting", "hello"]), "OK\n");
    for client in cluster.clients() {
        assert_eq!(first.at(&client).run(&["get", "greeting"]), "greeting\nhello\n");
    }
    let third = first.at(&cluster.nodes[2].client());
    let previous = third.run(&["put", "greeting", "good day", "--prev-kv"]);
    assert_eq!(previous, "OK\ngreeting\nhello\n");
    let answer = first.json(&["get", "greeting"]);
    let kv = &answer["kvs"][0];
    assert_eq!(number(&kv["version"]), 2);
    assert_eq!(number(&kv["mod_revision"]), number(&kv["create_revision"]) + 1);
    assert_eq!(answer["header"]["revision"], kv["mod_revision"]);

    ranges_are_limited_and_ordered(&first);
    deletions_say_what_went(&third);
    transactions_choose_one_branch(&third);
}

fn ranges_are_limited_and_ordered(etcdctl: &Etcdctl) {
    for (key, value) in [("fruit/b", "2"), ("fruit/a", "3"), ("fruit/c", "1"), ("fruits", "0")] {
        etcdctl.run(&["put", key, value]);
    }
    let get = |arguments: &[&str]| etcdctl.run(&[&["get"], arguments].concat());
    assert_eq!(get(&["--prefix", "fruit/"]), "fruit/a\n3\nfruit/b\n2\nfruit/c\n1\n");
    assert_eq!(
        get(&["--prefix", "fruit/", "--limit", "2", "--keys-only"]),
        "fruit/a\n\nfruit/b\n\n"
    );
    let descending = get(&["--prefix", "fruit/", "--order", "DESCEND", "--print-value-only"]);
    assert_eq!(descending, "1\n2\n3\n");
    let by_value = ["--prefix", "fruit/", "--sort-by", "VALUE", "--order", "ASCEND"];
    assert_eq!(get(&by_value), "fruit/c\n1\nfruit/b\n2\nfruit/a\n3\n");
    assert_eq!(get(&["fruit/a", "fruit/c", "--keys-only"]), "fruit/a\n\nfruit/b\n\n");
    assert_eq!(get(&["--from-key", "fruit/c", "--limit", "1", "--print-value-only"]), "1\n");
    let limited = etcdctl.json(&["get", "--prefix", "fruit/", "--limit", "1"]);
    assert_eq!((number(&limited["count"]), limited["more"].as_bool()), (3, Some(true)));
    assert_eq!(get(&["fruit/a", "--consistency", "s"]), "fruit/a\n3\n");
    assert_eq!(get(&["no such key"]), "");
}

fn deletions_say_what_went(etcdctl: &Etcdctl) {
    let gone = etcdctl.run(&["del", "--prefix", "--prev-kv", "fruit/"]);
    assert_eq!(gone, "3\nfruit/a\n3\nfruit/b\n2\nfruit/c\n1\n");
    assert_eq!(etcdctl.run(&["del", "fruit/a"]), "0\n");
    assert_eq!(etcdctl.run(&["get", "--prefix", "fruit"]), "fruits\n0\n");
}

fn transactions_choose_one_branch(etcdctl: &Etcdctl) {
    etcdctl.run(&["put", "account", "10"]);
    let spend =
        "value(\"account\") = \"10\"\n\nput account 3\nput spent 7\nget account\n\nget account\n\n";
    let first = etcdctl.run_with_input(&["txn"], spend);
    assert_eq!(first, "SUCCESS\n\nOK\n\nOK\n\naccount\n3\n");
    let second = etcdctl.run_with_input(&["txn"], spend);
    assert_eq!(second, "FAILURE\n\naccount\n3\n");
    let both = etcdctl.json(&["get", "--prefix", ""]);
    let kvs = both["kvs"].as_array().expect("there are keys");
    let revision_of = |base64: &str| {
        let kv = kvs.iter().find(|kv| kv["key"] == base64).expect("the key is there");
        number(&kv["mod_revision"])
    };
    // "account" and "spent".
    assert_eq!(revision_of("YWNjb3VudA=="), revision_of("c3BlbnQ="), "one revision per write");
    let compare =
        "version(\"account\") > \"1\"\nmod(\"no such key\") = \"0\"\n\n\nput account 0\n\n";
    assert_eq!(etcdctl.run_with_input(&["txn"], compare), "SUCCESS\n");
    assert_eq!(etcdctl.run(&["get", "account", "--print-value-only"]), "3\n");
}

#[test]
fn a_watch_from_an_old_revision_tells_all_that_happened_since_and_then_goes_on() {
    let Some((cluster, first)) = three_nodes() else { return };
    let second = first.at(&cluster.nodes[1].client());
    let revision = number(&first.json(&["put", "w", "1"])["header"]["revision"]);
    first.run(&["put", "w", "2"]);
    first.run(&["put", "elsewhere", "x"]);
    first.run(&["del", "w"]);
    let start = revision.to_string();
    let mut watch = second.start(&["watch", "w", "--rev", &start], cluster.folder());
    let history = "PUT\nw\n1\nPUT\nw\n2\nDELETE\nw\n\n";
    watch.wait_for_output(|output| output == history);
    first.run(&["put", "w", "3"]);
    let more = format!("{history}PUT\nw\n3\n");
    watch.wait_for_output(|output| output == more);
    first.run(&["put", "w/child", "4"]);
    let with_previous = ["watch", "--prefix", "w", "--prev-kv", "--rev", &start];
    let mut prefix = second.start(&with_previous, cluster.folder());
    prefix.wait_for_output(|output| {
        output == "PUT\nw\n1\nPUT\nw\n1\nw\n2\nDELETE\nw\n2\nw\n\nPUT\nw\n3\nPUT\nw/child\n4\n"
    });
    assert_eq!(watch.stdout(), more, "a child of the key is not the key");
    old_revisions_end_with_a_compaction(&first, &second, revision);
}

fn old_revisions_end_with_a_compaction(first: &Etcdctl, second: &Etcdctl, revision: i64) {
    let at = |revision: i64| format!("--rev={revision}");
    assert_eq!(second.run(&["get", "w", &at(revision + 1)]), "w\n2\n");
    assert_eq!(second.run(&["get", "w", &at(revision + 3)]), "", "deleted at that revision");
    let compacted = first.run(&["compact", &(revision + 1).to_string()]);
    assert_eq!(compacted, format!("compacted revision {}\n", revision + 1));
    assert_eq!(second.run(&["get", "w", &at(revision + 1)]), "w\n2\n", "the newest kept");
    let compacted = "mvcc: required revision has been compacted";
    for refused in [
        second.fail(&["get", "w", &at(revision)]),
        first.fail(&["compact", &revision.to_string()]),
        second.fail(&["watch", "w", &at(revision)]),
    ] {
        assert!(refused.contains(compacted), "{refused}");
    }
    for refused in [
        second.fail(&["get", "w", &at(revision + 1_000)]),
        first.fail(&["compact", &(revision + 1_000).to_string()]),
    ] {
        assert!(refused.contains("mvcc: required revision is a future revision"), "{refused}");
    }
    assert_eq!(first.run(&["get", "w", "--print-value-only"]), "3\n");
}

#[test]
fn a_lease_keeps_its_keys_until_it_is_revoked_or_runs_out() {
    let Some((cluster, first)) = three_nodes() else { return };
    let second = first.at(&cluster.nodes[1].client());
    let grant = |etcdctl: &Etcdctl, seconds: &str| {
        let granted = etcdctl.run(&["lease", "grant", seconds]);
        assert!(granted.contains(&format!("granted with TTL({seconds}s)")), "{granted}");
        granted.split_whitespace().nth(1).expect("the id is in there").to_owned()
    };
    let id = grant(&first, "600");
    let lease = format!("--lease={id}");
    second.run(&["put", &lease, "session/a", "1"]);
    first.run(&["put", &lease, "session/b", "2"]);
    assert_eq!(second.run(&["lease", "list"]), format!("found 1 leases\n{id}\n"));
    let left = second.run(&["lease", "timetolive", &id, "--keys"]);
    assert!(left.starts_with(&format!("lease {id} granted with TTL(600s), remaining(5")), "{left}");
    assert!(left.ends_with("attached keys([session/a session/b])\n"), "{left}");
    let kept = second.run(&["lease", "keep-alive", "--once", &id]);
    assert_eq!(kept, format!("lease {id} keepalived with TTL(600)\n"));

    let mut watch = second.start(&["watch", "--prefix", "session/"], cluster.folder());
    // It watches from now on, so it is known to stand when it tells a change.
    support::wait_for("the watch", support::PATIENCE, || {
        first.run(&["put", &lease, "session/b", "2"]);
        (!watch.stdout().is_empty()).then_some(())
    });
    assert_eq!(second.run(&["lease", "revoke", &id]), format!("lease {id} revoked\n"));
    watch.wait_for_output(|output| output.ends_with("DELETE\nsession/a\n\nDELETE\nsession/b\n\n"));
    assert_eq!(first.run(&["get", "--prefix", "session/"]), "");
    assert_eq!(first.run(&["lease", "list"]), "found 0 leases\n");

    let short = grant(&second, "2");
    first.run(&["put", &format!("--lease={short}"), "short", "x"]);
    support::wait_for("the lease's end", support::PATIENCE, || {
        first.run(&["get", "short"]).is_empty().then_some(())
    });
    let over = first.run(&["lease", "timetolive", &short]);
    assert_eq!(over, format!("lease {short} already expired\n"));
}

#[test]
fn an_unknown_lease_is_not_found() {
    let Some((_cluster, first)) = three_nodes() else { return };
    for arguments in [
        &["lease", "revoke", "123"][..],
        &["put", "--lease=123", "key", "value"],
        &["lease", "keep-alive", "--once", "123"],
    ] {
        let refused = first.fail(arguments);
        // etcdctl's own words, or the server's.
        assert!(refused.contains("requested lease not found"), "{arguments:?}: {refused}");
    }
    assert_eq!(first.run(&["get", "key"]), "");
}

#[test]
fn a_lock_is_held_by_one_and_handed_to_the_next() {
    let Some((cluster, first)) = three_nodes() else { return };
    let third = first.at(&cluster.nodes[2].client());
    let mut holder = first.start(&["lock", "door"], cluster.folder());
    let held = holder.wait_for_output(|output| output.ends_with('\n'));
    assert!(held.starts_with("door/"), "{held}");
    let mut contender = third.start(&["lock", "door"], cluster.folder());
    support::wait_for("the contender in the queue", support::PATIENCE, || {
        let queue = first.run(&["get", "--prefix", "door/", "--keys-only"]);
        (queue.lines().filter(|line| !line.is_empty()).count() == 2).then_some(())
    });
    assert_eq!(contender.stdout(), "", "one at a time");
    assert!(holder.interrupt().success(), "{}", holder.stderr());
    let handed = contender.wait_for_output(|output| output.ends_with('\n'));
    assert!(handed.starts_with("door/") && handed != held, "{handed}");
    assert!(contender.interrupt().success(), "{}", contender.stderr());
    assert_eq!(first.run(&["get", "--prefix", "door/"]), "");
    // With a command, the lock is held as long as that runs.
    assert_eq!(third.run(&["lock", "door", "echo", "inside"]), "inside\n");

    an_election_has_one_winner_at_a_time(&cluster, &first, &third);
}

fn an_election_has_one_winner_at_a_time(cluster: &Cluster, first: &Etcdctl, third: &Etcdctl) {
    let mut winner = first.start(&["elect", "captain", "anne"], cluster.folder());
    let won = winner.wait_for_output(|output| output.lines().count() == 2);
    assert!(won.starts_with("captain/") && won.ends_with("\nanne\n"), "{won}");
    let mut follower = third.start(&["elect", "-l", "captain"], cluster.folder());
    follower.wait_for_output(|output| output.ends_with("\nanne\n"));
    let mut candidate = third.start(&["elect", "captain", "mary"], cluster.folder());
    support::wait_for("the candidate in the queue", support::PATIENCE, || {
        let queue = first.json(&["get", "--prefix", "captain/"]);
        (number(&queue["count"]) == 2).then_some(())
    });
    assert_eq!(candidate.stdout(), "", "one at a time");
    assert!(winner.interrupt().success(), "{}", winner.stderr());
    candidate.wait_for_output(|output| output.ends_with("\nmary\n"));
    follower.wait_for_output(|output| output.ends_with("\nmary\n"));
    assert!(candidate.interrupt().success(), "{}", candidate.stderr());
}

#[test]
fn status_health_and_members_are_told_as_etcd_tells_them() {
    let Some((cluster, first)) = three_nodes() else { return };
    let all = first.at(&cluster.endpoints());
    let status = all.json(&["endpoint", "status"]);
    let status = status.as_array().expect("an entry per endpoint");
    assert_eq!(status.len(), 3);
    let leader = &status[0]["Status"]["leader"];
    for (entry, client) in status.iter().zip(cluster.clients()) {
        assert_eq!(entry["Endpoint"], client.as_str());
        let status = &entry["Status"];
        assert_eq!(&status["leader"], leader, "all follow the same leader");
        assert!(status["version"].as_str().is_some_and(|version| version.starts_with("3.")));
        for position in ["raftIndex", "raftAppliedIndex", "raftTerm", "dbSize"] {
            assert!(number(&status[position]) > 0, "{position}: {status}");
        }
    }
    let member_id = |entry: &Value| entry["Status"]["header"]["member_id"].clone();
    assert_eq!(status.iter().filter(|entry| member_id(entry) == *leader).count(), 1);
    let table = all.run(&["endpoint", "status"]);
    assert_eq!(table.lines().filter(|line| line.contains(", true, false, ")).count(), 1, "{table}");

    let members = first.run(&["member", "list"]);
    for node in &cluster.nodes {
        let (peer, client) = (node.peer(), node.client());
        let line = format!(", started, {}, http://{peer}, http://{client}, false", node.name);
        assert!(members.lines().any(|member| member.ends_with(&line)), "{members}");
    }
    assert_eq!(members.lines().count(), 3);

    let health = all.json(&["endpoint", "health"]);
    let health = health.as_array().expect("an entry per endpoint");
    assert!(health.len() == 3 && health.iter().all(|entry| entry["health"] == true), "{health:?}");
    let everywhere = first.json(&["endpoint", "health", "--cluster"]);
    assert_eq!(everywhere.as_array().map(Vec::len), Some(3));
    assert!(cluster.clients().iter().all(|client| support::http::is_healthy(client)));
}
