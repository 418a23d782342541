//! What a data folder of `synod up` holds: one node in itself, or a cluster with a folder per node.

use std::path::Path;

use crate::cli::failure::Failure;

/// A node writes it when it starts for the first time.
const IDENTITY_FILE: &str = "identity.toml";

/// `n1`, `n2`, ..
pub fn node_name(number: u16) -> String {
    format!("n{number}")
}

/// Refuses to start `nodes` nodes on a folder that holds something else. For a new cluster the nodes'
/// folders are made here, all of them, so that the count can be told from the folder later.
pub fn check(data: &Path, nodes: u16) -> Result<(), Failure> {
    refuse_another_count(data, nodes).map_err(Failure::WrongUse)?;
    if nodes == 1 {
        // A single node makes its own folder.
        return Ok(());
    }
    for number in 1..=nodes {
        let folder = data.join(node_name(number));
        std::fs::create_dir_all(&folder).map_err(|error| {
            Failure::Failed(format!(
                "cannot create {}: {error}; choose another --data",
                folder.display()
            ))
        })?;
    }
    Ok(())
}

fn refuse_another_count(data: &Path, nodes: u16) -> Result<(), String> {
    let found = cluster_size(data);
    let path = data.display();
    let single = data.join(IDENTITY_FILE).exists();
    match (nodes, found) {
        (1, 0) => Ok(()),
        (1, found) => {
            Err(format!("{path} holds a cluster of {found} nodes; start it with --nodes {found}"))
        }
        (_, _) if single => Err(format!(
            "{path} holds a single node; start it with --nodes 1 and let it grow with \
             `synod member add`, or choose another --data"
        )),
        (nodes, found) if found != 0 && found != nodes => Err(format!(
            "{path} holds a cluster of {found} nodes, not {nodes}; start it with \
             --nodes {found} and let it grow with `synod member add`"
        )),
        (_, _) => Ok(()),
    }
}

fn cluster_size(data: &Path) -> u16 {
    let is_there = |number: &u16| data.join(node_name(*number)).is_dir();
    u16::try_from((1..=super::MAX_NODES).take_while(is_there).count()).unwrap_or(super::MAX_NODES)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn refusal(data: &Path, nodes: u16) -> String {
        match check(data, nodes) {
            Err(Failure::WrongUse(line)) => line,
            other => panic!("wanted a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_cluster_is_started_again_with_as_many_nodes_only() {
        let data = TempDir::new().unwrap();
        check(data.path(), 3).unwrap();
        check(data.path(), 3).unwrap();
        for other in [1, 2, 5] {
            let line = refusal(data.path(), other);
            assert!(line.contains("--nodes 3"), "{line}");
        }
    }

    #[test]
    fn a_single_node_is_not_started_as_a_cluster() {
        let data = TempDir::new().unwrap();
        std::fs::write(data.path().join(IDENTITY_FILE), "").unwrap();
        check(data.path(), 1).unwrap();
        assert!(refusal(data.path(), 3).contains("--nodes 1"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_a_failure() {
        let data = TempDir::new().unwrap();
        let file = data.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(check(&file, 3), Err(Failure::Failed(_))));
    }
}
