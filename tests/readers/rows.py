"""What every reader's script says of the rows it has read: how many, and one digest of all.

A script is called with the table's folder and the committed files, and hands its rows over as tuples
(stream, seq, category, host, microseconds since 1970, severity number or None, body, attributes as a dict)."""

import atexit
import hashlib
import os
import sys
from datetime import datetime, timedelta, timezone

COLUMNS = ["stream", "seq", "category", "host", "timestamp", "severity_number", "body", "attributes"]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def table():
    return sys.argv[1]


def files():
    return sys.argv[2:]


def micros(instant):
    """Microseconds since 1970 of what a reader gives for a timestamp."""
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=timezone.utc)
        return (instant - EPOCH) // timedelta(microseconds=1)
    return int(instant)


def attributes(value):
    """A dict of what a reader gives for a map: a dict, pairs, or a list of entries."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    return {entry["key"]: entry["value"] for entry in value} if value and isinstance(value[0], dict) else dict(value)


def say(rows):
    """Prints the number of rows and the digest of all in order of (stream, seq)."""
    lines = []
    for stream, seq, category, host, timestamp, severity, body, pairs in rows:
        pairs = sorted(attributes(pairs).items())
        severity = "" if severity is None else int(severity)
        fields = [stream, int(seq), category, host, micros(timestamp), severity, body, pairs]
        lines.append((stream, int(seq), repr(fields)))
    lines.sort()
    digest = hashlib.sha256("\n".join(line for _, _, line in lines).encode("utf-8", "surrogatepass")).hexdigest()
    print(len(lines), digest, flush=True)
    # It ends at once: threads of pyarrow now and then abort an interpreter that takes its leave.
    atexit.register(os._exit, 0)
