"""The table, by polars."""

import polars
from rows import COLUMNS, say, table

read = polars.scan_delta(table()).select(COLUMNS).collect()
say(read.iter_rows())
