"""The table, by Daft."""

import daft
from rows import COLUMNS, say, table

read = daft.read_deltalake(table()).select(*COLUMNS).to_pydict()
say(zip(*(read[column] for column in COLUMNS)))
