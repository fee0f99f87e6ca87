#!/usr/bin/env python3
"""Sends records through a client library of Loki's: loki.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}; bodies must be UTF-8, for this library writes JSON.
Each is sent until it is acknowledged; then "acked N" is printed, N from 0. Needs python-logging-loki.
"""

import base64
import json
import logging
import sys
import time

import requests
from logging_loki.emitter import LokiEmitterV1

if __name__ == "__main__":
    address, file = sys.argv[1:]
    for n, line in enumerate(open(file, encoding="utf-8")):
        wanted = json.loads(line)
        body = base64.b64decode(wanted["body_base64"]).decode()
        emitter = LokiEmitterV1(f"http://{address}/loki/api/v1/push", {"app": wanted["category"]})
        record = logging.LogRecord("tests", logging.INFO, __file__, 0, body, None, None)
        while True:
            try:
                emitter(record, body)
                break
            except (ValueError, requests.RequestException) as error:
                # The library tells statuses in words only.
                if isinstance(error, ValueError) and not str(error).endswith(("429", "503")):
                    raise
                time.sleep(0.1)
        emitter.close()
        print(f"acked {n}", flush=True)
