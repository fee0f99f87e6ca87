#!/usr/bin/env python3
"""Sends records as GELF messages with a real client library: graypy, or pygelf for those ending in `+pygelf`.

    gelf.py ADDRESS FILE

ADDRESS is udp://HOST:PORT (compressed, in chunks where it is long), udp+plain://HOST:PORT or tcp://HOST:PORT, each also as
for example udp+pygelf://HOST:PORT. FILE has one JSON object a line, {"category": .., "body_base64": ..}; the category is
sent as the additional field `category`. Prints `sent N` for each, from 0: GELF does not acknowledge. Bodies must be UTF-8,
as JSON must: there is status 2 for others.
"""

import base64
import json
import logging
import sys


def handler(address):
    scheme, _, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    port = int(port)
    transport, *ways = scheme.split("+")
    if "pygelf" in ways:
        import pygelf

        fields = {"include_extra_fields": True, "debug": False}
        if transport == "tcp":
            return pygelf.GelfTcpHandler(host=host, port=port, **fields)
        return pygelf.GelfUdpHandler(host=host, port=port, compress="plain" not in ways, **fields)
    import graypy

    if transport == "tcp":
        return graypy.GELFTCPHandler(host, port)
    return graypy.GELFUDPHandler(host, port, compress="plain" not in ways)


def main(address, path):
    log = logging.Logger("gelf", logging.INFO)
    log.addHandler(handler(address))
    logging.raiseExceptions = True
    with open(path, encoding="utf-8") as lines:
        for n, line in enumerate(lines):
            record = json.loads(line)
            try:
                body = base64.b64decode(record["body_base64"]).decode()
            except UnicodeDecodeError:
                print(f"record {n} is not UTF-8", file=sys.stderr)
                return 2
            log.info("%s", body, extra={"category": record["category"]})
            print(f"sent {n}", flush=True)
    for each in log.handlers:
        each.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
