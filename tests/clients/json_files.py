"""Reads the JSON files of a table with readers that know nothing of Logboom, and prints what they count.

Called with the table's folder. The index is read with deltalake; where duckdb is there, it reads the files too.
"""

import glob
import gzip
import json
import sys

table = sys.argv[1]
paths = sorted(glob.glob(table + "/_json/date=*/*.json.gz"))
by_category = {}
for path in paths:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
        for line in lines:
            category = json.loads(line)["category"]
            by_category[category] = by_category.get(category, 0) + 1
print("gzip", json.dumps(by_category, sort_keys=True))

try:
    from deltalake import DeltaTable

    members = DeltaTable(table).to_pyarrow_table().to_pylist()
    by_category = {}
    for member in members:
        with open(table + "/" + member["path"], "rb") as file:
            file.seek(member["offset"])
            lines = gzip.decompress(file.read(member["length"])).splitlines()
        assert len(lines) == member["records"], member
        assert all(json.loads(line)["category"] == member["category"] for line in lines), member
        by_category[member["category"]] = by_category.get(member["category"], 0) + len(lines)
    print("deltalake", json.dumps(by_category, sort_keys=True))
    DeltaTable(table).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert sorted(glob.glob(table + "/_json/date=*/*.json.gz")) == paths, "a foreign VACUUM deletes JSON files"
except ImportError as error:
    print("skipped:", error)

try:
    import duckdb

    counts = duckdb.sql(
        f"SELECT category, count(*) FROM read_json('{table}/_json/date=*/*.json.gz', hive_partitioning = true) "
        "WHERE date >= DATE '2020-01-01' GROUP BY category"
    )
    print("duckdb", json.dumps(dict(counts.fetchall()), sort_keys=True))
except ImportError as error:
    print("skipped:", error)
