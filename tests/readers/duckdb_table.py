"""The table, by DuckDB and its delta extension."""

import duckdb
from duckdb_extensions import import_extension
from rows import COLUMNS, say, table

import_extension("delta")
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'; LOAD delta")
columns = ", ".join(COLUMNS).replace("timestamp", "epoch_us(timestamp)")
say(connection.execute(f"SELECT {columns} FROM delta_scan(?)", [table()]).fetchall())
