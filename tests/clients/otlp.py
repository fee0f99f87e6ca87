"""What both exporters of OpenTelemetry's SDK are driven by."""

import base64
import json
import logging
import sys
import time

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope


def send(exporter, file):
    logging.disable(logging.CRITICAL)
    for n, line in enumerate(open(file, encoding="utf-8")):
        wanted = json.loads(line)
        body = base64.b64decode(wanted["body_base64"])
        try:
            body = body.decode()
        except UnicodeDecodeError:
            pass  # Bytes are a body, too.
        record = ReadableLogRecord(
            LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, severity_text="INFO", body=body),
            Resource({"service.name": wanted["category"]}),
            InstrumentationScope("logboom.tests", "1"),
        )
        while exporter.export([record]) is not LogRecordExportResult.SUCCESS:
            time.sleep(0.1)
        print(f"acked {n}", flush=True)
    exporter.shutdown()
    sys.exit(0)
