#!/usr/bin/env python3
"""Sends records through Elasticsearch's client library: elasticsearch_bulk.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}; bodies must be UTF-8, for the protocol is JSON.
Each is sent until it is acknowledged; then "acked N" is printed, N from 0. Needs elasticsearch.
"""

import base64
import json
import logging
import sys
import time

from elasticsearch import ApiError, Elasticsearch, TransportError
from elasticsearch.helpers import bulk

if __name__ == "__main__":
    address, file = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    client = Elasticsearch(f"http://{address}", max_retries=0, request_timeout=10)
    for n, line in enumerate(open(file, encoding="utf-8")):
        wanted = json.loads(line)
        document = {"@timestamp": time.time_ns() // 1_000_000, "message": base64.b64decode(wanted["body_base64"]).decode()}
        action = {"_op_type": "create", "_index": wanted["category"], "_source": document}
        while True:
            try:
                assert bulk(client, [action]) == (1, [])
                break
            except ApiError as error:
                if error.status_code not in (429, 503):
                    raise
                time.sleep(0.1)
            except TransportError:
                time.sleep(0.1)
        print(f"acked {n}", flush=True)
