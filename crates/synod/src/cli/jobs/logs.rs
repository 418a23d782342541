//! `synod jobs logs`: what attempts have said, fetched from the workers that ran them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};

use hyper::StatusCode;
use serde_json::json;
use synod::client::Remote;
use synod::jobs::cluster::shown::{JobDetail, workers};
use synod::jobs::cluster::{JobId, TaskId, View};
use synod::server::read_job;

use super::{print_json, unknown};
use crate::cli::connect::Cluster;
use crate::cli::failure::Failure;
use crate::cli::output::plain;
use crate::cli::{Outcome, http};

/// Longest log that is read; a worker keeps less.
const MAX_LOG_BYTES: usize = 4 << 20;

/// Whose log.
pub struct Wanted {
    /// The job.
    pub job: JobId,
    /// The task; all if there is none.
    pub task: Option<TaskId>,
    /// The attempt; all that are known if there is none.
    pub attempt: Option<u32>,
}

/// An attempt and the node that ran it.
type Attempt = (TaskId, u32, String);

/// Prints the logs, with a heading for each if there may be several.
pub async fn logs(
    out: &mut impl Write,
    cluster: &Cluster,
    wanted: &Wanted,
    as_json: bool,
) -> Outcome {
    let kv = cluster.connect()?;
    let view = read_job(&kv, &wanted.job).await?;
    let job = JobDetail::of(&wanted.job, &view, None).ok_or_else(|| unknown(&wanted.job))?;
    let attempts = attempts(&job, wanted);
    if attempts.is_empty() {
        return Err(Failure::Failed(format!("no such attempt of job {} is known", wanted.job)));
    }
    let addresses = addresses(&kv, &view, &job).await;
    let mut unreachable = BTreeSet::new();
    let mut any = false;
    for (task, attempt, node) in &attempts {
        let path = format!("/jobs/v1/{}/log/{task}/{attempt}", wanted.job);
        let answer = match addresses.get(node).filter(|address| !address.is_empty()) {
            Some(address) => {
                let get = http::get(address, &path, MAX_LOG_BYTES);
                tokio::time::timeout(cluster.timeout, get).await.ok().flatten()
            }
            None => None,
        };
        match answer {
            Some((StatusCode::OK, log)) => {
                any = true;
                print_log(out, (*task, *attempt, node), &log, as_json)?;
            }
            // It has said nothing.
            Some((StatusCode::NOT_FOUND, _)) => {}
            _ => drop(unreachable.insert(plain(node))),
        }
    }
    out.flush()?;
    if !unreachable.is_empty() {
        let nodes = unreachable.into_iter().collect::<Vec<_>>().join(", ");
        return Err(Failure::Failed(format!("the logs on {nodes} cannot be read: is it running?")));
    }
    if !any && !as_json {
        eprintln!("these attempts have said nothing");
    }
    Ok(())
}

fn print_log(
    out: &mut impl Write,
    (task, attempt, node): (TaskId, u32, &str),
    log: &[u8],
    as_json: bool,
) -> io::Result<()> {
    if as_json {
        let text = String::from_utf8_lossy(log);
        return print_json(
            out,
            &json!({ "task": task, "attempt": attempt, "node": node, "log": text }),
        );
    }
    writeln!(out, "==> {task} attempt {attempt} on {} <==", plain(node))?;
    if !io::stdout().is_terminal() {
        out.write_all(log)?;
        return if log.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") };
    }
    // What a task says is for the reader, not for the terminal.
    for line in String::from_utf8_lossy(log).lines() {
        writeln!(out, "{}", line.split('\t').map(plain).collect::<Vec<_>>().join("\t"))?;
    }
    Ok(())
}

/// The attempts that are known, by task and number.
fn attempts(job: &JobDetail, wanted: &Wanted) -> BTreeSet<Attempt> {
    let report = &job.report;
    let running = job.running.iter().map(|row| (row.task, row.attempt, row.node.clone()));
    let failed =
        report.failures.iter().map(|row| (row.task, row.failure.attempt, row.failure.node.clone()));
    let done = report.tasks.iter().map(|row| {
        let node = report.nodes.get(row.node as usize).cloned().unwrap_or_default();
        (row.task, row.attempt, node)
    });
    let fits = |(task, attempt, _): &Attempt| {
        wanted.task.is_none_or(|wanted| wanted == *task)
            && wanted.attempt.is_none_or(|wanted| wanted == *attempt)
    };
    running.chain(failed).chain(done).filter(fits).collect()
}

/// Where the nodes are: as they were at the end of the job, as they are registered, and who is a member
/// of the cluster can be asked even when it has no work.
async fn addresses(kv: &Remote, view: &View, job: &JobDetail) -> BTreeMap<String, String> {
    let mut addresses = BTreeMap::new();
    // An etcd has members, too, but they are no workers: what is known better comes later.
    if let Ok((_, members)) = kv.member_list().await {
        for member in members {
            let url = member.client_urls.first().map(|url| url.trim_start_matches("http://"));
            let address = url.unwrap_or_default().trim_end_matches('/').to_owned();
            addresses.insert(member.name, address);
        }
    }
    let kept = job.report.nodes.iter().cloned().zip(job.report.addresses.iter().cloned());
    addresses.extend(kept.filter(|(_, address)| !address.is_empty()));
    addresses.extend(workers(view).into_iter().map(|worker| (worker.node, worker.address)));
    addresses
}
