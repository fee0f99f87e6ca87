#!/usr/bin/env python3
"""Sends records through the gRPC exporter of OpenTelemetry's SDK: otlp_grpc.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}. Each is sent until it is acknowledged; then
"acked N" is printed, N from 0. Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-grpc.
"""

import sys

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

import otlp

if __name__ == "__main__":
    address, file = sys.argv[1:]
    otlp.send(OTLPLogExporter(endpoint=f"http://{address}", insecure=True, timeout=10), file)
