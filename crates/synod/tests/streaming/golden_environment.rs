//! What a program is told by Hadoop, and by Synod: each variable of the recorded environments is there
//! with the recorded value, or stands in one of the lists below with the reason.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::golden::Golden;

/// Variables that are told here, too, but with another value.
const OF_OTHER_VALUE: &[(&str, &str)] = &[
    ("TMPDIR", "a folder of the attempt's own, which goes with it"),
    ("mapred_local_dir", "the same"),
    ("mapreduce_task_output_dir", "a path, so that a shell can write into it; Hadoop's is a URI"),
    ("mapred_work_output_dir", "the same"),
    ("mapreduce_job_cache_files", "with the name that each file has for the program"),
    ("mapreduce_job_cache_local_files", "the files stand in the program's folder and nowhere else"),
    ("stream_addenvironment", "Hadoop puts a variable for its own logger in front"),
    ("mapreduce_map_maxattempts", "as many as are made: two in one process, four on a cluster"),
    ("mapreduce_reduce_maxattempts", "the same"),
];

const JAVA: &str = "the name of a Java class that does not run here";
const CLIENT: &str = "what Hadoop's client notes for itself";

/// Variables that nobody is told here.
const NOT_TOLD: &[(&str, &str)] = &[
    ("HADOOP_ROOT_LOGGER", "it silences the logger of a Hadoop that a program starts"),
    ("dfs_bytes_per_checksum", "of a file system that is not here"),
    ("hadoop_http_filter_initializers", "of a daemon that is not here"),
    ("mapred_job_tracker", "of a daemon that is not here"),
    ("mapreduce_jobtracker_address", "of a daemon that is not here"),
    ("mapred_queue_default_acl_administer_jobs", "there are no queues with rights of their own"),
    ("mapred_map_runner_class", JAVA),
    ("mapred_mapper_class", JAVA),
    ("mapred_mapper_new_api", JAVA),
    ("mapred_reducer_class", JAVA),
    ("mapred_reducer_new_api", JAVA),
    ("mapreduce_job_output_key_class", JAVA),
    ("mapreduce_job_output_value_class", JAVA),
    ("mapreduce_map_output_key_class", JAVA),
    ("mapreduce_map_output_value_class", JAVA),
    ("stream_map_input_writer_class", JAVA),
    ("stream_map_output_reader_class", JAVA),
    ("stream_reduce_input_writer_class", JAVA),
    ("stream_reduce_output_reader_class", JAVA),
    ("mapreduce_client_genericoptionsparser_used", CLIENT),
    ("mapreduce_input_fileinputformat_numinputfiles", CLIENT),
    ("mapreduce_job_cache_files_filesizes", CLIENT),
    ("mapreduce_job_cache_files_timestamps", CLIENT),
    ("mapreduce_job_cache_files_visibilities", CLIENT),
    ("mapreduce_job_dir", CLIENT),
    ("mapreduce_job_jar", CLIENT),
    ("mapreduce_job_submithostaddress", CLIENT),
    ("mapreduce_job_submithostname", CLIENT),
    ("tmpfiles", CLIENT),
];

const SCHEDULING: &str = "how Hadoop's masters hand out tasks and memory; nothing here is told so";
const BUFFERS: &str = "how Hadoop's tasks buffer, move and merge; here `--memory` decides";
const SECURITY: &str = "of Hadoop's tokens and lists of users";
const BOOKS: &str = "how Hadoop stores and limits what it knows of a job";

/// Defaults about jobs that nobody is told here, by the beginning of their names.
const NOT_TOLD_DEFAULTS: &[(&str, &str)] = &[
    ("mapreduce_input_fileinputformat_list_status_num_threads", BOOKS),
    ("mapreduce_job_acl_", SECURITY),
    ("mapreduce_job_cache_limit_", BOOKS),
    ("mapreduce_job_classloader", BOOKS),
    ("mapreduce_job_committer_", BOOKS),
    ("mapreduce_job_complete_cancel_delegation_tokens", SECURITY),
    ("mapreduce_job_counters_", BOOKS),
    ("mapreduce_job_dfs_", BOOKS),
    ("mapreduce_job_emit_timeline_data", BOOKS),
    ("mapreduce_job_encrypted_intermediate_data", SECURITY),
    ("mapreduce_job_end_notification_", "nobody is called when a job ends"),
    ("mapreduce_job_finish_when_all_reducers_done", SCHEDULING),
    ("mapreduce_job_heap_memory_mb_ratio", SCHEDULING),
    ("mapreduce_job_local_fs_", BOOKS),
    ("mapreduce_job_max_", SCHEDULING),
    ("mapreduce_job_maxtaskfailures_per_tracker", SCHEDULING),
    ("mapreduce_job_reduce_slowstart_completedmaps", SCHEDULING),
    ("mapreduce_job_reducer_", SCHEDULING),
    ("mapreduce_job_running_", SCHEDULING),
    ("mapreduce_job_sharedcache_", BOOKS),
    ("mapreduce_job_speculative_", SCHEDULING),
    ("mapreduce_job_split_metainfo_maxsize", BOOKS),
    ("mapreduce_job_token_", SECURITY),
    ("mapreduce_job_ubertask_", SCHEDULING),
    ("mapreduce_map_cpu_", SCHEDULING),
    ("mapreduce_map_log_level", BOOKS),
    ("mapreduce_map_memory_mb", SCHEDULING),
    ("mapreduce_map_output_compress", BUFFERS),
    ("mapreduce_map_skip_proc_count_auto_incr", "a program's own count is taken, never guessed"),
    ("mapreduce_map_sort_spill_percent", BUFFERS),
    ("mapreduce_output_fileoutputformat_compress_type", "of files of Java objects"),
    ("mapreduce_reduce_cpu_", SCHEDULING),
    ("mapreduce_reduce_input_buffer_percent", BUFFERS),
    ("mapreduce_reduce_log_level", BOOKS),
    ("mapreduce_reduce_markreset_buffer_percent", BUFFERS),
    ("mapreduce_reduce_memory_mb", SCHEDULING),
    ("mapreduce_reduce_merge_", BUFFERS),
    ("mapreduce_reduce_shuffle_", BUFFERS),
    ("mapreduce_reduce_skip_proc_count_auto_incr", "the same"),
    ("mapreduce_task_combine_progress_records", BUFFERS),
    ("mapreduce_task_exit_timeout", SCHEDULING),
    ("mapreduce_task_files_preserve_", BOOKS),
    ("mapreduce_task_io_sort_", BUFFERS),
    ("mapreduce_task_local_fs_", BOOKS),
    ("mapreduce_task_merge_", BUFFERS),
    ("mapreduce_task_profile", "of a Java machine"),
    ("mapreduce_task_stuck_", SCHEDULING),
    ("mapreduce_task_userlog_", BOOKS),
];

