//! Inputs that nobody wants: what becomes of each through a streaming job.

use crate::bench::{Bench, CAT, MAPS, properties};
use crate::formats::gz;

pub type Nasty = (&'static str, &'static [u8], &'static [u8], &'static [u8]);

/// What it is; the file; what a job of `cat` without reduce tasks gives; and with one. Recorded; where
/// Hadoop leaves the order of equal keys open, it is the order of the input.
pub const NASTY: &[Nasty] = &[
    ("an empty file", b"", b"", b""),
    ("no newline at the end", b"a\tb\nlast", b"a\tb\nlast\t\n", b"a\tb\nlast\t\n"),
    ("nothing but newlines", b"\n\n\n", b"\t\n\t\n\t\n", b"\t\n\t\n\t\n"),
    ("empty lines", b"a\n\n\nb\n", b"a\t\n\t\n\t\nb\t\n", b"\t\n\t\na\t\nb\t\n"),
    ("CRLF", b"a\r\nb\tc\r\n\r\nd", b"a\t\nb\tc\n\t\nd\t\n", b"\t\na\t\nb\tc\nd\t\n"),
    ("lone CR", b"a\rb\tc\rd\r", b"a\t\nb\tc\nd\t\n", b"a\t\nb\tc\nd\t\n"),
    (
        "LF, CR and CRLF",
        b"a\rb\r\nc\nd\r\r\ne\n\rf",
        b"a\t\nb\t\nc\t\nd\t\n\t\ne\t\n\t\nf\t\n",
        b"\t\n\t\na\t\nb\t\nc\t\nd\t\ne\t\nf\t\n",
    ),
    (
        "zero bytes",
        b"a\0b\tc\0\n\0\n\0\t\0\n",
        b"a\0b\tc\0\n\0\t\n\0\t\0\n",
        b"\0\t\n\0\t\0\na\0b\tc\0\n",
    ),
    (
        "invalid UTF-8",
        b"\xff\xfe\tx\n\xc3(\ty\nabc\x80\n\xed\xa0\x80\tsurrogate\n",
        b"\xff\xfe\tx\n\xc3(\ty\nabc\x80\t\n\xed\xa0\x80\tsurrogate\n",
        b"abc\x80\t\n\xc3(\ty\n\xed\xa0\x80\tsurrogate\n\xff\xfe\tx\n",
    ),
    (
        "a byte order mark",
        b"\xef\xbb\xbfa\tb\n\xef\xbb\xbfc\n",
        b"a\tb\n\xef\xbb\xbfc\t\n",
        b"a\tb\n\xef\xbb\xbfc\t\n",
    ),
    ("a byte order mark and CRLF", b"\xef\xbb\xbf\r\na\r\n", b"\t\na\t\n", b"\t\na\t\n"),
    ("only a byte order mark", b"\xef\xbb\xbf", b"", b""),
    ("half a byte order mark", b"\xef\xbbx\n", b"\xef\xbbx\t\n", b"\xef\xbbx\t\n"),
    (
        "UTF-16",
        b"\xff\xfea\0\t\0b\0\n\0c\0\n\0",
        b"\xff\xfea\0\t\0b\0\n\0c\0\t\n\0\t\n",
        b"\0\t\n\0c\0\t\n\xff\xfea\0\t\0b\0\n",
    ),
    (
        "tabs in values, empty keys and values",
        b"a\tb\tc\td\n\tv\nk\t\n\t\t\n\t\n",
        b"a\tb\tc\td\n\tv\nk\t\n\t\t\n\t\n",
        b"\tv\n\t\t\n\t\na\tb\tc\td\nk\t\n",
    ),
    ("blanks around", b"  a  \t b \n x\n", b"  a  \t b \n x\t\n", b"  a  \t b \n x\t\n"),
    (
        "bytes above 127",
        b"\x7f\tx\n\x80\ty\na\tz\n\xff\tw\nA\tv\n",
        b"\x7f\tx\n\x80\ty\na\tz\n\xff\tw\nA\tv\n",
        b"A\tv\na\tz\n\x7f\tx\n\x80\ty\n\xff\tw\n",
    ),
];

