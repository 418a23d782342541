# Runs a Hadoop Streaming job on Spark: what Synod hands to spark-submit, with the job as a JSON file.
#
# Lines are read by Spark, go through the mapper, are spread by Hadoop's hash of the key and put in
# order by the key's bytes, go through the reducer, and are written by Spark. Bytes stay what they
# are: no line is decoded. Of its own Synod has nothing on the machines where this runs.

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading


class CommandFailed(Exception):
    """A mapper or reducer has failed."""


# ---- bytes and pairs


def lines_of(stream):
    """Lines that end with LF, CR or both, without their ends."""
    for line in stream:
        if line.endswith(b"\n"):
            line = line[:-1]
        if b"\r" not in line:
            yield line
            continue
        if line.endswith(b"\r"):
            line = line[:-1]
        yield from line.split(b"\r")


def split(line, separator, fields):
    """Key and value: the key ends at the so manyth separator."""
    if not separator:
        return line, b""
    start = 0
    for _ in range(fields):
        at = line.find(separator, start)
        if at < 0:
            return line, b""
        start = at + len(separator)
    return line[:at], line[start:]


def hasher():
    """Hadoop's HashPartitioner: 31 times the hash plus the signed byte, in 32 bits, from 1 on."""
    known = {}

    def hash_of(key):
        found = known.get(key)
        if found is None:
            found = 1
            for byte in key:
                found = (found * 31 + (byte if byte < 128 else byte - 256)) & 0xFFFFFFFF
            found &= 0x7FFFFFFF
            if len(known) == 1 << 16:
                known.clear()
            known[key] = found
        return found

    return hash_of


# ---- commands


def environment_of(job, stage, told):
    """What a command finds in its environment."""

    def is_inherited(name):
        return any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in job["inherited"]
        )

    found = {name: value for name, value in os.environ.items() if is_inherited(name)}
    found.update(job["environment"])
    for name, value in told.items():
        for variable in job["told"].get(name, []):
            found[variable] = value
    found.update(stage["variables"])
    return found


def lay_out(job, folder):
    """The files of the job, in the folder where a command works."""
    from pyspark import SparkFiles

    for file in job["files"]:
        source = SparkFiles.get(os.path.basename(file["path"]))
        os.chmod(source, os.stat(source).st_mode | stat.S_IXUSR)
        os.symlink(source, os.path.join(folder, file["name"]))


def program_of(name, folder, environment):
    """The program's file: as it is, or below the working folder, or on PATH."""
    if os.path.isabs(name):
        return name
    here = os.path.join(folder, name)
    if os.path.isfile(here):
        return here
    found = shutil.which(name, path=environment.get("PATH", ""))
    if found is None:
        raise CommandFailed(f"there is no program `{name}`: ship it by -files, or give its path")
    return found


# Different counters of a task, and of the job; bytes of a group and of a name; of a line that may be one.
MOST_COUNTERS = 10_000
LONGEST_NAME = 1_024
LONGEST_LINE = 1 << 16
# Seconds that are waited for what the children of a command hold open.
HELD_OPEN = 10


