#!/usr/bin/env python3
"""Runs the jobs of cases.json with a real Hadoop Streaming and writes down what they give.

    HADOOP_CLASS_PATH='/opt/hadoop/jars/*' python3 record.py [name ..]

The class path must hold hadoop-streaming, hadoop-client and what they need; a `java` is on PATH, or
below JAVA_HOME. Each job runs in a process of its own with Hadoop's local runner, in an empty folder,
with hardly any environment. Names as arguments record these cases anew and leave the others. Nothing
of this machine is written down: README.md says what is kept of a result.
"""

import bz2
import getpass
import glob
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from xml.etree import ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
# Of Hadoop's own counters those that the input and the programs decide, not buffers and files.
FRAMEWORK = {
    "Map input records",
    "Map output records",
    "Combine input records",
    "Combine output records",
    "Reduce input groups",
    "Reduce input records",
    "Reduce output records",
}
NOT_KEPT = {"File System Counters", "Shuffle Errors", "File Output Format Counters"}
# Defaults whose values are about a job and not about a cluster.
OF_JOBS = re.compile(r"^(mapreduce\.(job|task|map|reduce|input|output)\.|mapred\.|map\.)")


def put(folder, name, content):
    """Makes a file; a name that ends with a slash is a folder. Characters are bytes."""
    path = os.path.join(folder, name)
    if name.endswith("/"):
        return os.makedirs(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if isinstance(content, str):
        data = content.encode("latin-1")
    elif "repeat" in content:
        text, times = content["repeat"]
        data = text.encode("latin-1") * times
    elif "gz" in content:
        data = b"".join(gzip.compress(part.encode("latin-1")) for part in content["gz"])
    elif "bz2" in content:
        data = b"".join(bz2.compress(part.encode("latin-1")) for part in content["bz2"])
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for inner, text in content["zip"].items():
                archive.writestr(inner, text)
        return None
    with open(path, "wb") as file:
        file.write(data)
    if data.startswith(b"#!"):
        os.chmod(path, 0o755)
    return None


def words_of(case, folder):
    args = case["args"]
    words = list(args) if isinstance(args, list) else args.split()
    words = [word.replace("{folder}", folder) for word in words]
    if case.get("output", True):
        if "-input" not in words:
            words += ["-input", "in"]
        words += ["-output", "out"]
    return words


def counters_of(said):
    """The counters that Hadoop's client prints at the end."""
    kept, group = {}, None
    for line in said.rpartition("Counters: ")[2].splitlines()[1:]:
        if line.startswith("\t\t"):
            name, _, amount = line[2:].rpartition("=")
            if group in NOT_KEPT or group == "Map-Reduce Framework" and name not in FRAMEWORK:
                continue
            kept.setdefault(group, {})[name] = int(amount)
        elif line.startswith("\t"):
            group = line[1:].rstrip()
        else:
            break
    return kept


def parts_of(folder):
    parts = {}
    for path in sorted(glob.glob(os.path.join(folder, "out", "part-*"))):
        with open(path, "rb") as file:
            data = file.read()
        if path.endswith(".gz"):
            data = gzip.decompress(data)
        if path.endswith(".bz2"):
            data = bz2.decompress(data)
        parts[os.path.basename(path)] = data.decode("latin-1")
    return parts


class Hadoop:
    """How Hadoop is started, and what it is."""

    def __init__(self, scratch):
        self.class_path = os.environ["HADOOP_CLASS_PATH"]
        self.scratch = scratch
        conf = os.path.join(scratch, "conf.jar")
        temporary = os.path.join(scratch, "tmp")
        with zipfile.ZipFile(conf, "w") as archive:
            archive.writestr(
                "core-site.xml",
                "<configuration><property><name>hadoop.tmp.dir</name>"
                f"<value>{temporary}</value></property></configuration>\n",
            )
            archive.writestr(
                "log4j.properties",
                "log4j.rootLogger=INFO,c\n"
                "log4j.appender.c=org.apache.log4j.ConsoleAppender\n"
                "log4j.appender.c.target=System.err\n"
                "log4j.appender.c.layout=org.apache.log4j.PatternLayout\n"
                "log4j.appender.c.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n\n",
            )
        home = os.environ.get("JAVA_HOME")
        java = os.path.join(home, "bin", "java") if home else "java"
        self.command = [java, "-Xmx512m", "--add-opens=java.base/java.lang=ALL-UNNAMED"]
        self.command += os.environ.get("HADOOP_OPTS", "").split()
        self.command += ["-cp", f"{self.class_path}:{conf}"]
        # What is in here is not the job's, and not kept of its environment.
        self.outer = {"PATH": os.environ["PATH"], "HOME": scratch, "LANG": "C.UTF-8"}

    def run(self, main, words, folder):
        command = [*self.command, main, *words]
        return subprocess.run(
            command,
            cwd=folder,
            env=self.outer,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )

    def version(self):
        done = self.run("org.apache.hadoop.util.VersionInfo", [], self.scratch)
        return done.stdout.decode().splitlines()[0]

    def java_version(self):
        done = subprocess.run([self.command[0], "-version"], capture_output=True, check=True)
        return re.search(r'"([0-9]+)', done.stderr.decode())[1]

    def defaults(self):
        """What its files of default properties say."""
        found = {}
        jars = [jar for pattern in self.class_path.split(":") for jar in glob.glob(pattern)]
        for jar in jars:
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if re.fullmatch(r"[a-z]+-default\.xml", name):
                        root = ElementTree.fromstring(archive.read(name))
                        for entry in root.iter("property"):
                            found[entry.findtext("name").strip()] = entry.findtext("value") or ""
        return found


def environment_of(part, hadoop, folder, defaults):
    """Names and values of what a job's program was told, less what is this machine's."""
    by_variable = {re.sub("[^A-Za-z0-9]", "_", name): name for name in defaults}
    told, names, of_jobs = {}, [], {}
    for line in part.encode("latin-1").decode().split("\n"):
        name, equals, value = line.removesuffix("\t").partition("=")
        if not equals or name in hadoop.outer or name in ("PWD", "OLDPWD", "SHLVL", "_"):
            continue
        property_name = by_variable.get(name)
        default = defaults.get(property_name, "")
        if property_name and (default.strip() == value.strip() or "${" in default or "\n" in default):
            if not OF_JOBS.match(property_name):
                names.append(name)
            elif "/" in value or "." in value and not re.fullmatch(r"[0-9.]+", value):
                names.append(name)
            else:
                of_jobs[name] = value
            continue
        value = re.sub(r"local[0-9]+_[0-9]{4}", "{job}", value)
        value = re.sub(r"\b[0-9]{13}\b", "{time}", value)
        value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "{uuid}", value)
        value = re.sub(rf"/tmp/hadoop/mapred/staging/{getpass.getuser()}[0-9]+", "{staging}", value)
        for text, mark in [(folder, "{folder}"), (hadoop.scratch, "{hadoop}")]:
            value = value.replace(text, mark)
        value = re.sub(rf"\b{re.escape(getpass.getuser())}\b", "{user}", value)
        value = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "{host}", value)
        value = re.sub(r"\b[0-9]+(\.[0-9]+){3}\b", "{address}", value)
        told[name] = value
    defaults = {"of_jobs": dict(sorted(of_jobs.items())), "of_clusters": sorted(names)}
    return dict(sorted(told.items())), defaults


