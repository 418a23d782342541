//! Every way to cut an input into records, compressed inputs, outputs without reduce tasks, files
//! beside the part files: through whole jobs, against a naive reading.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use support::{Bench, joined, parts, run, zipf_text};
use synod_jobs::framing::pair_into;
use synod_jobs::input::codec::Codec;
use synod_jobs::local::{LocalOptions, run_local_with};
use synod_jobs::{
    Emitter, Framing, Job, JobError, JobSpec, LongRecords, NoLog, Progress, Record, ReduceInput,
    Sink, Stores, TaskContext, Values, run_local,
};

/// Writes every record as `offset<TAB>hex of the key<TAB>hex of the content`, in input order.
struct Show;

impl Job for Show {
    const WRITES_PAIRS: bool = true;

    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        let value = format!("{}\t{}", hex(record.key), hex(record.bytes));
        out.emit(record.offset.to_string().as_bytes(), value.as_bytes());
    }

    fn reduce(&self, key: &[u8], values: &mut Values<'_, Self>, out: &mut Sink) {
        while let Some(value) = values.next() {
            self.write_pair(key, value, out);
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn show(spec: &JobSpec) -> Result<String, JobError> {
    if spec.output.exists() {
        fs::remove_dir_all(&spec.output).unwrap();
    }
    run_local(spec, &Show, &Progress::new())?;
    Ok(String::from_utf8(joined(&spec.output)).unwrap())
}

fn shown(records: &[(u64, &[u8])]) -> String {
    records.iter().map(|(offset, bytes)| format!("{offset}\t\t{}\n", hex(bytes))).collect()
}

/// Map-only, so the order of the output is that of the input.
fn spec(bench: &Bench, framing: Framing, inputs: &[&Path]) -> JobSpec {
    let mut spec = bench.spec("show", inputs);
    spec.reduces = Some(0);
    spec.format.framing = framing;
    spec.sync_output = false;
    spec
}

/// What a reader gives that looks at one byte after the other.
fn naive(framing: &Framing, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut records = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        let length = match framing {
            Framing::Line if bytes[at] == b'\n' => 1,
            Framing::AnyLine if bytes[at..].starts_with(b"\r\n") => 2,
            Framing::AnyLine if bytes[at] == b'\n' || bytes[at] == b'\r' => 1,
            Framing::Delimiter(delimiter) if bytes[at..].starts_with(delimiter) => delimiter.len(),
            Framing::Fixed(length) if at + 1 - start == *length as usize => {
                records.push((start as u64, bytes[start..=at].to_vec()));
                start = at + 1;
                0
            }
            _ => 0,
        };
        if length > 0 {
            records.push((start as u64, bytes[start..at].to_vec()));
            start = at + length;
        }
        at += length.max(1);
    }
    if start < bytes.len() {
        records.push((start as u64, bytes[start..].to_vec()));
    }
    records
}

#[test]
fn every_record_is_read_once_for_every_framing_and_every_split_size() {
    let bench = Bench::new();
    let delimiter = |bytes: &[u8]| Framing::Delimiter(bytes.to_vec());
    let mut random = fastrand::Rng::with_seed(40);
    let random_text = |random: &mut fastrand::Rng, alphabet: &[u8], length: usize| {
        (0..length).map(|_| alphabet[random.usize(..alphabet.len())]).collect::<Vec<u8>>()
    };
    let mut cases = Vec::new();
    for _ in 0..6 {
        cases.push((Framing::AnyLine, random_text(&mut random, b"a\r\n\r", 26)));
        cases.push((Framing::Line, random_text(&mut random, b"a\r\n", 26)));
        cases.push((delimiter(b"||x"), random_text(&mut random, b"|x|a", 26)));
        cases.push((delimiter(b"aa"), random_text(&mut random, b"aaab", 26)));
        cases.push((delimiter(b";"), random_text(&mut random, b";a", 26)));
        cases.push((Framing::Fixed(7), random_text(&mut random, b"\n\rab", 28)));
    }
    // Around a split and a buffer of the smallest size, 512 bytes.
    for length in [510, 511, 512, 513, 1023, 1024, 1025] {
        let mut text = vec![b'x'; length];
        text.extend_from_slice(b"\r\nend\r\n");
        cases.push((Framing::AnyLine, text.clone()));
        cases.push((delimiter(b"\r\n"), text));
    }
    // Without a carriage return anywhere, or with the first one far behind the first buffer.
    for end in ["", "x", "\n", "\r", "a\rb\n\r\nc", "a\rb"] {
        let mut text = b"ab\n\ncde\n".repeat(70);
        text.extend_from_slice(end.as_bytes());
        cases.push((Framing::AnyLine, text));
    }
    for (index, (framing, text)) in cases.iter().enumerate() {
        let path = bench.file(&format!("in{index}"), text);
        let mut spec = spec(&bench, framing.clone(), &[&path]);
        let expected = naive(framing, text);
        let expected: Vec<(u64, &[u8])> = expected.iter().map(|(o, b)| (*o, &b[..])).collect();
        let sizes: Vec<u64> = match text.len() {
            ..100 => (1..=text.len() as u64).collect(),
            long => [100, 511, 512, 513, long as u64 - 3, long as u64].to_vec(),
        };
        for size in sizes {
            spec.split_bytes = Some(size);
            assert_eq!(show(&spec).unwrap(), shown(&expected), "{framing:?} {text:?} {size}");
        }
    }
}

#[test]
fn records_behind_their_length_and_whole_files_are_read_as_such() {
    let bench = Bench::new();
    let prefixed = bench.file("prefixed", b"\0\0\0\x02a\n\0\0\0\0\0\0\0\x01b");
    let mut job = spec(&bench, Framing::Prefixed, &[&prefixed]);
    job.split_bytes = Some(1);
    assert_eq!(show(&job).unwrap(), shown(&[(0, b"a\n"), (6, b""), (10, b"b")]));
    let mut bytes = Vec::new();
    pair_into(&mut bytes, b"k1", b"v");
    pair_into(&mut bytes, b"", b"w\n");
    let pairs = bench.file("pairs", &bytes);
    let shown_pairs = format!("0\t{}\t{}\n5\t\t{}\n", hex(b"k1"), hex(b"v"), hex(b"w\n"));
    assert_eq!(show(&spec(&bench, Framing::Pairs, &[&pairs])).unwrap(), shown_pairs);
    let whole = spec(&bench, Framing::Whole, &[&prefixed, &pairs]);
    let text = show(&whole).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");

    for (framing, bytes) in [
        (Framing::Fixed(4), &b"abcdefg"[..]),
        (Framing::Prefixed, b"\0\0\0\x09ab"),
        (Framing::Pairs, b"\x05\x05ab"),
    ] {
        let cut = bench.file("cut", bytes);
        let error = show(&spec(&bench, framing, &[&cut])).unwrap_err();
        assert!(matches!(&error, JobError::Malformed { path, .. } if *path == cut), "{error}");
        assert!(error.is_permanent());
    }
    let mut whole = spec(&bench, Framing::Whole, &[&prefixed]);
    whole.max_record_bytes = Some(8);
    assert!(matches!(show(&whole), Err(JobError::RecordTooLong { .. })));
}

#[test]
fn records_longer_than_a_sampled_place_are_sampled_and_sorted() {
    let bench = Bench::new();
    let mut random = fastrand::Rng::with_seed(12);
    // In most places no record begins; the last one that is looked at lies behind the last beginning.
    for length in [2_049_usize, 5_000, 70_000] {
        let mut records: Vec<Vec<u8>> =
            (0..40).map(|_| random.u64(..).to_be_bytes().repeat(length.div_ceil(8))).collect();
        records.iter_mut().for_each(|record| record.truncate(length));
        let path = bench.file("long", &records.concat());
        let mut job = bench.spec("sort", &[&path]);
        (job.reduces, job.format.framing) = (Some(3), Framing::Fixed(length as u32));
        run(&job).unwrap();
        records.sort();
        assert!(joined(&job.output) == records.concat(), "{length}");
        let fair = records.len() * length / 3;
        let sizes: Vec<usize> = parts(&job.output).iter().map(|(_, part)| part.len()).collect();
        assert!(sizes.iter().all(|size| (fair / 4..fair * 3).contains(size)), "{sizes:?}");
    }
}

#[test]
fn records_beyond_the_limit_fail_the_job_or_are_skipped_or_cut_as_it_says() {
    let bench = Bench::new();
    let long = [b'x'; 1_500];
    for (framing, end) in [
        (Framing::Line, &b"\n"[..]),
        (Framing::AnyLine, b"\r\n"),
        (Framing::Delimiter(b"<>".to_vec()), b"<>"),
    ] {
        let mut text = Vec::new();
        for record in [&b"a"[..], &long, b"", &long[..21], &long[..20], b"z", &long] {
            text.extend_from_slice(record);
            text.extend_from_slice(end);
        }
        let path = bench.file("in", &text);
        let mut job = spec(&bench, framing.clone(), &[&path]);
        job.max_record_bytes = Some(20);
        for split in [61, 512, 1_400, 1 << 20] {
            job.split_bytes = Some(split);
            job.format.long_records = LongRecords::Fail;
            let error = show(&job).unwrap_err();
            assert!(matches!(error, JobError::RecordTooLong { limit_bytes: 20, .. }), "{error}");
            let all = naive(&framing, &text);
            job.format.long_records = LongRecords::Skip;
            let kept: Vec<(u64, &[u8])> =
                all.iter().filter(|(_, r)| r.len() <= 20).map(|(o, r)| (*o, &r[..])).collect();
            assert_eq!(show(&job).unwrap(), shown(&kept), "{framing:?} {split}");
            fs::remove_dir_all(&job.output).unwrap();
            let summary = run_local(&job, &Show, &Progress::new()).unwrap();
            let counters = summary.manifest.counters;
            assert_eq!(counters.long_records_skipped, 3, "{framing:?} {split}");
            job.format.long_records = LongRecords::Truncate;
            let cut: Vec<(u64, &[u8])> =
                all.iter().map(|(o, r)| (*o, &r[..r.len().min(20)])).collect();
            assert_eq!(show(&job).unwrap(), shown(&cut), "{framing:?} {split}");
        }
    }
}

#[test]
fn a_byte_order_mark_is_left_out_only_if_wanted_and_only_at_the_beginning() {
    let bench = Bench::new();
    let path = bench.file("in", b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n");
    let mut job = spec(&bench, Framing::Line, &[&path]);
    assert!(show(&job).unwrap().contains(&hex(b"\xef\xbb\xbfa")));
    job.format.strip_bom = true;
    job.split_bytes = Some(4);
    assert_eq!(show(&job).unwrap(), shown(&[(3, b"a"), (5, b"\xef\xbb\xbfb")]));
}

#[test]
fn splits_of_so_many_records_begin_where_records_do() {
    let bench = Bench::new();
    let path = bench.file("in", b"1\n2\n3\n4\n5");
    let mut job = spec(&bench, Framing::Line, &[&path]);
    job.format.lines_per_split = Some(2);
    let expected = shown(&[(0, b"1"), (2, b"2"), (4, b"3"), (6, b"4"), (8, b"5")]);
    assert_eq!(show(&job).unwrap(), expected);
    let names: Vec<String> = parts(&job.output).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["part-00000", "part-00001", "part-00002"]);
}

fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    match codec {
        Codec::Gz => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Codec::Zst => zstd::encode_all(bytes, 1).unwrap(),
        Codec::Bz2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
    }
}

