//! Packed inputs that are damaged, empty, or unpack to far more than they are; and files with odd names.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::bench::{Bench, CAT, MAPS, properties};
use crate::formats::gz;

#[test]
fn a_gz_whose_sum_is_wrong_is_named_and_one_without_a_byte_is_warned_of() {
    let mut wrong_sum = gz(b"b\na\n");
    // The last eight bytes are the sum of the content and its length.
    let at = wrong_sum.len() - 8;
    wrong_sum[at] ^= 1;
    let mut wrong_length = gz(b"b\na\n");
    *wrong_length.last_mut().unwrap() ^= 1;
    // A good member in front helps none of them.
    let second = [gz(b"fine\n"), wrong_sum.clone()].concat();
    for (name, content) in
        [("sum.gz", wrong_sum), ("length.gz", wrong_length), ("second.gz", second)]
    {
        let bench = Bench::new();
        bench.put(name, content);
        for words in [MAPS, CAT] {
            let said = bench.fail(&[&["-input", name][..], words].concat());
            assert!(said.contains(name) && said.contains("cannot be unpacked"), "{said}");
        }
    }
    let bench = Bench::new();
    bench.put("in/nothing.gz", "");
    bench.put("in/some.gz", gz(b"some\n"));
    let ran = bench.run(MAPS);
    assert_eq!(ran.text(), "some\t\n");
    let warned = ran.stderr.lines().filter(|line| line.contains("nothing.gz has no bytes"));
    assert_eq!(warned.count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("some.gz"), "{}", ran.stderr);
}

#[test]
fn what_unpacks_to_a_thousand_times_its_size_is_read_and_what_unpacks_to_absurdly_much_is_not() {
    let bench = Bench::new();
    // As small as gzip can make anything: about 1:1,030.
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&vec![b'a'; 8 << 20]).unwrap();
    let packed = packed.finish().unwrap();
    assert!(packed.len() < (8 << 20) / 1_000, "{}", packed.len());
    bench.put("small.gz", packed);
    let ran = bench.run(&["-input", "small.gz", "-mapper", "wc -c", "-reducer", "NONE"]);
    assert_eq!(ran.text().trim(), ((8 << 20) + 1).to_string());
    // Thirty gigabytes of zeros in a few hundred kilobytes.
    let frame = zstd::encode_all(&vec![0; 64 << 20][..], 1).unwrap();
    bench.put("bomb.zst", frame.repeat(500));
    // They are one record, which is too long; who leaves such records out is stopped by the ratio.
    let said = bench.fail(&[&["-input", "bomb.zst"][..], MAPS].concat());
    assert!(said.contains("bomb.zst") && said.contains("longer than"), "{said}");
    let limit = properties(&["mapreduce.input.linerecordreader.line.maxlength=1000"]);
    let said = bench.fail(&[&limit[..], &["-input", "bomb.zst"], MAPS].concat());
    assert!(said.contains("bomb.zst") && said.contains("times its size"), "{said}");
}

#[test]
fn names_with_newlines_are_names_and_no_name_leads_out_of_the_place_of_hdfs() {
    let bench = Bench::new();
    for name in ["two\nlines", "tab\there", "-input", "a b", "..a", "a..", "ü", "%41"] {
        bench.put(&format!("in/{name}"), format!("{name}\n").replace('\t', " "));
    }
    let expected = "%41\t\n-input\t\n..a\t\na b\t\na..\t\nlines\t\ntab here\t\ntwo\t\nü\t\n";
    // Names that begin with a dot are hidden, as Hadoop has it.
    assert_eq!(bench.run(CAT).text(), expected.replace("..a\t\n", ""));
    let tells = bench.script("tells.sh", "cat >/dev/null; echo \"$mapreduce_map_input_file\"");
    let maps = ["-mapper", &tells, "-reducer", "NONE"];
    let ran = bench.run(&[&["-input", "in/two\nlines"][..], &maps].concat());
    let told = format!("file:{}/two\t\nlines\t\n", bench.path("in").display());
    assert_eq!(ran.text(), told);
    // A path of this machine is what the user says it is.
    let up = ["-input", "in/../in/a b"];
    assert_eq!(bench.run(&[&up[..], CAT].concat()).text(), "a b\t\n");
    // Below the folder that stands for HDFS nothing leads out of it.
    bench.put("secret", "secret\n");
    bench.put("root/user/x", "x\n");
    let root = format!("synod.hdfs.root={}", bench.path("root").display());
    let root = properties(&[&root]);
    let read = |name| [&root[..], &["-input", name], CAT].concat();
    assert_eq!(bench.run(&read("hdfs:///user/x")).text(), "x\t\n");
    for name in ["hdfs:///../secret", "hdfs:///user/../../secret", "hdfs://node/user/../../secret"]
    {
        let (output, done) = bench.try_run(&read(name));
        let said = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && !output.exists(), "{name}: {said}");
        assert!(said.contains("names no path below the root"), "{name}: {said}");
    }
}
