//! The names that properties had before Hadoop 2, and the names they have now.
//!
//! Scripts in use set either. A property is stored under its present name only; a command sees
//! both in its environment. The pairs are those that Hadoop 3 itself registers for jobs (those of
//! its daemons are left out), and, at the end, names on which Hadoop's documentation and its code do
//! not agree.

/// (old name, present name), the old ones ascending within each part.
pub(super) const ALIASES: &[(&str, &str)] = &[
    ("create.empty.dir.if.nonexist", "mapreduce.jobcontrol.createdir.ifnotexist"),
    ("io.sort.factor", "mapreduce.task.io.sort.factor"),
    ("io.sort.mb", "mapreduce.task.io.sort.mb"),
    ("io.sort.spill.percent", "mapreduce.map.sort.spill.percent"),
    ("job.end.notification.url", "mapreduce.job.end-notification.url"),
    ("job.end.retry.attempts", "mapreduce.job.end-notification.retry.attempts"),
    ("job.end.retry.interval", "mapreduce.job.end-notification.retry.interval"),
    ("job.local.dir", "mapreduce.job.local.dir"),
    ("jobclient.completion.poll.interval", "mapreduce.client.completion.pollinterval"),
    ("jobclient.output.filter", "mapreduce.client.output.filter"),
    ("jobclient.progress.monitor.poll.interval", "mapreduce.client.progressmonitor.pollinterval"),
    ("keep.failed.task.files", "mapreduce.task.files.preserve.failedtasks"),
    ("keep.task.files.pattern", "mapreduce.task.files.preserve.filepattern"),
    (
        "key.value.separator.in.input.line",
        "mapreduce.input.keyvaluelinerecordreader.key.value.separator",
    ),
    ("map.input.file", "mapreduce.map.input.file"),
    ("map.input.length", "mapreduce.map.input.length"),
    ("map.input.start", "mapreduce.map.input.start"),
    ("map.output.key.field.separator", "mapreduce.map.output.key.field.separator"),
    ("map.output.key.value.fields.spec", "mapreduce.fieldsel.map.output.key.value.fields.spec"),
    ("mapred.binary.partitioner.left.offset", "mapreduce.partition.binarypartitioner.left.offset"),
    (
        "mapred.binary.partitioner.right.offset",
        "mapreduce.partition.binarypartitioner.right.offset",
    ),
    ("mapred.cache.archives", "mapreduce.job.cache.archives"),
    ("mapred.cache.files", "mapreduce.job.cache.files"),
    ("mapred.cache.localArchives", "mapreduce.job.cache.local.archives"),
    ("mapred.cache.localFiles", "mapreduce.job.cache.local.files"),
    ("mapred.compress.map.output", "mapreduce.map.output.compress"),
    ("mapred.data.field.separator", "mapreduce.fieldsel.data.field.separator"),
    ("mapred.debug.out.lines", "mapreduce.task.debugout.lines"),
    ("mapred.inmem.merge.threshold", "mapreduce.reduce.merge.inmem.threshold"),
    ("mapred.input.dir", "mapreduce.input.fileinputformat.inputdir"),
    ("mapred.input.dir.formats", "mapreduce.input.multipleinputs.dir.formats"),
    ("mapred.input.dir.mappers", "mapreduce.input.multipleinputs.dir.mappers"),
    ("mapred.input.dir.recursive", "mapreduce.input.fileinputformat.input.dir.recursive"),
    ("mapred.input.pathFilter.class", "mapreduce.input.pathFilter.class"),
    ("mapred.jar", "mapreduce.job.jar"),
    ("mapred.job.classpath.archives", "mapreduce.job.classpath.archives"),
    ("mapred.job.classpath.files", "mapreduce.job.classpath.files"),
    ("mapred.job.id", "mapreduce.job.id"),
    ("mapred.job.map.memory.mb", "mapreduce.map.memory.mb"),
    ("mapred.job.name", "mapreduce.job.name"),
    ("mapred.job.priority", "mapreduce.job.priority"),
    ("mapred.job.queue.name", "mapreduce.job.queuename"),
    ("mapred.job.reduce.input.buffer.percent", "mapreduce.reduce.input.buffer.percent"),
    ("mapred.job.reduce.markreset.buffer.percent", "mapreduce.reduce.markreset.buffer.percent"),
    ("mapred.job.reduce.memory.mb", "mapreduce.reduce.memory.mb"),
    ("mapred.job.reduce.total.mem.bytes", "mapreduce.reduce.memory.totalbytes"),
    ("mapred.job.reuse.jvm.num.tasks", "mapreduce.job.jvm.numtasks"),
    ("mapred.job.shuffle.input.buffer.percent", "mapreduce.reduce.shuffle.input.buffer.percent"),
    ("mapred.job.shuffle.merge.percent", "mapreduce.reduce.shuffle.merge.percent"),
    ("mapred.join.expr", "mapreduce.join.expr"),
    ("mapred.join.keycomparator", "mapreduce.join.keycomparator"),
    ("mapred.lazy.output.format", "mapreduce.output.lazyoutputformat.outputformat"),
    ("mapred.line.input.format.linespermap", "mapreduce.input.lineinputformat.linespermap"),
    ("mapred.linerecordreader.maxlength", "mapreduce.input.linerecordreader.line.maxlength"),
    ("mapred.local.dir", "mapreduce.cluster.local.dir"),
    ("mapred.map.child.env", "mapreduce.map.env"),
    ("mapred.map.child.java.opts", "mapreduce.map.java.opts"),
    ("mapred.map.child.log.level", "mapreduce.map.log.level"),
    ("mapred.map.max.attempts", "mapreduce.map.maxattempts"),
    ("mapred.map.output.compression.codec", "mapreduce.map.output.compress.codec"),
    ("mapred.map.task.debug.script", "mapreduce.map.debug.script"),
    ("mapred.map.tasks", "mapreduce.job.maps"),
    ("mapred.map.tasks.speculative.execution", "mapreduce.map.speculative"),
    ("mapred.mapoutput.key.class", "mapreduce.map.output.key.class"),
    ("mapred.mapoutput.value.class", "mapreduce.map.output.value.class"),
    ("mapred.mapper.regex", "mapreduce.mapper.regex"),
    ("mapred.max.map.failures.percent", "mapreduce.map.failures.maxpercent"),
    ("mapred.max.reduce.failures.percent", "mapreduce.reduce.failures.maxpercent"),
    ("mapred.max.split.size", "mapreduce.input.fileinputformat.split.maxsize"),
    ("mapred.max.tracker.failures", "mapreduce.job.maxtaskfailures.per.tracker"),
    ("mapred.merge.recordsBeforeProgress", "mapreduce.task.merge.progress.records"),
    ("mapred.min.split.size", "mapreduce.input.fileinputformat.split.minsize"),
    ("mapred.min.split.size.per.node", "mapreduce.input.fileinputformat.split.minsize.per.node"),
    ("mapred.min.split.size.per.rack", "mapreduce.input.fileinputformat.split.minsize.per.rack"),
    ("mapred.output.compress", "mapreduce.output.fileoutputformat.compress"),
    ("mapred.output.compression.codec", "mapreduce.output.fileoutputformat.compress.codec"),
    ("mapred.output.compression.type", "mapreduce.output.fileoutputformat.compress.type"),
    ("mapred.output.dir", "mapreduce.output.fileoutputformat.outputdir"),
    ("mapred.output.key.class", "mapreduce.job.output.key.class"),
    ("mapred.output.key.comparator.class", "mapreduce.job.output.key.comparator.class"),
    ("mapred.output.value.class", "mapreduce.job.output.value.class"),
    ("mapred.output.value.groupfn.class", "mapreduce.job.output.group.comparator.class"),
    ("mapred.pipes.user.inputformat", "mapreduce.pipes.inputformat"),
    ("mapred.reduce.child.env", "mapreduce.reduce.env"),
    ("mapred.reduce.child.java.opts", "mapreduce.reduce.java.opts"),
    ("mapred.reduce.child.log.level", "mapreduce.reduce.log.level"),
    ("mapred.reduce.max.attempts", "mapreduce.reduce.maxattempts"),
    ("mapred.reduce.parallel.copies", "mapreduce.reduce.shuffle.parallelcopies"),
    ("mapred.reduce.slowstart.completed.maps", "mapreduce.job.reduce.slowstart.completedmaps"),
    ("mapred.reduce.task.debug.script", "mapreduce.reduce.debug.script"),
    ("mapred.reduce.tasks", "mapreduce.job.reduces"),
    ("mapred.reduce.tasks.speculative.execution", "mapreduce.reduce.speculative"),
    ("mapred.seqbinary.output.key.class", "mapreduce.output.seqbinaryoutputformat.key.class"),
    ("mapred.seqbinary.output.value.class", "mapreduce.output.seqbinaryoutputformat.value.class"),
    ("mapred.shuffle.connect.timeout", "mapreduce.reduce.shuffle.connect.timeout"),
    ("mapred.shuffle.read.timeout", "mapreduce.reduce.shuffle.read.timeout"),
    ("mapred.skip.attempts.to.start.skipping", "mapreduce.task.skip.start.attempts"),
    ("mapred.skip.map.auto.incr.proc.count", "mapreduce.map.skip.proc-count.auto-incr"),
    ("mapred.skip.map.max.skip.records", "mapreduce.map.skip.maxrecords"),
    ("mapred.skip.on", "mapreduce.job.skiprecords"),
    ("mapred.skip.out.dir", "mapreduce.job.skip.outdir"),
    ("mapred.skip.reduce.auto.incr.proc.count", "mapreduce.reduce.skip.proc-count.auto-incr"),
    ("mapred.skip.reduce.max.skip.groups", "mapreduce.reduce.skip.maxgroups"),
    (
        "mapred.speculative.execution.slowTaskThreshold",
        "mapreduce.job.speculative.slowtaskthreshold",
    ),
    (
        "mapred.speculative.execution.speculativeCap",
        "mapreduce.job.speculative.speculative-cap-running-tasks",
    ),
    ("mapred.submit.replication", "mapreduce.client.submit.file.replication"),
    ("mapred.task.id", "mapreduce.task.attempt.id"),
    ("mapred.task.is.map", "mapreduce.task.ismap"),
    ("mapred.task.partition", "mapreduce.task.partition"),
    ("mapred.task.profile", "mapreduce.task.profile"),
    ("mapred.task.profile.maps", "mapreduce.task.profile.maps"),
    ("mapred.task.profile.params", "mapreduce.task.profile.params"),
    ("mapred.task.profile.reduces", "mapreduce.task.profile.reduces"),
    ("mapred.task.timeout", "mapreduce.task.timeout"),
    ("mapred.temp.dir", "mapreduce.cluster.temp.dir"),
    ("mapred.text.key.comparator.options", "mapreduce.partition.keycomparator.options"),
    ("mapred.text.key.partitioner.options", "mapreduce.partition.keypartitioner.options"),
    ("mapred.textoutputformat.separator", "mapreduce.output.textoutputformat.separator"),
    ("mapred.tip.id", "mapreduce.task.id"),
    ("mapred.used.genericoptionsparser", "mapreduce.client.genericoptionsparser.used"),
    ("mapred.userlog.limit.kb", "mapreduce.task.userlog.limit.kb"),
    ("mapred.work.output.dir", "mapreduce.task.output.dir"),
    ("mapred.working.dir", "mapreduce.job.working.dir"),
    ("mapreduce.combine.class", "mapreduce.job.combine.class"),
    ("mapreduce.inputformat.class", "mapreduce.job.inputformat.class"),
    ("mapreduce.map.class", "mapreduce.job.map.class"),
    ("mapreduce.outputformat.class", "mapreduce.job.outputformat.class"),
    ("mapreduce.partitioner.class", "mapreduce.job.partitioner.class"),
    ("mapreduce.reduce.class", "mapreduce.job.reduce.class"),
    ("mapreduce.user.classpath.first", "mapreduce.job.user.classpath.first"),
    ("min.num.spills.for.combine", "mapreduce.map.combine.minspills"),
    (
        "reduce.output.key.value.fields.spec",
        "mapreduce.fieldsel.reduce.output.key.value.fields.spec",
    ),
    ("sequencefile.filter.class", "mapreduce.input.sequencefileinputfilter.class"),
    ("sequencefile.filter.frequency", "mapreduce.input.sequencefileinputfilter.frequency"),
    ("sequencefile.filter.regex", "mapreduce.input.sequencefileinputfilter.regex"),
    ("user.name", "mapreduce.job.user.name"),
    // Hadoop's streaming guide prints these; its code asks for the names on the right.
    ("mapreduce.task.is.map", "mapreduce.task.ismap"),
    ("stream.num.reduce.output.fields", "stream.num.reduce.output.key.fields"),
    // Its code asks for the name on the left, its documents print the other.
    ("aggregate.max.num.unique.values", "mapreduce.aggregate.max.num.unique.values"),
];

/// The present name of a property.
pub fn present_name(name: &str) -> &str {
    ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, present)| present)
}

/// The old names of a property that has this name at present.
pub fn old_names<'p>(present: &'p str) -> impl Iterator<Item = &'static str> + use<'p> {
    ALIASES.iter().filter(move |(_, new)| *new == present).map(|(old, _)| *old)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_lead_to_present_ones_and_no_further() {
        assert_eq!(present_name("mapred.reduce.tasks"), "mapreduce.job.reduces");
        assert_eq!(present_name("mapreduce.job.reduces"), "mapreduce.job.reduces");
        assert_eq!(present_name("my.own"), "my.own");
        for (old, present) in ALIASES {
            assert_eq!(present_name(present), *present, "{old} must not lead to an old name");
        }
    }

    #[test]
    fn each_old_name_stands_once() {
        let mut names: Vec<_> = ALIASES.iter().map(|(old, _)| old).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALIASES.len());
    }

    #[test]
    fn a_present_name_knows_its_old_ones() {
        let old: Vec<_> = old_names("mapreduce.task.ismap").collect();
        assert_eq!(old, ["mapred.task.is.map", "mapreduce.task.is.map"]);
        assert_eq!(old_names("my.own").count(), 0);
    }
}