#[test]
fn compressed_inputs_give_the_records_of_what_was_packed() {
    let bench = Bench::new();
    let text = zipf_text(41, 3 << 20, 10_000);
    let plain = bench.file("in.txt", &text);
    let mut job = bench.spec("wordcount", &[&plain]);
    run(&job).unwrap();
    let expected = joined(&job.output);
    job.split_bytes = Some(500_000);
    for codec in Codec::ALL {
        // Two streams, one after the other, are one text.
        let mut bytes = packed(codec, &text[..1_000_003]);
        bytes.extend(packed(codec, &text[1_000_003..]));
        let path = bench.file(&format!("in.{}", codec.extension()), &bytes);
        job.inputs = vec![path.clone()];
        job.output = bench.path(&format!("out-{}", codec.extension()));
        let summary = run(&job).unwrap();
        assert_eq!(joined(&job.output), expected, "{codec:?}");
        // One of bzip2 is cut at its blocks.
        assert_eq!(summary.splits > 1, codec == Codec::Bz2, "{codec:?}");
        assert_eq!(summary.manifest.counters.map_bytes_in, text.len() as u64);

        job.output = bench.path("broken");
        let cut = bytes.len() - 5;
        for damaged in [&bytes[..cut], &[&bytes[..], b"garbage behind the end"].concat()] {
            fs::write(&path, damaged).unwrap();
            let error = run(&job).unwrap_err();
            let named = |path: &Path| path == job.inputs[0];
            assert!(
                matches!(&error, JobError::BadCompression { path, .. } if named(path)),
                "{codec:?}: {error}"
            );
        }
        fs::write(&path, b"this is plain text").unwrap();
        let error = run(&job).unwrap_err();
        assert!(error.to_string().contains("first bytes do not"), "{error}");
        // Nothing in it is nothing to read, as from any empty file.
        fs::write(&path, b"").unwrap();
        assert_eq!(run(&job).unwrap().manifest.counters.map_records_in, 0);
        fs::remove_dir_all(&job.output).unwrap();
    }
}