#[test]
fn nasty_inputs_pass_as_they_do_in_hadoop() {
    for (what, input, mapped, reduced) in NASTY {
        let bench = Bench::with_input(input);
        for (words, expected) in [(MAPS, mapped), (CAT, reduced)] {
            let all = bench.run(words).all();
            let (all, expected) = (all.escape_ascii().to_string(), expected.escape_ascii());
            assert_eq!(all, expected.to_string(), "{what}, {words:?}");
        }
        // Wherever splits end, each record is read once.
        for bytes in 1..=input.len().min(12) {
            let size = format!("mapreduce.input.fileinputformat.split.maxsize={bytes}");
            let all = bench.run(&[&properties(&[&size])[..], CAT].concat()).all();
            assert!(all == *reduced, "{what}, splits of {bytes}: {}", all.escape_ascii());
        }
    }
}

#[test]
fn without_hadoops_rules_only_a_newline_ends_a_record_and_bytes_stay() {
    let native = properties(&["synod.streaming.compatible=false"]);
    let bench = Bench::with_input(b"\xef\xbb\xbfa\r\nb\rc\tv\r\n");
    let all = bench.run(&[&native[..], MAPS].concat()).all();
    assert_eq!(all, b"\xef\xbb\xbfa\r\t\nb\rc\tv\r\n");
}

#[test]
fn long_lines_and_long_keys_pass_and_longer_ones_are_refused_or_left_out() {
    let (x, y) = ("x".repeat(1 << 20), "y".repeat(300_000));
    let bench = Bench::with_input(format!("{x}\nk\t{y}\nshort\n"));
    let expected = format!("k\t{y}\nshort\t\n{x}\t\n");
    assert!(bench.run(CAT).text() == expected);
    let size = properties(&["mapreduce.input.fileinputformat.split.maxsize=100000"]);
    assert!(bench.run(&[&size[..], CAT].concat()).text() == expected);
    let key = "k".repeat(16 << 20);
    assert!(Bench::with_input(format!("{key}\tv")).run(CAT).text() == format!("{key}\tv\n"));
    // Beyond the largest record, a quarter of the memory here, it fails, unless a limit says that long
    // lines are to be left out.
    let long = vec![b'z'; 17 << 20];
    let bench = Bench::with_input([&b"a\n"[..], &long, b"\nb\n"].concat());
    let memory = ["--memory-mib", "64"];
    let said = bench.fail(&[MAPS, &memory].concat());
    assert!(said.contains("/in") && said.contains("offset 2 is longer than"), "{said}");
    let limit = properties(&["mapreduce.input.linerecordreader.line.maxlength=1000"]);
    let ran = bench.run(&[&limit[..], MAPS, &memory].concat());
    assert_eq!(ran.text(), "a\t\nb\t\n");
    assert_eq!(ran.counter("Map-Reduce Framework", "Skipped long records"), Some(1));
}

#[test]
fn values_of_one_key_keep_their_order_and_all_may_have_one_key() {
    let bench = Bench::with_input("k\t3\nk\t1\nk\t2\nk\t1\n");
    assert_eq!(bench.run(CAT).text(), "k\t3\nk\t1\nk\t2\nk\t1\n");
    let bench = Bench::with_input("same\tvalue\n".repeat(100_000));
    let ran = bench.run(&["-mapper", "cat", "-reducer", "uniq -c"]);
    assert_eq!(ran.text().trim(), "100000 same\tvalue");
    assert_eq!(ran.counter("Map-Reduce Framework", "Reduce input groups"), Some(1));
}

#[test]
fn many_more_distinct_keys_than_fit_the_memory_are_each_counted_once() {
    const KEYS: u64 = 400_000;
    // In no order; each key once.
    let keys = (0..KEYS).map(|number| format!("{:07}\n", number * 7_919 % KEYS));
    let bench = Bench::with_input(keys.collect::<String>());
    let words = ["-mapper", "cat", "-reducer", "uniq -c", "--memory", "4M", "--json"];
    let ran = bench.run(&words);
    let text = ran.text();
    for (number, line) in (0..).zip(text.lines()) {
        assert_eq!(line.trim(), format!("1 {number:07}"));
    }
    assert_eq!(text.lines().count() as u64, KEYS);
    let done: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let runs = done["manifest"]["counters"]["runs_written"].as_u64().unwrap();
    assert!(runs >= 4, "{runs} runs went to disk");
}

