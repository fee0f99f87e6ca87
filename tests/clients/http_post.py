#!/usr/bin/env python3
"""Sends records to POST /v1/logs/{category}: http_post.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}. Each is sent until it is acknowledged; then
"acked N" is printed, N from 0. With LOGBOOM_TEST_CA (a PEM file) in the environment it is TLS. Needs nothing but Python.
"""

import base64
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


AUTHORITY = os.environ.get("LOGBOOM_TEST_CA")
TLS = ssl.create_default_context(cafile=AUTHORITY) if AUTHORITY else None


def send(address, category, body):
    url = f"{'https' if TLS else 'http'}://{address}/v1/logs/{urllib.parse.quote(category, safe='')}"
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"}, method="POST")
    with urllib.request.urlopen(request, timeout=10, context=TLS) as answer:
        assert json.load(answer) == {"records": 1}


if __name__ == "__main__":
    address, file = sys.argv[1:]
    for n, line in enumerate(open(file, encoding="utf-8")):
        wanted = json.loads(line)
        body = base64.b64decode(wanted["body_base64"])
        while True:
            try:
                send(address, wanted["category"], body)
                break
            except urllib.error.HTTPError as error:
                if error.code not in (429, 503):
                    raise
                time.sleep(0.1)
            except OSError:
                time.sleep(0.1)
        print(f"acked {n}", flush=True)
