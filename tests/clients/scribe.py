#!/usr/bin/env python3
"""Sends records through PyPI's facebook-scribe: scribe.py HOST:PORT FILE

FILE has one JSON object per line: {"category": .., "body_base64": ..}. Prints `acked N` for each, in order, when the
server has answered OK; tries again after TRY_LATER or a broken connection. Needs `pip install facebook-scribe`, whose
generated code runs on Python 3 as it is. That code writes texts only, so bytes are let through below it.
"""

import base64
import json
import sys
import time

# This file has the package's name, and would be found in its place.
del sys.path[0]

from scribe import scribe
from thrift.Thrift import TException
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport


class BytesProtocol(TBinaryProtocol):
    def writeString(self, value):
        self.writeBinary(value if isinstance(value, bytes) else value.encode())


def connect(host, port):
    socket = TSocket.TSocket(host, port)
    socket.setTimeout(30_000)
    transport = TTransport.TFramedTransport(socket)
    # As Scribe's own examples have it.
    client = scribe.Client(BytesProtocol(transport, strictRead=False, strictWrite=False))
    transport.open()
    return transport, client


def main():
    (host, port), path = sys.argv[1].rsplit(":", 1), sys.argv[2]
    transport = None
    with open(path) as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            entry = scribe.LogEntry(category=record["category"], message=base64.b64decode(record["body_base64"]))
            while True:
                try:
                    if transport is None:
                        transport, client = connect(host, int(port))
                    if client.Log(messages=[entry]) == scribe.ResultCode.OK:
                        break
                except (TException, OSError, EOFError):
                    if transport is not None:
                        transport.close()
                    transport = None
                time.sleep(0.1)
            print(f"acked {number}", flush=True)


main()
