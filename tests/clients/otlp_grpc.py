#!/usr/bin/env python3
"""Sends records through the gRPC exporter of OpenTelemetry's SDK: otlp_grpc.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}. Each is sent until it is acknowledged; then
"acked N" is printed, N from 0. With LOGBOOM_TEST_CA (a PEM file) in the environment it is TLS. Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-grpc.
"""

import os
import sys

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

import otlp

if __name__ == "__main__":
    address, file = sys.argv[1:]
    authority = os.environ.get("LOGBOOM_TEST_CA")
    if authority:
        with open(authority, "rb") as pem:
            credentials = grpc.ssl_channel_credentials(pem.read())
        exporter = OTLPLogExporter(endpoint=f"https://{address}", credentials=credentials, timeout=10)
    else:
        exporter = OTLPLogExporter(endpoint=f"http://{address}", insecure=True, timeout=10)
    otlp.send(exporter, file)
