"""The bench's jobs in PySpark's DataFrames: python pyspark_jobs.py JOB INPUT OUTPUT MEMORY_MIB.

Two threads in this process's JVM, as many partitions behind a shuffle. There is no limit of the whole
process's memory: MEMORY_MIB must be 0.
"""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

job, source, output, memory_mib = sys.argv[1:]
assert memory_mib == "0", "PySpark has no limit of the whole process"
spark = (
    SparkSession.builder.master("local[2]")
    .config("spark.driver.memory", "4g")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.ui.enabled", "false")
    .config("spark.log.level", "ERROR")
    .getOrCreate()
)
lines = spark.read.text(source)
if job == "wordcount":
    words = lines.select(f.explode(f.split("value", " ")).alias("key")).where("key <> ''")
    answer = words.groupBy("key").count()
elif job == "fieldcount":
    answer = lines.select(f.substring_index("value", " ", 1).alias("key")).groupBy("key").count()
elif job == "sort":
    answer = lines.orderBy("value")
else:
    sys.exit(f"no job {job}")
if job != "sort":
    answer = answer.select(f.concat_ws("\t", "key", f.col("count").cast("string")))
answer.write.text(output)
spark.stop()