class Reports(threading.Thread):
    """Reads the stderr of a command: counters are added up, all else goes on to the task's log."""

    def __init__(self, pipe, prefix):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.prefix = prefix
        self.amounts = {}

    def run(self):
        begins = True
        while line := self.pipe.readline(LONGEST_LINE):
            ends = line.endswith(b"\n")
            # Without its end it is the last one, or longer than any report.
            whole = begins and (ends or len(line) < LONGEST_LINE)
            begins = ends
            for piece in lines_of([line]):
                if not (whole and self.is_report(piece)):
                    sys.stderr.buffer.write(piece + b"\n" if ends or whole else piece)
                    sys.stderr.buffer.flush()

    def is_report(self, line):
        if line.startswith(self.prefix + b"status:"):
            return True
        counter = self.prefix + b"counter:"
        if not line.startswith(counter):
            return False
        # As Java trims and splits.
        fields = line[len(counter) :].strip(bytes(range(33))).split(b",")
        while fields and not fields[-1]:
            fields.pop()
        if len(fields) != 3 or not re.fullmatch(rb"[+-]?[0-9]+", fields[2]):
            return False
        group, name, amount = fields[0], fields[1], int(fields[2])
        if max(len(group), len(name)) > LONGEST_NAME or not -(1 << 63) <= amount < 1 << 63:
            return False
        key = f"{group.decode(errors='replace')},{name.decode(errors='replace')}"
        if key not in self.amounts and len(self.amounts) >= MOST_COUNTERS:
            return False
        self.amounts[key] = self.amounts.get(key, 0) + amount
        return True

    def sums(self):
        """Amounts by name; what was counted backwards has a name of its own, as in Synod."""
        return {key if n >= 0 else f"{key},-": abs(n) for key, n in dict(self.amounts).items()}


def totals(context):
    """Adds up counters of all tasks that have come to a good end, each task once."""
    from pyspark.accumulators import AccumulatorParam

    most = MOST_COUNTERS

    class Sums(AccumulatorParam):
        def zero(self, value):
            return {}

        def addInPlace(self, value1, value2):
            sums = dict(value1)
            for key, amount in value2.items():
                if key in sums or len(sums) < most:
                    sums[key] = sums.get(key, 0) + amount
            return sums

    return context.accumulator({}, Sums())


class Feeder(threading.Thread):
    """Writes lines to a command, until it stops reading."""

    def __init__(self, pipe, lines, limit):
        super().__init__(daemon=True)
        self.pipe = pipe
        self.lines = lines
        self.limit = limit
        self.offered = 0
        self.closed = False
        self.error = None

    def run(self):
        try:
            for line in self.lines:
                self.offered += len(line)
                if not self.closed:
                    self.closed = not self.tried(self.pipe.write, line)
                elif self.offered > self.limit:
                    break
        except BaseException as error:
            self.error = error
        finally:
            self.closed = not self.tried(self.pipe.close) or self.closed

    @staticmethod
    def tried(act, *arguments):
        try:
            act(*arguments)
            return True
        except BrokenPipeError:
            return False


def piped(job, stage, number, lines, counted):
    """What the command of a stage prints for these lines; what it counts is added to `counted`."""
    from pyspark import TaskContext

    attempt = TaskContext.get().attemptNumber()
    task = f"{job['digits']}_{stage['letter']}_{number:06d}"
    place = tempfile.mkdtemp(prefix="synod-")
    process = None
    try:
        work, temporary = os.path.join(place, "work"), os.path.join(place, "tmp")
        os.mkdir(work)
        os.mkdir(temporary)
        lay_out(job, work)
        told = {
            "mapreduce.task.id": f"task_{task}",
            "mapreduce.task.attempt.id": f"attempt_{task}_{attempt}",
            "mapreduce.task.ismap": "true" if stage["letter"] == "m" else "false",
            "mapreduce.task.partition": str(number),
            "mapreduce.job.local.dir": work,
        }
        environment = environment_of(job, stage, told)
        environment["TMPDIR"] = temporary
        name, *arguments = stage["arguments"]
        label = f"{stage['name']} `{name}` of task_{task}"
        process = subprocess.Popen(
            [program_of(name, work, environment), *arguments],
            cwd=work,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=1 << 18,
            start_new_session=True,
        )
        feeder = Feeder(process.stdin, lines, job["buffer_bytes"])
        feeder.start()
        reports = Reports(process.stderr, job["reporter_prefix"].encode())
        reports.start()
        yield from lines_of(process.stdout)
        feeder.join()
        code = process.wait()
        reports.join(HELD_OPEN)
        if feeder.error is not None:
            raise feeder.error
        if code != 0 and job["exit_is_failure"]:
            raise CommandFailed(f"{label}: it failed with code {code if code > 0 else 128 - code}")
        if feeder.closed and feeder.offered > job["buffer_bytes"] and job["unread_is_failure"]:
            raise CommandFailed(f"{label}: it ended before it had read all its input")
        counted.add(reports.sums())
    except OSError as error:
        raise CommandFailed(f"{stage['name']}: {error}") from error
    finally:
        if process is not None:
            end(process)
        shutil.rmtree(place, ignore_errors=True)


