//! The help, from the table of options.

use super::Help;
use super::options::{OPTIONS, OptionKind};

/// The text of `-help` or `-info`.
pub fn text(help: Help) -> String {
    let mut text = String::from(
        "Usage: synod streaming [generic options] [options]\n\
         Takes the argument list of Hadoop Streaming as it is.\n\nOptions:\n",
    );
    list(&mut text, OptionKind::Streaming);
    text.push_str("\nGeneric options:\n");
    list(&mut text, OptionKind::Generic);
    text.push_str("\nOptions that Hadoop does not have:\n");
    list(&mut text, OptionKind::Own);
    match help {
        Help::Short => text.push_str("\nMore with -info.\n"),
        Help::Long => text.push_str(DETAILS),
    }
    text
}

fn list(text: &mut String, kind: OptionKind) {
    for option in OPTIONS.iter().filter(|option| option.kind == kind) {
        let hyphens = if kind == OptionKind::Own { "--" } else { "-" };
        let left = format!("{hyphens}{} {}", option.name, option.value);
        let right = match option.instead {
            Some(instead) => format!("Deprecated: use {instead}"),
            None => option.help.to_owned(),
        };
        text.push_str(&format!("  {:<30} {right}\n", left.trim_end()));
    }
}

const DETAILS: &str = "
What a command reads and prints:
  A mapper reads the lines of its part of the input. Of each line that it prints, what stands
  before the first tab is the key. A reducer reads key, tab and value on a line for each pair,
  keys in order; what it prints is written to part-00000 and so on. A line without a tab gets
  one at its end.
  Commands are split at blanks, with ' and \" as quotes; no shell runs, so there are no pipes.
  `reporter:counter:group,name,1` and `reporter:status:text` on stderr count and tell.

Properties that are often set (-D name=value; old names are known, too):
  mapreduce.job.reduces=10                        number of part files
  mapreduce.job.name=..                           what people call the job
  mapreduce.task.timeout=600000                   milliseconds without progress; 0: for ever
  stream.num.map.output.key.fields=2              the key is what stands before the second tab
  stream.map.output.field.separator=,             another separator than a tab
  mapreduce.partition.keypartitioner.options=-k1,1      with KeyFieldBasedPartitioner
  mapreduce.partition.keycomparator.options=-k2,2nr     with KeyFieldBasedComparator, set by
  mapreduce.job.output.key.comparator.class=KeyFieldBasedComparator
  textinputformat.record.delimiter=..             what ends a record of the input
  mapreduce.output.fileoutputformat.compress=true       with ..compress.codec=GzipCodec
  stream.non.zero.exit.is.failure=false           any exit code is fine
  mapreduce.input.linerecordreader.line.maxlength=9999  longer lines are left out
  synod.streaming.long.records=truncate           ..or cut (truncate), or fail the job (fail)
  mapreduce.map.skip.maxrecords=1                 leave out records that the mapper fails on
  synod.streaming.unread.input.is.failure=false   a command may stop reading early
  synod.streaming.compatible=false                no carriage returns or byte order marks are cut,
                                                  and a reducer without input may print

Files: -files a.py,words.txt#w puts a.py and w into the working folder of each task, which is first
  on the search path. hdfs:// paths are below the folder that SYNOD_HDFS_ROOT names.

On an engine of yours: --on hadoop starts Hadoop's own `mapred streaming` (of HADOOP_HOME, or PATH)
  with the same words; --on spark starts `spark-submit` (of SPARK_HOME, PATH, or a Python
  environment) with a program that does the same. What would change the answer is refused by name.

Example:
  synod streaming -files wc.py -input logs/*.gz -output counts \\
    -mapper 'wc.py map' -reducer 'wc.py reduce'
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_explained() {
        let text = text(Help::Short);
        for option in OPTIONS {
            assert!(text.contains(&format!("-{} ", option.name)), "{}", option.name);
            assert!(option.instead.is_some() || !option.help.is_empty(), "{}", option.name);
        }
        assert!(super::text(Help::Long).len() > text.len());
        assert!(super::text(Help::Long).lines().all(|line| line.len() <= 110));
    }
}
