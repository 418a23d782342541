//! What a command is told: its environment, its working folder, where its side files go.

use std::collections::BTreeMap;
use std::fs;

use crate::bench::{Bench, Ran, properties};

/// The variables that a command printed, by the part file.
fn variables(ran: &Ran) -> Vec<BTreeMap<String, String>> {
    let of_part = |part: &String| {
        let lines = part.lines().filter_map(|line| line.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
    };
    ran.texts().iter().map(of_part).collect()
}

/// A shape: `#` is a digit or several, everything else stands for itself.
fn has_shape(text: &str, shape: &str) -> bool {
    let mut rest = text;
    let mut pieces = shape.split('#');
    let Some(start) = pieces.next().and_then(|first| rest.strip_prefix(first)) else {
        return false;
    };
    rest = start;
    for piece in pieces {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match rest[digits..].strip_prefix(piece) {
            Some(behind) if digits > 0 => rest = behind,
            _ => return false,
        }
    }
    rest.is_empty()
}

#[test]
fn a_map_task_is_told_who_it_is_and_what_it_reads() {
    let bench = Bench::new();
    bench.put("in/a", "12345\n");
    bench.put("in/b", "12\n");
    let dump = bench.script("dump.sh", "cat >/dev/null; [ -d \"$TMPDIR\" ] && env");
    let settings = properties(&["mapreduce.job.name=a name", "my.own-setting.x=1 2"]);
    let ran = bench.run(&[&settings[..], &["-mapper", &dump, "-reducer", "NONE"]].concat());
    let all = variables(&ran);
    assert_eq!(all.len(), 2);
    let folder = fs::canonicalize(bench.path("in")).unwrap();
    let mut inputs = Vec::new();
    for (number, told) in all.iter().enumerate() {
        let get = |name: &str| told.get(name).unwrap_or_else(|| panic!("{name}: {told:#?}"));
        for (name, shape) in [
            ("mapreduce_job_id", "job_#_#".to_owned()),
            ("mapreduce_task_id", format!("task_#_#_m_00000{number}")),
            ("mapreduce_task_attempt_id", format!("attempt_#_#_m_00000{number}_#")),
            ("mapreduce_task_partition", number.to_string()),
            ("mapreduce_job_maps", "2".to_owned()),
            ("mapreduce_job_reduces", "0".to_owned()),
            ("mapreduce_job_name", "a name".to_owned()),
            ("mapreduce_map_input_start", "0".to_owned()),
            ("mapreduce_map_input_length", "#".to_owned()),
            ("mapreduce_task_ismap", "true".to_owned()),
            ("mapreduce_task_is_map", "true".to_owned()),
            ("my_own_setting_x", "1 2".to_owned()),
            // As many as are made here.
            ("mapreduce_map_maxattempts", "2".to_owned()),
            ("mapred_reduce_max_attempts", "2".to_owned()),
        ] {
            assert!(has_shape(get(name), &shape), "{name}={}", get(name));
        }
        // The last four digits are apart, and of the task's ids the first two parts are the job's.
        let job = get("mapreduce_job_id").strip_prefix("job_").unwrap();
        assert_eq!(job.rsplit_once('_').unwrap().1.len(), 4, "{job}");
        assert!(get("mapreduce_task_attempt_id").contains(job));
        for (old, present) in [
            ("mapred_job_id", "mapreduce_job_id"),
            ("mapred_tip_id", "mapreduce_task_id"),
            ("mapred_task_id", "mapreduce_task_attempt_id"),
            ("mapred_task_partition", "mapreduce_task_partition"),
            ("mapred_task_is_map", "mapreduce_task_ismap"),
            ("mapred_map_tasks", "mapreduce_job_maps"),
            ("mapred_reduce_tasks", "mapreduce_job_reduces"),
            ("mapred_job_name", "mapreduce_job_name"),
            ("mapred_work_output_dir", "mapreduce_task_output_dir"),
            ("mapred_local_dir", "mapreduce_cluster_local_dir"),
            ("job_local_dir", "mapreduce_job_local_dir"),
            ("map_input_file", "mapreduce_map_input_file"),
            ("map_input_start", "mapreduce_map_input_start"),
            ("map_input_length", "mapreduce_map_input_length"),
            ("user_name", "mapreduce_job_user_name"),
        ] {
            assert_eq!(get(old), get(present), "{old}");
        }
        inputs.push((get("map_input_file").clone(), get("map_input_length").clone()));
    }
    inputs.sort();
    let expected = [("a", "6"), ("b", "3")];
    for ((file, length), (name, bytes)) in inputs.iter().zip(expected) {
        let path = fs::canonicalize(file.strip_prefix("file:").unwrap()).unwrap();
        assert_eq!((path, length.as_str()), (folder.join(name), bytes));
    }
}

#[test]
fn a_reduce_task_is_told_who_it_is() {
    let bench = Bench::with_input("a\nb\nc\nd\n");
    let settings = properties(&["mapreduce.job.reduces=2"]);
    let reducer = "sh -c \"cat >/dev/null; env\"";
    let ran = bench.run(&[&settings[..], &["-mapper", "cat", "-reducer", reducer]].concat());
    for (number, told) in variables(&ran).iter().enumerate() {
        assert_eq!(told["mapreduce_task_ismap"], "false");
        assert_eq!(told["mapreduce_job_reduces"], "2");
        assert_eq!(told["mapreduce_task_partition"], number.to_string());
        let shape = format!("attempt_#_#_r_00000{number}_0");
        assert!(has_shape(&told["mapreduce_task_attempt_id"], &shape));
        assert!(!told.contains_key("map_input_file") && told.contains_key("TMPDIR"), "{told:#?}");
    }
}

#[test]
fn variables_are_those_of_the_job_and_not_those_of_whoever_runs_it() {
    let bench = Bench::with_input("x\n");
    let words = [
        &properties(&["stream.jobconf.truncate.limit=9", "long.value=123456789012"])[..],
        &properties(&["synod.streaming.environment=KEPT_*"]),
        &["-cmdenv", "A=1", "-cmdenv", "B=x=y z", "-cmdenv", "EMPTY="],
        &["-mapper", "sh -c \"cat >/dev/null; env\"", "-reducer", "NONE", "-input", "in"],
        &["-output", "out"],
    ]
    .concat();
    let mut command = bench.command(&[&["streaming"], &words[..]].concat());
    command.env("A_SECRET", "hidden").env("KEPT_ONE", "kept");
    assert!(command.output().unwrap().status.success());
    let printed = fs::read_to_string(bench.path("out/part-00000")).unwrap();
    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    for expected in ["A=1", "B=x=y z", "EMPTY=", "long_value=123456789", "KEPT_ONE=kept"] {
        assert!(lines.contains(&expected), "{expected} is not in {lines:#?}");
    }
    assert!(!printed.contains("A_SECRET"), "{printed}");
}

#[test]
fn side_files_appear_with_the_output_and_the_working_folder_goes() {
    let bench = Bench::with_input("x\n");
    let script = "cat; echo aside > \"$mapreduce_task_output_dir/side-$mapred_task_partition\"; \
                  echo scratch > made-here; pwd >&2; [ \"$mapreduce_job_local_dir\" -ef . ]";
    let script = bench.script("side.sh", script);
    let ran = bench.run(&["-mapper", &script, "-reducer", "NONE"]);
    assert_eq!(fs::read_to_string(ran.output.join("side-0")).unwrap(), "aside\n");
    assert_eq!(ran.text(), "x\t\n");
    let folder = ran.stderr.lines().find(|line| line.starts_with('/')).unwrap();
    assert!(!fs::exists(folder).unwrap(), "{folder}");
    assert!(!bench.path("made-here").exists());
}
