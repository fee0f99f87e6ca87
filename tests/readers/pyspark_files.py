"""The listed files, by PySpark."""

import os

from rows import COLUMNS, files, say

os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
from pyspark.sql import SparkSession  # noqa: E402
from pyspark.sql.functions import col, unix_micros  # noqa: E402

settings = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.sql.session.timeZone": "UTC", "spark.driver.memory": "1g"}
builder = SparkSession.builder.master("local[2]").config(map=settings)
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
columns = [unix_micros(col(name)) if name == "timestamp" else col(name) for name in COLUMNS]
say(tuple(row) for row in spark.read.parquet(*files()).select(*columns).collect())
spark.stop()
