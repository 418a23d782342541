"""The bench's jobs in polars: POLARS_MAX_THREADS=2 python polars_jobs.py JOB INPUT OUTPUT MEMORY_MIB.

The streaming engine, which was the faster one. A line is read as one column: no byte of the inputs is the
separator. Polars has no memory limit: MEMORY_MIB must be 0.
"""

import sys

import polars as pl

job, source, output, memory_mib = sys.argv[1:]
assert memory_mib == "0", "polars has no memory limit"
lines = pl.scan_csv(
    source,
    has_header=False,
    new_columns=["line"],
    schema={"line": pl.String},
    separator="\x01",
    quote_char=None,
)
line = pl.col("line")
if job == "wordcount":
    words = lines.select(line.str.split(" ").explode()).filter(line != "")
    answer = words.group_by("line").len()
elif job == "fieldcount":
    # Faster than to split lines: of a log's ten columns only the first is looked at.
    columns = {f"column_{number}": pl.String for number in range(10)}
    log = pl.scan_csv(source, has_header=False, schema=columns, separator=" ", quote_char='"')
    answer = log.select("column_0").group_by("column_0").len()
elif job == "sort":
    answer = lines.sort("line")
else:
    sys.exit(f"no job {job}")
answer.sink_csv(output, include_header=False, separator="\t", quote_style="never")
