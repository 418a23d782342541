//! `--check` on scripts as they lie in a folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bench::Bench;

#[test]
fn shipped_scripts_are_looked_at_before_they_are_run_anywhere() {
    let bench = Bench::with_input("a\n");
    let portable = "import sys\nfor line in sys.stdin:\n    sys.stdout.write(line)\n";
    bench.script("sorted.sh", "LC_ALL=C sort | uniq -c");
    bench.put("m.py", format!("#!/usr/bin/env python3\n{portable}"));
    fs::set_permissions(bench.path("m.py"), PermissionsExt::from_mode(0o755)).unwrap();
    let job = ["-files", "m.py,sorted.sh", "-mapper", "m.py", "-reducer", "sorted.sh"];
    let check = |words: &[&str]| {
        let words =
            [&["streaming", "--check"], words, &["-input", "in", "-output", "out"]].concat();
        let done = bench.command(&words).output().unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = check(&job);
    assert!(code == Some(0) && said.contains("nothing to say"), "{said}");
    // Each of these is one thing to look at.
    fs::set_permissions(bench.path("m.py"), PermissionsExt::from_mode(0o644)).unwrap();
    bench.script("sorted.sh", "sort | uniq -c");
    let (code, said) = check(&job);
    assert_eq!((code, said.lines().count()), (Some(1), 2), "{said}");
    assert!(said.contains("m.py: its mode") && said.contains("sorted.sh: sort"), "{said}");
    bench.put("m.py", portable);
    assert!(check(&job).1.contains("m.py: without a #! line"));
    bench.put("m.py", "#!/usr/bin/env python3\nimport random\nprint(random.random())\n");
    let (_, said) = check(&job);
    assert!(said.contains("names its standard input") && said.contains("random."), "{said}");
    assert!(!bench.path("out").exists(), "it runs nothing");
}