#[test]
fn a_checksum_that_is_not_that_of_the_text_and_a_packing_that_is_not_known_are_refused() {
    let bench = Bench::new();
    let text = zipf_text(42, 1 << 20, 1_000);
    for (codec, from_end) in [(Codec::Gz, 6), (Codec::Bz2, 3)] {
        let mut bytes = packed(codec, &text);
        let at = bytes.len() - from_end;
        bytes[at] ^= 0x10;
        let path = bench.file(&format!("in.{}", codec.extension()), &bytes);
        let error = run(&bench.spec("wordcount", &[&path])).unwrap_err();
        assert!(matches!(&error, JobError::BadCompression { .. }), "{codec:?}: {error}");
    }
    for extension in ["snappy", "lzo", "lz4", "xz"] {
        let path = bench.file(&format!("in.{extension}"), b"whatever");
        let said = run(&bench.spec("wordcount", &[&path])).unwrap_err().to_string();
        assert!(said.contains(&format!("Synod does not unpack {extension}")), "{said}");
    }
}

#[test]
fn a_file_that_unpacks_to_absurdly_much_is_refused_in_time() {
    let bench = Bench::new();
    // Thirty gigabytes of zeros, packed twice over, in frames that are one stream.
    let frame = packed(Codec::Zst, &vec![0; 64 << 20]);
    let bomb = bench.file("bomb.zst", &frame.repeat(500));
    let mut job = spec(&bench, Framing::Fixed(1 << 20), &[&bomb]);
    job.max_record_bytes = Some(1 << 20);
    struct Nothing;
    impl Job for Nothing {
        fn map(&self, _: Record<'_>, _: &mut Emitter<'_, Self>) {}
        fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}
    }
    job.reduces = Some(1);
    let error = run_local(&job, &Nothing, &Progress::new()).unwrap_err();
    assert!(matches!(error, JobError::BadCompression { .. }), "{error}");
}