#[test]
fn damaged_and_unknown_packed_files_are_named_and_an_empty_one_is_empty() {
    let text =
        gz(&(0..2_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect::<Vec<_>>());
    let mut flipped = text.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (name, content, reason) in [
        ("cut.gz", text[..text.len() - 9].to_vec(), "cannot be unpacked"),
        ("flipped.gz", flipped, "cannot be unpacked"),
        ("garbage.gz", [gz(b"a\n"), b"garbage".to_vec()].concat(), "cannot be unpacked"),
        ("plain.gz", b"plain text\n".to_vec(), "its first bytes do not"),
        ("a.snappy", b"whatever".to_vec(), "Synod does not unpack snappy"),
        ("a.deflate", b"whatever".to_vec(), "Synod does not unpack deflate"),
    ] {
        let bench = Bench::new();
        bench.put(name, content);
        let said = bench.fail(&[&["-input", name][..], CAT].concat());
        assert!(said.contains(name) && said.contains(reason), "{said}");
    }
    let bench = Bench::new();
    for (name, content) in [("a.gz", gz(b"")), ("b.gz", Vec::new()), ("c.snappy", Vec::new())] {
        bench.put(name, content);
        assert_eq!(bench.run(&[&["-input", name][..], CAT].concat()).text(), "");
    }
}

#[test]
fn folders_are_read_without_their_hidden_files_and_patterns_match() {
    let bench = Bench::new();
    for name in ["b", "a", "_hidden", ".dot", "with blank", "#hash", "c,d", "e{f"] {
        bench.put(&format!("in/{name}"), format!("{name}\n"));
    }
    let expected = "#hash\t\na\t\nb\t\nc,d\t\ne{f\t\nwith blank\t\n";
    assert_eq!(bench.run(CAT).text(), expected);
    bench.put("deep/x", "x\n");
    bench.put("deep/sub/y", "y\n");
    bench.put("deep/_no/z", "z\n");
    bench.put("deep/sub/empty", "");
    let deep = [&["-input", "deep"][..], CAT].concat();
    let said = bench.fail(&deep);
    assert!(said.contains("deep/sub is a folder"), "{said}");
    let recursive = properties(&["mapreduce.input.fileinputformat.input.dir.recursive=true"]);
    assert_eq!(bench.run(&[&recursive[..], &deep].concat()).text(), "x\t\ny\t\n");
    for (pattern, expected) in [
        ("in/[ab]", "a\t\nb\t\n"),
        ("{in/a,deep/x}", "a\t\nx\t\n"),
        ("in/a,in/b", "a\t\nb\t\n"),
        ("in/?", "a\t\nb\t\n"),
    ] {
        let words = [&["-input", pattern][..], CAT].concat();
        assert_eq!(bench.run(&words).text(), expected, "{pattern}");
    }
    let said = bench.fail(&[&["-input", "in/nothing*"][..], CAT].concat());
    assert!(said.contains("no file matches"), "{said}");
    // A folder that holds itself by a link is refused: nobody guesses how often it was meant to be read.
    std::os::unix::fs::symlink(bench.path("deep"), bench.path("deep/sub/again")).unwrap();
    let said = bench.fail(&[&recursive[..], &deep].concat());
    assert!(said.contains("deep/sub/again is a link to a folder"), "{said}");
    // So is a link to itself, which leads nowhere.
    std::fs::remove_file(bench.path("deep/sub/again")).unwrap();
    std::os::unix::fs::symlink("again", bench.path("deep/sub/again")).unwrap();
    let said = bench.fail(&[&recursive[..], &deep].concat());
    assert!(said.contains("deep/sub/again"), "{said}");
}
