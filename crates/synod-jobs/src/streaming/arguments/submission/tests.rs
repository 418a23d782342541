//! Submissions from words, in a world made of closures.

use super::super::lint::lint;
use super::super::lint::scripts::Shipped;
use super::*;
use crate::framing::{Framing, LongRecords};
use crate::input::codec::Codec;
use crate::priority::Priority;
use crate::split_size::SplitBounds;
use crate::streaming::settings::{Settings, Worker};
use crate::task::TaskKind;

fn arguments(words: &[&str]) -> Arguments {
    Arguments::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn submit(words: &[&str]) -> Result<Submission, JobError> {
    let outside = Outside {
        read: &|path| match path.to_str() {
            Some("conf.xml") => Ok("<configuration><property><name>mapred.reduce.tasks</name>\
                <value>5</value></property><property><name>x</name><value>file</value></property>\
                </configuration>"
                .to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        },
        look: &|path| match path.to_string_lossy().contains("missing") {
            true => Err(io::Error::from(io::ErrorKind::NotFound)),
            false => Ok(()),
        },
        variable: &|name| (name == "env.HOME").then(|| "/home/u".to_owned()),
        locations: Locations { hdfs_root: Some(PathBuf::from("/srv/hdfs")) },
        folder: PathBuf::from("/work"),
        job_id: "job_1700000000000_0001".to_owned(),
        user: "u".to_owned(),
    };
    Submission::new(&arguments(words), &outside)
}

const BASE: &[&str] = &["-input", "in", "-output", "out"];

fn with(more: &[&str]) -> Submission {
    submit(&[BASE, more].concat()).unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn settings(submission: &Submission) -> Settings {
    Settings::read(&Properties::of_options(&submission.spec.options)).unwrap()
}

#[test]
fn a_plain_job_has_one_reduce_task_and_hadoops_lines() {
    let submission = with(&["-mapper", "cat", "-reducer", "wc -l"]);
    let spec = &submission.spec;
    assert_eq!(spec.inputs, [PathBuf::from("/work/in")]);
    assert_eq!(spec.output, PathBuf::from("/work/out"));
    assert_eq!((spec.reduces, &spec.format.framing), (Some(1), &Framing::AnyLine));
    assert!(spec.format.strip_bom && spec.format.tasks_for_empty_files);
    assert_eq!(spec.options["mapreduce.job.id"], "job_1700000000000_0001");
    assert_eq!(submission.output_as_given, "out");
    let wc = ["wc", "-l"].map(str::to_owned).to_vec();
    assert_eq!(settings(&submission).reducer, Worker::Command(wc));
    assert_eq!(spec.job, "streaming");
}

#[test]
fn the_command_line_wins_over_files_of_properties() {
    let submission = with(&["-conf", "conf.xml"]);
    assert_eq!(submission.spec.reduces, Some(5));
    let submission = with(&["-conf", "conf.xml", "-D", "mapreduce.job.reduces=7"]);
    assert_eq!(submission.spec.reduces, Some(7));
    let both = ["-D", "mapred.reduce.tasks=7", "-numReduceTasks", "8", "-D", "nothing"];
    assert_eq!(with(&both).spec.reduces, Some(8));
    assert!(submit(&[BASE, &["-conf", "other.xml"]].concat()).is_err());
}

#[test]
fn none_as_reducer_is_a_job_of_maps() {
    let submission = with(&["-mapper", "cat", "-reducer", "NONE", "-numReduceTasks", "4"]);
    assert_eq!(submission.spec.reduces, Some(0));
    assert_eq!(settings(&submission).reducer, Worker::Identity);
    let aggregate = with(&["-mapper", "cat", "-reducer", "Aggregate"]);
    assert_eq!(settings(&aggregate).combiner, Some(Worker::Aggregate));
}

#[test]
fn inputs_are_lists_of_patterns_and_uris() {
    let inputs = submit(&[
        "-input",
        "a,b{1,2}",
        "/c",
        "-input",
        "hdfs:///d/*",
        "file:///e",
        "-output",
        "hdfs://h/o",
    ])
    .unwrap();
    let paths = ["/work/a", "/work/b{1,2}", "/c", "/srv/hdfs/d/*", "/e"];
    assert_eq!(inputs.spec.inputs, paths.map(PathBuf::from));
    assert_eq!(inputs.spec.output, PathBuf::from("/srv/hdfs/o"));
    assert_eq!(inputs.output_as_given, "hdfs://h/o");
    for incomplete in [&["-input", "a"] as &[&str], &["-output", "a"], &[]] {
        assert!(submit(incomplete).unwrap_err().to_string().contains("required argument"));
    }
}

#[test]
fn files_are_named_once_and_commands_are_unqualified() {
    let submission = with(&[
        "-files",
        "bin/map.py,/data/words.txt#w",
        "-file",
        "red.sh",
        "-cacheFile",
        "hdfs:///x#y",
        "-archives",
        "lib.zip#lib",
        "-mapper",
        "bin/map.py -v",
        "-reducer",
        "./red.sh",
    ]);
    let settings = settings(&submission);
    let names: Vec<&str> = settings.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["map.py", "w", "red.sh", "y"]);
    assert_eq!(settings.files[3].path, Path::new("/srv/hdfs/x"));
    assert_eq!(settings.archives[0].name, "lib");
    let command = |words: &[&str]| Worker::Command(words.iter().map(|w| (*w).to_owned()).collect());
    assert_eq!(settings.mapper, command(&["map.py", "-v"]));
    assert_eq!(settings.reducer, command(&["red.sh"]));
    assert!(submit(&[BASE, &["-files", "missing"]].concat()).is_err());
    assert!(submit(&[BASE, &["-files", "a/x,b/x"]].concat()).is_err());
}

#[test]
fn formats_and_sizes_reach_the_spec() {
    let spec = |more: &[&str]| with(more).spec;
    let delimited = spec(&["-D", "textinputformat.record.delimiter=||"]);
    assert_eq!(delimited.format.framing, Framing::Delimiter(b"||".to_vec()));
    let lines =
        spec(&["-inputformat", "NLineInputFormat", "-D", "mapred.line.input.format.linespermap=9"]);
    assert_eq!(lines.format.lines_per_split, Some(9));
    let marked = spec(&["-inputreader", "StreamXmlRecordReader,begin=<a>,end=</a>"]);
    assert_eq!(marked.format.framing, Framing::Delimiter(b"</a>".to_vec()));
    let native = spec(&["-D", "synod.streaming.compatible=false"]);
    assert_eq!((native.format.framing, native.format.strip_bom), (Framing::Line, false));
    let short = spec(&["-D", "mapreduce.input.linerecordreader.line.maxlength=100"]);
    assert_eq!((short.max_record_bytes, short.format.long_records), (Some(100), LongRecords::Skip));
    let splits = spec(&[
        "-D",
        "mapred.min.split.size=10",
        "-D",
        "mapred.max.split.size=1000",
        "-jobconf",
        "mapred.map.tasks=7",
    ]);
    let bounds = SplitBounds { least_bytes: 10, most_bytes: Some(1000), wanted: Some(7) };
    assert_eq!((splits.split_bounds, splits.split_bytes), (bounds, None));
    assert!(spec(&[]).split_bounds.are_open());
    let packed = spec(&[
        "-D",
        "mapred.output.compress=true",
        "-D",
        "mapred.output.compression.codec=org.apache.hadoop.io.compress.BZip2Codec",
    ]);
    assert_eq!(packed.output_codec, Some(Codec::Bz2));
    assert!(spec(&["-lazyOutput"]).lazy_output);
    assert!(spec(&["-outputformat", "NullOutputFormat"]).lazy_output);
}

#[test]
fn variables_are_kept_with_their_blanks() {
    let submission = with(&["-cmdenv", "A=b c", "-cmdenv", "B=2", "-D", "home=${env.HOME}/x"]);
    let options = &submission.spec.options;
    assert_eq!(options["stream.addenvironment"], "A=b c B=2");
    assert_eq!(options["synod.cmdenv.A"], "b c");
    assert_eq!(options["home"], "/home/u/x");
}

#[test]
fn what_cannot_run_is_refused_before_it_is_submitted() {
    for more in [
        &["-partitioner", "com.example.P"] as &[&str],
        &["-mapper", "   "],
        &["-D", "mapreduce.job.reduces=many"],
        &["-D", "mapreduce.job.maps=-1"],
        &["-D", "mapred.output.compress=true", "-D", "mapred.output.compression.codec=Lzo"],
        &["-D", "stream.map.output=nonsense"],
        &["-input", "gs://bucket/x"],
        &["-file", "s3://bucket/x"],
        &["-combiner", "cat", "-D", "stream.reduce.output=typedbytes"],
    ] {
        let error = submit(&[BASE, more].concat());
        assert!(matches!(error, Err(JobError::BadSpec { .. })), "{more:?}");
    }
}

const TWO_FIELDS: &str = "stream.num.map.output.key.fields=2";
const DOTS: &str = "stream.map.output.field.separator=.";

#[test]
fn the_lint_names_what_is_not_portable() {
    let look = |more: &[&str]| {
        let words = [more, BASE].concat();
        let read = |path: &Path| match path.to_str() {
            Some("/work/silent.py") => Ok(Shipped { first: b"print(1)".into(), may_execute: true }),
            Some("/work/bare.py") => Ok(Shipped { first: b"input()".into(), may_execute: false }),
            _ => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        };
        lint(&arguments(&words), &submit(&words).unwrap(), &read).unwrap().join("\n")
    };
    assert_eq!(look(&["-mapper", "cat", "-reducer", "wc"]), "");
    for quiet in [
        &["-files", "m.py", "-mapper", "python3 m.py", "-reducer", "cat"] as &[&str],
        &["-mapper", "cat", "-reducer", "sort", "-cmdenv", "LC_ALL=C"],
        &["-D", "mapreduce.reduce.env=A=b,LC_ALL=C.UTF-8", "-mapper", "cat", "-reducer", "sort"],
        &["-mapper", "sh -c 'echo a; LC_ALL=C sort'", "-reducer", "cat"],
        &["-D", "stream.num.map.output.key.fields=2", "-mapper", "cat", "-reducer", "NONE"],
        &["-D", "textinputformat.record.delimiter=;\n", "-mapper", "cat"],
        &["-files", "bare.py", "-mapper", "python3 bare.py", "-reducer", "cat"],
    ] {
        assert_eq!(look(quiet), "", "{quiet:?}");
    }
    for (more, part) in [
        (&["-mapper", "grep x | sort"] as &[&str], "no shell"),
        (&["-mapper", "awk '{print \\$1}'"], "backslash"),
        (&["-mapper", "echo $HOME"], "nothing replaces"),
        (&["-mapper", "m.py"], "not shipped"),
        (&["-mapper", "python3 m.py"], "not shipped"),
        (&["-mapper", "/opt/m"], "every machine"),
        (&["-mapper", "cat", "-cmdenv", "A=b c"], "cuts the value"),
        (&["-mapper", "cat", "-combiner", "cat"], "any number of times"),
        (&["-reducer", "cat"], "IdentityMapper"),
        (&["-mapper", "cat", "-D", "synod.streaming.compatible=false"], "behind -mapper"),
        (&["-mapper", "cat", "-D", "my.own=1"], "not interpreted here: my.own"),
        (&["-mapper", "echo x"], "echo does not read all its input"),
        (&["-mapper", "grep -m 1 x"], "grep does not read all its input"),
        (&["-mapper", "sh -c 'date; head -n 3'"], "does not read all its input"),
        (&["-mapper", "cat", "-reducer", "sort -u"], "LC_ALL=C"),
        (&["-mapper", "bash -c 'cut -f1 | sort'", "-cmdenv", "LC_ALL=de_DE"], "LC_ALL=C"),
        (&["-mapper", "cat", "-io", "typedbytes"], "stream.map.input (-io) is not text"),
        (&["-mapper", "cat", "-D", "stream.map.output=rawbytes"], "must speak rawbytes"),
        (&["-mapper", "cat", "-reducer", "cat", "-D", TWO_FIELDS], "keys of 2 fields hold tabs"),
        (&["-mapper", "cat", "-reducer", "cat", "-D", DOTS], "keys end at `.`"),
        (&["-mapper", "cat", "-D", "textinputformat.record.delimiter=;"], "may hold line feeds"),
        (&["-files", "silent.py", "-mapper", "python3 -u silent.py"], "names its standard input"),
        (&["-files", "bare.py", "-mapper", "bare.py"], "without a #! line"),
    ] {
        let found = look(more);
        assert!(found.contains(part), "{more:?}: {found}");
    }
}

#[test]
fn shares_of_tasks_that_may_fail_are_read_under_old_and_new_names() {
    let shares = |words: &[&str]| {
        let spec = with(&[&["-mapper", "cat"], words].concat()).spec;
        (spec.failed_maps_percent, spec.failed_reduces_percent)
    };
    assert_eq!(shares(&[]), (0, 0));
    let new = ["-D", "mapreduce.map.failures.maxpercent=5"];
    assert_eq!(
        shares(&[&new[..], &["-D", "mapreduce.reduce.failures.maxpercent=100"]].concat()),
        (5, 100)
    );
    assert_eq!(shares(&["-jobconf", "mapred.max.map.failures.percent= 7 "]), (7, 0));
    assert_eq!(shares(&["-jobconf", "mapred.max.reduce.failures.percent=1000"]), (0, 100));
    for wrong in ["-1", "5%", " ", "0.5"] {
        let property = format!("mapreduce.map.failures.maxpercent={wrong}");
        let said = submit(&[&["-D", &property], BASE, &["-mapper", "cat"]].concat()).unwrap_err();
        assert!(said.to_string().contains("mapreduce.map.failures.maxpercent"), "{wrong}: {said}");
    }
}

#[test]
fn maps_and_reduces_may_run_twice_each_for_itself() {
    let spec_of = |maps: &str, reduces: &str| {
        let maps = format!("mapreduce.map.speculative={maps}");
        let reduces = format!("mapred.reduce.tasks.speculative.execution={reduces}");
        with(&["-mapper", "cat", "-jobconf", &maps, "-jobconf", &reduces]).spec
    };
    for (maps, reduces) in [(true, true), (true, false), (false, true), (false, false)] {
        let spec = spec_of(&maps.to_string(), &reduces.to_string());
        let twice = [TaskKind::Map, TaskKind::Reduce].map(|kind| spec.may_run_twice(kind));
        assert_eq!(twice, [maps, reduces]);
    }
    assert!(with(&["-mapper", "cat"]).spec.not_speculative.is_none());
}

#[test]
fn a_priority_is_hadoops_word_or_number() {
    let priority = |text: &str| {
        let property = format!("mapreduce.job.priority={text}");
        submit(&[&["-D", &property], BASE, &["-mapper", "cat"]].concat())
            .map(|done| done.spec.priority)
    };
    assert_eq!(with(&["-mapper", "cat"]).spec.priority, Priority::Normal);
    assert_eq!(
        with(&["-mapper", "cat", "-jobconf", "mapred.job.priority=LOW"]).spec.priority,
        Priority::Low
    );
    assert_eq!(priority("VERY_HIGH").unwrap(), Priority::VeryHigh);
    assert_eq!(priority("1").unwrap(), Priority::VeryLow);
    let said = priority("URGENT").unwrap_err().to_string();
    assert!(said.contains("mapreduce.job.priority: `URGENT`"), "{said}");
}

#[test]
fn memory_is_a_size_as_for_other_jobs_or_a_number_of_mib() {
    let memory = |words: &[&str]| submit(&[BASE, words].concat()).map(|job| job.spec.memory_bytes);
    for (words, bytes) in [
        (&["--memory", "512M"][..], 512 << 20),
        (&["--memory=1M"], 1 << 20),
        (&["--memory", "2GiB"], 2 << 30),
        (&["--memory-mib", "64"], 64 << 20),
    ] {
        assert_eq!(memory(words).unwrap(), bytes, "{words:?}");
    }
    for (words, why) in [
        (&["--memory", "1023K"][..], "1M is the least"),
        (&["--memory", "much"], "512M or 4G"),
        (&["--memory-mib", "0"], "1 is the least"),
        (&["--memory", "1G", "--memory-mib", "64"], "give one"),
    ] {
        let said = memory(words).unwrap_err().to_string();
        assert!(said.contains(why), "{words:?}: {said}");
    }
}
