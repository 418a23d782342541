//! Which properties Synod heeds, which it understands but has no use for, and which it does not
//! know: the latter two are named once when a job is submitted, so that nobody waits for their effect.

use super::Properties;

/// They change what a job does.
const HEEDED: &[&str] = &[
    "mapred.input.format.class",
    "mapred.output.format.class",
    "mapred.partitioner.class",
    "mapred.reducer.class",
    "mapreduce.aggregate.max.num.unique.values",
    "mapreduce.input.fileinputformat.input.dir.recursive",
    "mapreduce.input.fileinputformat.inputdir",
    "mapreduce.input.fileinputformat.split.maxsize",
    "mapreduce.input.fileinputformat.split.minsize",
    "mapreduce.input.keyvaluelinerecordreader.key.value.separator",
    "mapreduce.input.lineinputformat.linespermap",
    "mapreduce.input.linerecordreader.line.maxlength",
    "mapreduce.job.cache.archives",
    "mapreduce.job.cache.files",
    "mapreduce.job.id",
    "mapreduce.job.maps",
    "mapreduce.job.name",
    "mapreduce.job.output.key.comparator.class",
    "mapreduce.job.partitioner.class",
    "mapreduce.job.priority",
    "mapreduce.job.reduces",
    "mapreduce.job.skiprecords",
    "mapreduce.job.user.name",
    "mapreduce.job.working.dir",
    "mapreduce.map.env",
    "mapreduce.map.failures.maxpercent",
    "mapreduce.map.maxattempts",
    "mapreduce.map.output.key.field.separator",
    "mapreduce.map.skip.maxrecords",
    "mapreduce.map.speculative",
    "mapreduce.output.fileoutputformat.compress",
    "mapreduce.output.fileoutputformat.compress.codec",
    "mapreduce.output.fileoutputformat.outputdir",
    "mapreduce.output.textoutputformat.separator",
    "mapreduce.partition.keycomparator.options",
    "mapreduce.partition.keypartitioner.options",
    "mapreduce.reduce.env",
    "mapreduce.reduce.failures.maxpercent",
    "mapreduce.reduce.maxattempts",
    "mapreduce.reduce.skip.maxgroups",
    "mapreduce.reduce.speculative",
    "mapreduce.task.skip.start.attempts",
    "mapreduce.task.timeout",
    "num.key.fields.for.partition",
    "stream.addenvironment",
    "stream.combine.streamprocessor",
    "stream.jobconf.truncate.limit",
    "stream.joindelay.milli",
    "stream.map.input",
    "stream.map.input.field.separator",
    "stream.map.input.ignoreKey",
    "stream.map.output",
    "stream.map.output.field.separator",
    "stream.map.streamprocessor",
    "stream.minRecWrittenToEnableSkip_",
    "stream.non.zero.exit.is.failure",
    "stream.num.map.output.key.fields",
    "stream.num.reduce.output.key.fields",
    "stream.recordreader.begin",
    "stream.recordreader.class",
    "stream.recordreader.end",
    "stream.recordreader.slowmatch",
    "stream.reduce.input",
    "stream.reduce.input.field.separator",
    "stream.reduce.output",
    "stream.reduce.output.field.separator",
    "stream.reduce.streamprocessor",
    "stream.stderr.reporter.prefix",
    "textinputformat.record.delimiter",
];

