"""JSON lines over TCP with acknowledgements (docs/acknowledgements.md). Usage: lines.py HOST:PORT FILE"""

import base64
import json
import socket
import sys
import time


def connect(address):
    while True:
        try:
            connection = socket.create_connection(address, timeout=20)
            return connection, connection.makefile("rb")
        except OSError:
            time.sleep(0.02)


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    connection, answers = None, None
    index = 0
    for line in open(sys.argv[2], encoding="utf-8"):
        record = json.loads(line)
        body = base64.b64decode(record["body_base64"]).decode("utf-8")
        message = json.dumps({"category": record["category"], "body": body})
        request = f'{message}\n{{"$ack":{index}}}\n'.encode()
        while True:
            try:
                if connection is None:
                    connection, answers = connect((host, int(port)))
                connection.sendall(request)
                answer = answers.readline()
                if answer and json.loads(answer)["status"] == "ok":
                    break
                if not answer:
                    connection = None
                time.sleep(0.02)
            except OSError:
                connection = None
        print(f"acked {index}", flush=True)
        index += 1


main()
