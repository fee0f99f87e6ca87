#!/usr/bin/env python3
"""Sends records through the HTTP exporter of OpenTelemetry's SDK: otlp_http.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}. Each is sent until it is acknowledged; then
"acked N" is printed, N from 0. Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http.
"""

import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

import otlp

if __name__ == "__main__":
    address, file = sys.argv[1:]
    exporter = OTLPLogExporter(endpoint=f"http://{address}/v1/logs", compression=Compression.Gzip, timeout=10)
    otlp.send(exporter, file)
