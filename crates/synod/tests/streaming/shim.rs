//! The names `hadoop`, `mapred` and `hdfs`: a launcher's commands for files, step by step.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use crate::bench::{Bench, CAT};
use crate::support::binary;

struct Shim {
    bench: Bench,
}

impl Shim {
    /// With an empty folder in place of HDFS.
    fn new() -> Shim {
        let bench = Bench::new();
        fs::create_dir(bench.path("hdfs")).unwrap();
        for name in ["hadoop", "mapred"] {
            symlink(binary(), bench.path(name)).unwrap();
        }
        fs::create_dir(bench.path("bin")).unwrap();
        symlink(binary(), bench.path("bin/hdfs")).unwrap();
        Shim { bench }
    }

    fn output(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(self.bench.path(program));
        command.args(words).current_dir(self.bench.path("")).stdin(Stdio::null());
        command.env("SYNOD_HDFS_ROOT", self.bench.path("hdfs")).env_remove("SYNOD_HANDED_TO");
        command.output().unwrap()
    }

    /// `hadoop fs`, which must end with this code; what it printed and what it complained of.
    #[track_caller]
    fn fs(&self, code: i32, words: &[&str]) -> (String, String) {
        let output = self.output("hadoop", &[&["fs"], words].concat());
        let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {err}");
        (String::from_utf8(out).unwrap(), err)
    }

    #[track_caller]
    fn prints(&self, words: &[&str], expected: &str) {
        assert_eq!(self.fs(0, words).0, expected, "{words:?}");
    }

    #[track_caller]
    fn complains(&self, words: &[&str], expected: &str) {
        let complaint = self.fs(1, words).1;
        assert!(complaint.contains(expected), "{words:?}: {complaint}");
    }
}

#[test]
fn files_are_put_listed_read_and_removed_in_the_place_of_hdfs() {
    let shim = Shim::new();
    shim.bench.put("local/a.txt", "alpha\n");
    shim.bench.put("local/b.txt", "beta\n");
    shim.complains(&["-mkdir", "hdfs:///user/x/in"], "No such file or directory");
    shim.prints(&["-mkdir", "-p", "hdfs:///user/x/in"], "");
    shim.complains(&["-mkdir", "hdfs:///user/x/in"], "File exists");
    shim.prints(&["-put", "local/a.txt", "local/b.txt", "hdfs:///user/x/in/"], "");
    shim.complains(&["-put", "local/a.txt", "hdfs:///user/x/in/a.txt"], "File exists");
    shim.prints(&["-put", "-f", "local/b.txt", "hdfs:///user/x/in/a.txt"], "");
    shim.prints(&["-cat", "hdfs:///user/x/in/a.txt"], "beta\n");
    shim.prints(&["-copyFromLocal", "-f", "local/a.txt", "hdfs:///user/x/in/a.txt"], "");
    shim.prints(&["-cat", "hdfs:///user/x/in/*.txt"], "alpha\nbeta\n");
    let (listing, _) = shim.fs(0, &["-ls", "hdfs:///user/x/in"]);
    let lines: Vec<&str> = listing.lines().collect();
    assert_eq!((lines[0], lines.len()), ("Found 2 items", 3));
    let fields: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((fields.len(), fields[4], fields[7]), (8, "6", "hdfs:///user/x/in/a.txt"));
    assert!(fields[0].starts_with("-rw") && fields[0].len() == 10, "{listing}");
    for recursive in [&["-ls", "-R"][..], &["-lsr"]] {
        let (listing, _) = shim.fs(0, &[recursive, &["hdfs:///user"]].concat());
        let names: Vec<&str> =
            listing.lines().filter_map(|line| line.split(' ').next_back()).collect();
        let expected = ["", "/in", "/in/a.txt", "/in/b.txt"].map(|n| format!("hdfs:///user/x{n}"));
        assert_eq!(names, expected);
    }
    shim.prints(&["-du", "-s", "hdfs:///user/x"], "11  11  hdfs:///user/x\n");
    shim.prints(&["-dus", "hdfs:///user/x"], "11  11  hdfs:///user/x\n");
    shim.prints(&["-getmerge", "hdfs:///user/x/in", "merged"], "");
    assert_eq!(fs::read_to_string(shim.bench.path("merged")).unwrap(), "alpha\nbeta\n");
    shim.prints(&["-get", "hdfs:///user/x/in/a.txt", "fetched"], "");
    assert_eq!(fs::read_to_string(shim.bench.path("fetched")).unwrap(), "alpha\n");
    shim.prints(&["-mv", "hdfs:///user/x/in/a.txt", "hdfs:///user/x/c.txt"], "");
    shim.prints(&["-cp", "hdfs:///user/x/c.txt", "hdfs:///user/x/d.txt"], "");
    shim.prints(&["-cat", "hdfs:///user/x/c.txt", "hdfs:///user/x/d.txt"], "alpha\nalpha\n");
    shim.prints(&["-touchz", "hdfs:///user/x/empty"], "");
    shim.prints(&["-moveFromLocal", "local/b.txt", "hdfs:///user/x/moved"], "");
    assert!(!shim.bench.path("local/b.txt").exists());
    shim.complains(&["-rm", "hdfs:///user/x/in"], "Is a directory");
    shim.prints(&["-rm", "hdfs:///user/x/moved"], "Deleted hdfs:///user/x/moved\n");
    shim.prints(&["-rm", "-r", "-skipTrash", "hdfs:///user/x"], "Deleted hdfs:///user/x\n");
    shim.complains(&["-rm", "hdfs:///user/x"], "`hdfs:///user/x': No such file or directory");
    shim.prints(&["-rm", "-f", "hdfs:///user/x"], "");
    shim.complains(&["-rmr", "hdfs:///"], "the root is not removed");
    shim.complains(&["-ls", "hdfs:///user/x"], "No such file or directory");
}