/// What they ask for is either done anyway, in Synod's own way, or is about a part of Hadoop that
/// does not exist here: queues, Java heaps, its network of daemons. A name that ends with a dot
/// stands for all that begin with it.
const WITHOUT_EFFECT: &[&str] = &[
    "dfs.",
    "fs.default.name",
    "fs.defaultFS",
    "hadoop.",
    "io.file.buffer.size",
    "ipc.",
    "mapred.child.java.opts",
    "mapred.mapper.class",
    "mapred.mapper.new-api",
    "mapred.reducer.new-api",
    "mapreduce.client.",
    "mapreduce.cluster.local.dir",
    "mapreduce.fileoutputcommitter.marksuccessfuljobs",
    "mapreduce.framework.name",
    "mapreduce.job.acl-",
    "mapreduce.job.counters.",
    "mapreduce.job.end-notification.",
    "mapreduce.job.jvm.numtasks",
    "mapreduce.job.maxtaskfailures.per.tracker",
    "mapreduce.job.output.key.class",
    "mapreduce.job.output.value.class",
    "mapreduce.job.queuename",
    "mapreduce.job.reduce.slowstart.completedmaps",
    "mapreduce.job.speculative.",
    "mapreduce.job.tags",
    "mapreduce.job.ubertask.",
    "mapreduce.map.cpu.vcores",
    "mapreduce.map.debug.script",
    "mapreduce.map.java.opts",
    "mapreduce.map.log.level",
    "mapreduce.map.memory.mb",
    "mapreduce.map.output.compress",
    "mapreduce.map.output.compress.codec",
    "mapreduce.map.output.key.class",
    "mapreduce.map.output.value.class",
    "mapreduce.map.sort.spill.percent",
    "mapreduce.output.fileoutputformat.compress.type",
    "mapreduce.reduce.cpu.vcores",
    "mapreduce.reduce.debug.script",
    "mapreduce.reduce.input.buffer.percent",
    "mapreduce.reduce.java.opts",
    "mapreduce.reduce.log.level",
    "mapreduce.reduce.memory.mb",
    "mapreduce.reduce.merge.inmem.threshold",
    "mapreduce.reduce.shuffle.",
    "mapreduce.task.files.preserve.",
    "mapreduce.task.io.sort.factor",
    "mapreduce.task.io.sort.mb",
    "mapreduce.task.profile",
    "mapreduce.task.profile.",
    "mapreduce.task.userlog.limit.kb",
    "mapreduce.totalorderpartitioner.",
    "stream.io.identifier.resolver.class",
    "stream.shipped.hadoopstreaming",
    "stream.tmpdir",
    "tmpfiles",
    "yarn.",
];

/// What Synod makes of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It changes what the job does.
    Heeded,
    /// It is understood and needs nothing done.
    WithoutEffect,
    /// Only the command's environment has it.
    Unknown,
}

/// What Synod makes of the property with this present name.
pub fn use_of(present: &str) -> Use {
    if HEEDED.contains(&present) || present.starts_with(super::super::settings::OWN_PREFIX) {
        return Use::Heeded;
    }
    let covers = |name: &str| {
        let family = name.ends_with(['.', '-']);
        name == present || family && present.starts_with(name)
    };
    if WITHOUT_EFFECT.iter().any(|name| covers(name)) { Use::WithoutEffect } else { Use::Unknown }
}

/// The properties that Synod does not interpret, ascending.
pub fn not_interpreted(properties: &Properties) -> Vec<&str> {
    properties.iter().map(|(name, _)| name).filter(|name| use_of(name) == Use::Unknown).collect()
}

/// The properties that are understood and change nothing, ascending; without those that ask for what
/// is done in any case.
pub fn without_effect(properties: &Properties) -> Vec<&str> {
    let asks_for_more = |name: &str| match name {
        "mapreduce.fileoutputcommitter.marksuccessfuljobs" => !properties.flag(name, true),
        _ => use_of(name) == Use::WithoutEffect,
    };
    properties.iter().map(|(name, _)| name).filter(|name| asks_for_more(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::aliases::present_name;
    use super::*;

    #[test]
    fn only_present_names_are_listed_and_each_once() {
        let mut all: Vec<_> = HEEDED.iter().chain(WITHOUT_EFFECT).collect();
        for name in &all {
            assert_eq!(present_name(name), **name);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_nobody_knows_is_named() {
        let mut properties = Properties::new();
        for name in ["mapred.reduce.tasks", "yarn.app.x", "my.own", "mapreduce.job.nonsense"] {
            properties.set(name, "1");
        }
        assert_eq!(not_interpreted(&properties), ["mapreduce.job.nonsense", "my.own"]);
        assert_eq!(without_effect(&properties), ["yarn.app.x"]);
    }

    #[test]
    fn success_is_always_marked() {
        for (value, named) in [("true", 0), ("false", 1)] {
            let mut properties = Properties::new();
            properties.set("mapreduce.fileoutputcommitter.marksuccessfuljobs", value);
            assert_eq!(without_effect(&properties).len(), named);
        }
    }
}
