//! The processes of a local cluster: started, waited for, stopped in order.
//!
//! Each child holds the end of a pipe as its standard input and stops when that ends, so no child
//! outlives this process, however it dies. A child that dies alone does not end the others: that a
//! cluster goes on without it is the point.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::sync::mpsc;

use super::NodePlan;
use crate::cli::Outcome;
use crate::cli::connect::block_on;
use crate::cli::failure::Failure;
use crate::cli::signals::{self, StopSignals};

/// A child that has not stopped by then is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The nodes' processes. Dropping them kills those that still run.
pub struct Children {
    nodes: Vec<NodeProcess>,
    /// Numbers of nodes that have said that they are ready.
    ready: mpsc::UnboundedReceiver<usize>,
}

struct NodeProcess {
    name: String,
    client: String,
    child: Child,
    /// Dropped, it tells the child to stop.
    lifeline: Option<ChildStdin>,
    /// To start it by hand again.
    command_line: String,
    ended: Option<ExitStatus>,
}

impl Children {
    /// Starts one process for each node.
    pub fn start(plan: &[NodePlan]) -> Result<Self, Failure> {
        // At most one message per node is ever sent.
        let (sender, ready) = mpsc::unbounded_channel();
        let mut children = Children { nodes: Vec::new(), ready };
        let cluster: Vec<String> =
            plan.iter().map(|node| format!("{}=http://{}", node.name, node.peer)).collect();
        for (number, node) in plan.iter().enumerate() {
            let mut process = NodeProcess::start(node, &cluster.join(","))?;
            let stdout = process.child.stdout.take();
            children.nodes.push(process);
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in stdout.map(BufReader::new).into_iter().flat_map(BufRead::lines) {
                    if line.is_ok_and(|line| line.contains(" ready")) {
                        // The other side may be stopping already.
                        let _ = sender.send(number);
                    }
                }
            });
        }
        Ok(children)
    }

    /// Says when all serve, then waits for Ctrl-C or for the last child to end.
    pub fn supervise(mut self) -> Outcome {
        block_on(async move {
            let mut stop = StopSignals::listen()?;
            let mut child_ended = signals::children()?;
            let mut waiting = self.nodes.len();
            loop {
                // Before waiting: one may have ended before the signal was listened to.
                self.note_ended(waiting > 0)?;
                tokio::select! {
                    () = stop.next() => break,
                    _ = child_ended.recv() => {}
                    Some(_) = self.ready.recv() => {
                        waiting -= 1;
                        if waiting == 0 {
                            self.announce()?;
                        }
                    }
                }
            }
            self.stop(&mut stop).await
        })
    }

    fn announce(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for node in &self.nodes {
            writeln!(out, "{} at {} pid {}", node.name, node.client, node.child.id())?;
        }
        let clients: Vec<&str> = self.nodes.iter().map(|node| node.client.as_str()).collect();
        writeln!(out, "synod ready: {} nodes, clients at {}", self.nodes.len(), clients.join(","))?;
        out.flush()
    }

    /// Says which children have ended; fails if that was too early, or the last.
    fn note_ended(&mut self, starting: bool) -> Outcome {
        for node in self.nodes.iter_mut().filter(|node| node.ended.is_none()) {
            let Some(status) = node.child.try_wait()? else { continue };
            node.ended = Some(status);
            if starting {
                let why = format!("node {} did not start ({status}); see above", node.name);
                return Err(Failure::Failed(why));
            }
            eprintln!(
                "synod: node {} has ended ({status}); the others go on; start it again with: {}",
                node.name, node.command_line
            );
        }
        if self.nodes.iter().all(|node| node.ended.is_some()) {
            return Err(Failure::Failed("all nodes have ended; see above".into()));
        }
        Ok(())
    }

    /// Lets every child stop in order; kills those that do not, or all at a second Ctrl-C.
    async fn stop(&mut self, again: &mut StopSignals) -> Outcome {
        let mut child_ended = signals::children()?;
        for node in &mut self.nodes {
            node.lifeline = None;
        }
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        loop {
            let mut running = 0;
            for node in self.nodes.iter_mut().filter(|node| node.ended.is_none()) {
                node.ended = node.child.try_wait()?;
                running += u32::from(node.ended.is_none());
            }
            if running == 0 {
                return Ok(());
            }
            tokio::select! {
                _ = child_ended.recv() => {}
                () = again.next() => break,
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        Err(Failure::Failed("not all nodes stopped in time; they were killed".into()))
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.ended.is_none()) {
            // Our own children; one may have ended just now.
            drop(node.child.kill());
            drop(node.child.wait());
        }
    }
}

impl NodeProcess {
    fn start(node: &NodePlan, initial_cluster: &str) -> Result<Self, Failure> {
        let program = std::env::current_exe()?;
        let data = node.data.to_string_lossy().into_owned();
        let arguments = [
            "server",
            "--name",
            &node.name,
            "--data",
            &data,
            "--listen-client",
            &node.client,
            "--listen-peer",
            &node.peer,
            "--initial-cluster",
            initial_cluster,
        ];
        let mut child = Command::new(&program)
            .args(arguments)
            .arg("--stop-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::Failed(format!("cannot start {}: {error}", program.display()))
            })?;
        Ok(NodeProcess {
            name: node.name.clone(),
            client: node.client.clone(),
            lifeline: child.stdin.take(),
            child,
            command_line: format!("synod {}", arguments.join(" ")),
            ended: None,
        })
    }
}
