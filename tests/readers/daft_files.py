"""The listed files, by Daft."""

import daft
from rows import COLUMNS, files, say

read = daft.read_parquet(files()).select(*COLUMNS).to_pydict()
say(zip(*(read[column] for column in COLUMNS)))
