#!/usr/bin/env python3
"""Sends records as syslog messages of RFC 5424: the bodies that `logger` cannot send, with nothing but the standard library.

    syslog.py ADDRESS FILE

ADDRESS is tcp://HOST:PORT or tls://HOST:PORT (octet counting; LOGBOOM_TEST_CA in the environment is a PEM file with the
authority that has signed the listener's certificate, without it none is checked), lines://HOST:PORT (a newline
ends a message), udp://HOST:PORT, dgram:PATH, stream:PATH or counted:PATH (Unix sockets; a NUL ends a
message of a stream, or octets are counted). FILE has one
JSON object a line, {"category": .., "body_base64": ..}; the category is sent as the app name. Prints `sent N` for each,
from 0: syslog does not acknowledge.
"""

import base64
import json
import os
import socket
import ssl
import sys


def connect(address):
    """A function that sends one message."""
    scheme, _, rest = address.partition(":")
    if scheme == "dgram":
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.connect(rest)
        return sock.send
    if scheme in ("stream", "counted"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(rest)
        if scheme == "counted":
            return lambda message: sock.sendall(b"%d %s" % (len(message), message))
        return lambda message: sock.sendall(message + b"\0")
    host, _, port = rest.removeprefix("//").rpartition(":")
    if scheme == "udp":
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((host, int(port)))
        return sock.send
    sock = socket.create_connection((host, int(port)))
    if scheme == "tls":
        authority = os.environ.get("LOGBOOM_TEST_CA")
        context = ssl.create_default_context(cafile=authority)
        if not authority:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        sock = context.wrap_socket(sock, server_hostname=host)
    if scheme == "lines":
        return lambda message: sock.sendall(message + b"\n")
    return lambda message: sock.sendall(b"%d %s" % (len(message), message))


def main(address, path):
    send = connect(address)
    with open(path, encoding="utf-8") as lines:
        for n, line in enumerate(lines):
            record = json.loads(line)
            app = record["category"].encode()
            send(b"<14>1 - - %s - - - %s" % (app, base64.b64decode(record["body_base64"])))
            print(f"sent {n}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
