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


def piped(job, stage, number, lines):
    """What the command of a stage prints for these lines."""
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
            bufsize=1 << 18,
            start_new_session=True,
        )
        feeder = Feeder(process.stdin, lines, job["buffer_bytes"])
        feeder.start()
        yield from lines_of(process.stdout)
        feeder.join()
        code = process.wait()
        if feeder.error is not None:
            raise feeder.error
        if code != 0 and job["exit_is_failure"]:
            raise CommandFailed(f"{label}: it failed with code {code if code > 0 else 128 - code}")
        if feeder.closed and feeder.offered > job["buffer_bytes"] and job["unread_is_failure"]:
            raise CommandFailed(f"{label}: it ended before it had read all its input")
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


# ---- stages


def mapped(job):
    """Map tasks: from lines to pairs."""
    stage = job["map"]
    separator, fields = stage["separator"].encode(), stage["key_fields"]

    def run(number, rows):
        lines = (bytes(row[0]) + b"\n" for row in rows)
        for line in piped(job, stage, number, lines):
            yield split(line, separator, fields)

    return run


def reduced(job):
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

        for line in piped(job, stage, number, lines()):
            yield split(line, separator, fields)

    return run


def run(spark, job):
    """The whole job."""
    from pyspark.sql.functions import col
    from pyspark.sql.types import BinaryType, StructField, StructType

    for file in job["files"]:
        spark.sparkContext.addFile(file["path"])
    # A mapper for each piece of each file, as in Hadoop: small files are not put together.
    whole = spark.conf.get("spark.sql.files.maxPartitionBytes")
    spark.conf.set("spark.sql.files.openCostInBytes", whole)
    lines = spark.read.text(job["inputs"]).select(col("value").cast("binary"))
    pairs = lines.rdd.mapPartitionsWithIndex(mapped(job))
    if job["reduces"] > 0:
        pairs = pairs.repartitionAndSortWithinPartitions(job["reduces"], hasher())
        if job["reduce"] is not None:
            pairs = pairs.mapPartitionsWithIndex(reduced(job))
    between = job["output_separator"].encode()
    rows = pairs.map(lambda pair: (pair[0] + between + pair[1],))
    schema = StructType([StructField("value", BinaryType())])
    output = spark.createDataFrame(rows, schema, verifySchema=False)
    # Spark takes the bytes for a string as they are, and writes them so.
    output.select(col("value").cast("string").alias("value")).write.text(job["output"])


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
        run(spark, job)
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
