//! `synod status`: members, leader, term, revision, disk and memory in a table.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use synod::NodeId;
use synod::client::{EndpointStatus, Member, Remote};

use super::connect::{Cluster, block_on};
use super::failure::Failure;
use super::{Outcome, http, output};

/// Longest metrics page that is read, in bytes.
const MAX_METRICS_BYTES: usize = 4 * 1024 * 1024;

/// Show the nodes of a cluster, who leads, and what they use
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod status
  synod status --endpoints 127.0.0.1:2379,127.0.0.1:2389 --timeout 1s")]
pub struct Status {
    #[command(flatten)]
    cluster: Cluster,
}

/// A node to ask: where it is, and who the members list says it is.
struct Node {
    endpoint: String,
    member: Option<Member>,
}

impl Status {
    pub fn run(self) -> Outcome {
        block_on(async move {
            let cluster = self.cluster.connect()?;
            let nodes = match cluster.member_list().await {
                Ok((_, members)) => nodes_of(members),
                // Without a majority each node still speaks for itself.
                Err(error) => {
                    let failure = Failure::from(error);
                    let nodes = configured(&self.cluster.endpoints);
                    return self.show(&nodes, Some(failure)).await;
                }
            };
            self.show(&nodes, None).await
        })
    }

    /// Prints the table; fails with `failure` if there was one, or if no node answers.
    async fn show(&self, nodes: &[Node], failure: Option<Failure>) -> Outcome {
        let mut rows = vec![HEADING.map(str::to_owned).to_vec()];
        let mut any = false;
        for node in nodes {
            let answer = match node.endpoint.as_str() {
                "" => None,
                endpoint => {
                    let remote = self.cluster.connect_to(&[endpoint.to_owned()])?;
                    ask(&remote, endpoint, self.cluster.timeout).await
                }
            };
            any |= answer.is_some();
            rows.push(row(node, answer.as_ref()));
        }
        if any {
            let mut out = io::stdout().lock();
            output::print_table(&mut out, &rows)?;
            out.flush()?;
        }
        match failure {
            Some(failure) => Err(failure),
            None if !any => Err(Failure::Failed("no node answers; check that they run".into())),
            None => Ok(()),
        }
    }
}

const HEADING: [&str; 10] =
    ["NAME", "ID", "ENDPOINT", "ROLE", "TERM", "REVISION", "APPLIED", "DISK", "MEMORY", "ERRORS"];

struct Answer {
    status: EndpointStatus,
    memory_bytes: Option<u64>,
}

async fn ask(remote: &Remote, endpoint: &str, timeout: Duration) -> Option<Answer> {
    let status = remote.endpoint_status(0).await.ok()?;
    // etcd and older nodes may keep their memory to themselves.
    let memory = tokio::time::timeout(timeout, memory_bytes(endpoint)).await;
    Some(Answer { status, memory_bytes: memory.ok().flatten() })
}

fn row(node: &Node, answer: Option<&Answer>) -> Vec<String> {
    let name = node.member.as_ref().map(|member| match member.name.as_str() {
        "" => "(not started)".to_owned(),
        name => name.to_owned(),
    });
    let name = name.unwrap_or_else(|| "?".to_owned());
    let Some(Answer { status, memory_bytes }) = answer else {
        let id = node.member.as_ref().map(|member| member.id.to_string());
        let id = id.unwrap_or_else(|| "?".to_owned());
        return vec![name, id, node.endpoint.clone(), "does not answer".to_owned()];
    };
    let id = status.header.member;
    let role = match () {
        () if status.leader == id && id != NodeId::NONE => "leader",
        () if status.is_learner => "learner",
        () if status.leader == NodeId::NONE => "no leader",
        () => "follower",
    };
    vec![
        name,
        id.to_string(),
        node.endpoint.clone(),
        role.to_owned(),
        status.term.to_string(),
        status.header.revision.to_string(),
        status.applied_index.to_string(),
        output::size(status.disk_bytes.max(0).unsigned_abs()),
        memory_bytes.map_or_else(|| "?".to_owned(), output::size),
        status.errors.join("; "),
    ]
}

fn nodes_of(members: Vec<Member>) -> Vec<Node> {
    members
        .into_iter()
        .map(|member| {
            let endpoint = member.client_urls.first().map(|url| without_scheme(url));
            Node { endpoint: endpoint.unwrap_or_default(), member: Some(member) }
        })
        .collect()
}

fn configured(endpoints: &[String]) -> Vec<Node> {
    endpoints
        .iter()
        .map(|endpoint| Node { endpoint: without_scheme(endpoint), member: None })
        .collect()
}

fn without_scheme(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// The process's resident memory out of its metrics page.
async fn memory_bytes(address: &str) -> Option<u64> {
    let (_, page) = http::get(address, "/metrics", MAX_METRICS_BYTES).await?;
    resident_memory(&String::from_utf8_lossy(&page))
}

fn resident_memory(page: &str) -> Option<u64> {
    let value = page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    // Prometheus writes large numbers like 1.5e+07.
    value?.trim().parse::<f64>().ok().filter(|bytes| *bytes >= 0.0).map(|bytes| bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_among_the_metrics() {
        let page = "# TYPE x gauge\nx 1\nprocess_resident_memory_bytes 2.097152e+06\ny 2\n";
        assert_eq!(resident_memory(page), Some(2 << 20));
        assert_eq!(resident_memory("x 1\n"), None);
    }

    #[test]
    fn a_node_that_does_not_answer_keeps_its_row() {
        let node = Node { endpoint: "127.0.0.1:1".into(), member: None };
        assert_eq!(row(&node, None), ["?", "?", "127.0.0.1:1", "does not answer"]);
    }
}
