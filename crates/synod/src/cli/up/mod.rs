//! `synod up`: a node in this process, or a cluster of processes on this machine.
//!
//! What a data folder holds decides: a folder of one node is never started as a cluster of new ones,
//! nor a cluster with fewer or more nodes than it has.

mod children;
mod layout;

use std::path::PathBuf;

use clap::Args;
use synod::server::ServerOptions;

use super::Outcome;
use super::server::{DEFAULT_DATA, serve};
use children::Children;

/// Nodes that one machine is asked to run at most.
const MAX_NODES: u16 = 9;

/// Ports from one node to the next.
const PORT_STEP: u16 = 10;

/// Start a node here, or a whole cluster on this machine, until Ctrl-C
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  synod up                             one node, clients at 127.0.0.1:2379, data in ./synod-data
  synod up --nodes 3 --data ./three    three processes, clients at ports 2379, 2389 and 2399")]
pub struct Up {
    /// How many nodes; node i is at client port P+10*(i-1), its peer port one above
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NODES)))]
    nodes: u16,
    /// Data folder
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Client port of the first node
    #[arg(long, value_name = "P", default_value_t = 2379,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(HIGHEST_PORT)))]
    client_port: u16,
}

/// So that the last node's peer port is a port.
const HIGHEST_PORT: u16 = u16::MAX - 1 - PORT_STEP * (MAX_NODES - 1);

impl Up {
    pub fn run(self) -> Outcome {
        layout::check(&self.data, self.nodes)?;
        if self.nodes == 1 {
            return serve(self.single());
        }
        Children::start(&self.plan())?.supervise()
    }

    fn single(&self) -> ServerOptions {
        let plan = NodePlan::of(self, 1);
        let mut options = ServerOptions::new(&self.data, plan.name);
        options.listen_client = vec![plan.client];
        options.listen_peer = vec![plan.peer];
        options
    }

    fn plan(&self) -> Vec<NodePlan> {
        (1..=self.nodes).map(|number| NodePlan::of(self, number)).collect()
    }
}

/// One node of the cluster: who, where, and where its data is.
#[derive(Clone, PartialEq, Eq, Debug)]
struct NodePlan {
    name: String,
    client: String,
    peer: String,
    data: PathBuf,
}

impl NodePlan {
    fn of(up: &Up, number: u16) -> NodePlan {
        let client_port = up.client_port + PORT_STEP * (number - 1);
        let name = layout::node_name(number);
        NodePlan {
            client: format!("127.0.0.1:{client_port}"),
            peer: format!("127.0.0.1:{}", client_port + 1),
            data: up.data.join(&name),
            name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_stand_ten_ports_apart() {
        let up = Up { nodes: 3, data: "d".into(), client_port: 2379 };
        let plan = up.plan();
        let places: Vec<(&str, &str)> =
            plan.iter().map(|node| (node.client.as_str(), node.peer.as_str())).collect();
        let want = [
            ("127.0.0.1:2379", "127.0.0.1:2380"),
            ("127.0.0.1:2389", "127.0.0.1:2390"),
            ("127.0.0.1:2399", "127.0.0.1:2400"),
        ];
        assert_eq!(places, want);
        assert_eq!(plan[2].data, PathBuf::from("d/n3"));
    }
}
