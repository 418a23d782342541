//! Which reduce task gets a pair, and in which order.

use std::fmt::Write;

use crate::bench::{Bench, CAT, properties};

#[test]
fn a_key_goes_where_hadoops_hash_sends_it() {
    // Recorded.
    let mut input = String::new();
    for number in 0..40 {
        let letter = char::from(b'a' + number % 26);
        writeln!(input, "{} {letter}", u32::from(number) * 7919 % 31).unwrap();
    }
    let bench = Bench::with_input(input);
    let ran = bench.run(&[&properties(&["mapreduce.job.reduces=4"])[..], CAT].concat());
    let parts: Vec<String> = ran.texts().iter().map(|part| part.replace("\t\n", ",")).collect();
    assert_eq!(
        parts,
        [
            "0 a,13 m,17 e,18 t,22 g,27 n,5 h,",
            "0 f,1 u,11 d,16 k,22 l,25 e,5 m,8 f,",
            "11 i,12 x,14 b,19 i,20 c,21 r,25 j,26 y,28 c,3 d,30 l,4 s,8 k,9 z,",
            "10 o,14 g,15 v,19 n,2 j,23 a,24 p,28 h,29 w,6 b,7 q,",
        ]
    );
}

#[test]
fn a_secondary_sort_partitions_by_some_fields_and_orders_by_more() {
    // Recorded: partitions by the first two fields, within them the third by number, descending.
    let bench = Bench::with_input("2.b.9\n1.a.3\n1.a.20\n2.a.1\n1.b.7\n1.a.100\n");
    let settings = properties(&[
        "stream.map.output.field.separator=.",
        "stream.num.map.output.key.fields=3",
        "mapreduce.map.output.key.field.separator=.",
        "mapreduce.partition.keypartitioner.options=-k1,2",
        "mapreduce.job.output.key.comparator.class=\
         org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedComparator",
        "mapreduce.partition.keycomparator.options=-k1,2 -k3,3nr",
        "mapreduce.job.reduces=3",
    ]);
    let partitioner = ["-partitioner", "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner"];
    let ran = bench.run(&[&settings[..], CAT, &partitioner].concat());
    assert_eq!(ran.texts(), ["1.a.100\t\n1.a.20\t\n1.a.3\t\n", "1.b.7\t\n2.a.1\t\n", "2.b.9\t\n"]);
}

#[test]
fn total_order_makes_part_files_that_are_in_order_together() {
    let mut keys: Vec<String> =
        (0..20_000_u32).map(|n| format!("{:05}", n.wrapping_mul(2_654_435_761) >> 16)).collect();
    let bench = Bench::with_input(keys.join("\n"));
    let settings = properties(&["mapreduce.job.reduces=5"]);
    let partitioner = ["-partitioner", "org.apache.hadoop.mapred.lib.TotalOrderPartitioner"];
    let ran = bench.run(&[&settings[..], CAT, &partitioner].concat());
    keys.sort();
    let sorted: String = keys.iter().map(|key| format!("{key}\t\n")).collect();
    assert!(ran.text() == sorted, "the part files are not in order");
    // The ranges come from a sample, of so few keys from all of them.
    let records: Vec<usize> = ran.texts().iter().map(|part| part.lines().count()).collect();
    assert_eq!(records.len(), 5);
    assert!(records.iter().all(|count| (3_600..=4_400).contains(count)), "{records:?}");
}

#[test]
fn keys_of_numbers_and_reversed_keys_are_ordered_as_they_are_read() {
    let bench = Bench::with_input("10\ta\n9\tb\n-3\tc\n2.5\td\n9\te\n");
    for (options, expected) in [
        ("-n", "-3\tc\n2.5\td\n9\tb\n9\te\n10\ta\n"),
        ("-nr", "10\ta\n9\tb\n9\te\n2.5\td\n-3\tc\n"),
        ("-r", "9\tb\n9\te\n2.5\td\n10\ta\n-3\tc\n"),
    ] {
        let options = format!("mapreduce.partition.keycomparator.options={options}");
        let class = "mapred.output.key.comparator.class=KeyFieldBasedComparator";
        let settings = properties(&[class, &options]);
        assert_eq!(bench.run(&[&settings[..], CAT].concat()).text(), expected, "{options}");
    }
}