def end(process):
    """Nothing of a command is left behind, nor of what it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass
    process.stdout.close()
    process.wait()
    # Its stderr is closed by whoever reads it: nobody is left who could write there.


# ---- stages


def mapped(job, counted):
    """Map tasks: from lines to pairs."""
    stage = job["map"]
    separator, fields = stage["separator"].encode(), stage["key_fields"]

    def run(number, rows):
        lines = (bytes(row[0]) + b"\n" for row in rows)
        for line in piped(job, stage, number, lines, counted):
            yield split(line, separator, fields)

    return run


def reduced(job, counted):
    """Reduce tasks: from pairs in order to pairs."""
    stage = job["reduce"]
    separator, fields = stage["separator"].encode(), stage["key_fields"]
    between = stage["input_separator"].encode()

    def run(number, pairs):
        pairs = iter(pairs)
        # Hadoop starts a reducer that has no input, and drops what it prints.
        first = next(pairs, None)
        if first is None:
            return

        def lines():
            yield first[0] + between + first[1] + b"\n"
            for key, value in pairs:
                yield key + between + value + b"\n"

        for line in piped(job, stage, number, lines(), counted):
            yield split(line, separator, fields)

    return run


def run(spark, job):
    """The whole job; its counters."""
    from pyspark.sql.functions import col
    from pyspark.sql.types import BinaryType, StructField, StructType

    for file in job["files"]:
        spark.sparkContext.addFile(file["path"])
    counted = totals(spark.sparkContext)
    # A mapper for each piece of each file, as in Hadoop: small files are not put together.
    whole = spark.conf.get("spark.sql.files.maxPartitionBytes")
    spark.conf.set("spark.sql.files.openCostInBytes", whole)
    lines = spark.read.text(job["inputs"]).select(col("value").cast("binary"))
    pairs = lines.rdd.mapPartitionsWithIndex(mapped(job, counted))
    if job["reduces"] > 0:
        pairs = pairs.repartitionAndSortWithinPartitions(job["reduces"], hasher())
        if job["reduce"] is not None:
            pairs = pairs.mapPartitionsWithIndex(reduced(job, counted))
    between = job["output_separator"].encode()
    rows = pairs.map(lambda pair: (pair[0] + between + pair[1],))
    schema = StructType([StructField("value", BinaryType())])
    output = spark.createDataFrame(rows, schema, verifySchema=False)
    # Spark takes the bytes for a string as they are, and writes them so.
    output.select(col("value").cast("string").alias("value")).write.text(job["output"])
    return {name: min(amount, (1 << 64) - 1) for name, amount in counted.value.items()}


def explained(error):
    """What went wrong in one line, if it is known what."""
    text = str(error)
    failed = re.search(r"CommandFailed: (.*)", text)
    if failed:
        return failed.group(1)
    if type(error).__name__ == "AnalysisException":
        return text.splitlines()[0]
    return None


def main(path):
    from pyspark.sql import SparkSession

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    spark = SparkSession.builder.getOrCreate()
    try:
        counters = run(spark, job)
        # Synod shows them when Spark has ended.
        with open(os.path.join(os.path.dirname(path), "counters.json"), "w") as file:
            json.dump(counters, file)
    except Exception as error:
        why = explained(error)
        if why is None:
            raise
        print(f"synod: the job failed on Spark: {why}", file=sys.stderr)
        sys.exit(1)
    finally:
        spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