#[test]
fn outputs_are_compressed_as_the_job_says_and_can_be_read_again() {
    let bench = Bench::new();
    let path = bench.file("in", &zipf_text(42, 300_000, 3_000));
    let mut job = bench.spec("wordcount", &[&path]);
    job.reduces = Some(3);
    run(&job).unwrap();
    let expected = joined(&job.output);
    for codec in Codec::ALL {
        job.output_codec = Some(codec);
        job.output = bench.path(codec.extension());
        let summary = run(&job).unwrap();
        for part in &summary.manifest.parts {
            assert!(part.name.ends_with(codec.extension()), "{}", part.name);
            let bytes = fs::read(job.output.join(&part.name)).unwrap();
            assert_eq!((part.bytes, part.crc32c), (bytes.len() as u64, crc32c::crc32c(&bytes)));
        }
        let mut again = spec(&bench, Framing::Line, &[&job.output]);
        again.output = bench.path("again");
        let lines = show(&again).unwrap().lines().count();
        assert_eq!(lines, expected.iter().filter(|&&byte| byte == b'\n').count());
    }
}

#[test]
fn parts_without_records_are_left_out_if_the_job_wants_that() {
    let bench = Bench::new();
    let path = bench.file("in", b"a a\n");
    let mut job = bench.spec("wordcount", &[&path]);
    job.reduces = Some(5);
    job.lazy_output = true;
    let summary = run(&job).unwrap();
    assert_eq!(summary.manifest.parts.len(), 1);
    assert_eq!(joined(&job.output), b"a\t2\n");
    assert_eq!(parts(&job.output).len(), 1);
}

#[test]
fn a_job_that_writes_no_pairs_is_refused_without_reduce_tasks() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\n");
    let mut job = bench.spec("wordcount", &[&path]);
    job.reduces = Some(0);
    let error = run(&job).unwrap_err();
    assert!(error.to_string().contains("at least one reduce task"), "{error}");
    assert!(!job.output.exists());
}

/// Writes a side file in every task; if `name` says so, always the same.
struct Beside {
    name: Option<&'static str>,
}

impl Job for Beside {
    fn map(&self, record: Record<'_>, out: &mut Emitter<'_, Self>) {
        out.emit(record.bytes, b"");
    }