def record(case, hadoop, recorded):
    folder = tempfile.mkdtemp(prefix="case-", dir=hadoop.scratch)
    for name, content in case["files"].items():
        put(folder, name, content)
    done = hadoop.run("org.apache.hadoop.streaming.HadoopStreaming", words_of(case, folder), folder)
    said = done.stderr.decode("utf-8", "replace")
    result = {"code": done.returncode}
    if os.environ.get("SHOW"):
        print(done.stdout.decode("utf-8", "replace"), said)
    if done.returncode == 0 and case.get("output", True):
        assert os.path.exists(os.path.join(folder, "out", "_SUCCESS")), case["name"]
        result["parts"] = parts_of(folder)
        result["counters"] = counters_of(said)
    if case.get("environment"):
        part = result.pop("parts")["part-00000"]
        told, defaults = environment_of(part, hadoop, folder, hadoop.defaults())
        result["environment"] = told
        # They are the same for every task.
        if recorded.get("defaults"):
            assert recorded["defaults"] == defaults
        recorded["defaults"] = defaults
    shutil.rmtree(folder)
    return result


def write(path, recorded, names):
    """Keeps the order of the cases."""
    known = recorded.pop("cases")
    defaults = recorded.pop("defaults", {})
    recorded["cases"] = {name: known[name] for name in names if name in known}
    recorded["defaults"] = defaults
    with open(path, "w", encoding="ascii") as file:
        json.dump(recorded, file, indent=1)
        file.write("\n")


def main():
    with open(os.path.join(HERE, "cases.json"), encoding="ascii") as file:
        cases = json.load(file)
    path = os.path.join(HERE, "recorded.json")
    recorded = {"hadoop": "", "java": "", "cases": {}}
    if os.path.exists(path):
        with open(path, encoding="ascii") as file:
            recorded = json.load(file)
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        scratch = os.path.realpath(scratch)
        hadoop = Hadoop(scratch)
        if not wanted:
            recorded = {"cases": {}}
        recorded["hadoop"] = hadoop.version()
        recorded["java"] = hadoop.java_version()
        for case in cases:
            if not wanted or case["name"] in wanted:
                recorded["cases"][case["name"]] = record(case, hadoop, recorded)
                write(path, recorded, [case["name"] for case in cases])
                print(case["name"], file=sys.stderr)


if __name__ == "__main__":
    main()
