//! What a record is, what goes through the pipes, and what the part files look like.
//!
//! The expected texts were recorded, unless a test says otherwise.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::bench::{Bench, CAT, MAPS, properties};

pub fn gz(content: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

pub fn bz2(content: &[u8]) -> Vec<u8> {
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    packed.write_all(content).unwrap();
    packed.finish().unwrap()
}

#[track_caller]
fn check(input: &str, settings: &[&str], words: &[&str], expected: &[&str]) {
    let words = [&properties(settings)[..], words].concat();
    assert_eq!(Bench::with_input(input).run(&words).texts(), expected, "{words:?}");
}

#[test]
fn input_formats_decide_what_a_mapper_reads() {
    let kv = ["-inputformat", "KeyValueTextInputFormat"];
    let kv = [&kv[..], CAT].concat();
    check("a\t1\nb\nc\t2\t3\n", &[], &kv, &["a\t1\nb\t\nc\t2\t3\n"]);
    let separator = "mapreduce.input.keyvaluelinerecordreader.key.value.separator=,";
    check("a,1\nb\nc,2,3\n", &[separator], &kv, &["a\t1\nb\t\nc\t2,3\n"]);
    let nline = ["-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat"];
    let nline = [&nline[..], MAPS].concat();
    let two = "mapreduce.input.lineinputformat.linespermap=2";
    check("a\nb\nc\n", &[two], &nline, &["0\ta\n2\tb\n", "4\tc\n"]);
    // Which of these files comes first Hadoop leaves open; here it is that of the first lines.
    let ignore = "stream.map.input.ignoreKey=true";
    check("a\nb\nc\n", &[ignore], &nline, &["a\t\n", "b\t\n", "c\t\n"]);
    let keep = "stream.map.input.ignoreKey=false";
    check("a\nb\nc\n", &[keep], MAPS, &["0\ta\n2\tb\n4\tc\n"]);
    let delimiter = "textinputformat.record.delimiter=;;";
    check("a\tb;;c\nd;;;e", &[delimiter], CAT, &[";e\t\na\tb\nc\t\nd\t\n"]);
    let longest = "mapreduce.input.linerecordreader.line.maxlength=10";
    let lines = format!("short\n{}\nother\n", "l".repeat(50));
    check(&lines, &[longest], CAT, &["other\t\nshort\t\n"]);
}

#[test]
fn pieces_between_two_marks_are_records() {
    let reader = |spec| ["-inputreader", spec];
    let whole = reader("StreamXmlRecord,begin=<r>,end=</r>");
    for whole in [whole, reader("StreamXmlRecordReader,begin=<r>,end=</r>")] {
        let maps = [&whole[..], MAPS].concat();
        let text = "<x><r>one</r>junk<r>two\nlines\t</r><r>open";
        check(text, &[], &maps, &["<r>one</r>\t\n<r>two\t\nlines\t</r>\t\n"]);
        let text = "<r><r>b</r></r>\n</r><r>c</r>\n";
        check(text, &[], &maps, &["<r><r>b</r>\t\n<r>c</r>\t\n"]);
    }
    let open = [&reader("StreamXmlRecordReader,begin=<r,end=</r>")[..], CAT].concat();
    let text = "<x><r a='1'>b</r></x>\n<r a='0'>c</r>\n";
    check(text, &[], &open, &["<r a='0'>c</r>\t\n<r a='1'>b</r>\t\n"]);
    // Reasoned: the marks may lie across any boundary of blocks and splits.
    let record = |n: usize| format!("<r>{n}{}</r>", "x".repeat(n % 701));
    let text: String = (0..3_000).map(|n| record(n) + "<junk>").collect();
    let expected: String = (0..3_000).map(|n| record(n) + "\t\n").collect();
    let split = "mapreduce.input.fileinputformat.split.maxsize=4099";
    let words = [&properties(&[split])[..], &whole, MAPS].concat();
    assert!(Bench::with_input(text).run(&words).text() == expected);
}

#[test]
fn separators_and_key_fields_are_those_of_the_job() {
    let dots = "a.b.c\nd\ne.f\n";
    let map = ["stream.map.output.field.separator=.", "stream.num.map.output.key.fields=2"];
    check(dots, &map, CAT, &["a.b\tc\nd\t\ne.f\t\n"]);
    check("a,b\nc\n", &["stream.map.output.field.separator=,"], MAPS, &["a\tb\nc\t\n"]);
    let reduce = "stream.reduce.output.field.separator=.";
    for fields in ["stream.num.reduce.output.key.fields=1", "stream.num.reduce.output.fields=1"] {
        check(dots, &[reduce, fields], CAT, &["a\tb.c\t\nd\t\t\ne\tf\t\n"]);
    }
    let out = "mapreduce.output.textoutputformat.separator=|";
    check("a\t1\nb\nc\t2\t3\n", &[out], CAT, &["a|1\nb|\nc|2\t3\n"]);
    let fields = "stream.num.reduce.output.key.fields=2";
    check("a\tb\tc\nd\ne\tf\n", &[fields, out], CAT, &["a\tb|c\nd\t|\ne\tf|\n"]);
    let to_reducer = "stream.reduce.input.field.separator=:";
    check("a\tb\tc\nd\n", &[to_reducer], CAT, &["a:b\tc\nd:\t\n"]);
    let kv = [&["-inputformat", "KeyValueTextInputFormat"][..], MAPS].concat();
    check("a\tb\tc\nd\n", &["stream.map.input.field.separator=:"], &kv, &["a:b\tc\nd:\t\n"]);
}

#[test]
fn typed_and_raw_bytes_carry_what_lines_cannot() {
    let io = |name, rest: &[&'static str]| [&["-io", name], rest].concat();
    let lines = "b\t1\na\t2\nc\n";
    for words in [CAT, MAPS] {
        check(lines, &[], &io("typedbytes", words), &["0\tb\t1\n4\ta\t2\n8\tc\n"]);
        let raw = "00 00 00 00 00 00 00 00\t03 62 09 31\n\
                   00 00 00 00 00 00 00 04\t03 61 09 32\n\
                   00 00 00 00 00 00 00 08\t01 63\n";
        check(lines, &[], &io("rawbytes", words), &[raw]);
    }
    let identity = ["-mapper", "cat", "-reducer", "org.apache.hadoop.mapred.lib.IdentityReducer"];
    check(lines, &[], &io("typedbytes", &identity), &["0\tb\t1\n4\ta\t2\n8\tc\n"]);
    let semicolon = ["textinputformat.record.delimiter=;"];
    let lines = "b\t1\nx;a\n\n\t;";
    check(lines, &semicolon, &io("typedbytes", CAT), &["0\tb\t1\nx\n6\ta\n\n\t\n"]);
    let raw = "00 00 00 00 00 00 00 00\t05 62 09 31 0a 78\n\
               00 00 00 00 00 00 00 06\t04 61 0a 0a 09\n";
    check(lines, &semicolon, &io("rawbytes", CAT), &[raw]);
    let kv = [&["-inputformat", "KeyValueTextInputFormat"][..], CAT].concat();
    check("b\t1\na\t2\nc\n", &[], &io("typedbytes", &kv), &["a\t2\nb\t1\nc\t\n"]);
    check(
        "b\t1\na\t2\nc\n",
        &[],
        &io("rawbytes", &kv),
        &["01 61\t01 32\n01 62\t01 31\n01 63\t00\n"],
    );
}

#[test]
fn packed_inputs_are_unpacked_and_outputs_are_packed_on_request() {
    let text = b"b\t1\na\t2\n";
    let two_members = [gz(b"b\t1\na"), gz(b"\t2\n")].concat();
    let zst = zstd::encode_all(&text[..], 1).unwrap();
    for (name, packed) in
        [("x.gz", gz(text)), ("x.gz", two_members), ("x.bz2", bz2(text)), ("x.zst", zst)]
    {
        let bench = Bench::new();
        bench.put(name, packed);
        let words = [&["-input", name][..], CAT].concat();
        assert_eq!(bench.run(&words).text(), "a\t2\nb\t1\n", "{name}");
    }
    let bench = Bench::with_input(text);
    for (codec, extension) in
        [("GzipCodec", "gz"), ("BZip2Codec", "bz2"), ("ZStandardCodec", "zst")]
    {
        let compress = "mapreduce.output.fileoutputformat.compress=true";
        let class = format!(
            "mapreduce.output.fileoutputformat.compress.codec=org.apache.hadoop.io.compress.{codec}"
        );
        let ran = bench.run(&[&properties(&[compress, &class])[..], CAT].concat());
        let (name, packed) = ran.parts.first_key_value().unwrap();
        assert_eq!((name.as_str(), ran.parts.len()), (&*format!("part-00000.{extension}"), 1));
        let mut unpacked = String::new();
        let mut reader: Box<dyn Read> = match extension {
            "gz" => Box::new(MultiGzDecoder::new(&packed[..])),
            "bz2" => Box::new(bzip2::read::MultiBzDecoder::new(&packed[..])),
            _ => Box::new(zstd::Decoder::new(&packed[..]).unwrap()),
        };
        reader.read_to_string(&mut unpacked).unwrap();
        assert_eq!(unpacked, "a\t2\nb\t1\n");
    }
}

#[test]
fn empty_part_files_are_left_out_if_they_are_lazy() {
    let four = ["mapreduce.job.reduces=4"];
    check("one\n", &four, CAT, &["", "one\t\n", "", ""]);
    let lazy = [&["-lazyOutput"], CAT].concat();
    check("one\n", &four, &lazy, &["one\t\n"]);
    let bench = Bench::with_input("one\n");
    let ran = bench.run(&[&properties(&four)[..], &lazy].concat());
    assert!(ran.parts.contains_key("part-00001"));
    let dropped = ["-outputformat", "org.apache.hadoop.mapred.lib.NullOutputFormat"];
    check("one\n", &[], &[CAT, &dropped].concat(), &[]);
}

#[test]
fn a_combiner_sees_sorted_pairs_and_its_own_pairs_are_sorted_again() {
    let bench = Bench::with_input("b\t1\na\t1\nb\t1\na\t1\nb\t1\n".repeat(1_000));
    // Adds up, says what it read, and gives the keys in an order of its own.
    let script = "awk -F '\\t' 'BEGIN { before = \"\" }
        $1 < before { exit 4 }
        { before = $1; sum[$1] += $2 }
        END { print \"b\\t\" sum[\"b\"]; print \"a\\t\" sum[\"a\"];
              print \"reporter:counter:C,lines,\" NR > \"/dev/stderr\" }'";
    let combiner = bench.script("combine.sh", script);
    let words = ["-mapper", "cat", "-combiner", &combiner, "-reducer", "cat"];
    let ran = bench.run(&words);
    assert_eq!(ran.text(), "a\t2000\nb\t3000\n");
    assert_eq!(ran.counter("C", "lines"), Some(5_000));
    assert_eq!(ran.counter("Map-Reduce Framework", "Reduce input records"), Some(2));
    // A combiner that fails fails the job.
    let fails = bench.script("fails.sh", "cat >/dev/null; exit 5");
    let said = bench.fail(&["-mapper", "cat", "-combiner", &fails, "-reducer", "cat"]);
    assert!(said.contains("combiner") && said.contains("code 5"), "{said}");
}

#[test]
fn aggregate_adds_up_by_the_prefix_of_the_key() {
    let input = "LongValueSum:a\t1\nLongValueSum:a\t2\nLongValueMax:m\t5\nLongValueMax:m\t3\n\
                 LongValueMin:m\t5\nLongValueMin:m\t3\nDoubleValueSum:d\t0.5\n\
                 DoubleValueSum:d\t2\nUniqValueCount:u\tx\nUniqValueCount:u\ty\n\
                 UniqValueCount:u\tx\nStringValueMin:s\tb\nStringValueMin:s\ta\n\
                 StringValueMax:s\tb\nStringValueMax:s\ta\nValueHistogram:h\tp\n\
                 ValueHistogram:h\tp\nValueHistogram:h\tq\n";
    let expected = "d\t2.5\nm\t5\nm\t3\na\t3\ns\tb\ns\ta\nu\t2\nh\t2\t1\t2\t2\t1.5\t0.5\n";
    check(input, &[], &["-mapper", "cat", "-reducer", "aggregate"], &[expected]);
}
