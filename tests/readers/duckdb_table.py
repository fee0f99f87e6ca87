"""The table, by DuckDB and its delta extension."""

from pathlib import Path

import duckdb
import duckdb_extension_delta
from rows import COLUMNS, say, table

extension = next(Path(duckdb_extension_delta.__file__).parent.rglob("delta.duckdb_extension"))
connection = duckdb.connect()
connection.execute(f"SET TimeZone = 'UTC'; LOAD '{extension}'")
columns = ", ".join(COLUMNS).replace("timestamp", "epoch_us(timestamp)")
say(connection.execute(f"SELECT {columns} FROM delta_scan(?)", [table()]).fetchall())