/// Beginnings of the names of the other defaults: of daemons, file systems, networks, Java classes and
/// folders of Hadoop. No program of a job needs them, and nothing here is set by them.
const OF_CLUSTERS: &[&str] = &[
    "adl_",
    "dfs_",
    "file_",
    "fs_",
    "ftp_",
    "ha_",
    "hadoop_",
    "io_",
    "ipc_",
    "map_sort_class",
    "mapreduce_",
    "net_",
    "nfs_",
    "rpc_",
    "seq_",
    "tfile_",
    "yarn_",
];

/// What a program prints of its environment, with the marks of the recordings.
fn told(name: &str) -> BTreeMap<String, String> {
    let golden = Golden::read();
    let given = golden.case(name).run();
    let lines = given.parts["part-00000"].lines();
    let pairs = lines.filter_map(|line| line.strip_suffix('\t').unwrap_or(line).split_once('='));
    let told: BTreeMap<_, _> =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let folder = given.bench.path("").display().to_string();
    let job = told["mapreduce_job_id"].strip_prefix("job_").unwrap();
    let marked = |value: &String| {
        value.replace(folder.trim_end_matches('/'), "{folder}").replace(job, "{job}")
    };
    told.iter().map(|(name, value)| (name.clone(), marked(value))).collect()
}

fn is_listed(list: &[(&str, &str)], name: &str) -> bool {
    list.iter().any(|(listed, _)| *listed == name)
}

#[track_caller]
fn compare(kind: &str) {
    let golden = Golden::read();
    let name = format!("environment-of-a-{kind}");
    let told = told(&name);
    let mut found = Vec::new();
    for (variable, value) in golden.case(&name).recorded["environment"].as_object().unwrap() {
        let value = value.as_str().unwrap();
        match told.get(variable) {
            None if is_listed(NOT_TOLD, variable) => {}
            None => found.push(format!("{variable} is not told; Hadoop's is `{value}`")),
            Some(_) if is_listed(NOT_TOLD, variable) => {
                found.push(format!("{variable} is told, and listed as if it were not"));
            }
            Some(told) if value == "{user}" => {
                assert!(!told.is_empty(), "{variable}");
            }
            Some(told) => {
                if (told != value) != is_listed(OF_OTHER_VALUE, variable) {
                    found.push(format!("{variable} is `{told}`; Hadoop's is `{value}`"));
                }
            }
        }
    }
    assert!(found.is_empty(), "a {kind} task:\n{}", found.join("\n"));
}

#[test]
fn a_map_is_told_what_hadoop_tells_it_but_for_what_is_listed() {
    compare("map");
}

#[test]
fn a_reduce_is_told_what_hadoop_tells_it_but_for_what_is_listed() {
    compare("reduce");
}

#[test]
fn defaults_that_mean_something_here_are_told_as_hadoop_has_them() {
    let golden = Golden::read();
    let defaults = &golden.recorded()["defaults"];
    let told = told("environment-of-a-map");
    let mut found = Vec::new();
    for (variable, value) in defaults["of_jobs"].as_object().unwrap() {
        let left_out = NOT_TOLD_DEFAULTS.iter().any(|(start, _)| variable.starts_with(start));
        let other = is_listed(OF_OTHER_VALUE, variable);
        let here = told.get(variable).map(|value| Value::from(value.as_str()));
        if left_out != here.is_none() || (!left_out && (here.as_ref() == Some(value)) == other) {
            found.push(format!("{variable} is {here:?}; Hadoop's is {value}"));
        }
    }
    for (start, _) in NOT_TOLD_DEFAULTS {
        let mut names = defaults["of_jobs"].as_object().unwrap().keys();
        assert!(names.any(|name| name.starts_with(start)), "{start} stands for nothing");
    }
    for variable in defaults["of_clusters"].as_array().unwrap() {
        let variable = variable.as_str().unwrap();
        if !told.contains_key(variable)
            && !OF_CLUSTERS.iter().any(|start| variable.starts_with(start))
        {
            found.push(format!("{variable} is a default of no known kind"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
