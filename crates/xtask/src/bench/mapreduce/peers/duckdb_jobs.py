"""The bench's jobs in DuckDB: python duckdb_jobs.py JOB INPUT OUTPUT MEMORY_MIB.

Two threads. A line is read as one column: no byte of the inputs is the separator. MEMORY_MIB is the engine's
own limit, 0 for none; what exceeds it goes to a folder beside the output.
"""

import sys

import duckdb

LINES = (
    "read_csv(?, columns = {'line': 'VARCHAR'}, delim = '\x01', header = false,"
    " quote = '', escape = '', auto_detect = false)"
)
QUERIES = {
    "wordcount": "SELECT word, count(*) FROM"
    f" (SELECT unnest(string_split(line, ' ')) AS word FROM {LINES})"
    " WHERE word <> '' GROUP BY word",
    # Twice as fast as split_part, and faster than to read the columns of the log.
    "fieldcount": f"SELECT line[:instr(line, ' ') - 1] AS value, count(*) FROM {LINES} GROUP BY value",
    "sort": f"SELECT line FROM {LINES} ORDER BY line",
}

job, source, output, memory_mib = sys.argv[1:]
connection = duckdb.connect()
connection.execute("SET threads = 2")
connection.execute("SET preserve_insertion_order = false")
connection.execute(f"SET temp_directory = '{output}.tmp'")
if memory_mib != "0":
    connection.execute(f"SET memory_limit = '{memory_mib}MiB'")
connection.execute(
    f"COPY ({QUERIES[job]}) TO '{output}'"
    " (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')",
    [source],
)
