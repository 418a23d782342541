//! Files and archives that come with a job.

use std::fs::File;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::bench::Bench;

fn zip(bench: &Bench, name: &str) {
    let mut zip = zip::ZipWriter::new(File::create(bench.path(name)).unwrap());
    for (name, content) in [("top.txt", "from zip\n"), ("sub/deep.txt", "deep\n")] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
}

fn tar_gz(bench: &Bench, name: &str) {
    let packed = GzEncoder::new(File::create(bench.path(name)).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(packed);
    let content = "#!/bin/sh\nexec sed s/^/ran:/\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "bin/tool", content.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[test]
fn archives_are_unpacked_into_folders_of_their_names() {
    let bench = Bench::with_input("x\n");
    zip(&bench, "data.zip");
    tar_gz(&bench, "tools.tar.gz");
    let mapper = "sh -c \"cat d/top.txt d/sub/deep.txt tools.tar.gz/bin/tool; cat >/dev/null\"";
    let archives = ["-archives", "data.zip#d,tools.tar.gz"];
    let words = [&archives[..], &["-mapper", mapper, "-reducer", "NONE"]].concat();
    let text = bench.run(&words).text();
    assert_eq!(text, "from zip\t\ndeep\t\n#!/bin/sh\t\nexec sed s/^/ran:/\t\n");
    // A program in an archive is started by its path there.
    let words = ["-archives", "tools.tar.gz#t", "-mapper", "t/bin/tool", "-reducer", "NONE"];
    assert_eq!(bench.run(&words).text(), "ran:x\t\n");
    // The old option says the same.
    let words = ["-cacheArchive", "tools.tar.gz#t", "-mapper", "t/bin/tool", "-reducer", "NONE"];
    assert_eq!(bench.run(&words).text(), "ran:x\t\n");
}

#[test]
fn files_are_there_under_their_names_and_found_before_the_search_path() {
    let bench = Bench::with_input("x\n");
    bench.put("dir/words.txt", "shipped\n");
    bench.put("dir/upper.sh", "#!/bin/sh\ncat words.txt w\nexec tr a-z A-Z\n");
    // It hides the system's own; and nobody has made it executable.
    bench.put("dir/sort", "#!/bin/sh\nexec sed s/$/!/\n");
    let files = "dir/words.txt,dir/words.txt#w,dir/upper.sh,dir/sort";
    let words = ["-files", files, "-mapper", "upper.sh", "-reducer", "sort"];
    assert_eq!(bench.run(&words).text(), "X\t!\nshipped\t!\nshipped\t!\n");
    // As old scripts have it: each by its own option, the program by its path on this side.
    let words = ["-mapper", "dir/upper.sh", "-reducer", "NONE"];
    let old = ["-file", "dir/words.txt", "dir/upper.sh", "-cacheFile", "dir/words.txt#w"];
    let text = bench.run(&[&words[..], &old[..]].concat()).text();
    assert_eq!(text, "shipped\t\nshipped\t\nX\t\n");
}

#[test]
fn the_files_of_libjars_are_there_for_programs_as_other_files_are() {
    let bench = Bench::with_input("x\n");
    bench.put("lib/one.jar", "first\n");
    bench.put("lib/two.jar", "second\n");
    let libjars = ["-libjars", "lib/one.jar,lib/two.jar#other.jar"];
    for (stage, words) in [
        ("mapper", ["-mapper", "cat one.jar other.jar -", "-reducer", "NONE"]),
        ("reducer", ["-mapper", "cat", "-reducer", "cat one.jar other.jar -"]),
    ] {
        let ran = bench.run(&[&libjars[..], &words].concat());
        assert_eq!(ran.text(), "first\t\nsecond\t\nx\t\n", "{stage}");
    }
    let none = ["-libjars", "lib/none.jar", "-mapper", "cat", "-reducer", "NONE"];
    let said = String::from_utf8(bench.try_run(&none).1.stderr).unwrap();
    assert!(said.contains("none.jar"), "{said}");
}

#[test]
fn what_cannot_be_shipped_is_refused_before_anything_runs() {
    let bench = Bench::with_input("x\n");
    bench.put("a", "");
    bench.put("d/a", "");
    bench.put("broken.zip", "no archive at all");
    for (option, value, reason) in [
        ("-files", "nothing-there", "nothing-there"),
        ("-files", "a,d/a", "`a`"),
        ("-files", "a#../b", "one plain name"),
        ("-archives", "broken.zip", "broken.zip"),
    ] {
        let said = bench.try_run(&[option, value, "-mapper", "cat", "-reducer", "NONE"]);
        let stderr = String::from_utf8(said.1.stderr).unwrap();
        assert!(!said.1.status.success() && stderr.contains(reason), "{value}: {stderr}");
        assert!(!said.0.exists(), "{value}");
    }
}
