//! The Java classes that stand for something Synod does itself.
//!
//! Hadoop's arguments name classes. Those with a counterpart here are accepted under their short
//! and full names, of the old and the new API; any other is refused by name, because no Java runs.

use crate::error::JobError;

/// Where the classes live that jobs name.
const PACKAGES: &[&str] = &[
    "org.apache.hadoop.mapred.",
    "org.apache.hadoop.mapred.lib.",
    "org.apache.hadoop.mapreduce.lib.input.",
    "org.apache.hadoop.mapreduce.lib.map.",
    "org.apache.hadoop.mapreduce.lib.output.",
    "org.apache.hadoop.mapreduce.lib.partition.",
    "org.apache.hadoop.mapreduce.lib.reduce.",
    "org.apache.hadoop.mapreduce.",
    "org.apache.hadoop.streaming.",
    "org.apache.hadoop.streaming.mapreduce.",
    "org.apache.hadoop.io.compress.",
];

/// How the input is cut into records and what a command sees of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InputClass {
    /// Lines; the command sees the line alone.
    #[default]
    Text,
    /// Lines that are a key and a value with a separator between.
    KeyValue,
    /// So many lines per task; the command sees offset and line.
    NLine,
    /// Pieces between two marks, by `-inputreader StreamXmlRecordReader`.
    Marked,
    /// Keys and values of a store, by an input that is no file.
    Pairs,
}

/// What becomes of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputClass {
    /// Lines of key, separator and value.
    #[default]
    Text,
    /// It is dropped.
    Null,
}

/// How pairs are spread over the reduce tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PartitionerClass {
    /// By the hash of the whole key.
    #[default]
    Hash,
    /// By the hash of some fields of the key.
    KeyField,
    /// By ranges of keys, so that the part files together are in order.
    TotalOrder,
}

/// How keys are ordered within a reduce task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComparatorClass {
    /// By their bytes.
    #[default]
    Bytes,
    /// By some fields, as numbers or text, up or down.
    KeyField,
}

/// What `-mapper`, `-reducer` or `-combiner` ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processor {
    /// A command.
    Command,
    /// Pairs pass as they are.
    Identity,
}

/// The part of a class name behind the package, if it is one of Hadoop's.
fn short(name: &str) -> &str {
    let mut known = PACKAGES.iter().filter_map(|package| name.strip_prefix(package));
    known.rfind(|rest| !rest.contains('.')).unwrap_or(name)
}

fn refused(option: &str, name: &str, instead: &str) -> JobError {
    JobError::BadSpec {
        what: format!("{option} {name}: this class has no counterpart here; {instead}"),
    }
}

impl InputClass {
    /// The class that `-inputformat` names.
    pub fn named(name: &str) -> Result<InputClass, JobError> {
        match short(name) {
            "TextInputFormat" => Ok(InputClass::Text),
            "KeyValueTextInputFormat" => Ok(InputClass::KeyValue),
            "NLineInputFormat" => Ok(InputClass::NLine),
            // Without a reader of its own it reads keys and values.
            "StreamInputFormat" => Ok(InputClass::KeyValue),
            "KeyRangeInputFormat" => Ok(InputClass::Pairs),
            _ => Err(refused(
                "-inputformat",
                name,
                "TextInputFormat, KeyValueTextInputFormat and NLineInputFormat are known",
            )),
        }
    }

    /// The full name of the class.
    pub fn full_name(self) -> &'static str {
        match self {
            InputClass::Text => "org.apache.hadoop.mapred.TextInputFormat",
            InputClass::KeyValue => "org.apache.hadoop.mapred.KeyValueTextInputFormat",
            InputClass::NLine => "org.apache.hadoop.mapred.lib.NLineInputFormat",
            InputClass::Marked => "org.apache.hadoop.streaming.StreamInputFormat",
            InputClass::Pairs => "KeyRangeInputFormat",
        }
    }
}

impl OutputClass {
    /// The class that `-outputformat` names.
    pub fn named(name: &str) -> Result<OutputClass, JobError> {
        match short(name) {
            "TextOutputFormat" => Ok(OutputClass::Text),
            "NullOutputFormat" => Ok(OutputClass::Null),
            _ => Err(refused(
                "-outputformat",
                name,
                "TextOutputFormat and NullOutputFormat are known",
            )),
        }
    }

    /// The full name of the class.
    pub fn full_name(self) -> &'static str {
        match self {
            OutputClass::Text => "org.apache.hadoop.mapred.TextOutputFormat",
            OutputClass::Null => "org.apache.hadoop.mapred.lib.NullOutputFormat",
        }
    }
}

