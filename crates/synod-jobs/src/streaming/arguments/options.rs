//! The options that there are: Hadoop's generic ones, those of Streaming, and Synod's own.

/// How many values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// It is a switch.
    None,
    /// One, at each place where it stands.
    One,
    /// One or more.
    Many,
}

/// Whose option it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// Of every Hadoop command; they stand first.
    Generic,
    /// Of Streaming.
    Streaming,
    /// Of Synod. Hadoop does not know it.
    Own,
}

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name without hyphens.
    pub name: &'static str,
    /// Whose it is.
    pub kind: OptionKind,
    /// How many values it takes.
    pub arity: Arity,
    /// What its value is called in the help.
    pub value: &'static str,
    /// A line of help.
    pub help: &'static str,
    /// What to write in its place, if it is old.
    pub instead: Option<&'static str>,
}

const fn option(
    kind: OptionKind,
    arity: Arity,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> OptionInfo {
    OptionInfo { name, kind, arity, value, help, instead: None }
}

const fn old(
    kind: OptionKind,
    arity: Arity,
    name: &'static str,
    value: &'static str,
    instead: &'static str,
) -> OptionInfo {
    OptionInfo { name, kind, arity, value, help: "", instead: Some(instead) }
}

use Arity::{Many, None as NoValue, One};
use OptionKind::{Generic, Own, Streaming};

/// All options, in the order of the help.
pub const OPTIONS: &[OptionInfo] = &[
    option(Streaming, Many, "input", "<path>..", "What to read; patterns; may stand several times"),
    option(Streaming, One, "output", "<path>", "Folder for the part files; must not exist yet"),
    option(Streaming, One, "mapper", "<cmd|class>", "What maps; IdentityMapper if it is left out"),
    option(Streaming, One, "combiner", "<cmd>", "What combines the output of a map task"),
    option(Streaming, One, "reducer", "<cmd|class>", "What reduces; NONE, aggregate, or identity"),
    option(
        Streaming,
        One,
        "numReduceTasks",
        "<n>",
        "Number of part files; 0: without reduce tasks",
    ),
    option(Streaming, One, "partitioner", "<class>", "Which reduce task gets a pair"),
    option(Streaming, One, "inputformat", "<class>", "What a record of the input is"),
    option(Streaming, One, "outputformat", "<class>", "What becomes of the output"),
    option(Streaming, One, "inputreader", "<spec>", "StreamXmlRecordReader,begin=..,end=.."),
    option(
        Streaming,
        One,
        "io",
        "<identifier>",
        "What goes through pipes: text, rawbytes, typedbytes",
    ),
    option(Streaming, One, "cmdenv", "<n>=<v>", "A variable for the commands"),
    option(Streaming, NoValue, "lazyOutput", "", "No part files without a record"),
    option(Streaming, NoValue, "background", "", "Do not wait for the job (on a cluster)"),
    option(Streaming, NoValue, "verbose", "", "Print properties, and what tasks report as status"),
    option(Streaming, One, "mapdebug", "<cmd>", "Not run here: a failed task shows its stderr"),
    option(Streaming, One, "reducedebug", "<cmd>", "Not run here: a failed task shows its stderr"),
    option(Streaming, NoValue, "debug", "", "Nothing more than -verbose"),
    option(Streaming, NoValue, "info", "", "The long help"),
    option(Streaming, NoValue, "help", "", "This help"),
    old(Streaming, Many, "file", "<file>..", "-files"),
    old(Streaming, Many, "cacheFile", "<uri>..", "-files"),
    old(Streaming, Many, "cacheArchive", "<uri>..", "-archives"),
    old(Streaming, One, "jobconf", "<n>=<v>", "-D"),
    old(Streaming, One, "dfs", "<uri>", "-fs"),
    old(Streaming, One, "additionalconfspec", "<file>", "-conf"),
    option(Generic, One, "D", "<property>=<value>", "A property of the job"),
    option(Generic, One, "conf", "<file>", "A file of properties"),
    option(Generic, One, "files", "<file>[#name],..", "Files in the working folder of each task"),
    option(Generic, One, "archives", "<file>[#name],..", "Archives, unpacked there"),
    option(Generic, One, "libjars", "<file>,..", "Shipped as -files are; no Java runs here"),
    option(Generic, One, "fs", "<uri>", "Without effect"),
    option(Generic, One, "jt", "<host:port>", "Without effect"),
    option(Generic, One, "tokenCacheFile", "<file>", "Without effect"),
    option(Own, NoValue, "check", "", "Say what would not work elsewhere, and run nothing"),
    option(Own, One, "endpoints", "<host:port>,..", "Run on the nodes of this cluster"),
    option(Own, One, "store", "<host:port>,..", "The store that kv:// names mean, run here"),
    option(Own, One, "staging", "<folder>", "For part files until they go to kv:// or s3://"),
    option(Own, One, "on", "<engine>", "Hand the job to an engine you have: hadoop, spark"),
    option(Own, NoValue, "json", "", "Print what the job has done as JSON, like synod run --json"),
    option(Own, One, "slots", "<n>", "Tasks at a time; default: one per core"),
    option(Own, One, "only-maps", "<n>,..", "Only these map tasks, one by one: for a debugger"),
    option(
        Own,
        One,
        "memory",
        "<size>",
        "Memory of the job: 512M, 4G, 1M at least; more goes to disk",
    ),
    option(Own, One, "memory-mib", "<n>", "The same as --memory, in MiB"),
    option(Own, NoValue, "no-sync", "", "Do not wait until part files are on stable storage"),
];

/// The option that a word is, and the value within the word, if there is one.
pub fn find(word: &str) -> Option<(&'static OptionInfo, Option<&str>)> {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
    let named = |name: &str| OPTIONS.iter().find(|option| option.name == name);
    if let Some(option) = named(name) {
        return Some((option, None));
    }
    if let Some((name, value)) = name.split_once('=')
        && let Some(option) = named(name)
        && option.kind != Streaming
        && option.arity != NoValue
    {
        return Some((option, Some(value)));
    }
    let property = word.strip_prefix("-D").filter(|rest| !rest.is_empty())?;
    named("D").map(|option| (option, Some(property)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_options_with_one_hyphen_or_two() {
        let found = |word| find(word).map(|(option, value)| (option.name, value));
        assert_eq!(found("-input"), Some(("input", None)));
        assert_eq!(found("--input"), Some(("input", None)));
        assert_eq!(found("-D"), Some(("D", None)));
        assert_eq!(found("-Da.b=c=d"), Some(("D", Some("a.b=c=d"))));
        assert_eq!(found("-files=a,b"), Some(("files", Some("a,b"))));
        for word in ["input", "-", "--", "-input=a", "-in", "-x", "", "-lazyOutput=true"] {
            assert_eq!(found(word), None, "{word}");
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = OPTIONS.iter().map(|option| option.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), OPTIONS.len());
    }
}
