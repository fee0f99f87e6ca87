"""The listed files, by DuckDB's reader of Parquet."""

import duckdb
from rows import COLUMNS, files, say

columns = ", ".join(COLUMNS).replace("timestamp", "epoch_us(timestamp)")
say(duckdb.execute(f"SELECT {columns} FROM read_parquet(?)", [files()]).fetchall())
