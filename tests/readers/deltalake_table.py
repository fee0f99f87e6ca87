"""The table, by Python's deltalake."""

from deltalake import DeltaTable
from rows import COLUMNS, say, table

read = DeltaTable(table()).to_pyarrow_table(columns=COLUMNS).to_pydict()
say(zip(*(read[column] for column in COLUMNS)))
