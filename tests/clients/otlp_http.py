#!/usr/bin/env python3
"""Sends records through the HTTP exporter of OpenTelemetry's SDK: otlp_http.py HOST:PORT FILE.

FILE has one JSON object a line, {"category": ..., "body_base64": ...}. Each is sent until it is acknowledged; then
"acked N" is printed, N from 0. With LOGBOOM_TEST_CA (a PEM file) in the environment it is TLS, with
LOGBOOM_TEST_CLIENT_CERTIFICATE and LOGBOOM_TEST_CLIENT_KEY the client shows who it is. Needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-http.
"""

import os
import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

import otlp

if __name__ == "__main__":
    address, file = sys.argv[1:]
    authority = os.environ.get("LOGBOOM_TEST_CA")
    # They would be preferred to the exporter's own setting.
    os.environ.pop("REQUESTS_CA_BUNDLE", None)
    os.environ.pop("CURL_CA_BUNDLE", None)
    scheme = "https" if authority else "http"
    exporter = OTLPLogExporter(
        endpoint=f"{scheme}://{address}/v1/logs",
        certificate_file=authority,
        client_certificate_file=os.environ.get("LOGBOOM_TEST_CLIENT_CERTIFICATE"),
        client_key_file=os.environ.get("LOGBOOM_TEST_CLIENT_KEY"),
        compression=Compression.Gzip,
        timeout=10,
    )
    otlp.send(exporter, file)
