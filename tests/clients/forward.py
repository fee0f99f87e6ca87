#!/usr/bin/env python3
"""Sends records through PyPI's fluent-logger: forward.py HOST:PORT|unix:///PATH FILE [plain]

FILE has one JSON object per line: {"category": .., "body_base64": ..}. The category is the tag. fluent-logger knows no
acknowledgements: it is taught here to ask for one (the option `chunk`) and to wait for it, and prints `acked N`; it sends
again after a broken connection. With `plain` the library is as it is, and `sent N` says that the kernel has the bytes.
Needs `pip install fluent-logger`.
"""

import base64
import json
import sys
import time

import msgpack
from fluent.sender import FluentSender


class AckSender(FluentSender):
    """A message has a chunk, and counts as sent when that has come back."""

    sent = 0

    def _make_packet(self, label, timestamp, data):
        self.sent += 1
        self.chunk = str(self.sent)
        packet = msgpack.unpackb(super()._make_packet(label, timestamp, data), strict_map_key=False)
        return msgpack.packb([*packet, {"chunk": self.chunk}])

    def _check_recv_side(self):
        pass

    def _send_data(self, bytes_):
        super()._send_data(bytes_)
        unpacker = msgpack.Unpacker()
        while True:
            received = self.socket.recv(4096)
            if not received:
                raise OSError("closed without an acknowledgement")
            unpacker.feed(received)
            for answer in unpacker:
                if answer == {"ack": self.chunk}:
                    return


def main():
    address, path, plain = sys.argv[1], sys.argv[2], "plain" in sys.argv[3:]
    host, port = (address, 0) if address.startswith("unix://") else address.rsplit(":", 1)
    sender = (FluentSender if plain else AckSender)("", host=host, port=int(port), timeout=30.0, bufmax=1 << 30)
    with open(path) as lines:
        for number, line in enumerate(lines):
            record = json.loads(line)
            event = {"log": base64.b64decode(record["body_base64"])}
            while not sender.emit(record["category"], event):
                # What it could not send it would send before the next: that is this record once more.
                sender.pendings = None
                time.sleep(0.1)
            print("sent" if plain else "acked", number, flush=True)
    sender.close()


main()