#[test]
fn tests_of_files_answer_by_their_exit_code() {
    let shim = Shim::new();
    shim.bench.put("hdfs/full", "x");
    shim.bench.put("hdfs/empty", "");
    shim.bench.put("hdfs/folder/x", "");
    for (flag, holds) in [
        ("-e", &["full", "empty", "folder"][..]),
        ("-f", &["full", "empty"]),
        ("-d", &["folder"]),
        ("-z", &["empty"]),
    ] {
        for name in ["full", "empty", "folder", "gone"] {
            let code = i32::from(!holds.contains(&name));
            let (out, err) = shim.fs(code, &["-test", flag, &format!("hdfs:///{name}")]);
            assert_eq!(out + &err, "", "{flag} {name}");
        }
    }
}

#[test]
fn text_is_shown_unpacked_and_a_path_stays_below_the_root() {
    let shim = Shim::new();
    shim.bench.put("hdfs/a.gz", super::formats::gz(b"packed\n"));
    shim.bench.put("outside", "secret\n");
    shim.prints(&["-text", "hdfs:///a.gz"], "packed\n");
    for path in ["hdfs:///../outside", "hdfs:///x/../../outside"] {
        let output = shim.output("hadoop", &["fs", "-cat", path]);
        assert!(!output.status.success() && output.stdout.is_empty(), "{path}");
    }
}

#[test]
fn every_name_answers_with_its_own_commands() {
    let shim = Shim::new();
    let (version, _) = {
        let output = shim.output("hadoop", &["version"]);
        (String::from_utf8(output.stdout).unwrap(), output.status)
    };
    assert!(version.starts_with("Hadoop 3."), "{version}");
    shim.bench.put("hdfs/in/a", "b\na\n");
    let words = ["-input", "hdfs:///in", "-output", "hdfs:///out"];
    let streaming = [&["streaming"][..], &words, CAT].concat();
    assert!(shim.output("mapred", &streaming).status.success());
    let cat = ["dfs", "-cat", "hdfs:///out/part-*"];
    assert_eq!(shim.output("bin/hdfs", &cat).stdout, b"a\t\nb\t\n");
    let (out, _) = shim.fs(0, &["-ls", "hdfs:///out"]);
    assert!(out.contains("hdfs:///out/_SUCCESS\n"), "{out}");
    // What is not there is refused by its name.
    let yarn = shim.output("hadoop", &["jar", "hadoop-examples.jar", "pi", "4", "4"]);
    assert_eq!(yarn.status.code(), Some(255));
    assert!(String::from_utf8(yarn.stderr).unwrap().starts_with("Not a valid JAR: "));
    let daemon = shim.output("bin/hdfs", &["namenode"]);
    assert!(String::from_utf8(daemon.stderr).unwrap().contains("`namenode`"));
    let words = ["fs", "-setfacl", "x"];
    let unknown = String::from_utf8(shim.output("hadoop", &words).stderr).unwrap();
    assert!(unknown.contains("-setfacl is not known here"), "{unknown}");
}
