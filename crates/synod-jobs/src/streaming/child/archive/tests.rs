//! Archives made here, good ones and hostile ones.

use super::*;
use std::io::Write;

enum Entry<'a> {
    File(&'a str, &'a [u8], u32),
    Folder(&'a str),
    Link(&'a str, &'a str),
    HardLink(&'a str, &'a str),
    Pipe(&'a str),
}
use Entry::*;

/// A tar file. Names are written as they are: the crate's own builder would refuse the bad ones.
fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        let (name, kind, content, mode, target) = match *entry {
            File(name, content, mode) => (name, tar::EntryType::Regular, content, mode, ""),
            Folder(name) => (name, tar::EntryType::Directory, b"" as &[u8], 0o755, ""),
            Link(name, target) => (name, tar::EntryType::Symlink, b"" as &[u8], 0o777, target),
            HardLink(name, target) => (name, tar::EntryType::Link, b"" as &[u8], 0o644, target),
            Pipe(name) => (name, tar::EntryType::Fifo, b"" as &[u8], 0o644, ""),
        };
        let fields = header.as_ustar_mut().expect("it is one");
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn zip_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for entry in entries {
        match *entry {
            File(name, content, mode) => {
                zip.start_file(name, options.unix_permissions(mode)).unwrap();
                zip.write_all(content).unwrap();
            }
            Folder(name) => zip.add_directory(name, options).unwrap(),
            Link(name, target) => zip.add_symlink(name, target, options).unwrap(),
            HardLink(..) | Pipe(_) => panic!("zip has none"),
        }
    }
    zip.finish().unwrap().into_inner()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn unpacked(
    name: &str,
    bytes: &[u8],
    limits: &Limits,
) -> (tempfile::TempDir, Result<(), JobError>) {
    let place = tempfile::tempdir().unwrap();
    let archive = place.path().join(name);
    std::fs::write(&archive, bytes).unwrap();
    let folder = place.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let result = unpack(&archive, &folder, limits);
    (place, result)
}

#[track_caller]
fn assert_refused(name: &str, bytes: &[u8], part: &str) {
    let (place, result) = unpacked(name, bytes, &Limits::default());
    let error = result.unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
    let names: Vec<_> =
        std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "something was written outside: {names:?}");
}

#[test]
fn good_archives_of_every_kind_are_unpacked() {
    let entries = [
        Folder("d/"),
        File("d/script", b"#!/bin/sh\n", 0o755),
        File("./plain", b"text", 0o6644),
        File("deep/er/file", b"", 0o600),
        Link("d/link", "../plain"),
        Link("dangling", "not/there"),
    ];
    let tar = tar_of(&entries);
    for (name, bytes) in [
        ("a.tar", tar.clone()),
        ("a.tar.gz", gz(&tar)),
        ("a.TGZ", gz(&tar)),
        ("a.tar.bz2", bz2(&tar)),
        ("a.tar.zst", zstd::encode_all(tar.as_slice(), 3).unwrap()),
        ("a.zip", zip_of(&entries)),
        ("a.jar", zip_of(&entries)),
    ] {
        let (place, result) = unpacked(name, &bytes, &Limits::default());
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let out = place.path().join("out");
        assert_eq!(std::fs::read(out.join("d/link")).unwrap(), b"text", "{name}");
        assert_eq!(std::fs::read(out.join("deep/er/file")).unwrap(), b"");
        let mode = |path: &str| out.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("d/script") & 0o511, mode("plain") & 0o7111), (0o511, 0), "{name}");
        assert!(out.join("dangling").symlink_metadata().unwrap().is_symlink());
    }
}

#[test]
fn a_hard_link_becomes_a_copy() {
    let entries = [File("a", b"same", 0o644), HardLink("b", "a")];
    let (place, result) = unpacked("a.tar", &tar_of(&entries), &Limits::default());
    result.unwrap();
    assert_eq!(std::fs::read(place.path().join("out/b")).unwrap(), b"same");
    assert_refused("a.tar", &tar_of(&[HardLink("b", "../a.tar")]), "leads out");
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["../evil", "a/../../evil", "/tmp/evil", ".."] {
        assert_refused("a.tar", &tar_of(&[File(name, b"x", 0o644)]), "leads out");
    }
    for name in ["../evil", "a/../../evil"] {
        assert_refused("a.zip", &zip_of(&[File(name, b"x", 0o644)]), "leads out");
    }
    assert_refused("a.tar", &tar_of(&[File(".", b"x", 0o644)]), "no name");
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc/passwd", "../../x", "../x"] {
        assert_refused("a.tar", &tar_of(&[Link("l", target)]), "leads out");
        assert_refused("a.zip", &zip_of(&[Link("l", target)]), "leads out");
    }
    // Each alone stays inside.
    let together = [Link("here", "."), Link("x", "here/..")];
    assert_refused("a.tar", &tar_of(&together), "leads out");
}

#[test]
fn nothing_is_written_through_a_link_or_over_a_file() {
    let through = [Link("d", "."), File("d/x", b"x", 0o644)];
    assert_refused("a.tar", &tar_of(&through), "xists");
    let link_through = [Link("d", "."), Link("d/x", "y")];
    assert_refused("a.tar", &tar_of(&link_through), "exists");
    let twice = [File("x", b"1", 0o644), File("x", b"2", 0o644)];
    assert_refused("a.tar", &tar_of(&twice), "xists");
}

#[test]
fn devices_and_pipes_and_what_is_no_archive_are_refused() {
    assert_refused("a.tar", &tar_of(&[Pipe("p")]), "no file, folder or link");
    assert_refused("a.rar", b"whatever", "its name ends with none of");
    assert_refused("a.zip", b"whatever", "cannot be unpacked");
    assert_refused("a.tgz", b"whatever", "cannot be unpacked");
    let cut = &gz(&tar_of(&[File("a", &[7; 5000], 0o644)]))[..60];
    assert_refused("a.tgz", cut, "cannot be unpacked");
}

#[test]
fn count_size_and_ratio_are_limited() {
    let limits = |entries, bytes, ratio| Limits { entries, bytes, ratio };
    let files = [File("a", &[b'x'; 1000], 0o644), File("b", &[b'x'; 1000], 0o644)];
    let tar = tar_of(&files);
    assert!(unpacked("a.tar", &tar, &limits(2, 2000, 1000)).1.is_ok());
    assert!(unpacked("a.tar", &tar, &limits(1, 2000, 1000)).1.is_err());
    assert!(unpacked("a.tar", &tar, &limits(2, 1999, 1000)).1.is_err());
    let zeros = vec![0; (RATIO_FROM_BYTES + 1) as usize];
    let bomb = zip_of(&[File("zeros", &zeros, 0o644)]);
    assert!((bomb.len() as u64) * 900 < RATIO_FROM_BYTES, "{}", bomb.len());
    assert!(unpacked("a.zip", &bomb, &limits(1, u64::MAX / 2, 900)).1.is_err());
}