    fn reduce(&self, _: &[u8], _: &mut Values<'_, Self>, _: &mut Sink) {}

    fn reduce_partition(
        &self,
        task: &TaskContext<'_>,
        input: &mut ReduceInput<'_, Self>,
        out: &mut Sink,
    ) -> Result<(), JobError> {
        let scratch = task.scratch()?.join("draft");
        fs::write(&scratch, task.number.to_string()).unwrap();
        let name = self.name.map_or_else(|| format!("side-{}", task.number), str::to_owned);
        fs::rename(scratch, task.side_folder()?.join(name)).unwrap();
        input.reduce_groups(out)
    }
}

#[test]
fn side_files_are_published_with_the_parts_and_no_two_may_have_one_name() {
    let bench = Bench::new();
    let path = bench.file("in", b"a\nb\nc\n");
    let mut job = bench.spec("beside", &[&path]);
    job.reduces = Some(3);
    let summary = run_local(&job, &Beside { name: None }, &Progress::new()).unwrap();
    let names: Vec<&str> =
        summary.manifest.side_files.iter().map(|side| side.name.as_str()).collect();
    assert_eq!(names, ["side-0", "side-1", "side-2"]);
    assert_eq!(fs::read(job.output.join("side-2")).unwrap(), b"2");
    assert!(!job.output.join("_temporary").exists());
    fs::remove_dir_all(&job.output).unwrap();
    for (name, why) in [("same", "two tasks"), ("part-00000", "the job's own")] {
        let error = run_local(&job, &Beside { name: Some(name) }, &Progress::new()).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!job.output.exists(), "nothing of it is left");
    }
}

#[test]
fn chosen_map_tasks_run_alone_and_in_order_on_one_thread() {
    let bench = Bench::new();
    let path = bench.file("in", b"1\n2\n3\n4\n");
    let mut job = spec(&bench, Framing::Line, &[&path]);
    job.split_bytes = Some(2);
    let only: BTreeSet<u32> = [3, 1].into();
    let stores = Stores::local();
    let options = LocalOptions { stores: &stores, log: &NoLog, only_maps: Some(&only) };
    run_local_with(&job, &Show, &Progress::new(), &options).unwrap();
    assert_eq!(joined(&job.output), shown(&[(2, b"2"), (6, b"4")]).as_bytes());
    fs::remove_dir_all(&job.output).unwrap();
    let only: BTreeSet<u32> = [4].into();
    let options = LocalOptions { only_maps: Some(&only), ..options };
    let error = run_local_with(&job, &Show, &Progress::new(), &options).unwrap_err();
    assert!(error.to_string().contains("there is no map task 4"), "{error}");
}

#[test]
fn folders_and_patterns_stand_for_the_files_in_them() {
    let bench = Bench::new();
    let root = bench.path("logs");
    for (name, text) in [
        ("2024/a.txt", "1\n"),
        ("2024/b.log", "2\n"),
        ("2025/a.txt", "3\n"),
        ("2025/_hidden", "x\n"),
        ("2025/deep/.er", "x\n"),
        ("2025/deep/a.txt", "4\n"),
        ("{odd}[name]*.txt", "5\n"),
    ] {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let read = |pattern: &str, recursive: bool| {
        let mut job = bench.spec("sort", &[&root.join(pattern)]);
        job.format.recursive = recursive;
        let result = run(&job).map(|_| joined(&job.output));
        let _ = fs::remove_dir_all(&job.output);
        result.map(|bytes| String::from_utf8(bytes).unwrap().replace('\n', ""))
    };
    for (pattern, recursive, expected) in [
        ("2024", false, "12"),
        ("2024/", false, "12"),
        ("20*/a.txt", false, "13"),
        ("20{24,25}/a.txt", false, "13"),
        ("202[5]/?.txt", false, "3"),
        ("**/a.txt", false, "134"),
        ("2025", true, "34"),
        ("{odd}[name]*.txt", false, "5"),
        ("2024/{a,b}.{txt,log}", false, "12"),
    ] {
        assert_eq!(read(pattern, recursive).unwrap(), expected, "{pattern}");
    }
    assert!(matches!(read("2025", false), Err(JobError::InputIsFolder { .. })));
    assert!(matches!(read("2026*", false), Err(JobError::NothingMatches { .. })));
    assert!(matches!(read("20{24", false), Err(JobError::BadSpec { .. })));
    std::os::unix::fs::symlink(&root, root.join("2025/deep/loop")).unwrap();
    assert!(matches!(read("2025", true), Err(JobError::InputIsLinkToFolder { .. })));
    let file = format!("file://{}", root.join("2024/a.txt").display());
    let job = bench.spec("sort", &[Path::new(&file)]);
    run(&job).unwrap();
    let job = JobSpec { output: bench.path("s3"), ..bench.spec("sort", &[Path::new("s3://b/k")]) };
    let error = run(&job).unwrap_err();
    assert!(error.to_string().contains("cannot be read here"), "{error}");
}