impl PartitionerClass {
    /// The class that `-partitioner` names.
    pub fn named(name: &str) -> Result<PartitionerClass, JobError> {
        match short(name) {
            "HashPartitioner" => Ok(PartitionerClass::Hash),
            "KeyFieldBasedPartitioner" => Ok(PartitionerClass::KeyField),
            "TotalOrderPartitioner" => Ok(PartitionerClass::TotalOrder),
            _ => Err(refused(
                "-partitioner",
                name,
                "HashPartitioner, KeyFieldBasedPartitioner and TotalOrderPartitioner are known",
            )),
        }
    }

    /// The full name of the class.
    pub fn full_name(self) -> &'static str {
        match self {
            PartitionerClass::Hash => "org.apache.hadoop.mapred.lib.HashPartitioner",
            PartitionerClass::KeyField => "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner",
            PartitionerClass::TotalOrder => "org.apache.hadoop.mapred.lib.TotalOrderPartitioner",
        }
    }
}

impl ComparatorClass {
    /// The class that `mapreduce.job.output.key.comparator.class` names.
    pub fn named(name: &str) -> Result<ComparatorClass, JobError> {
        match short(name) {
            "KeyFieldBasedComparator" => Ok(ComparatorClass::KeyField),
            "org.apache.hadoop.io.Text$Comparator" => Ok(ComparatorClass::Bytes),
            _ => Err(refused(
                "mapreduce.job.output.key.comparator.class",
                name,
                "KeyFieldBasedComparator is known",
            )),
        }
    }
}

impl Processor {
    /// What the value of `option` (`-mapper`, for example) asks for. Hadoop takes a word for a
    /// class if it can load it and for a command otherwise; here a class is what is named like
    /// one of Hadoop's own.
    pub fn named(option: &str, line: &str) -> Result<Processor, JobError> {
        let name = line.trim();
        match short(name) {
            "IdentityMapper" | "Mapper" if option == "-mapper" && name != "Mapper" => {
                Ok(Processor::Identity)
            }
            "IdentityReducer" | "Reducer" if option != "-mapper" && name != "Reducer" => {
                Ok(Processor::Identity)
            }
            _ if name.starts_with("org.apache.hadoop.") && !name.contains(' ') => Err(refused(
                option,
                name,
                "name a program, IdentityMapper, IdentityReducer or aggregate",
            )),
            _ => Ok(Processor::Command),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_known_by_short_and_full_names() {
        for name in [
            "KeyFieldBasedPartitioner",
            "org.apache.hadoop.mapred.lib.KeyFieldBasedPartitioner",
            "org.apache.hadoop.mapreduce.lib.partition.KeyFieldBasedPartitioner",
        ] {
            assert_eq!(PartitionerClass::named(name).unwrap(), PartitionerClass::KeyField);
        }
        for class in [InputClass::Text, InputClass::KeyValue, InputClass::NLine, InputClass::Pairs]
        {
            assert_eq!(InputClass::named(class.full_name()).unwrap(), class);
        }
        for class in [OutputClass::Text, OutputClass::Null] {
            assert_eq!(OutputClass::named(class.full_name()).unwrap(), class);
        }
    }

    #[test]
    fn a_class_without_counterpart_is_refused_by_name() {
        let error = InputClass::named("SequenceFileInputFormat").unwrap_err().to_string();
        assert!(error.contains("SequenceFileInputFormat"), "{error}");
        for name in ["com.example.MyPartitioner", "x.y.HashPartitioner", ""] {
            assert!(PartitionerClass::named(name).is_err(), "{name}");
        }
        assert!(Processor::named("-mapper", "org.apache.hadoop.mapred.lib.InverseMapper").is_err());
    }

    #[test]
    fn what_is_not_named_like_a_class_of_hadoop_is_a_command() {
        for line in ["cat", "IdentityMapper.py", "com.example.Mapper", "Mapper", "./x y"] {
            assert_eq!(Processor::named("-mapper", line).unwrap(), Processor::Command, "{line}");
        }
        let identity = "org.apache.hadoop.mapred.lib.IdentityMapper";
        assert_eq!(Processor::named("-mapper", identity).unwrap(), Processor::Identity);
        assert_eq!(Processor::named("-reducer", "IdentityReducer").unwrap(), Processor::Identity);
        assert_eq!(Processor::named("-mapper", "IdentityReducer").unwrap(), Processor::Command);
    }
}
