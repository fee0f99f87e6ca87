#!/usr/bin/env python3
"""Sends records to Splunk's HTTP Event Collector: splunk.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}; bodies must be UTF-8, for the protocol is JSON.
Each is sent until it is acknowledged; then "acked N" is printed, N from 0. Needs nothing but Python.
"""

import base64
import json
import sys
import time
import urllib.error
import urllib.request


def send(address, event):
    headers = {"Authorization": "Splunk none", "Content-Type": "application/json"}
    url = f"http://{address}/services/collector/event"
    request = urllib.request.Request(url, json.dumps(event).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer) == {"text": "Success", "code": 0}


if __name__ == "__main__":
    address, file = sys.argv[1:]
    for n, line in enumerate(open(file, encoding="utf-8")):
        wanted = json.loads(line)
        body = base64.b64decode(wanted["body_base64"]).decode()
        event = {"time": time.time(), "index": wanted["category"], "host": "test", "event": body}
        while True:
            try:
                send(address, event)
                break
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                time.sleep(0.1)
            except OSError:
                time.sleep(0.1)
        print(f"acked {n}", flush=True)
