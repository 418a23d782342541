//! What a data folder refuses, and that it refuses it by name.

use super::*;
use synod_base::{ClusterId, NodeId};

fn identity(stage: Stage) -> Identity {
    Identity {
        cluster: ClusterId(0xc1),
        cluster_token: "token \"quoted\"".into(),
        node: NodeId(0xa1),
        name: "n1".into(),
        peer_urls: vec!["http://127.0.0.1:2380".into()],
        stage,
    }
}

#[test]
fn an_identity_comes_back_as_it_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(&dir.path().join("deep/er")).unwrap();
    assert_eq!(folder.identity().unwrap(), None);
    folder.store(&identity(Stage::Started)).unwrap();
    assert_eq!(folder.identity().unwrap(), Some(identity(Stage::Started)));
}

#[test]
fn every_folder_that_is_made_is_made_durable_in_the_one_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let synced = |path: &Path| {
        let mut synced = Vec::new();
        make(path, |path| {
            synced.push(path.to_owned());
            Ok(())
        })
        .unwrap();
        synced
    };
    let deep = dir.path().join("a/b/c");
    let parents = [dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b")];
    assert_eq!(synced(&deep), parents);
    assert!(deep.is_dir());
    assert_eq!(synced(&deep), <[PathBuf; 0]>::default());
    assert_eq!(synced(&dir.path().join("a/x")), [dir.path().join("a")]);
}

#[test]
fn a_folder_in_use_is_refused_and_the_user_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let held = DataFolder::open(dir.path()).unwrap();
    match DataFolder::open(dir.path()) {
        Err(FolderError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    DataFolder::open(dir.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused_even_if_its_other_fields_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    fs::write(dir.path().join("identity.toml"), "format_version = 2\nshape = \"new\"\n").unwrap();
    match folder.identity() {
        Err(FolderError::NewerFormat { found: 2, known: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_damaged_identity_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    folder.store(&identity(Stage::Started)).unwrap();
    let path = dir.path().join("identity.toml");
    let good = fs::read_to_string(&path).unwrap();
    for bad in [
        "",
        "format_version = 1\n",
        &good.replace("00000000000000a1", "0"),
        &good.replace("00000000000000a1", "xyz"),
        &good[..good.len() / 2],
    ] {
        fs::write(&path, bad).unwrap();
        let refused = folder.identity();
        assert!(matches!(refused, Err(FolderError::DamagedIdentity { .. })), "{bad}: {refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}

#[test]
fn data_without_an_identity_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    fs::create_dir(folder.engine_path()).unwrap();
    assert!(matches!(folder.identity(), Err(FolderError::LostIdentity { .. })));
}

#[test]
fn what_an_unfinished_first_start_left_is_removed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    folder.store(&identity(Stage::Starting)).unwrap();
    fs::create_dir(folder.engine_path()).unwrap();
    fs::write(folder.engine_path().join("half"), "written").unwrap();
    fs::write(dir.path().join("notes.txt"), "the operator's own").unwrap();
    assert_eq!(folder.identity().unwrap(), None);
    assert!(!folder.engine_path().exists());
    assert!(dir.path().join("notes.txt").exists());
    assert_eq!(folder.identity().unwrap(), None);
}

#[test]
fn the_folder_of_another_member_or_cluster_is_refused() {
    let identity = identity(Stage::Started);
    let path = Path::new("data");
    assert!(identity.check(path, "n1", "token \"quoted\"").is_ok());
    let other_name = identity.check(path, "n2", "token \"quoted\"");
    assert!(matches!(other_name, Err(FolderError::OtherName { .. })));
    let other_cluster = identity.check(path, "n1", "prod");
    assert!(matches!(other_cluster, Err(FolderError::OtherCluster { .. })));
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    for path in [file.clone(), file.join("below")] {
        assert!(matches!(DataFolder::open(&path), Err(FolderError::Unusable { .. })));
    }
}
